import Billing
import BillingStore
import Foundation
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// Many rows, few statements.
    @Suite struct StoreBatchTests {
        /// Statements that the server has run for the store's connections since they were made, as
        /// its log says.
        private func statements(_ stage: StoreStage, pids: Set<String>) throws -> [String] {
            let log = URL(filePath: stage.database.server.socket).deletingLastPathComponent()
                .appending(path: "log")
            return try String(contentsOf: log, encoding: .utf8).split(separator: "\n")
                .filter { line in
                    pids.contains { line.contains(" [\($0)] LOG:  duration: ") }
                        && (line.contains(" statement: ") || line.contains(" execute "))
                }
                .map(String.init)
        }

        /// An eighth of a full claim goes to what fell due last, the rest to what waits longest.
        @Test func aNewCustomerDoesNotWaitBehindABacklog() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(100)
            try await stage.database.run(
                """
                UPDATE billing.subscriptions
                SET next_charge_at = now() - interval '1 day' + subscription_id * interval '1 second'
                """)
            for (oldest, newest) in [(Array(1...14), [100, 99]), (Array(15...28), [98, 97])] {
                let claim = try await stage.store.claim(limit: 16)
                #expect(
                    claim.work.map(\.subscription.value).sorted()
                        == (oldest + newest).map { Int64($0) }.sorted())
                #expect(claim.wake == .zero)
            }
            // Few slots are for the oldest, and where both ends meet nothing is claimed twice.
            #expect(try await stage.store.claim(limit: 1).work.map(\.subscription.value) == [29])
            let rest = try await stage.store.claim(limit: 70).work.map(\.subscription.value)
            #expect(rest.sorted() == Array(30...96))
        }

        @Test func aThousandRowsAreClaimedAndRecordedInAHandfulOfStatements() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(1_000)
            // Connections made from here on are logged.
            try await stage.database.run(
                "ALTER DATABASE \(stage.database.name) SET log_min_duration_statement = 0")
            let store = StoreStage.store(stage.database, worker: "worker-2")
            var works: [Work] = []
            while works.count < 1_000 {
                let claim = try await store.claim(limit: 500)
                try #require(claim.work.count == 500)
                works += claim.work
            }
            let approvals = try works.map { try $0.approved("pay-\($0.subscription.value)") }
            for batch in [approvals[..<500], approvals[500...]] {
                #expect(try await store.record(Array(batch)).allSatisfy { $0 == .applied })
            }
            let pids = try await stage.database.run(
                """
                SELECT pid::text FROM pg_stat_activity
                WHERE datname = current_database() AND usename = 'test_worker'
                """
            ).map { try $0.string("pid") }
            let statements = try statements(stage, pids: Set(pids))
            // A claim: BEGIN, permission, two locks, read, write, next date, COMMIT. A record: BEGIN,
            // lock, apply, COMMIT.
            #expect(statements.count <= 2 * 8 + 2 * 4, "\(statements.joined(separator: "\n"))")
            #expect(statements.count >= 2 * 6 + 2 * 4, "the log tells less than was done")
            print("1,000 rows claimed and recorded in \(statements.count) statements")
            #expect(
                try await stage.value(
                    """
                    SELECT count(*) || ' ' || count(DISTINCT c.payment_key)
                    FROM billing.charges AS c JOIN billing.subscriptions AS s USING (subscription_id)
                    WHERE c.state = 'paid' AND s.period_index = 1 AND s.lease_until IS NULL
                    """) == "1000 1000")
            try await stage.expectSound()
        }

        @Test func workersClaimBesideEachOther() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(200)
            let stores = (1...4).map { StoreStage.store(stage.database, worker: "worker-\($0)") }
            let claimed = try await withThrowingTaskGroup { group in
                for store in stores {
                    group.addTask {
                        var ids: [Int64] = []
                        while true {
                            let claim = try await store.claim(limit: 10)
                            if claim.work.isEmpty { return ids }
                            ids += claim.work.map(\.subscription.value)
                        }
                    }
                }
                return try await group.reduce(into: []) { $0 += $1 }
            }
            #expect(claimed.count == 200)
            #expect(Set(claimed).count == 200)
            #expect(try await stage.value("SELECT max(lease_no) FROM billing.subscriptions") == "1")
        }

        @Test func theOldestAreClaimedFirstAndTheWakeIsTheNextDate() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(5)
            try await stage.database.run(
                """
                UPDATE billing.subscriptions
                SET next_charge_at = billing.now() - subscription_id * interval '1 minute'
                """)
            let first = try await stage.store.claim(limit: 2)
            #expect(first.work.map(\.subscription.value).sorted() == [4, 5])
            #expect(first.wake == .zero)
            try await stage.database.run(
                """
                UPDATE billing.subscriptions
                SET next_charge_at = billing.now() + interval '90 seconds' WHERE subscription_id = 1
                """)
            let rest = try await stage.store.claim(limit: 10)
            #expect(rest.work.map(\.subscription.value).sorted() == [2, 3])
            let wake = try #require(rest.wake)
            #expect(wake > .seconds(60) && wake <= .seconds(90))
        }
    }
}
