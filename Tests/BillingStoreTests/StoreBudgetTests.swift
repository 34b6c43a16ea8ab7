import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// At most one decline a day and charge, fifteen in thirty days and card.
    @Suite struct StoreBudgetTests {
        /// So many declines of the first card, an hour apart, the last one now: of a charge of its own.
        private func decline(_ times: Int, _ stage: StoreStage) async throws {
            try await stage.database.run(
                """
                SET session_replication_role = replica;
                WITH s AS (
                    INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, cycle,
                        period_at, order_prefix, state)
                    VALUES ('c1-customer', 'monthly', now(), '1 month', now(), 'of-the-declines',
                            'canceled')
                    RETURNING subscription_id
                ), c AS (
                    INSERT INTO billing.charges (subscription_id, period_index, period_start,
                        period_end, amount, order_name, state, reason)
                    SELECT subscription_id, n, now(), now() + interval '1 month', 14900, 'x', 'failed',
                           'exhausted'
                    FROM s, generate_series(1, \(times)) AS n RETURNING charge_id, period_index
                )
                INSERT INTO billing.attempts (charge_id, attempt_no, order_id, idempotency_key,
                    billing_key_id, amount, tax_free_amount, customer_key, order_name,
                    secret_key_fingerprint, state, finished_at)
                SELECT charge_id, 1, 'old-order-' || charge_id, 'old-order-' || charge_id, 1, 14900, 0,
                       'c1-customer', 'x', '0123456789abcdef', 'declined',
                       billing.now() - (period_index - 1) * interval '1 hour'
                FROM c
                """)
        }

        @Test func theNumbersOfTheDatabaseAreThoseOfTheRules() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await decline(FleetNumbers.keyDeclines, stage)
            let hours = Int(FleetNumbers.keyWindow / .seconds(3_600))
            let left = try await stage.value(
                """
                SELECT used || ' ' || round(extract(epoch FROM free_at - billing.now()) / 3600) AS h
                FROM billing.key_declines(1)
                """)
            #expect(left == "\(FleetNumbers.keyDeclines) \(hours - 14)")
            #expect(
                try await stage.value("SELECT used FROM billing.key_declines(99)") == "0")
        }

        @Test func aDeclinedChargeIsNotTriedTwiceADayUnlessAPersonAsks() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.record(try await stage.work().declined())
            // Somebody's hand, or a wrong program.
            try await stage.database.run(
                "UPDATE billing.subscriptions SET next_charge_at = billing.now()")
            try await stage.record(try await stage.local())
            let isNextDay = try await stage.value(
                """
                SELECT s.next_charge_at = billing.next_day(a.finished_at)
                FROM billing.subscriptions AS s, billing.attempts AS a
                """)
            #expect(isNextDay == "t")
            try await stage.web("SELECT billing.retry_now(1)")
            #expect(try await stage.work().request.number == 2)
        }

        @Test func pausingAndResumingIsAPersonsWishToo() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.record(try await stage.work().declined())
            try await stage.web("SELECT billing.pause(1); SELECT billing.resume(1)")
            #expect(try await stage.work().request.number == 2)
        }

        @Test func fifteenDeclinesOfACardStopAllItsSubscriptionsUntilOneIsThirtyDaysOld()
            async throws
        {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await decline(14, stage)
            try await stage.record(try await stage.work().declined())
            try await stage.web("SELECT billing.retry_now(1)")
            try await stage.record(try await stage.local())
            let story = try await stage.story()
            #expect(
                story.contains(
                    "open waits: the card was declined 15 times in 30 days; 1 declined"), "\(story)"
            )
            #expect(story.hasPrefix("past_due 0, in "), "\(story)")
            // Another card goes at once.
            try await stage.newCard()
            let second = try await stage.work()
            #expect(try second.request.number == 2)
            #expect(try second.request.billingKeyID == 2)
            #expect(
                try await stage.value("SELECT reason FROM billing.charges WHERE state = 'open'")
                    == nil)
            try await stage.record(try second.approved())
            try await stage.expectSound()
        }

        @Test func aNewPeriodOfAUsedUpCardWaitsAndEndsUnpaid() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await decline(15, stage)
            try await stage.record(try await stage.local())
            var story = try await stage.story()
            #expect(story.contains("open waits: the card was declined 15 times"), "\(story)")
            // February has 28 days at times; the budget is freed after 30 less 14 hours.
            try await stage.pass("29 days 11 hours")
            try await stage.web("SELECT billing.retry_now(1)")
            try await stage.pass("1 hour")
            let work = try await stage.work()
            #expect(try work.request.number == 1)
            try await stage.record(try work.approved())
            story = try await stage.story()
            #expect(story.hasPrefix("active 1"), "\(story)")
            try await stage.expectSound()
        }

        /// Both see fourteen declines; one of them waits for the other's end.
        @Test(arguments: [true, false])
        func twoSubscriptionsOfOneCardShareItsLastDecline(inOneClaim: Bool) async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.web("SELECT billing.subscribe('c1-customer', 'monthly')")
            try await decline(14, stage)
            if inOneClaim {
                #expect(try await stage.store.claim(limit: 10).work.count == 1)
            } else {
                let other = StoreStage.store(stage.database, worker: "worker-2")
                async let one = stage.store.claim(limit: 1)
                async let two = other.claim(limit: 1)
                let claims = try await [one, two]
                #expect(claims.map(\.work.count).reduce(0, +) == 1)
                await other.close()
            }
            let open = try await stage.value(
                "SELECT count(*) FROM billing.attempts WHERE state = 'open'")
            #expect(open == "1")
        }
    }
}
