import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// What the web app changes while the daemon is at work, one change a test: what commits before
    /// the claim holds for this period, what commits after it from the next.
    @Suite struct StoreChangeTests {
        private func subscribed() async throws -> (StoreStage, Work) {
            let stage = try await StoreStage()
            try await stage.subscribe()
            return (stage, try await stage.work())
        }

        /// The terms that are sent.
        private func terms(_ work: Work) throws -> String {
            let request = try work.request
            return
                "\(request.number) \(request.amount.value) \(request.taxFreeAmount.value) "
                + request.orderName
        }

        // MARK: Price and cycle

        @Test func aPriceChangedBeforeTheClaimHolds() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.web("UPDATE billing.plans SET amount = 19900, name = 'new name'")
            #expect(try terms(await stage.work()) == "1 19900 900 new name")
        }

        @Test func aPriceChangedAfterTheClaimWaitsForTheNextPeriod() async throws {
            let (stage, first) = try await subscribed()
            try await stage.web(
                """
                UPDATE billing.plans SET amount = 19900, tax_free_amount = 1000, name = 'new name'
                """)
            // What the charge froze is its second attempt's, too.
            try await stage.record(first.declined())
            try await stage.pass("1 day")
            let second = try await stage.work()
            #expect(try terms(second) == "2 14900 900 월 구독")
            try await stage.record(second.approved())
            try await stage.pass("31 days")
            #expect(try terms(await stage.work()) == "1 19900 1000 new name")
            try await stage.expectSound()
        }

        @Test func anOwnAmountHoldsFromTheNextCharge() async throws {
            let (stage, first) = try await subscribed()
            try await stage.web("SELECT billing.change_amount(1, 500)")
            try await stage.record(first.after(.refused(.busy)))
            try await stage.pass("21 minutes")
            let second = try await stage.work()
            #expect(try terms(second) == "2 14900 900 월 구독")
            try await stage.record(second.approved())
            try await stage.pass("32 days")
            // No more of it can be free of tax than there is.
            #expect(try terms(await stage.work()) == "1 500 500 월 구독")
        }

        @Test func anotherPlanHoldsFromTheNextCharge() async throws {
            let (stage, first) = try await subscribed()
            try await stage.web(
                """
                INSERT INTO billing.plans (plan_id, name, amount, cycle)
                VALUES ('weekly', 'weekly', 3300, '7 days');
                SELECT billing.change_plan(1, 'weekly')
                """)
            try await stage.record(first.declined())
            try await stage.pass("1 day")
            let second = try await stage.work()
            #expect(try terms(second) == "2 14900 900 월 구독")
            try await stage.record(second.approved("pay-1"))
            // The month that was paid for ends as it was sold.
            #expect(
                try await stage.value(
                    """
                    SELECT period_end = billing.period_start(period_start, '1 month', 1)
                    FROM billing.charges
                    """) == "t")
            try await stage.pass("31 days")
            let weekly = try await stage.work()
            #expect(try terms(weekly) == "1 3300 0 weekly")
            try await stage.record(weekly.approved("pay-2"))
            try await stage.pass("7 days")
            try await stage.record(try await stage.work().approved("pay-3"))
            #expect(
                try await stage.value(
                    """
                    SELECT string_agg((period_end - period_start)::text, ', '
                                      ORDER BY period_index)
                    FROM billing.charges WHERE period_index > 0
                    """) == "7 days, 7 days")
            #expect(
                try await stage.value(
                    """
                    SELECT bool_and(a.period_end = b.period_start)
                    FROM billing.charges AS a JOIN billing.charges AS b
                    ON b.period_index = a.period_index + 1
                    """) == "t")
            try await stage.expectSound()
        }

        @Test func anotherCycleCountsFromTheNextPeriodsStart() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.approved("pay-1"))
            try await stage.web("UPDATE billing.plans SET cycle = '1 year'")
            try await stage.pass("31 days")
            try await stage.record(try await stage.work().approved("pay-2"))
            #expect(
                try await stage.value(
                    """
                    SELECT string_agg((period_end = billing.period_start(s.anchor_at, s.cycle,
                        c.period_index + 1 - s.anchor_index))::text, ' ' ORDER BY c.period_index)
                    FROM billing.charges AS c JOIN billing.subscriptions AS s USING (subscription_id)
                    WHERE c.period_index = 1 AND s.anchor_at = c.period_start
                      AND s.cycle = '1 year' AND s.anchor_index = 1
                    """) == "true")
        }

        // MARK: Cancel, pause, resume

        @Test func aCancelBeforeTheClaimWins() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.web("SELECT billing.cancel(1, 'now')")
            try await stage.record(try await stage.local())
            #expect(try await stage.story() == "canceled 0, never; subscription.canceled")
            try await stage.expectSound()
        }

        @Test func aCancelAtThePeriodsEndMakesNoFurtherCharge() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.approved())
            try await stage.web("SELECT billing.cancel(1)")
            try await stage.expectNothing()
            try await stage.pass("31 days")
            try await stage.record(try await stage.local())
            #expect(
                try await stage.story() == """
                    canceled 1, never; paid pay-1; 1 approved DONE; charge.paid, \
                    subscription.canceled
                    """)
        }

        @Test func aCancelAfterTheClaimTakesEffectFromTheNextPeriod() async throws {
            let (stage, first) = try await subscribed()
            try await stage.web("SELECT billing.cancel(1, 'now')")
            #expect(try await stage.story() == "active 0, due, leased; open; 1 open in doubt")
            try await stage.record(first.approved())
            try await stage.record(try await stage.local())
            #expect(
                try await stage.story() == """
                    canceled 1, never; paid pay-1; 1 approved DONE; charge.paid, \
                    subscription.canceled
                    """)
            try await stage.expectSound()
        }

        @Test func aCancelWhileAnAttemptIsInDoubtIsResolvedFirst() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.unknown())
            try await stage.web("SELECT billing.cancel(1, 'now')")
            try await stage.pass("1 minute")
            let look = try await stage.work()
            try await stage.record(look.after(.found(try look.payment("pay-1"))))
            #expect(try await stage.story().contains("paid pay-1; 1 approved LOOKED_UP"))
            try await stage.record(try await stage.local())
            #expect(try await stage.story().hasPrefix("canceled 1, never; "))
        }

        @Test func aCancelWhileDeclinedEndsDunningWithASeal() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.declined())
            try await stage.web("SELECT billing.cancel(1, 'now')")
            // At once, and then no sooner than a gap after the last attempt.
            try await stage.record(try await stage.local())
            #expect(try await stage.story().hasPrefix("past_due 0, in 60 min; open; "))
            try await stage.pass("1 hour")
            let seal = try await stage.work()
            try await stage.record(
                seal.afterSeal(
                    [(seal.earlier[0], .notFound(.absent))], amount: Won(14_900),
                    ending: .failed(.canceled)))
            #expect(
                try await stage.story() == """
                    canceled 1, never; failed canceled; 1 declined REJECT_CARD_PAYMENT; \
                    charge.declined, subscription.past_due, charge.failed, subscription.canceled
                    """)
            try await stage.expectSound()
        }

        @Test func aPauseBeforeTheClaimChargesNothing() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.web("SELECT billing.pause(1)")
            try await stage.expectNothing()
            try await stage.pass("40 days")
            try await stage.web("SELECT billing.resume(1)")
            // Both periods began before the resume.
            try await stage.record(try await stage.local())
            try await stage.record(try await stage.local())
            #expect(
                try await stage.story() == """
                    active 2, at the period's end; skipped paused, skipped paused; \
                    charge.skipped, charge.skipped
                    """)
            try await stage.pass("31 days")
            #expect(try await stage.work().request.number == 1)
            try await stage.expectSound()
        }

        @Test func aPauseWhileAnAttemptIsOpenIsStillRecorded() async throws {
            let (stage, first) = try await subscribed()
            try await stage.web("SELECT billing.pause(1)")
            try await stage.record(first.unknown())
            try await stage.pass("1 minute")
            let look = try await stage.work()
            try await stage.record(look.after(.found(try look.payment("pay-1"))))
            #expect(
                try await stage.story()
                    == "paused 1, never; paid pay-1; 1 approved LOOKED_UP; charge.paid")
        }

        @Test func aPauseStopsDunningAndAResumeTriesAtOnce() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.declined())
            try await stage.web("SELECT billing.pause(1)")
            try await stage.pass("2 days")
            let look = try await stage.work()
            try await stage.record(
                look.afterSeal(
                    [(look.earlier[0], .notFound(.absent))], amount: Won(14_900), ending: .paused))
            try await stage.expectNothing()
            try await stage.web("SELECT billing.resume(1)")
            #expect(try await stage.story().hasPrefix("past_due 0, due; open; "))
            #expect(try await stage.work().request.number == 2)
        }

        // MARK: Cards

        @Test func aNewCardWhileDeclinedIsTriedAtOnce() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.declined())
            try await stage.expectNothing()
            try await stage.newCard()
            let second = try await stage.work()
            #expect(try second.request.number == 2)
            #expect(try second.request.billingKey.reveal() == "key-2-customer")
            try await stage.record(second.approved())
            #expect(try await stage.story().hasSuffix("charge.paid, subscription.recovered"))
        }

        @Test func aNewCardEndsASuspension() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.declined("INVALID_STOPPED_CARD", .hard))
            try await stage.record(try await stage.local())
            #expect(try await stage.story().hasPrefix("suspended 0, at the period's end; "))
            try await stage.newCard()
            let second = try await stage.work()
            #expect(try second.request.billingKey.reveal() == "key-2-customer")
            try await stage.record(second.approved())
            #expect(try await stage.story().hasPrefix("active 1, at the period's end; paid pay-1"))
        }

        @Test func aNewCardWhileAnAttemptIsOpenWaitsForTheNextAttempt() async throws {
            let (stage, first) = try await subscribed()
            try await stage.newCard()
            try await stage.record(first.unknown())
            try await stage.expire()
            for _ in 1...2 {
                try await stage.pass("5 minutes")
                let look = try await stage.work()
                #expect(look.isResolve)
                try await stage.record(look.after(.notFound(.absent)))
                try await stage.expire()
            }
            // The same name is sent with the card that it was opened with.
            let again = try await stage.work()
            #expect(again.isRepeat)
            #expect(try again.request == first.request)
            let confirmed = again.after(
                .notFound(.absent), of: try again.request,
                ProviderTask.Doubt(lookups: 0, notFounds: 0, quietOver: false),
                confirms: .declined(Answer(code: "REJECT_CARD_PAYMENT"), .soft), jitter: 0.5)
            try await stage.record(confirmed)
            try await stage.pass("1 day")
            #expect(try await stage.work().request.billingKey.reveal() == "key-2-customer")
        }

        @Test func aNewCardBetweenTheClaimAndTheRecordOfNoCardIsNotMissed() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.declined("INVALID_STOPPED_CARD", .hard))
            let noCard = try await stage.local()
            try await stage.newCard()
            try await stage.record(noCard)
            #expect(try await stage.story().hasPrefix("suspended 0, due; open; "))
            #expect(try await stage.work().request.number == 2)
        }

        @Test func theFirstCardOfACustomerWhoHadNone() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(withCard: false)
            try await stage.record(try await stage.local())
            #expect(
                try await stage.story()
                    == "suspended 0, at the period's end; open; subscription.suspended")
            try await stage.newCard()
            try await stage.record(try await stage.work().approved())
            #expect(
                try await stage.story() == """
                    active 1, at the period's end; paid pay-1; 1 approved DONE; \
                    subscription.suspended, charge.paid, subscription.recovered
                    """)
        }

        @Test func retryNowCountsAsTheNextAttempt() async throws {
            let (stage, first) = try await subscribed()
            #expect(
                try await stage.web("SELECT billing.retry_now(1) AS yes")[0].bool("yes") == false)
            try await stage.record(first.declined())
            #expect(try await stage.web("SELECT billing.retry_now(1) AS yes")[0].bool("yes"))
            let second = try await stage.work()
            #expect(try second.request.number == 2)
            #expect(second.history.declines == 1)
            try await stage.record(second.declined())
            #expect(try await stage.story().hasPrefix("past_due 0, in 4320 min; "))
        }

        @Test func aHeldChargeGetsNoAttempt() async throws {
            let (stage, first) = try await subscribed()
            try await stage.record(first.after(.faultOfRow(Answer(code: "INVALID_REQUEST"))))
            // A new card does not wake it, nor does retry_now; due all the same, it stays held.
            try await stage.newCard()
            #expect(
                try await stage.web("SELECT billing.retry_now(1) AS yes")[0].bool("yes") == false)
            try await stage.expectNothing()
            try await stage.database.run(
                "UPDATE billing.subscriptions SET next_charge_at = billing.now()")
            try await stage.record(try await stage.local())
            #expect(try await stage.story().hasPrefix("active 0, never; held "))
            let refusal = await #expect(throws: PostgresError.self) {
                try await stage.database.run(
                    """
                    INSERT INTO billing.attempts
                    SELECT (a).* FROM (
                        SELECT jsonb_populate_record(a, '{"attempt_no": 2, "order_id": "second",
                            "state": "open", "finished_at": null}') AS a
                        FROM billing.attempts AS a) AS copy
                    """)
            }
            #expect(refusal?.message == "attempt 2 of charge 1: the charge is held, not open")
            #expect(try await stage.value("SELECT count(*) FROM billing.attempts") == "1")
        }
    }
}
