import BillingStore
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// A renewal that should have been charged and was not.
    @Suite struct MissedRenewalTests {
        private func events(_ stage: StoreStage) async throws -> [String] {
            try await stage.database.run(
                """
                SELECT subscription_id || '/' || (data ->> 'period_index') AS line
                FROM billing.events WHERE type = 'renewal.missed' ORDER BY event_id
                """
            ).map { try $0.string("line") }
        }

        @Test func itIsToldOnceAPeriodByWhomeverSeesIt() async throws {
            let stage = try await StoreStage()
            let ids = try await stage.subscribe(2)
            try await stage.database.run(
                """
                UPDATE billing.subscriptions SET next_charge_at = now() - interval '59 minutes'
                WHERE subscription_id = \(ids[0]);
                UPDATE billing.subscriptions SET next_charge_at = now() - interval '61 minutes'
                WHERE subscription_id = \(ids[1])
                """)
            #expect(try await stage.store.tellMissedRenewals(seen: []).told == [ids[1]])
            let other = StoreStage.store(stage.database, worker: "worker-2")
            #expect(try await other.tellMissedRenewals(seen: []).told == [])
            #expect(try await events(stage) == ["\(ids[1])/0"])
            // The next period is another renewal.
            try await stage.database.run(
                """
                UPDATE billing.subscriptions SET period_index = 1
                WHERE subscription_id = \(ids[1])
                """)
            #expect(try await other.tellMissedRenewals(seen: []).told == [ids[1]])
            #expect(try await events(stage) == ["\(ids[1])/0", "\(ids[1])/1"])
        }

        @Test func aClockThatJumpedMissesNothingAtOnce() async throws {
            let stage = try await StoreStage()
            let ids = try await stage.subscribe(2)
            try await stage.pass("1 day")
            let first = try await stage.store.tellMissedRenewals(seen: [])
            #expect(first.told == [] && first.seen == Set(ids))
            // One is charged meanwhile.
            try await stage.database.run(
                """
                UPDATE billing.subscriptions SET next_charge_at = billing.now() + interval '1 day'
                WHERE subscription_id = \(ids[0])
                """)
            let second = try await stage.store.tellMissedRenewals(seen: first.seen)
            #expect(second.told == [ids[1]] && second.seen == [])
        }

        @Test(arguments: [
            "cancel_at = period_at", "state = 'paused'",
            "held_reason = 'a test says so', next_charge_at = NULL, lease_until = NULL",
            "resumed_at = period_at + interval '1 second'", "next_charge_at = NULL",
        ])
        func whatIsNotToBeChargedIsNotMissed(_ change: String) async throws {
            let stage = try await StoreStage()
            let id = try await stage.subscribe()[0]
            try await stage.database.run(
                """
                UPDATE billing.subscriptions SET next_charge_at = now() - interval '2 hours';
                UPDATE billing.subscriptions SET \(change)
                """)
            let none = try await stage.store.tellMissedRenewals(seen: [id])
            #expect(none.told == [] && none.seen == [])
            #expect(try await stage.store.figures().missedRenewals == 0)
        }

        @Test func anOpenedChargeIsNoMissedOne() async throws {
            let stage = try await StoreStage()
            let id = try await stage.subscribe()[0]
            _ = try await stage.work()
            try await stage.expire()
            try await stage.database.run(
                "UPDATE billing.subscriptions SET next_charge_at = now() - interval '2 hours'")
            #expect(try await stage.store.tellMissedRenewals(seen: [id]).told == [])
        }
    }
}
