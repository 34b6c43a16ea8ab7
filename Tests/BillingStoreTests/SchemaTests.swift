import Foundation
import Postgres
import TestSupport
import Testing

/// The file as a whole: applied, applied again, by somebody who is no superuser, dumped, restored.
@Suite(.serialized, .timeLimit(.minutes(2))) struct SchemaTests {
    /// Runs one of PostgreSQL's programs on a database; returns what it prints.
    private func run(
        _ program: String, _ arguments: [String], on database: TestDatabase
    ) async throws -> String {
        let result = try await ChildProcess.run(
            URL(filePath: "/usr/bin/\(program)"),
            arguments + ["-d", database.connectionString()])
        guard result.status == 0 else {
            throw ChildProcess.Failure("\(program): \(result.errors)")
        }
        return result.output
    }

    /// Everything in a database as SQL, without the lines that differ from dump to dump.
    private func dump(_ database: TestDatabase) async throws -> [Substring] {
        try await run("pg_dump", [], on: database).split(separator: "\n")
            .filter { !$0.hasPrefix("\\restrict") && !$0.hasPrefix("\\unrestrict") }
    }

    /// A shop with all states of the ledger, for a dump.
    private func usedShop() async throws -> Shop {
        let shop = try await Shop.open()
        _ = try await shop.pastDue()
        try await shop.pay(try await shop.openCharge(of: shop.subscribe()))
        try await shop.openCharge(of: shop.subscribe())
        try await shop.subscribe(from: "billing.now() + '1 month'")
        try await shop.run(
            """
            INSERT INTO billing.events (type, charge_id) SELECT 'charge.paid', charge_id
            FROM billing.charges WHERE state = 'paid';
            UPDATE billing.settings SET paused = true, paused_reason = 'moving house'
            """)
        return shop
    }

    @Test func appliedAgainItChangesNothing() async throws {
        let shop = try await usedShop()
        let before = try await dump(shop.database)
        let settings = try await shop.value("SELECT xmin FROM billing.settings")
        try await shop.database.applySchema()
        let after = try await dump(shop.database)
        #expect(before.count > 1_000)
        #expect(after.difference(from: before).isEmpty)
        #expect(try await shop.value("SELECT xmin FROM billing.settings") == settings)
    }

    @Test func aFreshOneIsWhatTheTestsUse() async throws {
        let fresh = try await TemporaryPostgres.shared.emptyDatabase()
        try await fresh.applySchema()
        let used = try await TemporaryPostgres.shared.database()
        let difference = try await dump(fresh).difference(from: dump(used))
        #expect(difference.isEmpty)
    }

    @Test func aDumpIsRestoredAndSound() async throws {
        let shop = try await usedShop()
        #expect(try await shop.run("SELECT * FROM billing.audit()").isEmpty)
        let file = FileManager.default.temporaryDirectory
            .appending(path: "billing-\(UUID().uuidString).dump")
        defer { try? FileManager.default.removeItem(at: file) }
        _ = try await run("pg_dump", ["-Fc", "-f", file.path()], on: shop.database)
        let copy = try await TemporaryPostgres.shared.emptyDatabase()
        _ = try await run(
            "pg_restore", ["--exit-on-error", "--single-transaction", file.path()], on: copy)
        #expect(try await dump(copy).difference(from: dump(shop.database)).isEmpty)
        #expect(try await copy.run("SELECT * FROM billing.audit()", as: .report).isEmpty)
        // Its guards are there as well, and it knows that it is another database.
        let restored = Shop(database: copy, owner: try await copy.connect())
        try await restored.expectRefusal(of: "DELETE FROM billing.charges", "23001")
        #expect(
            try await restored.value("SELECT billing.identity()")
                != shop.value("SELECT billing.identity()"))
    }

    /// A cluster of its own, because roles are of the whole cluster.
    @Test func anOwnerWhoMayCreateRolesAppliesIt() async throws {
        let cluster = try await ChildProcess(
            Checkout.file("deploy/private-postgres"), ["--fast"], lastSignal: "TERM")
        defer { cluster.kill(SIGTERM) }
        var words: [Substring] = []
        try await eventually("PostgreSQL is up") {
            words = cluster.output.split(whereSeparator: \.isWhitespace)
            return words.count == 3
        }
        let place = "host=\(words[0]) port=\(words[1])"
        let superuser = try await PostgresConnection.connect(
            PostgresConfiguration(connectionString: "\(place) user=postgres dbname=postgres"))
        try await superuser.execute(script: "CREATE ROLE shop LOGIN")
        try await superuser.execute(script: "CREATE DATABASE shop OWNER shop")

        func apply() async throws -> (status: Int32, errors: String) {
            let result = try await ChildProcess.run(
                URL(filePath: "/usr/bin/psql"),
                [
                    "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "\(place) user=shop dbname=shop",
                    "-f", Checkout.file("schema.sql").path(),
                ])
            return (result.status, result.errors)
        }

        let refused = try await apply()
        #expect(refused.status != 0)
        #expect(refused.errors.contains("billing_web, billing_worker, billing_report"))
        #expect(refused.errors.contains("Let an administrator run CREATE ROLE"))

        try await superuser.execute(script: "ALTER ROLE shop CREATEROLE")
        let applied = try await apply()
        #expect(applied.status == 0, "\(applied.errors)")
        // Afterwards the right to create roles is not needed any more.
        try await superuser.execute(script: "ALTER ROLE shop NOCREATEROLE")
        let again = try await apply()
        #expect(again.status == 0, "\(again.errors)")

        try await superuser.execute(script: "CREATE ROLE worker LOGIN IN ROLE billing_worker")
        let worker = try await PostgresConnection.connect(
            PostgresConfiguration(connectionString: "\(place) user=worker dbname=shop"))
        // The functions with the owner's rights need no superuser behind them.
        try await worker.execute(script: "SELECT billing.bind_worker('fingerprint')")
        let rows = try await worker.query(
            """
            SELECT billing.identity() AS identity, database_identity,
                   (SELECT count(*) FROM billing.audit()) AS violations
            FROM billing.settings
            """)
        let row = try #require(rows.first)
        #expect(try row.string("identity").contains("/00000001/"))
        #expect(try row.string("identity") == row.string("database_identity"))
        #expect(try row.int("violations") == 0)
        await worker.close()
        await superuser.close()
    }

    @Test func everyTableAndColumnHasAComment() async throws {
        let rows = try await TemporaryPostgres.shared.database().run(
            """
            SELECT relname AS bare FROM pg_class
            WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'v')
              AND obj_description(oid, 'pg_class') IS NULL
            UNION ALL
            SELECT relname || '.' || attname
            FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
            WHERE relnamespace = 'billing'::regnamespace AND relkind IN ('r', 'v')
              AND attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL
            UNION ALL
            SELECT 'schema billing' WHERE obj_description('billing'::regnamespace, 'pg_namespace')
                IS NULL
            """)
        #expect(try rows.map { try $0.string("bare") } == [])
    }

    @Test func everyFunctionThatSomebodyMayCallHasAComment() async throws {
        let rows = try await TemporaryPostgres.shared.database().run(
            """
            SELECT oid::regprocedure::text AS bare FROM pg_proc
            WHERE pronamespace = 'billing'::regnamespace AND prorettype <> 'trigger'::regtype
              AND obj_description(oid, 'pg_proc') IS NULL
            """)
        #expect(try rows.map { try $0.string("bare") } == [])
    }

    /// A check is named "column: rule" where people write, or table_rule in the ledger; never by
    /// PostgreSQL, and never longer than it keeps.
    @Test func everyConstraintsNameTellsItsRule() async throws {
        let rows = try await TemporaryPostgres.shared.database().run(
            """
            SELECT c.conname AS name
            FROM pg_constraint AS c JOIN pg_class AS t ON t.oid = c.conrelid
            WHERE t.relnamespace = 'billing'::regnamespace
              AND (octet_length(c.conname) >= 63
                   OR c.contype = 'c' AND NOT (
                       c.conname LIKE t.relname || '\\_%' AND c.conname !~ '_check[0-9]*$'
                       OR EXISTS (
                           SELECT FROM pg_attribute AS a
                           WHERE a.attrelid = t.oid AND a.attnum = ANY (c.conkey)
                             AND (c.conname LIKE a.attname || ': %'
                                  OR c.conname LIKE a.attname || ' < %')))
                   OR c.contype = 'f' AND c.conname !~ '_fkey$' AND c.conname NOT LIKE '%: %'
                   OR c.contype = 'u' AND c.conname NOT LIKE t.relname || '\\_%')
            """)
        #expect(try rows.map { try $0.string("name") } == [])
        // Where the web app writes, each check begins with its column.
        let bare = try await TemporaryPostgres.shared.database().run(
            """
            SELECT c.conname AS name FROM pg_constraint AS c
            WHERE c.contype = 'c' AND c.conname NOT LIKE '%: %' AND c.conname NOT LIKE '% < %'
              AND c.conrelid IN ('billing.settings'::regclass, 'billing.plans'::regclass,
                  'billing.customers'::regclass, 'billing.billing_keys'::regclass,
                  'billing.subscriptions'::regclass)
            ORDER BY 1
            """)
        #expect(
            try bare.map { try $0.string("name") } == [
                "settings_one_row", "subscriptions_attempt_open", "subscriptions_order_prefix",
            ])
    }

    private static let columns = [
        "settings": """
        mode, time_zone, paused, paused_reason, clock_offset, max_requests_per_minute,
        max_won_per_day, secret_key_fingerprint, database_identity, schema_version, shadow
        """,
        "plans": """
        plan_id, name, amount, tax_free_amount, cycle, time_zone, dunning, on_exhausted,
        catch_up
        """,
        "customers": "customer_key, name, email",
        "billing_keys": """
        billing_key_id, customer_key, billing_key, card_number, card_issuer, card_type, state,
        dead_code, created_at
        """,
        "subscriptions": """
        subscription_id, customer_key, plan_id, amount, billing_key_id, state, anchor_at,
        period_index, next_charge_at, cancel_at, created_at
        """,
        "charges": """
        charge_id, subscription_id, period_index, period_start, period_end, amount,
        tax_free_amount, order_name, state, reason, paid_at, payment_key, receipt_url, card,
        created_at, updated_at
        """,
        "attempts": """
        charge_id, attempt_no, order_id, idempotency_key, billing_key_id, amount, customer_key,
        order_name, secret_key_fingerprint, state, code, message, http_status, opened_at,
        sent_at, finished_at, lookups, worker
        """,
        "events": "event_id, occurred_at, type, subscription_id, charge_id, data",
        "shadow_charges": """
        subscription_id, period_index, period_start, period_end, decision, reason, amount,
        order_name, billing_key_id, decided_at
        """,
        "other_payments": "payment_id, subscription_id, paid_at, amount",
        "workers": "worker_id, host, pid, version, started_at, seen_at, in_flight, state",
    ]

    @Test func theContractsColumnsAreThere() async throws {
        let database = try await TemporaryPostgres.shared.database()
        for (table, columns) in Self.columns {
            try await database.run("SELECT \(columns) FROM billing.\(table)")
        }
    }

    @Test func theDefaultsAreTheContracts() async throws {
        let shop = try await Shop.open()
        #expect(
            try await shop.holds(
                """
                time_zone IS NULL AND on_exhausted = 'suspend' AND catch_up = 'latest'
                AND dunning = '{1 day,3 days,5 days,7 days}' AND tax_free_amount = 0
                """, in: "plans"))
        #expect(
            try await shop.holds(
                """
                mode = 'test' AND time_zone = 'Asia/Seoul' AND NOT paused AND clock_offset = '0'
                AND max_requests_per_minute IS NULL AND max_won_per_day IS NULL AND NOT shadow
                """, in: "settings"))
    }
}
