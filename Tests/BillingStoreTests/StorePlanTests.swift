import Billing
import Foundation
import TestSupport
import Testing

@testable import BillingStore
@testable import Postgres

extension StoreTests {
    /// How PostgreSQL goes about the statements of the hot path when there are many rows.
    @Suite struct StorePlanTests {
        /// `BILLINGD_PLAN_ROWS`: more subscriptions than every commit can wait for.
        private static var rows: Int {
            ProcessInfo.processInfo.environment["BILLINGD_PLAN_ROWS"].flatMap { Int($0) }
                ?? 100_000
        }

        @Test(arguments: ["few", "all"], [true, false])
        func theClaimUsesTheIndex(due: String, isAnalyzed: Bool) async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.database.run(
                """
                SET session_replication_role = replica;
                INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, cycle, period_at,
                    next_charge_at, order_prefix)
                SELECT 'c1-customer', 'monthly', t, '1 month', t, t, 'prefix' || n
                FROM generate_series(1, \(Self.rows)) AS n CROSS JOIN LATERAL (
                    SELECT now() + CASE WHEN \(due == "all") OR n % 1000 = 0 THEN -1 ELSE 1 END
                        * n * interval '20 seconds' AS t) AS at;
                \(isAnalyzed ? "ANALYZE billing.subscriptions" : "")
                """)
            // With the text that the worker sends, prepared and used often enough for PostgreSQL to
            // settle on a plan for any limit.
            let worker = try await stage.database.connect(as: .worker)
            try await worker.execute(
                script: "PREPARE claim (bigint) AS \(ClaimSQL.lock(limit: 500).text)")
            for _ in 1...10 { try await worker.execute(script: "EXECUTE claim (500)") }
            let explain = "EXPLAIN (ANALYZE, COSTS OFF) EXECUTE claim (500)"
            let plan = try await worker.execute(script: explain)
                .map { try $0.string("QUERY PLAN") }.joined(separator: "\n")
            // One plan for all values, as a pooler or a driver that prepares would have it.
            let generic = try await worker.execute(
                script: "SET plan_cache_mode = force_generic_plan; \(explain)"
            ).map { try $0.string("QUERY PLAN") }.joined(separator: "\n")
            #expect(generic.contains("Index Scan using subscriptions_due"), "\(generic)")
            try await worker.execute(script: "RESET plan_cache_mode")
            try await worker.execute(
                script: """
                    PREPARE newest (bigint[], bigint) AS
                    \(ClaimSQL.lockNewest(limit: 60, but: []).text)
                    """)
            let newest = try await worker.execute(script: "EXPLAIN EXECUTE newest ('{1,2}', 60)")
                .map { try $0.string("QUERY PLAN") }.joined(separator: "\n")
            #expect(newest.contains("Index Scan Backward using subscriptions_due"), "\(newest)")
            let clock = ContinuousClock.now
            let rows = try await worker.execute(script: "EXECUTE claim (500)")
            let took = ContinuousClock.now - clock
            await worker.close()
            print(
                "\(Self.rows) rows, \(due) due, analyzed \(isAnalyzed): a claim of \(rows.count) in \(took)"
            )
            #expect(rows.count == min(500, due == "all" ? 500 : Self.rows / 1_000 + 1))
            #expect(plan.contains("Index Scan using subscriptions_due on subscriptions"), "\(plan)")
            #expect(plan.contains("Index Cond"), "\(plan)")
            #expect(!plan.contains("Seq Scan on subscriptions"), "\(plan)")
            #expect(!plan.contains("Sort"), "\(plan)")
            #expect(took < .milliseconds(250), "\(took)\n\(plan)")
        }

        /// A ledger of 100,000 paid periods beside which a batch is written.
        private func ledger() async throws -> StoreStage {
            let stage = try await StoreStage()
            try await stage.subscribe(500)
            try await stage.database.run(
                """
                SET session_replication_role = replica;
                INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, cycle, period_at,
                    period_index, next_charge_at, order_prefix)
                SELECT 'c1-customer', 'monthly', now(), '1 month', now() + interval '1 month', 1,
                       now() + interval '1 month', 'prefix' || n
                FROM generate_series(1, 100000) AS n;
                INSERT INTO billing.charges (subscription_id, period_index, period_start, period_end,
                    amount, order_name, state, paid_at, payment_key, attempt_no)
                SELECT subscription_id, 0, now(), now() + interval '1 month', 14900, 'monthly', 'paid',
                       now(), 'old-' || subscription_id, 1
                FROM billing.subscriptions WHERE period_index = 1;
                INSERT INTO billing.attempts (charge_id, attempt_no, order_id, idempotency_key,
                    billing_key_id, amount, tax_free_amount, customer_key, order_name,
                    secret_key_fingerprint, state, finished_at)
                SELECT charge_id, 1, 'old-order-' || charge_id, 'old-order-' || charge_id, 1, 14900, 0,
                       'c1-customer', 'monthly', '0123456789abcdef', 'approved', now()
                FROM billing.charges;
                ANALYZE billing.subscriptions, billing.charges, billing.attempts
                """)
            return stage
        }

        private func explain(
            _ query: PostgresQuery, _ connection: isolated PostgresConnection,
            _ options: String = "COSTS OFF"
        ) throws -> String {
            var explain = PostgresQuery.StringInterpolation(
                literalCapacity: 0, interpolationCount: 0)
            explain.text = "EXPLAIN (\(options)) " + query.text
            explain.parameters = query.parameters
            return try connection.query(PostgresQuery(stringInterpolation: explain))
                .map { try $0.string("QUERY PLAN") }.joined(separator: "\n")
        }

        private func expectIndexes(
            _ plan: String, _ size: Int, sourceLocation: SourceLocation = #_sourceLocation
        ) {
            for table in ["subscriptions", "charges", "attempts", "billing_keys"] {
                let isWhole = plan.contains("Seq Scan on \(table)")
                #expect(!isWhole, "\(size) rows: \(plan)", sourceLocation: sourceLocation)
            }
            let isCompiled = plan.contains("JIT:")
            #expect(!isCompiled, "\(size) rows: \(plan)", sourceLocation: sourceLocation)
        }

        // Autovacuum never analyzes settings and plans, they are too small: a statement for which the
        // planner takes them for large reads whole tables, or has itself compiled for seconds.

        @Test func aClaimBesideALargeLedgerUsesTheIndexes() async throws {
            let stage = try await ledger()
            let worker = try await stage.database.connect(as: .worker)
            for size in [1, 50, 500] {
                let plans = try await worker.transaction(byIndex: true) { connection in
                    let ids = try connection.query(ClaimSQL.lock(limit: size))
                        .map { try $0.int64("subscription_id") }
                    let read = ClaimSQL.read(ids)
                    var rows = ClaimRows()
                    for row in try connection.query(read) {
                        let due = try row.dueSubscription()
                        try rows.append(due, Step.decide(due, FleetNumbers()), row)
                    }
                    let write = ClaimSQL.write(
                        rows, worker: "worker-1", lease: 240, fingerprint: "0123456789abcdef")
                    return try (self.explain(read, connection), self.explain(write, connection))
                }
                expectIndexes(plans.0, size)
                expectIndexes(plans.1, size)
            }
            await worker.close()
            let clock = ContinuousClock.now
            let claim = try await stage.store.claim(limit: 500)
            let took = ContinuousClock.now - clock
            print("a claim of 500 beside 100,000 periods in \(took)")
            #expect(claim.work.count == 500)
            #expect(took < .seconds(1), "\(took)")
        }

        /// Every card of the batch was declined hundreds of times: fifteen entries of one index
        /// stretch are read for each, whatever its history.
        @Test func theBudgetOfACardIsOneStretchOfAnIndex() async throws {
            let stage = try await ledger()
            try await stage.database.run(
                """
                SET session_replication_role = replica;
                INSERT INTO billing.attempts (charge_id, attempt_no, order_id, idempotency_key,
                    billing_key_id, amount, tax_free_amount, customer_key, order_name,
                    secret_key_fingerprint, state, finished_at)
                SELECT (SELECT min(charge_id) FROM billing.charges) + n / 2, 2 + n % 2, 'more-' || n,
                       'more-' || n, 1 + n % 500, 14900, 0, 'c1-customer', 'monthly',
                       '0123456789abcdef', 'declined', now() - n * interval '1 minute'
                FROM generate_series(0, 149999) AS n;
                ANALYZE billing.attempts
                """)
            let worker = try await stage.database.connect(as: .worker)
            let plan = try await worker.transaction(byIndex: true) { connection in
                let ids = try connection.query(ClaimSQL.lock(limit: 500))
                    .map { try $0.int64("subscription_id") }
                return try self.explain(ClaimSQL.read(ids), connection, "ANALYZE, COSTS OFF")
            }
            await worker.close()
            let lines = plan.split(separator: "\n")
            let stretch = lines.filter { $0.contains("using attempts_of_key on attempts") }
            #expect(stretch.count == 1, "\(plan)")
            #expect(stretch.first?.contains("rows=15 loops=500") == true, "\(plan)")
            expectIndexes(plan, 500)
            let clock = ContinuousClock.now
            let claim = try await stage.store.claim(limit: 500)
            print(
                "a claim of 500 used-up cards beside 150,000 declines in",
                ContinuousClock.now - clock)
            #expect(claim.work.isEmpty)
            #expect(claim.local.count == 500)
        }

        @Test func aRecordBesideALargeLedgerUsesTheIndexes() async throws {
            let stage = try await ledger()
            let works = try await stage.store.claim(limit: 500).work
            try #require(works.count == 500)
            let approvals = try works.map { try $0.approved("pay-\($0.subscription.value)") }
            let worker = try await stage.database.connect(as: .worker)
            for size in [1, 50, 500] {
                let apply = RecordSQL.apply(
                    RecordRows(Array(approvals[..<size])), worker: "worker-1")
                let plan = try await worker.transaction(byIndex: true) {
                    try self.explain(apply, $0)
                }
                expectIndexes(plan, size)
            }
            await worker.close()
            let clock = ContinuousClock.now
            let verdicts = try await stage.store.record(approvals)
            let took = ContinuousClock.now - clock
            print("500 records beside 100,000 periods in \(took)")
            #expect(verdicts.allSatisfy { $0 == .applied })
            #expect(took < .seconds(1), "\(took)")
        }
    }
}
