import Foundation
import Glibc
import Postgres
import TestSupport

/// A private PostgreSQL with its default settings and durable commits, and a database in it.
struct Site {
    let postgres: ChildProcess
    let server: TemporaryPostgres.Server
    private(set) var database: TestDatabase

    /// Of the shop; the cheap provider takes any.
    static let secretKey = "test_sk_bench0123456789"

    init() async throws {
        let postgres = try await ChildProcess(
            Checkout.file("deploy/private-postgres"),
            ["--set", "shared_preload_libraries=pg_stat_statements", "--set", "max_wal_size=4GB"],
            lastSignal: "TERM")
        self.postgres = postgres
        try await eventually("PostgreSQL is up", within: .seconds(30)) {
            postgres.output.split(separator: " ").count == 3
        }
        let words = postgres.output.split(whereSeparator: \.isWhitespace)
        guard let port = Int(words[1]), let pid = Int32(words[2]) else {
            throw BenchFailure("deploy/private-postgres: \(postgres.output)")
        }
        server = TemporaryPostgres.Server(socket: String(words[0]), port: port, pid: pid)
        database = TestDatabase(server: server, name: "postgres")
        try await database.run("CREATE DATABASE shop")
        database = TestDatabase(server: server, name: "shop")
        try await database.applySchema()
        try await database.run(
            """
            CREATE EXTENSION pg_stat_statements SCHEMA public;
            CREATE ROLE test_worker LOGIN IN ROLE billing_worker;
            CREATE ROLE test_web LOGIN IN ROLE billing_web;
            INSERT INTO billing.plans (plan_id, name, amount, cycle)
            VALUES ('monthly', '월 구독', 14900, '1 month')
            """)
    }

    func end() async {
        postgres.kill(SIGTERM)
        await postgres.ended()
    }

    /// PostgreSQL's own processor time so far, in microseconds.
    var cpu: Double { ProcessCost.cpu(server.pid, withChildren: true) }

    // MARK: Rows

    /// An empty ledger and `count` subscriptions, each with a customer and a card, that are due
    /// `after` now (an interval; in the past: due). Straight into the tables: the triggers of the web
    /// app's side cost ten times as much and are not what is measured.
    func fill(_ count: Int, due after: String = "-1 minute") async throws {
        let connection = try await database.connect()
        _ = try await connection.execute(
            script: """
                SET session_replication_role = replica;
                SET statement_timeout = 0;
                TRUNCATE billing.customers, billing.billing_keys, billing.subscriptions,
                    billing.charges, billing.attempts, billing.events RESTART IDENTITY CASCADE;
                INSERT INTO billing.customers (customer_key)
                SELECT 'customer.' || n FROM generate_series(1, \(count)) AS n;
                INSERT INTO billing.billing_keys (customer_key, billing_key, created_at)
                SELECT 'customer.' || n, 'Z_' || md5(n::text) || '0123456789=', now() - interval '90 days'
                FROM generate_series(1, \(count)) AS n;
                INSERT INTO billing.subscriptions (
                    customer_key, plan_id, anchor_at, next_charge_at, order_prefix, cycle, period_at)
                SELECT 'customer.' || n, 'monthly', t.at, t.at, left(md5(n || 'order'), 24),
                       '1 month', t.at
                FROM generate_series(1, \(count)) AS n,
                    LATERAL (SELECT now() + interval '\(after)' + n * interval '1 microsecond' AS at)
                    AS t;
                """, deadline: .seconds(600))
        _ = try await connection.execute(script: "VACUUM ANALYZE", deadline: .seconds(600))
        _ = try await connection.execute(script: "CHECKPOINT", deadline: .seconds(600))
        _ = try await connection.execute(script: "SELECT public.pg_stat_statements_reset()")
        await connection.close()
    }

    /// Starts a worker of this database.
    func worker(_ provider: CheapProvider, inFlight: Int = 256) async throws -> ChildProcess {
        try await ChildProcess(
            Checkout.program("billingd"), ["run", "--max-in-flight", "\(inFlight)"],
            environment: [
                "DATABASE_URL": database.connectionString(as: .worker),
                "TOSS_API_URL": "http://127.0.0.1:\(provider.port)",
                "TOSS_SECRET_KEY": Self.secretKey, "LOG_FORMAT": "json", "BILLINGD_LISTEN": "off",
            ])
    }

    /// Counters of the database, for differences.
    struct Counters {
        var log: Double
        var commits: Double
        var calls: Double
        var cpu: Double
    }

    func counters() async throws -> Counters {
        let cpu = cpu
        let rows = try await database.run(
            """
            SELECT (pg_current_wal_insert_lsn() - '0/0')::float8 AS log,
                   (SELECT xact_commit::float8 FROM pg_stat_database WHERE datname = 'shop')
                       AS commits,
                   (SELECT coalesce(sum(calls), 0)::float8 FROM public.pg_stat_statements
                    WHERE query !~ 'pg_stat_') AS calls
            """)
        guard let row = rows.first else { throw BenchFailure("no counters") }
        return Counters(
            log: try row.double("log"), commits: try row.double("commits"),
            calls: try row.double("calls"), cpu: cpu)
    }

    /// Attempts that are approved, and what is wrong with the ledger.
    func approved() async throws -> Int {
        try await database.run(
            "SELECT count(*) AS n FROM billing.attempts WHERE state = 'approved'"
        ).first?.int("n") ?? 0
    }

    func audit() async throws -> Int {
        try await database.run("SELECT count(*) AS n FROM billing.audit()").first?.int("n") ?? 0
    }

    /// How many rows are due.
    func due() async throws -> Int {
        try await database.run(
            "SELECT count(*) AS n FROM billing.subscriptions WHERE next_charge_at <= billing.now()"
        ).first?.int("n") ?? 0
    }

    /// Where PostgreSQL's time went, a line a statement: calls, milliseconds, rows, bytes of log.
    func statements() async throws -> [String] {
        try await database.run(
            """
            SELECT format('%s calls %s ms %s rows %s B  %s', lpad(calls::text, 6),
                lpad(round(total_exec_time::numeric)::text, 7), lpad(rows::text, 7),
                lpad(wal_bytes::text, 10), left(regexp_replace(query, '\\s+', ' ', 'g'), 70)) AS line
            FROM public.pg_stat_statements WHERE query !~ 'pg_stat_'
            ORDER BY total_exec_time DESC LIMIT 12
            """
        ).map { try $0.string("line") }
    }
}
