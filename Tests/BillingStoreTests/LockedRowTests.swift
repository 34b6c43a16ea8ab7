import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// Rows that somebody else keeps locked, such as a web session that is idle in its transaction,
    /// keep no other result from being recorded.
    @Suite struct LockedRowTests {
        /// Three works in hand, and a web session with a transaction in which `statement` was run.
        private func locked(
            _ statement: String
        ) async throws -> (StoreStage, [Work], PostgresConnection) {
            let stage = try await StoreStage()
            try await stage.subscribe(3)
            let claim = try await stage.store.claim(limit: 10)
            let work = claim.work.sorted { $0.subscription < $1.subscription }
            try #require(work.count == 3)
            let web = try await stage.database.connect(as: .web)
            try await web.execute(script: "BEGIN; \(statement)")
            return (stage, work, web)
        }

        @Test func aLockedSubscriptionHoldsOnlyItselfUp() async throws {
            let (stage, work, web) = try await locked(
                "UPDATE billing.subscriptions SET amount = amount WHERE subscription_id = 2")
            let news = try work.map { try $0.approved("pay-\($0.subscription.value)") }
            #expect(try await stage.store.record(news) == [.applied, .busy, .applied])
            #expect(try await stage.story(2) == "active 0, due, leased; open; 1 open in doubt")
            #expect(try await stage.store.record([news[1]]) == [.busy])
            try await web.execute(script: "COMMIT")
            #expect(try await stage.store.record(news) == [.repeated, .applied, .repeated])
            await web.close()
            try await stage.expectSound()
        }

        @Test func aLockedBillingKeyHoldsOnlyItsResultUp() async throws {
            let (stage, work, web) = try await locked(
                "UPDATE billing.billing_keys SET state = state WHERE billing_key_id = 2")
            let news = try work.map { try $0.declined("INVALID_STOPPED_CARD", .hard) }
            #expect(try await stage.store.record(news) == [.applied, .busy, .applied])
            #expect(
                try await stage.value(
                    "SELECT count(*) FROM billing.billing_keys WHERE state = 'dead'")
                    == "2")
            try await web.execute(script: "ROLLBACK")
            #expect(try await stage.store.record([news[1]]) == [.applied])
            await web.close()
        }

        /// Of a batch that is refused for one row and waits for another, the rest is recorded.
        @Test func aBadRowBesideALockedOneIsFoundAllTheSame() async throws {
            let (stage, work, web) = try await locked(
                "UPDATE billing.subscriptions SET amount = amount WHERE subscription_id = 2")
            // The key of a payment is unique.
            let news = try work.map { try $0.approved("the same") }
            let verdicts = try await stage.store.record(news)
            #expect(verdicts.sorted { $0.rawValue < $1.rawValue } == [.applied, .busy, .rejected])
            #expect(verdicts[1] == .busy)
            await web.close()
        }

        /// Nothing at all can be recorded: that is said, so that the worker stops claiming.
        @Test func aLockedTableIsAnOutage() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(2)
            let claim = try await stage.store.claim(limit: 10)
            let owner = try await stage.database.connect()
            try await owner.execute(
                script: "BEGIN; LOCK TABLE billing.subscriptions IN EXCLUSIVE MODE")
            let news = try claim.work.map { try $0.approved("pay-\($0.subscription.value)") }
            await #expect(throws: StoreError.self) { try await stage.store.record(news) }
            await owner.close()
            #expect(try await stage.store.record(news) == [.applied, .applied])
        }

        @Test func nobodyElseCanTakeTheLockOfTheDaysWon() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(1)
            try await stage.database.run(
                "UPDATE billing.settings SET max_won_per_day = 20000", as: .admin)
            let web = try await stage.database.connect(as: .web)
            try await web.execute(
                script: "BEGIN; SELECT pg_advisory_xact_lock(hashtext('billing.max_won_per_day'))")
            #expect(try await stage.store.claim(limit: 10).work.count == 1)
            await web.close()
        }

        /// A card that was declined before: its budget is counted under a lock.
        @Test func nobodyElseCanTakeTheLockOfACardsBudget() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(1)
            try await stage.record(try await stage.work().declined())
            try await stage.pass("2 days")
            let web = try await stage.database.connect(as: .web)
            try await web.execute(
                script: """
                    BEGIN;
                    SELECT pg_advisory_xact_lock(hashtextextended('billing.billing_keys', 1));
                    UPDATE billing.billing_keys SET state = state
                    """)
            #expect(try await stage.store.claim(limit: 10).work.count == 1)
            await web.close()
        }

        @Test(
            arguments: [TemporaryPostgres.Role.web, .report, .admin],
            ["billing.key_locks", "billing.request_budget"])
        func onlyAWorkerMayLock(_ role: TemporaryPostgres.Role, _ table: String) async throws {
            let stage = try await StoreStage()
            for strength in ["UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"] {
                let connection = try await stage.database.connect(as: role)
                await #expect(throws: PostgresError.self) {
                    try await connection.execute(script: "SELECT FROM \(table) FOR \(strength)")
                }
                await connection.close()
            }
            for mode in ["SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"] {
                let connection = try await stage.database.connect(as: role)
                await #expect(throws: PostgresError.self) {
                    try await connection.execute(
                        script: "BEGIN; LOCK TABLE \(table) IN \(mode) MODE")
                }
                await connection.close()
            }
        }

        /// Two claims at the same moment, of two subscriptions that share a card: the second waits for the
        /// first, and counts what that opened.
        @Test func aCardsBudgetIsCountedByOneClaimAtATime() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(1)
            try await stage.record(try await stage.work().declined())
            try await stage.pass("2 days")
            let worker = try await stage.database.connect(as: .worker)
            try await worker.execute(
                script: "BEGIN; SELECT FROM billing.key_locks WHERE slot = 1 FOR NO KEY UPDATE")
            let claim = Task { try await stage.store.claim(limit: 10).work.count }
            try await eventually("a claim waits for the lock") {
                try await stage.value(
                    """
                    SELECT count(*) FROM pg_stat_activity
                    WHERE wait_event_type = 'Lock' AND datname = current_database()
                    """) == "1"
            }
            await worker.close()
            #expect(try await claim.value == 1)
        }
    }
}
