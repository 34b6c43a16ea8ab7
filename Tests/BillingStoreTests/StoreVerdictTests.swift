import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// Facts are never fenced, opinions are: news from old leases, and news that contradict.
    @Suite struct StoreVerdictTests {
        /// A work whose lease ran out, and the one that another worker has of the same row.
        private func overtaken() async throws -> (StoreStage, old: Work, new: Work) {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let old = try await stage.work()
            try await stage.expire()
            return (stage, old, try await stage.work())
        }

        @Test func aLeaseNumberThatIsGivenOutAgainIsAnotherWorkersAllTheSame() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let mine = try await stage.work()
            // A failover forgets the claim, and another worker gets the same number.
            try await stage.expire()
            try await stage.database.run("UPDATE billing.subscriptions SET lease_no = lease_no - 1")
            let other = StoreStage.store(stage.database, worker: "worker-2")
            let theirs = try #require(try await other.claim(limit: 10).work.first)
            #expect(theirs.lease == mine.lease)
            try await stage.record(mine.after(.refused(.busy)), .stale)
            try await stage.store.release([mine])
            #expect(try await stage.story().hasPrefix("active 0, due, leased; open; 1 open"))
            #expect(try await other.record([mine.approved()]) == [.applied])
        }

        @Test func aClaimAfterALostOneLooksUpAndNeverSends() async throws {
            let (stage, old, new) = try await overtaken()
            #expect(new.isResolve)
            #expect(try new.request == old.request)
            #expect(new.lease.value == old.lease.value + 1)
            // It was unknown once, so that the next name keeps its distance.
            #expect(
                try await stage.value("SELECT unknown_since IS NOT NULL FROM billing.attempts")
                    == "t")
        }

        @Test func anOpinionFromAnOldLeaseCountsForNothing() async throws {
            let (stage, old, new) = try await overtaken()
            let story = try await stage.story()
            for transition in [
                try old.declined(), try old.declined("INVALID_STOPPED_CARD", .hard),
                try old.after(.refused(.busy)), try old.unknown(),
                try old.after(.notSent(.timeout)),
                try old.after(.faultOfRow(Answer(code: "INVALID_ORDER_ID"))),
            ] {
                try await stage.record(transition, .stale)
                #expect(try await stage.story() == story)
            }
            #expect(try await stage.value("SELECT state FROM billing.billing_keys") == "active")
            try await stage.record(new.after(.found(try new.payment("pay-1"))))
            try await stage.expectSound()
        }

        @Test func anApprovalFromAnOldLeaseIsAFact() async throws {
            let (stage, old, new) = try await overtaken()
            try await stage.record(old.approved())
            #expect(try await stage.story().hasSuffix("paid pay-1; 1 approved DONE; charge.paid"))
            // What the other worker says of it is too late; that it found the payment is not news.
            try await stage.record(new.after(.unclear(.timeout)), .stale)
            try await stage.record(new.after(.found(try new.payment("pay-1"))), .repeated)
            try await stage.pass("32 days")
            #expect(try await stage.work().request.orderID != old.request.orderID)
            try await stage.expectSound()
        }

        @Test func anApprovalOfADeclinedAttemptHoldsThePaidChargeWithBothPayments() async throws {
            let (stage, old, new) = try await overtaken()
            let failure = Payment(
                paymentKey: "pay-0", orderID: try new.request.orderID, status: .aborted,
                totalAmount: Won(14_900), failure: Answer(code: "REJECT_CARD_PAYMENT"))
            try await stage.record(new.after(.found(failure)))
            try await stage.pass("1 day")
            let second = try await stage.work()
            try await stage.record(second.approved("pay-2"))
            try await stage.record(old.approved("pay-1"), .contradiction)
            #expect(
                try await stage.story() == """
                    active 1, at the period's end; held contradiction: payment pay-1 for attempt 1, \
                    which had ended as declined pay-2; 1 declined REJECT_CARD_PAYMENT but pay-1, \
                    2 approved DONE; charge.declined, subscription.past_due, charge.paid, \
                    subscription.recovered, charge.held
                    """)
            let story = try await stage.story()
            try await stage.record(old.approved("pay-1"), .repeated)
            #expect(try await stage.story() == story)
            // The next period goes on.
            try await stage.pass("31 days")
            #expect(try await stage.work().request.number == 1)
        }

        @Test func anApprovalOfADeclinedAttemptHoldsTheOpenCharge() async throws {
            let (stage, old, new) = try await overtaken()
            let failure = Payment(
                paymentKey: "pay-0", orderID: try new.request.orderID, status: .aborted,
                totalAmount: Won(14_900), failure: Answer(code: "REJECT_CARD_PAYMENT"))
            try await stage.record(new.after(.found(failure)))
            try await stage.record(old.approved("pay-1"), .contradiction)
            #expect(
                try await stage.story().contains(
                    "past_due 0, never; held contradiction: payment pay-1 for attempt 1"))
            try await stage.pass("10 days")
            try await stage.expectNothing()
        }

        @Test func aSecondPaymentOfOneAttemptHoldsTheCharge() async throws {
            let (stage, old, new) = try await overtaken()
            try await stage.record(old.approved("pay-1"))
            try await stage.record(new.after(.found(try new.payment("pay-2"))), .contradiction)
            #expect(try await stage.story().contains("held contradiction: payment pay-2"))
            #expect(try await stage.story().contains("1 approved DONE but pay-2"))
            #expect(try await stage.value("SELECT payment_key FROM billing.charges") == "pay-1")
        }

        @Test func aSecondPaymentHoldsTheChargeOfACanceledSubscriptionToo() async throws {
            let (stage, old, new) = try await overtaken()
            try await stage.record(old.approved("pay-1"))
            try await stage.web("SELECT billing.cancel(1, 'now')")
            try await stage.expire()
            try await stage.record(try await stage.local())
            #expect(try await stage.story().hasPrefix("canceled 1, never"))
            try await stage.record(new.after(.found(try new.payment("pay-2"))), .contradiction)
            #expect(try await stage.story().contains("held contradiction: payment pay-2"))
            #expect(try await stage.story().hasPrefix("canceled 1, never"))
        }

        @Test func newsOfAnotherSubscriptionsChargeFindNothing() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(2)
            let claim = try await stage.store.claim(limit: 10)
            let (one, other) = (claim.work[0], claim.work[1])
            var crossed = try one.approved()
            crossed.charge = other.charge
            try await stage.record(crossed, .stale)
            // And an approval under another name than the attempt's.
            var payment = try one.payment("pay-1")
            payment.orderID = try other.request.orderID
            let foreign = Transition(
                subscription: one.subscription, lease: one.lease, charge: one.charge,
                attempt: .approved(number: 1, payment, Answer(code: "DONE")),
                chargeChange: .paid(payment), standing: .good, next: .advance)
            try await stage.record(foreign, .stale)
            #expect(
                try await stage.value("SELECT string_agg(state, ' ') FROM billing.charges")
                    == "open open")
            let missing = Transition(
                subscription: SubscriptionID(99), lease: one.lease, charge: one.charge,
                next: .never)
            #expect(
                try await stage.store.record([try one.approved(), missing]) == [.applied, .stale])
        }

        @Test func oneImpossibleRecordIsRejectedAndTheOthersAreWritten() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(8)
            let works = try await stage.store.claim(limit: 10).work
            // The same payment for two subscriptions: payment_key is unique.
            var transitions = try works.map { try $0.approved("pay-\($0.subscription.value)") }
            transitions[5] = try works[5].approved("pay-3")
            let verdicts = try await stage.store.record(transitions)
            #expect(verdicts.filter { $0 == .applied }.count == 7)
            #expect(verdicts[5] == .rejected || verdicts[2] == .rejected)
            #expect(
                try await stage.value("SELECT count(*) FROM billing.charges WHERE state = 'paid'")
                    == "7")
        }

        // MARK: Giving back

        @Test func whatWasNotSentIsGivenBackUnderItsName() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let work = try await stage.work()
            try await stage.store.release([work])
            #expect(try await stage.story() == "active 0, due; open; 1 open")
            #expect(
                try await stage.value(
                    "SELECT concat_ws(' ', claims, lease_no) FROM billing.subscriptions") == "0 1")
            let again = try await stage.work()
            #expect(try again.request == work.request)
            #expect(!again.isRepeat && !again.isResolve)
            #expect(try await stage.value("SELECT sends FROM billing.attempts") == "1")
            // An answer that came after all is no opinion any more, but it may be a fact.
            try await stage.record(work.declined(), .stale)
            try await stage.record(again.approved())
        }

        @Test func givingBackALookUpOrAnOldLeaseChangesNoAttempt() async throws {
            let (stage, old, new) = try await overtaken()
            try await stage.store.release([old])
            #expect(try await stage.story() == "active 0, due, leased; open; 1 open in doubt")
            try await stage.store.release([new])
            #expect(try await stage.story() == "active 0, due; open; 1 open in doubt")
            #expect(try await stage.value("SELECT sends FROM billing.attempts") == "1")
            #expect(try await stage.work().isResolve)
        }

        @Test func aRepeatThatWasGivenBackIsStillARepeat() async throws {
            let (stage, _, new) = try await overtaken()
            try await stage.record(new.after(.notFound(.absent)))
            try await stage.expire()
            try await stage.pass("1 minute")
            try await stage.record(try await stage.work().after(.notFound(.absent)))
            let again = try await stage.work()
            #expect(again.isRepeat)
            try await stage.store.release([again])
            #expect(
                try await stage.story()
                    == "active 0, due; open; 1 open NOT_FOUND_PAYMENT in doubt absent")
            #expect(try await stage.work().isRepeat)
        }

        @Test func aWorkersLineIsKept() async throws {
            let stage = try await StoreStage()
            for state in [WorkerReport.State.starting, .running, .faulted, .stopping, .stopped] {
                try await stage.store.report(WorkerReport(state: state, inFlight: 7))
                #expect(
                    try await stage.value(
                        "SELECT worker_id || ' ' || state || ' ' || in_flight FROM billing.workers")
                        == "worker-1 \(state.rawValue) 7")
            }
            let why = String(repeating: "가", count: 400)
            for (reason, kept) in [(why, "300"), ("short", "5"), (nil, nil)] as [(String?, String?)]
            {
                try await stage.store.report(
                    WorkerReport(state: .running, inFlight: 0, reason: reason))
                #expect(
                    try await stage.value("SELECT char_length(reason) FROM billing.workers") == kept
                )
            }
        }
    }
}
