import Billing
import BillingStore
import Foundation
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// Rows that were good and make no sense any more: each is held alone, with its reason, and the
    /// others are charged.
    @Suite struct StoreBadRowTests {
        /// How a row goes bad although constraints and triggers forbid it.
        struct Damage: CustomTestStringConvertible, Sendable {
            var testDescription: String
            /// Statements of the owner; the row is subscription 2, its plan `bad`.
            var script: String
            /// What must be said of it.
            var reason: String

            init(_ name: String, _ script: String, says reason: String) {
                testDescription = name
                self.script = script
                self.reason = reason
            }
        }

        static let damages = [
            Damage(
                "name", "UPDATE billing.plans SET name = E'line\\nbreak' WHERE plan_id = 'bad'",
                says: "plans.name is no order name"),
            Damage(
                "no name", "UPDATE billing.plans SET name = '' WHERE plan_id = 'bad'",
                says: "plans.name is no order name"),
            Damage(
                "name is null", "UPDATE billing.plans SET name = NULL WHERE plan_id = 'bad'",
                says: "order_name"),
            Damage(
                "amount", "UPDATE billing.plans SET amount = 50 WHERE plan_id = 'bad'",
                says: "amount 50: 0, or 100 to 100,000,000 won"),
            Damage(
                "negative amount", "UPDATE billing.subscriptions SET amount = -100 WHERE true",
                says: "amount -100"),
            Damage(
                "amount is null", "UPDATE billing.plans SET amount = NULL WHERE plan_id = 'bad'",
                says: "amount"),
            Damage(
                "no cycle", "UPDATE billing.plans SET cycle = '0' WHERE plan_id = 'bad'",
                says: "plans.cycle is no positive number"),
            Damage(
                "cycle backwards",
                "UPDATE billing.plans SET cycle = '-1 month' WHERE plan_id = 'bad'",
                says: "plans.cycle is no positive number"),
            Damage(
                "cycle without end",
                "UPDATE billing.plans SET cycle = '170000000 years' WHERE plan_id = 'bad'",
                says: "out of range"),
            Damage(
                "catch-up", "UPDATE billing.plans SET catch_up = 'never' WHERE plan_id = 'bad'",
                says: "catch_up"),
            Damage(
                "time zone",
                "UPDATE billing.plans SET time_zone = 'Mars/Base' WHERE plan_id = 'bad'",
                says: "time zone"),
            Damage(
                "no plan", "UPDATE billing.subscriptions SET plan_id = 'gone' WHERE true",
                says: "no plan"),
            Damage(
                "state", "UPDATE billing.subscriptions SET state = 'frozen' WHERE true",
                says: "state"),
            Damage(
                "period", "UPDATE billing.subscriptions SET period_index = 2147483647 WHERE true",
                says: "out of range"),
            Damage(
                "anchor", "UPDATE billing.subscriptions SET anchor_at = 'infinity' WHERE true",
                says: "period_end"),
            Damage(
                "due for ever",
                "UPDATE billing.subscriptions SET order_prefix = '', next_charge_at = '-infinity' "
                    + "WHERE true", says: "attempts_idempotency_key"),
            Damage(
                "start of the period",
                "UPDATE billing.subscriptions SET period_at = 'infinity' WHERE true",
                says: "period_at"),
            Damage(
                "order ids", "UPDATE billing.subscriptions SET order_prefix = 'a b/c' WHERE true",
                says: "attempts_order_id"),
            Damage(
                "customer key", "UPDATE billing.subscriptions SET customer_key = 'c 1?' WHERE true",
                says: "customer_key: 2 to 300"),
            Damage(
                "billing key",
                "UPDATE billing.billing_keys SET billing_key = '../x?' WHERE billing_key_id = 2",
                says: "billing_key: 8 to 200"),
        ]

        /// Some subscriptions, the second of them damaged and the oldest of all.
        private func stage(_ damage: Damage, among count: Int = 4) async throws -> StoreStage {
            let stage = try await StoreStage()
            try await stage.subscribe(count)
            try await stage.database.run(
                """
                INSERT INTO billing.plans (plan_id, name, amount, cycle)
                VALUES ('bad', 'bad', 9900, '1 month');
                UPDATE billing.subscriptions
                SET plan_id = 'bad', next_charge_at = next_charge_at - interval '1 second'
                WHERE subscription_id = 2;
                DO $$
                DECLARE
                    rule record;
                BEGIN
                    FOR rule IN
                        SELECT conrelid::regclass AS relation, conname FROM pg_constraint
                        WHERE contype = 'c' AND conrelid IN ('billing.plans'::regclass,
                            'billing.subscriptions'::regclass, 'billing.billing_keys'::regclass)
                    LOOP
                        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', rule.relation,
                            rule.conname);
                    END LOOP;
                END
                $$;
                ALTER TABLE billing.plans ALTER name DROP NOT NULL, ALTER amount DROP NOT NULL;
                SET session_replication_role = replica;
                \(damage.script.replacingOccurrences(
                    of: "WHERE true", with: "WHERE subscription_id = 2"))
                """)
            return stage
        }

        @Test(arguments: damages, [1, 100])
        func aBadRowIsHeldAloneAndTheOthersAreCharged(damage: Damage, limit: Int) async throws {
            let stage = try await stage(damage)
            var charged: [Int64] = []
            for _ in 0..<12 {
                let claim = try await stage.store.claim(limit: limit)
                for work in claim.work {
                    charged.append(work.subscription.value)
                    try await stage.record(work.approved("pay-\(work.subscription.value)"))
                }
                for transition in claim.local { try await stage.record(transition) }
                if charged.count == 3, try await stage.isIdle { break }
            }
            #expect(charged.sorted() == [1, 3, 4])
            #expect(try await stage.isIdle, "the bad row is still due")
            let reason = try await stage.value(
                """
                SELECT concat_ws(' ', s.held_reason, c.state, c.reason)
                FROM billing.subscriptions AS s LEFT JOIN billing.charges AS c USING (subscription_id)
                WHERE s.subscription_id = 2
                """)
            #expect(reason?.contains(damage.reason) == true, "\(reason ?? "nothing")")
            #expect(reason?.isEmpty == false)
            #expect(
                try await stage.value(
                    """
                    SELECT count(*) FROM billing.events
                    WHERE type = 'charge.held' AND subscription_id = 2
                    """) == "1")
            #expect(
                try await stage.value(
                    """
                    SELECT count(*) FROM billing.attempts AS a JOIN billing.charges AS c
                    USING (charge_id) WHERE c.subscription_id = 2
                    """) == "0")
        }

        @Test func aRowSetAsideGoesOnWhenItWasMended() async throws {
            let stage = try await stage(
                Damage(
                    "", "UPDATE billing.subscriptions SET order_prefix = 'a b/c' WHERE true",
                    says: ""))
            for work in try await stage.store.claim(limit: 100).work {
                try await stage.record(work.approved("pay-\(work.subscription.value)"))
            }
            #expect(try await stage.story(2) == "active 0, never; charge.held")
            try await stage.database.run(
                """
                UPDATE billing.subscriptions SET order_prefix = 'mended' WHERE subscription_id = 2
                """)
            try await stage.web("SELECT billing.resume(2)")
            let work = try await stage.work()
            #expect(try work.request.orderID == OrderID(prefix: "mended", period: 0, attempt: 1))
            try await stage.record(work.approved("pay-2"))
            #expect(try await stage.story(2).hasPrefix("active 1, at the period's end; paid pay-2"))
        }

        @Test func aRowThatIsNeverDueKeepsNobodyWaiting() async throws {
            let stage = try await stage(
                Damage(
                    "",
                    "UPDATE billing.subscriptions SET next_charge_at = 'infinity' WHERE true",
                    says: ""))
            let claim = try await stage.store.claim(limit: 100)
            #expect(claim.work.map(\.subscription.value).sorted() == [1, 3, 4])
            #expect(claim.wake == nil)
        }

        /// A plan that is broken: one claim holds ten of its rows and no more; the others stay due.
        @Test(arguments: ["name", "order ids"])
        func oneClaimHoldsTenWrongRowsAndNoMore(_ name: String) async throws {
            var damage = try #require(Self.damages.first { $0.testDescription == name })
            damage.script = damage.script.replacingOccurrences(
                of: "'a b/c' WHERE true",
                with: "'a b/' || subscription_id WHERE subscription_id <= 15")
            let stage = try await stage(damage, among: 18)
            try await stage.database.run(
                """
                SET session_replication_role = replica;
                UPDATE billing.subscriptions
                SET plan_id = 'bad', next_charge_at = next_charge_at - interval '1 second'
                WHERE subscription_id <= 15
                """)
            let claim = try await stage.store.claim(limit: 100)
            let isHeld = name == "name"
            #expect(claim.wrongRows == (isHeld ? 10 : 0))
            #expect(claim.setAside == (isHeld ? 0 : 10))
            #expect(claim.local.count == claim.wrongRows)
            for transition in claim.local { try await stage.record(transition) }
            #expect(
                try await stage.value(
                    "SELECT count(*) FROM billing.events WHERE type = 'charge.held'") == "10")
            let next = try await stage.store.claim(limit: 100)
            #expect(next.wrongRows + next.setAside == 5)
            // The good ones come with either claim.
            #expect((claim.work + next.work).map(\.subscription.value).sorted() == [16, 17, 18])
        }

        // MARK: A row that kills the workers

        @Test func aRowWithoutAnyResultIsClaimedAloneAndThenHeld() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(3)
            try await stage.database.run(
                """
                UPDATE billing.subscriptions SET next_charge_at = next_charge_at - interval '1 min'
                WHERE subscription_id = 2
                """)
            var company: [Int] = []
            for _ in 1...5 {
                // The worker dies each time.
                let claim = try await stage.store.claim(limit: 100)
                #expect(claim.work.contains { $0.subscription.value == 2 })
                company.append(claim.work.count)
                if claim.work.count == 1 { #expect(claim.wake == .zero, "more is due") }
                // The others were recorded before it died.
                for work in claim.work where work.subscription.value != 2 {
                    try await stage.record(work.after(.notSent(.timeout)))
                }
                try await stage.expire()
                try await stage.pass("1 minute")
            }
            #expect(company == [3, 3, 3, 1, 1])
            let held = try await stage.local()
            #expect(held.subscription.value == 2)
            try await stage.record(held)
            #expect(
                try await stage.story(2).hasPrefix(
                    "active 0, never; held claimed 5 times without any result"))
            let rest = try await stage.store.claim(limit: 100)
            #expect(rest.work.map(\.subscription.value).sorted() == [1, 3])
        }

        @Test func anyRecordResetsTheCount() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            for _ in 1...7 {
                let work = try await stage.work()
                if work.isResolve {
                    try await stage.record(work.after(.unclear(.timeout)))
                } else {
                    try await stage.record(work.unknown())
                }
                try await stage.pass("1 day")
            }
            #expect(try await stage.value("SELECT claims FROM billing.subscriptions") == "0")
            #expect(try await stage.value("SELECT state FROM billing.charges") == "open")
        }
    }
}

extension StoreStage {
    /// Nothing is due.
    fileprivate var isIdle: Bool {
        get async throws {
            try await value(
                """
                SELECT count(*) FROM billing.subscriptions
                WHERE next_charge_at <= billing.now() AND held_reason IS NULL
                """) == "0"
        }
    }
}
