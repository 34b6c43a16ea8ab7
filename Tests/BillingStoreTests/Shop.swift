import Postgres
import TestSupport
import Testing

/// A database of a test with a shop in it: one customer with a card, one plan. What the daemon
/// would have written is written here by hand, as its owner.
struct Shop {
    let database: TestDatabase
    private let owner: PostgresConnection

    init(database: TestDatabase, owner: PostgresConnection) {
        self.database = database
        self.owner = owner
    }

    static func open() async throws -> Shop {
        let database = try await TemporaryPostgres.shared.database()
        let shop = Shop(database: database, owner: try await database.connect())
        try await shop.run(
            """
            INSERT INTO billing.plans (plan_id, name, amount, cycle)
            VALUES ('monthly', 'Monthly', 9900, '1 month');
            SELECT billing.register_billing_key('customer-1', 'billing-key-1', '433012******123*');
            """)
        return shop
    }

    @discardableResult
    func run(
        _ script: String, as role: TemporaryPostgres.Role = .owner
    ) async throws -> PostgresRows {
        guard role == .owner else { return try await database.run(script, as: role) }
        return try await owner.execute(script: script)
    }

    /// The one value of a query, as text; nil for NULL.
    func value(
        _ query: String, as role: TemporaryPostgres.Role = .owner
    ) async throws -> String? {
        let rows = try await run("SELECT (\(query))::text AS value", as: role)
        return try #require(rows.first).stringOrNil("value")
    }

    /// Whether a condition on `table` holds for every row of it, and there is one.
    func holds(_ condition: String, in table: String = "subscriptions") async throws -> Bool {
        try await value("SELECT bool_and(coalesce(\(condition), false)) FROM billing.\(table)")
            == "true"
    }

    /// The error that refuses a script; fails the test when it is accepted. Nothing of the script
    /// stays, either way.
    func refusal(
        of script: String, as role: TemporaryPostgres.Role = .owner,
        _ location: SourceLocation = #_sourceLocation
    ) async throws -> PostgresError? {
        let connection = try await database.connect(as: role)
        var refusal: PostgresError?
        do throws(PostgresError) {
            try await connection.execute(script: "BEGIN; \(script); ROLLBACK")
            Issue.record("accepted as \(role): \(script)", sourceLocation: location)
        } catch {
            refusal = error
        }
        await connection.close()
        return refusal
    }

    /// Expects an error of `sqlState` whose words or constraint name contain `words`.
    func expectRefusal(
        of script: String, _ sqlState: String, naming words: String = "",
        as role: TemporaryPostgres.Role = .owner, _ location: SourceLocation = #_sourceLocation
    ) async throws {
        guard let error = try await refusal(of: script, as: role, location) else { return }
        #expect(error.sqlState == sqlState, "\(script): \(error)", sourceLocation: location)
        #expect(
            words.isEmpty || error.description.contains(words), "\(script): \(error)",
            sourceLocation: location)
    }

    /// A new subscription of the customer, by default due now; returns its id.
    @discardableResult
    func subscribe(
        _ plan: String = "monthly", from start: String = "billing.now()"
    ) async throws -> Int64 {
        let id = try await value("SELECT billing.subscribe('customer-1', '\(plan)', \(start))")
        return try #require(id.flatMap { Int64($0) })
    }

    /// Moves a subscription on as the worker does: under a new lease, so that it is no wish of
    /// the web app's.
    func work(_ subscription: Int64, _ assignments: String) async throws {
        try await run(
            """
            UPDATE billing.subscriptions SET lease_no = lease_no + 1, \(assignments)
            WHERE subscription_id = \(subscription)
            """)
    }

    /// Opens the charge of the subscription's period with attempt 1 under way; returns its id.
    @discardableResult
    func openCharge(of subscription: Int64) async throws -> Int64 {
        let id = try await value(
            """
            SELECT nextval(pg_get_serial_sequence('billing.charges', 'charge_id'))
            """)
        let charge = try #require(id.flatMap { Int64($0) })
        try await run(
            """
            INSERT INTO billing.charges (charge_id, subscription_id, period_index, period_start,
                period_end, amount, order_name, attempt_no)
            OVERRIDING SYSTEM VALUE
            SELECT \(charge), s.subscription_id, s.period_index, s.period_at,
                   billing.period_start(s.anchor_at, s.cycle, s.period_index + 1),
                   coalesce(s.amount, p.amount), p.name, 1
            FROM billing.subscriptions AS s JOIN billing.plans AS p USING (plan_id)
            WHERE s.subscription_id = \(subscription);
            """)
        try await openAttempt(1, of: charge)
        try await work(subscription, "open_charge_id = \(charge), attempt_open = true")
        return charge
    }

    func openAttempt(_ number: Int, of charge: Int64) async throws {
        try await run(newAttempt(number, of: charge))
    }

    /// The statement that opens an attempt, for those who expect it to be refused.
    func newAttempt(_ number: Int, of charge: Int64) -> String {
        """
        INSERT INTO billing.attempts (charge_id, attempt_no, order_id, idempotency_key,
            billing_key_id, amount, tax_free_amount, customer_key, order_name,
            secret_key_fingerprint, sent_at)
        SELECT c.charge_id, \(number), 'order-\(charge)-\(number)', 'order-\(charge)-\(number)',
               (SELECT min(billing_key_id) FROM billing.billing_keys
                WHERE customer_key = s.customer_key),
               c.amount, 0, s.customer_key, c.order_name, 'fingerprint', billing.now()
        FROM billing.charges AS c JOIN billing.subscriptions AS s USING (subscription_id)
        WHERE c.charge_id = \(charge)
        """
    }

    /// Ends the last attempt with a decline at a business time, and leaves the subscription so.
    func decline(
        _ charge: Int64, ago: String = "0", leaves state: String = "past_due",
        next: String = "billing.now() + interval '1 day'"
    ) async throws {
        try await run(
            """
            UPDATE billing.attempts SET state = 'declined', code = 'INSUFFICIENT', in_doubt = false,
                finished_at = billing.now() - interval '\(ago)'
            WHERE charge_id = \(charge) AND state = 'open';
            UPDATE billing.charges SET declines = declines + 1 WHERE charge_id = \(charge);
            UPDATE billing.subscriptions
            SET lease_no = lease_no + 1, state = '\(state)', attempt_open = false,
                next_charge_at = \(next)
            WHERE open_charge_id = \(charge)
            """)
    }

    /// Ends the open charge as paid and goes on to the next period.
    func pay(_ charge: Int64) async throws {
        try await run(
            """
            UPDATE billing.attempts SET state = 'approved', finished_at = billing.now(),
                in_doubt = false
            WHERE charge_id = \(charge) AND state = 'open';
            UPDATE billing.charges
            SET state = 'paid', paid_at = billing.now(), payment_key = 'payment-\(charge)'
            WHERE charge_id = \(charge);
            UPDATE billing.subscriptions AS s
            SET period_index = s.period_index + 1, period_at = c.period_end, state = 'active',
                next_charge_at = c.period_end, open_charge_id = NULL, attempt_open = false
            FROM billing.charges AS c
            WHERE c.charge_id = \(charge) AND s.subscription_id = c.subscription_id
            """)
    }

    /// A subscription whose first charge was declined, and that charge.
    func pastDue() async throws -> (subscription: Int64, charge: Int64) {
        let subscription = try await subscribe()
        let charge = try await openCharge(of: subscription)
        try await decline(charge)
        return (subscription, charge)
    }
}
