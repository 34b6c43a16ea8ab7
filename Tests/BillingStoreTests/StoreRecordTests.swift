import Billing
import Foundation
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// Each kind of transition, from claim to ledger, and repeated as after a lost answer.
    @Suite struct StoreRecordTests {
        /// Records, twice; the second time nothing may change.
        private func record(
            _ stage: StoreStage, _ transition: Transition,
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            try await stage.record(transition, sourceLocation: sourceLocation)
            let story = try await stage.story()
            try await stage.record(transition, .repeated, sourceLocation: sourceLocation)
            #expect(try await stage.story() == story, sourceLocation: sourceLocation)
        }

        private func subscribed() async throws -> (StoreStage, Work) {
            let stage = try await StoreStage()
            try await stage.subscribe()
            return (stage, try await stage.work())
        }

        @Test func aClaimWritesTheNameBeforeAnythingIsSent() async throws {
            let (stage, work) = try await subscribed()
            let request = try work.request
            #expect(request.number == 1 && request.amount == Won(14_900))
            #expect(request.taxFreeAmount == Won(900) && request.orderName == "월 구독")
            #expect(request.billingKey.reveal() == "key-1-customer")
            #expect(request.customerKey.reveal() == "c1-customer")
            #expect(
                try await stage.story() == "active 0, due, leased; open; 1 open in doubt")
            #expect(
                try await stage.value(
                    """
                    SELECT concat_ws(' ', order_id = idempotency_key, order_id, amount,
                        tax_free_amount, order_name, customer_key, secret_key_fingerprint, worker)
                    FROM billing.attempts
                    """)
                    == "t \(request.orderID) 14900 900 월 구독 c1-customer 0123456789abcdef worker-1")
            try await stage.expectNothing()
        }

        @Test func approved() async throws {
            let (stage, work) = try await subscribed()
            var payment = try work.payment("pay-1")
            payment.approvedAt = "2026-01-31T09:00:00+09:00"
            payment.receiptURL = "https://example.com/receipt"
            payment.card = "{\"number\":\"4330****123*\"}"
            try await record(stage, work.after(.approved(payment, traceID: "trace")))
            #expect(
                try await stage.story()
                    == "active 1, at the period's end; paid pay-1; 1 approved DONE; charge.paid")
            #expect(
                try await stage.value(
                    """
                    SELECT concat_ws(' ', c.paid_at = '2026-01-31 00:00Z', c.receipt_url,
                        c.card ->> 'number', a.trace_id, a.http_status)
                    FROM billing.charges AS c JOIN billing.attempts AS a USING (charge_id)
                    """) == "t https://example.com/receipt 4330****123* trace 200")
            try await stage.expectSound()
        }

        @Test func declinedSoftly() async throws {
            let (stage, work) = try await subscribed()
            try await record(stage, work.declined())
            #expect(
                try await stage.story() == """
                    past_due 0, in 1440 min; open; 1 declined REJECT_CARD_PAYMENT; \
                    charge.declined, subscription.past_due
                    """)
            try await stage.pass("1 day")
            let second = try await stage.work()
            #expect(try second.request.number == 2)
            #expect(second.earlier == [try work.request.orderID])
            // The second rung: three days.
            try await record(stage, second.declined())
            #expect(try await stage.story().hasPrefix("past_due 0, in 4320 min; open; "))
            #expect(try await stage.value("SELECT declines FROM billing.charges") == "2")
            try await stage.pass("3 days")
            try await record(stage, try await stage.work().approved())
            #expect(
                try await stage.story().hasPrefix(
                    "active 1, at the period's end; paid pay-1; 1 declined"))
            #expect(try await stage.story().hasSuffix("charge.paid, subscription.recovered"))
            try await stage.expectSound()
        }

        @Test func declinedForGood() async throws {
            let (stage, work) = try await subscribed()
            try await record(stage, work.declined("INVALID_STOPPED_CARD", .hard))
            #expect(
                try await stage.story() == """
                    past_due 0, due; open; 1 declined INVALID_STOPPED_CARD; \
                    charge.declined, subscription.past_due, billing_key.dead
                    """)
            #expect(
                try await stage.value(
                    "SELECT state || ' ' || dead_code FROM billing.billing_keys")
                    == "dead INVALID_STOPPED_CARD")
            // No other card: it waits, suspended, for one.
            try await record(stage, try await stage.local())
            #expect(
                try await stage.story().hasPrefix("suspended 0, at the period's end; open; 1 "))
        }

        @Test func refused() async throws {
            let (stage, work) = try await subscribed()
            try await record(stage, work.after(.refused(.busy)))
            #expect(
                try await stage.story() == "active 0, in 1 min; open; 1 refused MAINTAINED_METHOD")
            #expect(try await stage.value("SELECT declines FROM billing.charges") == "0")
            // The provider does not remember refusals: the next name waits until a copy of this one
            // can act no more.
            try await stage.pass("2 minutes")
            try await record(stage, try await stage.local())
            try await stage.pass("19 minutes")
            let second = try await stage.work()
            #expect(try second.request.number == 2)
            #expect(second.earlier.count == 1)
        }

        @Test func notSent() async throws {
            let (stage, work) = try await subscribed()
            try await record(stage, work.after(.notSent(Answer(code: "COULDNT_CONNECT"))))
            #expect(
                try await stage.story() == "active 0, in 0 min; open; 1 open COULDNT_CONNECT")
            try await stage.pass("1 minute")
            let again = try await stage.work()
            #expect(try again.request == work.request)
            #expect(!again.isRepeat)
            guard case .send(_, _, _, let tries) = again.task else { return }
            #expect(tries == 1)
            #expect(try await stage.value("SELECT sends FROM billing.attempts") == "1")
        }

        @Test func unknownIsLookedUpUntilItIsFound() async throws {
            let (stage, work) = try await subscribed()
            try await record(stage, work.unknown())
            #expect(
                try await stage.story() == "active 0, in 1 min; open; 1 open TIMEOUT in doubt")
            try await stage.pass("1 minute")
            let first = try await stage.work()
            #expect(first.isResolve)
            try await record(stage, first.after(.unclear(Answer(code: "COMMON_ERROR"))))
            #expect(
                try await stage.story() == "active 0, in 1 min; open; 1 open COMMON_ERROR in doubt")
            try await stage.pass("1 minute")
            let second = try await stage.work()
            try await record(stage, second.after(.notFound(.absent)))
            #expect(
                try await stage.story()
                    == "active 0, in 5 min; open; 1 open NOT_FOUND_PAYMENT in doubt")
            try await stage.pass("5 minutes")
            let third = try await stage.work()
            try await record(stage, third.after(.found(try third.payment("pay-1"))))
            #expect(
                try await stage.story()
                    == "active 1, at the period's end; paid pay-1; 1 approved LOOKED_UP; charge.paid"
            )
            try await stage.expectSound()
        }

        @Test func absentTwiceAfterTheQuietTimeIsSentAgainUnderItsName() async throws {
            let (stage, work) = try await subscribed()
            try await record(stage, work.unknown())
            for wait in ["1 minute", "5 minutes"] {
                try await stage.pass(wait)
                // The quiet time has not passed on the real clock: however often, it does not count.
                let look = try await stage.work()
                try await record(stage, look.after(.notFound(.absent)))
                #expect(try await stage.story().contains("1 open NOT_FOUND_PAYMENT in doubt"))
                #expect(try await !stage.story().contains("absent"))
            }
            try await stage.expire()
            try await stage.pass("30 minutes")
            let last = try await stage.work()
            try await record(stage, last.after(.notFound(.absent)))
            #expect(
                try await stage.story()
                    == "active 0, due; open; 1 open NOT_FOUND_PAYMENT in doubt absent")
            let again = try await stage.work()
            #expect(try again.request == work.request)
            #expect(again.isRepeat)
            #expect(
                try await stage.value(
                    "SELECT concat_ws(' ', sends, not_founds, absent, in_doubt) FROM billing.attempts"
                )
                    == "2 0 f t")
            // What answers a repeat says nothing of the first send.
            try await record(stage, again.declined())
            #expect(
                try await stage.story()
                    == "active 0, in 1 min; open; 1 open REJECT_CARD_PAYMENT in doubt")
        }

        @Test func foundAndCancelledMeanwhile() async throws {
            let (stage, work) = try await subscribed()
            try await stage.record(work.unknown())
            try await stage.pass("1 minute")
            let look = try await stage.work()
            var payment = try look.payment("pay-1", status: .partialCanceled)
            payment.balanceAmount = Won(4_900)
            try await record(stage, look.after(.found(payment)))
            #expect(
                try await stage.story() == """
                    active 1, at the period's end; refunded pay-1; 1 approved LOOKED_UP; \
                    charge.refunded
                    """)
            #expect(try await stage.value("SELECT refunded_amount FROM billing.charges") == "10000")
            try await stage.expectSound()
        }

        @Test func heldByTheProvidersWord() async throws {
            let (stage, work) = try await subscribed()
            try await record(stage, work.after(.faultOfRow(Answer(code: "INVALID_ORDER_NAME"))))
            #expect(
                try await stage.story() == """
                    active 0, never; held refused by the provider: INVALID_ORDER_NAME; \
                    1 refused INVALID_ORDER_NAME; charge.held
                    """)
            try await stage.pass("40 days")
            try await stage.expectNothing()
        }

        @Test func anEndedAttemptTurnsOutToBePaid() async throws {
            let (stage, work) = try await subscribed()
            try await stage.record(work.declined())
            try await stage.pass("1 day")
            let second = try await stage.work()
            let adopted = try #require(
                second.afterEarlier(
                    [(try work.request.orderID, .found(try work.payment("pay-1")))],
                    before: second.request, isRepeat: false, tries: 0, jitter: 0.5))
            try await record(stage, adopted)
            #expect(
                try await stage.story() == """
                    active 1, at the period's end; paid pay-1; \
                    1 declined REJECT_CARD_PAYMENT but pay-1, 2 refused EARLIER_ATTEMPT_PAID; \
                    charge.declined, subscription.past_due, charge.paid, subscription.recovered
                    """)
            try await stage.expectSound()
        }

        /// After a restore: attempt 1 was declined, which the provider does not show, and 2 paid.
        @Test func aNameThatTheDatabaseForgotTurnsOutToBePaid() async throws {
            let (stage, work) = try await subscribed()
            let forgotten = OrderID(stored: try work.request.orderID.value.dropLast() + "2")
            var payment = try work.payment("pay-1")
            payment.orderID = forgotten
            let adopted = try #require(
                work.afterEarlier(
                    [(forgotten, .found(payment))], before: work.request, isRepeat: false, tries: 0,
                    jitter: 0.5))
            try await record(stage, adopted)
            #expect(
                try await stage.story() == """
                    active 1, at the period's end; paid pay-1; \
                    1 refused EARLIER_ATTEMPT_PAID but pay-1; charge.paid
                    """)
            try await stage.expectSound()
        }

        @Test func aSealFindsANameThatTheDatabaseForgot() async throws {
            let (stage, work) = try await subscribed()
            try await stage.web("UPDATE billing.plans SET dunning = '{}'")
            try await stage.record(work.declined())
            try await stage.pass("1 hour")
            let seal = try await stage.work()
            let forgotten = OrderID(stored: try work.request.orderID.value.dropLast() + "2")
            var payment = try work.payment("pay-1")
            payment.orderID = forgotten
            try await record(
                stage,
                seal.afterSeal(
                    [(forgotten, .found(payment))], amount: Won(14_900), ending: .failed(.exhausted)
                ))
            #expect(
                try await stage.story() == """
                    active 1, at the period's end; paid pay-1; \
                    1 declined REJECT_CARD_PAYMENT but pay-1; \
                    charge.declined, subscription.past_due, charge.paid, subscription.recovered
                    """)
            try await stage.expectSound()
        }

        @Test(arguments: [("suspend", "suspended"), ("cancel", "canceled")])
        func dunningEndsWithASeal(onExhausted: String, state: String) async throws {
            let (stage, work) = try await subscribed()
            try await stage.web(
                """
                UPDATE billing.plans SET dunning = '{}', on_exhausted = '\(onExhausted)'
                """)
            // The claim read four rungs; the record reads none: not before the gap is over.
            try await record(stage, work.declined())
            #expect(try await stage.story().hasPrefix("past_due 0, in 60 min; "))
            try await stage.pass("1 hour")
            let seal = try await stage.work()
            #expect(
                seal.task
                    == .seal(
                        [try work.request.orderID], amount: Won(14_900), ending: .failed(.exhausted)
                    ))
            try await record(
                stage,
                seal.afterSeal(
                    [(seal.earlier[0], .notFound(.absent))], amount: Won(14_900),
                    ending: .failed(.exhausted)))
            #expect(
                try await stage.story() == """
                    \(state) 1, never; failed exhausted; 1 declined REJECT_CARD_PAYMENT; \
                    charge.declined, subscription.past_due, charge.failed, subscription.\(state)
                    """)
            try await stage.expectSound()
        }

        @Test func aSealFindsAPayment() async throws {
            let (stage, work) = try await subscribed()
            try await stage.web("UPDATE billing.plans SET dunning = '{}'")
            try await stage.record(work.declined())
            try await stage.pass("1 hour")
            let seal = try await stage.work()
            try await record(
                stage,
                seal.afterSeal(
                    [(seal.earlier[0], .found(try work.payment("pay-1")))], amount: Won(14_900),
                    ending: .failed(.exhausted)))
            #expect(
                try await stage.story() == """
                    active 1, at the period's end; paid pay-1; \
                    1 declined REJECT_CARD_PAYMENT but pay-1; charge.declined, \
                    subscription.past_due, charge.paid, subscription.recovered
                    """)
            try await stage.expectSound()
        }

        @Test func aSealWithoutAnAnswerWaits() async throws {
            let (stage, work) = try await subscribed()
            try await stage.web("UPDATE billing.plans SET dunning = '{}'")
            try await stage.record(work.declined())
            try await stage.pass("1 hour")
            let seal = try await stage.work()
            try await record(
                stage,
                seal.afterSeal(
                    [(seal.earlier[0], .unclear(.timeout))], amount: Won(14_900),
                    ending: .failed(.exhausted)))
            #expect(
                try await stage.story().hasPrefix("past_due 0, in 5 min; open waits: the provider ")
            )
        }

        @Test func nothingToTake() async throws {
            let stage = try await StoreStage()
            try await stage.web("UPDATE billing.plans SET amount = 0, tax_free_amount = 0")
            try await stage.subscribe(withCard: false)
            try await record(stage, try await stage.local())
            #expect(
                try await stage.story() == "active 1, at the period's end; paid; charge.paid")
            try await stage.expectSound()
        }

        @Test func aMissedPeriodIsSkipped() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.pass("40 days")
            try await record(stage, try await stage.local())
            #expect(try await stage.story() == "active 1, due; skipped missed; charge.skipped")
            try await record(stage, try await stage.work().approved())
            #expect(
                try await stage.story() == """
                    active 2, at the period's end; skipped missed, paid pay-1; \
                    1 approved DONE; charge.skipped, charge.paid
                    """)
            try await stage.expectSound()
        }
    }
}
