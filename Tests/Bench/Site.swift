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

    /// `countsFunctions`: also counts the calls of functions and triggers, and their time.
    init(countsFunctions: Bool = false) async throws {
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
            ALTER ROLE test_worker SET log_lock_waits = on;
            ALTER ROLE test_worker SET deadlock_timeout = '1ms';
            INSERT INTO billing.plans (plan_id, name, amount, cycle)
            VALUES ('monthly', '월 구독', 14900, '1 month')
            """)
        if countsFunctions {
            try await database.run("ALTER ROLE test_worker SET track_functions = 'all'")
        }
    }

    func end() async {
        postgres.kill(SIGTERM)
        await postgres.ended()
    }

    /// PostgreSQL's own processor time so far, in microseconds.
    var cpu: Double { ProcessCost.cpu(server.pid, withChildren: true) }

    // MARK: Rows

    /// When the rows of a fill fall due.
    enum Due {
        case atOnce, in20Days
        /// A hundredth at once, the next in an hour and so on: the rows in the order of sign-up, ten
        /// months of them, so that what is due together lies together in ten places.
        case inTurns

        /// Of row `n` of `count`.
        fileprivate func sql(_ count: Int) -> String {
            switch self {
            case .atOnce: "interval '-1 minute'"
            case .in20Days: "interval '20 days'"
            case .inTurns:
                "interval '-1 minute' + interval '1 hour' * ((n - 1) / \(max(1, count / 1_000)) % 100)"
            }
        }
    }

    /// An empty ledger and `count` subscriptions, each with a customer and a card. Straight into the
    /// tables: the triggers of the web app's side cost ten times as much and are not what is measured.
    func fill(_ count: Int, due: Due = .atOnce) async throws {
        let connection = try await patientConnection()
        _ = try await connection.execute(
            script: """
                SET session_replication_role = replica;
                TRUNCATE billing.customers, billing.billing_keys, billing.subscriptions,
                    billing.charges, billing.attempts, billing.events RESTART IDENTITY CASCADE;
                UPDATE billing.settings SET clock_offset = '0';
                INSERT INTO billing.customers (customer_key)
                SELECT 'customer.' || lpad(n::text, 8, '0') FROM generate_series(1, \(count)) AS n;
                INSERT INTO billing.billing_keys (customer_key, billing_key, created_at)
                SELECT 'customer.' || lpad(n::text, 8, '0'), 'Z_' || lpad(n::text, 32, '0') || '0123456789=',
                       now() - interval '90 days'
                FROM generate_series(1, \(count)) AS n;
                INSERT INTO billing.subscriptions (
                    customer_key, plan_id, anchor_at, next_charge_at, order_prefix, cycle, period_at)
                SELECT 'customer.' || lpad(n::text, 8, '0'), 'monthly', t.at, t.at, left(md5(n || 'order'), 24),
                       '1 month', t.at
                FROM generate_series(1, \(count)) AS n,
                    LATERAL (SELECT now() + \(due.sql(count)) + n * interval '1 microsecond' AS at)
                    AS t;
                """, deadline: Self.patience)
        _ = try await connection.execute(script: "VACUUM ANALYZE", deadline: Self.patience)
        _ = try await connection.execute(script: "CHECKPOINT", deadline: Self.patience)
        _ = try await connection.execute(script: "SELECT public.pg_stat_statements_reset()")
        _ = try await connection.execute(
            script: """
                SELECT pg_stat_reset_single_function_counters(oid) FROM pg_proc
                WHERE pronamespace = 'billing'::regnamespace
                """)
        await connection.close()
    }

    /// Of what grows with the table, or waits behind others on a busy machine.
    private static let patience = Duration.seconds(1_800)

    /// A connection of the owner without limits of its own.
    private func patientConnection() async throws -> PostgresConnection {
        var configuration = database.configuration()
        configuration.statementTimeout = .zero
        return try await PostgresConnection.connect(configuration)
    }

    private func patiently(_ script: String) async throws -> PostgresRows {
        let connection = try await patientConnection()
        let rows = try await connection.execute(script: script, deadline: Self.patience)
        await connection.close()
        return rows
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

    /// Attempts that are approved.
    func approved() async throws -> Int {
        try await patiently("SELECT count(*) AS n FROM billing.attempts WHERE state = 'approved'")
            .first?.int("n") ?? 0
    }

    /// Throws unless `charges` attempts are approved and the ledger is sound. Speed at the price of a
    /// promise is none.
    func audited(_ name: String, charges: Int) async throws {
        // What was empty when the planner looked is not any more.
        _ = try await patiently("ANALYZE")
        let findings = try await patiently("SELECT count(*) AS n FROM billing.audit()")
            .first?.int("n")
        let paid = try await approved()
        guard findings == 0, paid == charges else {
            throw BenchFailure(
                "\(name): \(paid) of \(charges) paid, \(findings ?? -1) findings of the audit")
        }
    }

    // MARK: The server

    /// Sets one of the server's settings; nil: back to its default.
    func set(_ setting: String, to value: String?) async throws {
        try await database.run(
            value.map { "ALTER SYSTEM SET \(setting) = '\($0)'" } ?? "ALTER SYSTEM RESET \(setting)"
        )
        try await database.run("SELECT pg_reload_conf()")
    }

    /// Returns when autovacuum has nothing to do, and knows of all `updates` of subscriptions.
    func vacuumed(updates: Int) async throws {
        try await eventually("autovacuum is done", within: .seconds(300)) {
            try await ContinuousClock().sleep(for: .milliseconds(200))
            return try await database.run(
                """
                SELECT coalesce(bool_and(
                        t.n_dead_tup <= 50 + c.reltuples * coalesce((
                            SELECT option_value::float8 FROM pg_options_to_table(c.reloptions)
                            WHERE option_name = 'autovacuum_vacuum_scale_factor'), 0.2)
                        AND (t.relname <> 'subscriptions' OR t.n_tup_upd >= \(updates))), false)
                    AND NOT EXISTS (SELECT FROM pg_stat_activity
                                    WHERE backend_type = 'autovacuum worker') AS is_done
                FROM pg_stat_user_tables AS t JOIN pg_class AS c ON c.oid = t.relid
                WHERE t.schemaname = 'billing'
                """
            ).first?.bool("is_done") ?? false
        }
    }

    /// Forgets what was counted of the subscriptions' updates.
    func forgetUpdates() async throws {
        try await database.run(
            "SELECT pg_stat_reset_single_table_counters('billing.subscriptions'::regclass)")
    }

    /// The tables that a charge writes.
    func tables() async throws -> [Growth.Table] {
        try await database.run(
            """
            SELECT relname AS name, pg_relation_size(oid)::float8 / 1048576 AS heap,
                   pg_indexes_size(oid)::float8 / 1048576 AS indexes
            FROM pg_class
            WHERE oid IN ('billing.subscriptions'::regclass, 'billing.charges'::regclass,
                          'billing.attempts'::regclass, 'billing.events'::regclass)
            ORDER BY relname
            """
        ).map {
            Growth.Table(
                name: try $0.string("name"), heap: try $0.double("heap"),
                indexes: try $0.double("indexes"))
        }
    }

    /// Bytes of the server's log so far.
    var logSize: Int { serverLog.count }

    /// The waits for locks that took a worker longer than a millisecond, as the server wrote them down
    /// (`log_lock_waits`) behind the first `start` bytes of its log.
    func lockWaits(since start: Int) -> LockWaits {
        var waits = LockWaits()
        for line in String(decoding: serverLog.dropFirst(start), as: UTF8.self).split(
            separator: "\n")
        {
            // … acquired ShareLock on transaction 4711 after 12.345 ms
            guard let lock = line.range(of: " acquired "),
                let after = line[lock.upperBound...].range(of: " after "),
                let time = Double(line[after.upperBound...].prefix { $0 != " " })
            else { continue }
            waits.add(time, for: line[lock.upperBound..<after.lowerBound])
        }
        return waits
    }

    private var serverLog: Data {
        let folder = URL(filePath: server.socket).deletingLastPathComponent()
        return (try? Data(contentsOf: folder.appending(path: "log"))) ?? Data()
    }

    /// Where PostgreSQL's time went since the last fill, a line a statement: calls, milliseconds, rows,
    /// bytes of log; and a line a function, with and without the time of those it called.
    func statements() async throws -> [String] {
        try await database.run(
            """
            (SELECT format('%s calls %s ms %s rows %s B  %s', lpad(calls::text, 7),
                lpad(round(total_exec_time::numeric)::text, 7), lpad(rows::text, 7),
                lpad(wal_bytes::text, 10), left(regexp_replace(query, '\\s+', ' ', 'g'), 70)) AS line
            FROM public.pg_stat_statements WHERE query !~ 'pg_stat_|session_replication_role'
            ORDER BY total_exec_time DESC LIMIT 12)
            UNION ALL
            (SELECT format('%s calls %s ms %s of its own  %s()', lpad(calls::text, 7),
                lpad(round(total_time::numeric)::text, 7),
                lpad(round(self_time::numeric)::text, 7), funcname)
            FROM pg_stat_user_functions WHERE schemaname = 'billing'
            ORDER BY self_time DESC LIMIT 12)
            """
        ).map { try $0.string("line") }
    }
}
