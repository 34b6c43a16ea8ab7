import Billing
import BillingStore
import Logging
import Postgres
import TestSupport

@testable import BillingStore

/// Two sessions whose batches have the same rows.
enum Deadlock {
    /// What goes wrong, if something does.
    static func seen(
        mistakeOfSecond: @escaping @Sendable (String) -> String = { $0 },
        second operation: Operation = .recordAll([.soft])
    ) async throws -> String? {
        let stage = try await PostgresSide()
        try await stage.reset()
        var ledger = LedgerSide()
        for operation in [
            Operation.subscribe(customer: 0, plan: 0, in: 0),
            .subscribe(customer: 0, plan: 1, in: 0), .claim(worker: 1, limit: 10),
        ] {
            let before = ledger.ledger
            _ = ledger.run(operation)
            _ = try await stage.run(operation, before)
        }
        let never: @Sendable (String) -> Bool = { _ in false }
        let one = try await Player("session-1", beside: stage, Gate(stops: never))
        let two = try await Player(
            "session-2", beside: stage, Gate(mistake: mistakeOfSecond, stops: never))
        await one.prepare(from: stage)
        await two.prepare(from: stage)
        let monitor = try await stage.database.connect()
        let third = try await stage.database.connect()
        // A third holds the first row: one queues for it; two would take the second row first, if it
        // did not keep to the order.
        try await third.execute(
            script: """
                BEGIN;
                SELECT FROM billing.subscriptions WHERE subscription_id = 1 FOR NO KEY UPDATE
                """)
        one.step(.recordAll([.soft]), ledger.ledger)
        try await eventually("the first waits") { try await one.isBlocked(monitor) }
        two.step(operation, ledger.ledger)
        try await eventually("the second waits") { try await two.isBlocked(monitor) }
        try await third.execute(script: "COMMIT")
        let outcomes = [try await one.ending(monitor), try await two.ending(monitor)]
        for side in [one.side, two.side, stage] { await side.close() }
        await monitor.close()
        await third.close()
        for outcome in outcomes {
            if case .failure(let error) = outcome { return "\(error)" }
        }
        return nil
    }
}

/// Claim, record and give-back on a role and through a pooler that would let commits be forgotten.
enum Durability {
    static func seen(
        mistake: @escaping @Sendable (String) -> String = { $0 }
    ) async throws -> String? {
        let database = try await TemporaryPostgres.shared.database()
        try await database.run(
            """
            ALTER ROLE test_worker IN DATABASE \(database.name) SET synchronous_commit = off;
            INSERT INTO billing.plans (plan_id, name, amount, cycle)
            VALUES ('monthly', 'Monthly', 9900, '1 month');
            SELECT billing.register_billing_key('customer-1', 'billing-key-1');
            SELECT billing.subscribe('customer-1', 'monthly')
            """)
        var configuration = database.configuration(as: .worker)
        configuration.throughPooler = true
        configuration.beforeSending = { text in
            // Asked where it matters, in the very transaction.
            text == "COMMIT"
                ? """
                DO $$ BEGIN
                    IF current_setting('synchronous_commit') <> 'on' THEN
                        RAISE EXCEPTION 'synchronous_commit is off';
                    END IF;
                END $$;
                COMMIT
                """ : mistake(text)
        }
        let store = PostgresStore(
            configuration,
            identity: PostgresStore.Identity(
                worker: "worker-1", host: "host", pid: 1, version: "0", mode: "test",
                fingerprint: "fingerprint-1"),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        defer { Task { await store.close() } }
        try await store.bind()
        do {
            let first = try await store.claim(limit: 1)
            guard first.work.count == 1 else { return "no claim" }
            try await store.release(first.work)
            let work = try await store.claim(limit: 1).work
            let news = work.map { Held.work($0).transition(after: .approved) }
            guard try await store.record(news) == [.applied] else { return "no record" }
            return nil
        } catch {
            return "\(error)"
        }
    }
}

/// The plan of the claim beside many rows that are not due.
enum Plan {
    static func seen(
        mistake: @Sendable (String) -> String = { $0 }
    ) async throws -> String? {
        let database = try await TemporaryPostgres.shared.database()
        try await database.run(
            """
            SET session_replication_role = replica;
            INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, cycle, period_at,
                next_charge_at, order_prefix)
            SELECT 'customer-1', 'monthly', t, '1 month', t, t, 'prefix' || n
            FROM generate_series(1, 20000) AS n
            CROSS JOIN LATERAL (SELECT now() + n * interval '20 seconds' AS t) AS at;
            ANALYZE billing.subscriptions
            """)
        let worker = try await database.connect(as: .worker)
        let text = mistake(ClaimSQL.lock(limit: 500).text)
        try await worker.execute(script: "PREPARE claim (bigint) AS \(text)")
        let plan = try await worker.execute(
            script: "EXPLAIN (ANALYZE, COSTS OFF) EXECUTE claim (500)"
        ).map { try $0.string("QUERY PLAN") }.joined(separator: "\n")
        await worker.close()
        let isBounded = plan.contains("Index Cond: (next_charge_at <= ")
        return isBounded && !plan.contains("Rows Removed by Filter: 20000") ? nil : plan
    }
}
