import Billing
import Postgres
import TestSupport
import Testing

@testable import BillingStore

extension StoreTests {
    /// A snapshot of a volume that was restored keeps the identity; only the log tells.
    @Suite struct SnapshotTests {
        @Test func aWorkerRemembersHowFarTheDatabaseWasAndGoesOnWhileItGrows() async throws {
            let stage = try await StoreStage()
            try await stage.expectNothing()
            // Nothing was committed: a crash may take it back.
            #expect(stage.store.seen.current == nil)
            try await stage.subscribe(1)
            try await stage.record(stage.work().approved())
            let first = try #require(stage.store.seen.current)
            try await stage.subscribe(1, "another")
            _ = try await stage.work()
            let second = try #require(stage.store.seen.current)
            #expect(
                try await stage.value("SELECT '\(second.log)'::pg_lsn > '\(first.log)'::pg_lsn")
                    == "t")
            #expect(second.adopted == nil)
        }

        @Test func aDatabaseThatWentBackIsNotChargedUntilSomebodyVouches() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(1)
            stage.store.seen.set(SeenPosition(log: "FFFF/0", adopted: nil))
            do {
                _ = try await stage.store.claim(limit: 10)
                Issue.record("claimed")
            } catch {
                guard case .refused(let why) = error else { throw error }
                #expect(why.contains("set back to before what this worker wrote"), "\(why)")
            }
            // A worker that did not run then notices nothing.
            let other = StoreStage.store(stage.database, worker: "worker-2")
            #expect(try await other.claim(limit: 10).work.count == 1)
            try await stage.subscribe(1, "another")
            try await stage.database.run(
                """
                SELECT billing.adopt_database('the disk was restored');
                UPDATE billing.settings SET late_bound = '0'
                """)
            let claim = try await stage.store.claim(limit: 10)
            #expect(claim.work.map(\.earlier.count) == [20])
            #expect(stage.store.seen.current?.adopted != nil)
            _ = try await stage.store.claim(limit: 10)
        }
    }
}
