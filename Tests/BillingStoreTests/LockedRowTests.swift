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
    }
}
