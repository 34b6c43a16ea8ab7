import Postgres
import TestSupport
import Testing

/// What each role of the contract may do, and what it may not, by doing it.
@Suite(.serialized, .timeLimit(.minutes(2))) struct RoleTests {
    typealias Role = TemporaryPostgres.Role

    /// One for all: what is done is taken back, what is refused leaves nothing behind. Subscription
    /// 1 is past due with charge 1; the database has statistics.
    private static let shop = Task {
        let shop = try await Shop.open()
        _ = try await shop.pastDue()
        try await shop.run(
            """
            INSERT INTO billing.billing_keys (customer_key, billing_key)
            SELECT 'customer-1', 'billing-key-x' || n FROM generate_series(1, 200) AS n;
            INSERT INTO billing.events (type, subscription_id) VALUES ('charge.declined', 1);
            SELECT billing.bind_worker('fingerprint');
            ANALYZE
            """)
        return shop
    }

    private static let customersColumns = "customer_key, name, email"
    private static let keysColumns = """
        billing_key_id, customer_key, card_number, card_issuer, card_type, state, dead_code, \
        created_at
        """

    private static let allowed: [(Role, String)] =
        [
            // All of the contract's functions and plain statements.
            "SELECT billing.register_billing_key('customer-2', 'billing-key-2')",
            """
            SELECT billing.register_billing_key(
                'customer-2', 'billing-key-2', '433012******1234', '11', 'credit')
            """,
            "SELECT billing.subscribe('customer-1', 'monthly')",
            "SELECT billing.subscribe('customer-1', 'monthly', billing.now() + '7 days', 4900)",
            """
            SELECT billing.subscribe(
                customer_key => 'customer-1', plan_id => 'monthly', amount => 0)
            """,
            "SELECT billing.change_plan(1, 'monthly')", "SELECT billing.change_amount(1, 5000)",
            "SELECT billing.change_amount(1, NULL)", "SELECT billing.cancel(1)",
            "SELECT billing.cancel(1, 'now')", "SELECT billing.cancel(1, 'period_end')",
            "SELECT billing.pause(1)", "SELECT billing.resume(1)", "SELECT billing.retry_now(1)",
            "SELECT * FROM billing.forecast(billing.now() + '1 year')", "SELECT billing.now()",
            "SELECT billing.period_start(now(), '1 month', 1, 'Asia/Seoul')",
            "INSERT INTO billing.customers (\(customersColumns)) VALUES ('c-3', 'Kim', 'k@kim.kr')",
            "UPDATE billing.customers SET name = 'Lee'",
            """
            INSERT INTO billing.billing_keys (customer_key, billing_key, card_number, card_issuer,
                card_type)
            VALUES ('customer-1', 'billing-key-3', '433012******1234', '11', 'credit')
            RETURNING billing_key_id
            """,
            "UPDATE billing.billing_keys SET state = 'deleted'",
            """
            INSERT INTO billing.plans (plan_id, name, amount, tax_free_amount, cycle, time_zone,
                dunning, on_exhausted, catch_up)
            VALUES ('p', 'P', 100, 0, '7 days', 'UTC', '{2 days}', 'cancel', 'each')
            """,
            "UPDATE billing.plans SET amount = 12000, cycle = '1 year', name = 'New name'",
            """
            INSERT INTO billing.subscriptions (customer_key, plan_id, amount, billing_key_id,
                state, anchor_at, period_index, cancel_at)
            VALUES ('customer-1', 'monthly', 5000, 1, 'paused', now(), 3, now() + '1 year')
            RETURNING subscription_id
            """,
            """
            UPDATE billing.subscriptions SET plan_id = 'monthly', amount = 100, billing_key_id = 1,
                state = 'paused', cancel_at = now() + interval '1 year'
            """,
            "UPDATE billing.subscriptions SET held_reason = NULL, state = 'active'",
            "SELECT * FROM billing.plans, billing.customers, billing.subscriptions",
            "SELECT * FROM billing.charges, billing.events, billing.settings",
            "SELECT \(keysColumns) FROM billing.billing_keys",
            "LISTEN billing_events",
            """
            SELECT billing.import_subscription('customer-1', 'monthly', now(), now());
            SELECT billing.import_subscription('customer-1', 'monthly', now(), now(), 4900)
            """,
            """
            INSERT INTO billing.other_payments (payment_id, subscription_id, paid_at, amount)
            VALUES ('p-1', 1, now(), 9900);
            UPDATE billing.other_payments SET amount = 4900;
            DELETE FROM billing.other_payments
            """,
            "SELECT * FROM billing.shadow_charges, billing.shadow_positions",
        ].map { (.web, $0) }
        + [
            "SELECT * FROM billing.subscriptions, billing.plans, billing.customers",
            "SELECT * FROM billing.charges, billing.attempts, billing.billing_keys",
            "SELECT * FROM billing.events, billing.workers, billing.settings",
            "SELECT FROM billing.subscriptions FOR NO KEY UPDATE SKIP LOCKED",
            """
            UPDATE billing.subscriptions SET lease_no = lease_no + 1, lease_owner = 'w',
                lease_until = now(), claims = 1, open_charge_id = 1, attempt_open = true,
                anchor_at = now(), anchor_index = 1, cycle = '1 month', period_index = 1,
                period_at = now(), next_charge_at = now(), state = 'active', held_reason = NULL
            """,
            """
            UPDATE billing.charges SET state = 'held', reason = 'r', paid_at = now(),
                payment_key = 'p', receipt_url = 'u', card = '{}', refunded_amount = 1,
                attempt_no = 2, declines = 2, updated_at = now()
            """,
            """
            UPDATE billing.attempts SET message = 'm', http_status = 200, trace_id = 't',
                sent_at = now(), lookups = 1, worker = 'w', unknown_since = now(), in_doubt = true,
                absent = true, sends = 2, not_founds = 1, not_sents = 1, quiet_until = now(),
                contradiction = 'c'
            """,
            "UPDATE billing.billing_keys SET state = 'dead', dead_code = 'CODE'",
            "INSERT INTO billing.events (type, data) VALUES ('charge.paid', '{}')",
            """
            INSERT INTO billing.workers (worker_id, host, pid, version, state)
            VALUES ('w', 'h', 1, '1', 'running');
            UPDATE billing.workers SET seen_at = now(), in_flight = 1, state = 'stopped'
            """,
            """
            INSERT INTO billing.reconciliations (day, next_at) VALUES ('2027-07-15', now());
            UPDATE billing.reconciliations SET worker = 'w', lease_until = now(),
                started_at = now(), compared_at = now(), failures = 1, error = 'e', payments = 1,
                won = 1, refunds = 1, late = 1, foreign_payments = 1, findings = 1, next_at = NULL
            """,
            "SELECT billing.reserve_request(), billing.reconcile_at('2027-07-15')",
            """
            INSERT INTO billing.shadow_charges (subscription_id, period_index, period_start,
                period_end, decision, amount, order_name, anchor_at, anchor_index, cycle)
            VALUES (1, 0, now(), now() + '1 day', 'charge', 9900, 'N', now(), 0, '1 day');
            UPDATE billing.shadow_charges SET decision = 'no_card', reason = 'r',
                billing_key_id = 1, decided_at = now()
            """,
            "SELECT billing.identity()", "SELECT billing.bind_worker('fingerprint')",
            "SELECT * FROM billing.audit()", "SELECT * FROM billing.forecast(now())",
            "LISTEN billing_due",
        ].map { (.worker, $0) }
        + [
            "SELECT * FROM billing.subscriptions, billing.plans, billing.customers",
            "SELECT * FROM billing.charges, billing.attempts, billing.events, billing.workers",
            "SELECT \(keysColumns) FROM billing.billing_keys", "SELECT * FROM billing.settings",
            "SELECT * FROM billing.reconciliations, billing.reconcile_days()",
            "SELECT * FROM billing.shadow_charges, billing.other_payments",
            "SELECT *, billing.payable_from(period_at, period_end) FROM billing.shadow_positions",
            "SELECT billing.reserve_request(), billing.reconcile_at('2027-07-15', 3)",
            "SELECT * FROM billing.audit()", "SELECT * FROM billing.forecast(now() + '1 year')",
            "SELECT billing.now(), billing.period_start(now(), '1 month', 1, 'UTC')",
        ].flatMap { [(.report, $0), (.admin, $0)] }
        + [
            """
            UPDATE billing.settings SET mode = 'live', time_zone = 'UTC', paused = true,
                paused_reason = 'why', clock_offset = '0', max_requests_per_minute = 1,
                max_won_per_day = 1, request_timeout = '65 seconds', lease = '4 minutes',
                late_bound = '10 minutes', gap = '1 hour', last_send_age = '13 days',
                hold_age = '14 days', maximum_attempts = 10
            """,
            "SELECT billing.adopt_database('the other copy was shut down')",
            "SELECT billing.retry(1, 'asked by phone')", "SELECT billing.keep_secret_key('why')",
            """
            SELECT billing.begin_key_rotation('fedcba9876543210', 'the yearly rotation');
            SELECT billing.end_key_rotation('fedcba9876543210', 'the yearly rotation')
            """,
            "SELECT billing.cancel(1, 'now')", "SELECT billing.resume(1)",
            "SELECT billing.retry_now(1)",
            "SELECT billing.register_billing_key('customer-2', 'billing-key-2')",
            "SELECT billing.subscribe('customer-1', 'monthly')",
        ].map { (.admin, $0) }

    @Test(arguments: allowed)
    func aRoleDoesItsWork(_ role: Role, _ script: String) async throws {
        try await Self.shop.value.run("BEGIN; \(script); ROLLBACK", as: role)
    }

    private static let tables = [
        "settings", "plans", "customers", "billing_keys", "subscriptions", "charges", "attempts",
        "events", "workers",
    ]

    /// For each of the four.
    private static let forbiddenToAll: [String] =
        tables.flatMap { ["DELETE FROM billing.\($0)", "TRUNCATE billing.\($0) CASCADE"] }
        + tables.map { "ALTER TABLE billing.\($0) DISABLE TRIGGER ALL" }
        + [
            "CREATE TABLE billing.mine ()", "CREATE VIEW billing.mine AS SELECT 1",
            "ALTER TABLE billing.plans ADD mine integer", "DROP TABLE billing.charges CASCADE",
            "ALTER TABLE billing.charges DROP CONSTRAINT charges_one_per_period",
            "DROP INDEX billing.charges_one_open", "DROP TRIGGER charges_kept ON billing.charges",
            "CREATE OR REPLACE FUNCTION billing.now() RETURNS text LANGUAGE sql AS 'SELECT 1'",
            "CREATE FUNCTION billing.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "ALTER FUNCTION billing.refuse() SECURITY DEFINER",
            "CREATE SCHEMA mine", "CREATE ROLE mine", "DROP SCHEMA billing CASCADE",
            "GRANT billing_admin TO CURRENT_USER", "SET ROLE postgres",
            "SET session_replication_role = replica",
            "COPY billing.plans TO PROGRAM 'true'", "COPY billing.plans TO '/dev/null'",
            "COPY billing.plans FROM PROGRAM 'true'", "SELECT pg_read_file('PG_VERSION')",
            "SELECT pg_ls_dir('.')", "SELECT * FROM pg_catalog.pg_authid",
            "SELECT lo_import('PG_VERSION')",
            "UPDATE billing.settings SET schema_version = 2",
            "UPDATE billing.settings SET shadow = true",
            "UPDATE billing.shadow_charges SET amount = 100", "DELETE FROM billing.shadow_charges",
            "UPDATE billing.settings SET secret_key_fingerprint = NULL",
            "UPDATE billing.settings SET database_identity = NULL",
            "INSERT INTO billing.settings (schema_version) VALUES (1)",
            "UPDATE billing.events SET type = 'charge.paid'",
            "UPDATE billing.charges SET amount = 100",
            "UPDATE billing.charges SET period_index = 9",
            "UPDATE billing.attempts SET amount = 100",
            "UPDATE billing.attempts SET order_id = 'another-order'",
            "UPDATE billing.billing_keys SET billing_key = 'billing-key-9'",
            "UPDATE billing.billing_keys SET customer_key = 'customer-1'",
            "UPDATE billing.subscriptions SET customer_key = 'customer-1'",
            "UPDATE billing.subscriptions SET order_prefix = 'abcdefgh'",
        ]

    @Test(arguments: [Role.web, .worker, .report, .admin], forbiddenToAll)
    func noRoleIsMoreThanItsWork(_ role: Role, _ script: String) async throws {
        try await Self.shop.value.expectRefusal(of: script, "42501", as: role)
    }

    private static let groups = [
        "billing_web", "billing_worker", "billing_report", "billing_admin",
    ]

    @Test(arguments: [Role.web, .worker, .report, .admin], groups)
    func noRoleBecomesAnother(_ role: Role, _ other: String) async throws {
        guard other.dropFirst("billing_".count) != role.rawValue.dropFirst("test_".count) else {
            return
        }
        try await Self.shop.value.expectRefusal(of: "SET ROLE \(other)", "42501", as: role)
    }

    /// The secret: of the four only the worker reads it, whichever way round.
    @Test(
        arguments: [Role.web, .report, .admin],
        [
            "SELECT billing_key FROM billing.billing_keys", "SELECT * FROM billing.billing_keys",
            "SELECT k FROM billing.billing_keys AS k",
            "SELECT row_to_json(k) FROM billing.billing_keys AS k",
            "SELECT FROM billing.billing_keys WHERE billing_key LIKE 'a%'",
            "SELECT billing_key_id FROM billing.billing_keys ORDER BY billing_key",
            "SELECT max(billing_key) FROM billing.billing_keys",
            "TABLE billing.billing_keys",
            "CREATE TEMPORARY TABLE mine AS TABLE billing.billing_keys",
            "UPDATE billing.billing_keys SET state = 'active' RETURNING billing_key",
        ])
    func theBillingKeyIsTheWorkersAlone(_ role: Role, _ script: String) async throws {
        try await Self.shop.value.expectRefusal(of: script, "42501", as: role)
    }

    @Test(arguments: [Role.web, .report, .admin])
    func statisticsDoNotTellTheBillingKey(_ role: Role) async throws {
        let shop = try await Self.shop.value
        let query = "SELECT count(*) FROM pg_catalog.pg_stats WHERE attname = 'billing_key'"
        #expect(try await shop.value(query, as: role) == "0")
        #expect(try await shop.value(query) == "1")
    }

    private static let webFunctions = [
        "register_billing_key('customer-1', 'billing-key-9')", "subscribe('customer-1', 'monthly')",
        "change_plan(1, 'monthly')", "change_amount(1, 100)", "cancel(1)", "pause(1)", "resume(1)",
        "retry_now(1)",
    ]

    private static let handFunctions = [
        "retry(1, 'why')", "begin_key_rotation('fedcba9876543210', 'why')",
        "end_key_rotation('fedcba9876543210', 'why')", "keep_secret_key('why')",
        "begin_shadow('why')", "end_shadow('why')",
    ]

    private static let forbidden: [(Role, String)] =
        [
            "SELECT * FROM billing.attempts", "SELECT * FROM billing.workers",
            "INSERT INTO billing.billing_keys (customer_key, billing_key, state) "
                + "VALUES ('customer-1', 'billing-key-9', 'dead')",
            "UPDATE billing.billing_keys SET dead_code = NULL",
            "UPDATE billing.billing_keys SET card_number = NULL",
            "INSERT INTO billing.subscriptions (customer_key, plan_id, cycle, next_charge_at) "
                + "VALUES ('customer-1', 'monthly', '1 day', now())",
            "UPDATE billing.subscriptions SET next_charge_at = now()",
            "UPDATE billing.subscriptions SET period_index = 7",
            "UPDATE billing.subscriptions SET anchor_at = now()",
            "UPDATE billing.subscriptions SET period_at = now()",
            "UPDATE billing.subscriptions SET lease_until = NULL",
            "UPDATE billing.subscriptions SET lease_no = 0",
            "UPDATE billing.subscriptions SET open_charge_id = NULL",
            "UPDATE billing.subscriptions SET attempt_open = false",
            "INSERT INTO billing.charges DEFAULT VALUES",
            "UPDATE billing.charges SET state = 'paid'",
            "INSERT INTO billing.attempts DEFAULT VALUES",
            "INSERT INTO billing.events (type) VALUES ('charge.paid')",
            "UPDATE billing.settings SET paused = false", "SELECT billing.bind_worker('f')",
            "SELECT billing.adopt_database('why')", "SELECT billing.reserve_request()",
            "SELECT billing.record_refund('o', 'p', 1)",
            "UPDATE billing.reconciliations SET findings = 0",
            "UPDATE billing.shadow_charges SET decision = 'skip'",
        ].map { (.web, $0) }
        + [
            "INSERT INTO billing.plans DEFAULT VALUES", "UPDATE billing.plans SET amount = 100",
            "INSERT INTO billing.customers (customer_key) VALUES ('c-4')",
            "INSERT INTO billing.billing_keys (customer_key, billing_key) VALUES ('c', 'k')",
            "INSERT INTO billing.subscriptions (customer_key, plan_id) VALUES ('c', 'monthly')",
            "UPDATE billing.subscriptions SET amount = 100",
            "UPDATE billing.subscriptions SET plan_id = 'monthly'",
            "UPDATE billing.subscriptions SET cancel_at = NULL",
            "UPDATE billing.subscriptions SET billing_key_id = 1",
            "UPDATE billing.settings SET paused = false",
            "UPDATE billing.settings SET mode = 'live'",
            "UPDATE billing.settings SET max_won_per_day = NULL",
            "SELECT billing.import_subscription('customer-1', 'monthly', now(), now())",
            "INSERT INTO billing.other_payments (payment_id, paid_at, amount) "
                + "VALUES ('p-1', now(), 100)",
            "SELECT billing.adopt_database('why')",
        ].map { (.worker, $0) }
        + webFunctions.flatMap {
            [(.worker, "SELECT billing.\($0)"), (.report, "SELECT billing.\($0)")]
        }
        + [
            "INSERT INTO billing.plans DEFAULT VALUES", "UPDATE billing.plans SET name = 'n'",
            "INSERT INTO billing.customers (customer_key) VALUES ('c-4')",
            "UPDATE billing.customers SET name = 'n'",
            "UPDATE billing.billing_keys SET state = 'deleted'",
            "UPDATE billing.subscriptions SET state = 'paused'",
            "UPDATE billing.charges SET state = 'held', reason = 'r'",
            "UPDATE billing.attempts SET state = 'refused'",
            "INSERT INTO billing.events (type) VALUES ('charge.paid')",
            "UPDATE billing.settings SET paused = true",
            "UPDATE billing.workers SET state = 'stopped'",
            "SELECT billing.bind_worker('f')", "SELECT billing.adopt_database('why')",
            "SELECT billing.record_refund('o', 'p', 1)",
            "UPDATE billing.reconciliations SET next_at = now()",
        ].map { (.report, $0) }
        + [Role.web, .worker, .report].flatMap { role in
            handFunctions.map { (role, "SELECT billing.\($0)") }
        }
        + [
            "UPDATE billing.charges SET state = 'paid'",
            "INSERT INTO billing.charges DEFAULT VALUES",
            "UPDATE billing.attempts SET state = 'refused'",
            "INSERT INTO billing.attempts DEFAULT VALUES",
            "INSERT INTO billing.events (type) VALUES ('charge.paid')",
            "UPDATE billing.subscriptions SET next_charge_at = now()",
            "UPDATE billing.subscriptions SET lease_until = NULL",
            "SELECT billing.bind_worker('f')",
            "UPDATE billing.reconciliations SET findings = 0",
        ].map { (.admin, $0) }

    @Test(arguments: forbidden)
    func aRoleDoesNotDoAnothersWork(_ role: Role, _ script: String) async throws {
        try await Self.shop.value.expectRefusal(of: script, "42501", as: role)
    }

    @Test func theFirstWorkerBindsAndLaterOnesChangeNothing() async throws {
        let shop = try await Shop.open()
        try await shop.run("SELECT billing.bind_worker('first')", as: .worker)
        try await shop.run("SELECT billing.bind_worker('second')", as: .worker)
        #expect(
            try await shop.holds(
                "secret_key_fingerprint = 'first' AND database_identity = billing.identity()",
                in: "settings"))
    }

    @Test(arguments: ["NULL", "''", "' '"])
    func aDatabaseIsNotAdoptedWithoutAReason(_ reason: String) async throws {
        try await Self.shop.value.expectRefusal(
            of: "SELECT billing.adopt_database(\(reason))", "22023", naming: "reason", as: .admin)
    }
}
