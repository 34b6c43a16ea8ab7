import Postgres
import TestSupport
import Testing

/// `billing.audit` finds each broken promise, and nothing in a sound ledger.
@Suite(.serialized, .timeLimit(.minutes(2))) struct AuditTests {
    private func promises(_ shop: Shop) async throws -> [String] {
        try await shop.run(
            """
            SELECT promise || ': subscription ' || coalesce(subscription_id::text, 'none') || ', charge '
                   || coalesce(charge_id::text, 'none') AS line
            FROM billing.audit() ORDER BY 1
            """, as: .report
        ).map { try $0.string("line") }
    }

    /// Four subscriptions: 1 paid with charge 1, 2 past due with charge 2, 3 with charge 3 under
    /// way, 4 not yet charged.
    private func soundShop() async throws -> Shop {
        let shop = try await Shop.open()
        try await shop.pay(try await shop.openCharge(of: shop.subscribe()))
        _ = try await shop.pastDue()
        try await shop.openCharge(of: shop.subscribe())
        try await shop.subscribe(from: "billing.now() + interval '1 month'")
        return shop
    }

    @Test func aSoundLedgerHasNoFindings() async throws {
        let shop = try await soundShop()
        #expect(try await promises(shop) == [])
    }

    /// Held charges wait for a person, who finds them elsewhere; so do rows set aside, pauses and
    /// suspensions.
    @Test(arguments: [
        """
        UPDATE billing.charges SET state = 'held', reason = 'r' WHERE charge_id = 2;
        UPDATE billing.subscriptions SET next_charge_at = NULL WHERE subscription_id = 2
        """,
        """
        UPDATE billing.subscriptions SET held_reason = 'r', next_charge_at = NULL
        WHERE subscription_id = 4
        """,
        "UPDATE billing.subscriptions SET state = 'paused' WHERE subscription_id IN (2, 4)",
        """
        UPDATE billing.subscriptions
        SET lease_no = lease_no + 1, state = 'suspended', next_charge_at = NULL
        WHERE subscription_id = 1
        """,
        // A free period is paid without an attempt.
        """
        INSERT INTO billing.charges (subscription_id, period_index, period_start, period_end,
            amount, order_name, state, paid_at)
        VALUES (4, 7, now(), now() + interval '1 day', 0, 'Free', 'paid', now())
        """,
    ])
    func whatWaitsForAPersonIsNoFinding(_ script: String) async throws {
        let shop = try await soundShop()
        try await shop.run(script)
        #expect(try await promises(shop) == [])
    }

    /// Each breaks one promise, behind the back of triggers and where needed of constraints.
    private static let violations: [(promise: String, place: String, script: String)] = [
        (
            "one payment a period", "subscription 1, charge 1",
            "UPDATE billing.attempts SET contradiction = 'payment-too' WHERE charge_id = 1"
        ),
        (
            "paid has a payment key", "subscription 1, charge 1",
            """
            ALTER TABLE billing.charges DROP CONSTRAINT charges_paid_has_payment;
            UPDATE billing.charges SET payment_key = NULL WHERE charge_id = 1
            """
        ),
        (
            "an approval is paid", "subscription 2, charge 2",
            "UPDATE billing.attempts SET state = 'approved' WHERE charge_id = 2"
        ),
        (
            "paid was approved", "subscription 1, charge 1",
            "UPDATE billing.attempts SET state = 'declined' WHERE charge_id = 1"
        ),
        (
            "amounts are what was pinned", "subscription 3, charge 3",
            "UPDATE billing.attempts SET amount = 99000 WHERE charge_id = 3"
        ),
        (
            "attempts follow each other", "subscription 3, charge 3",
            """
            INSERT INTO billing.attempts (charge_id, attempt_no, order_id, idempotency_key,
                billing_key_id, amount, tax_free_amount, customer_key, order_name,
                secret_key_fingerprint)
            SELECT 3, 2, 'order-3-2', 'order-3-2', 1, amount, 0, customer_key, order_name, 'f'
            FROM billing.attempts WHERE charge_id = 3
            """
        ),
        (
            "an ended charge has no open attempt", "subscription 3, charge 3",
            """
            UPDATE billing.charges SET state = 'failed', reason = 'r' WHERE charge_id = 3;
            UPDATE billing.subscriptions SET open_charge_id = NULL, attempt_open = false,
                next_charge_at = now() + interval '1 month'
            WHERE subscription_id = 3
            """
        ),
        (
            "an open attempt ends or is held in time", "subscription 3, charge 3",
            """
            UPDATE billing.attempts SET opened_at = now() - interval '15 days'
            WHERE charge_id = 3
            """
        ),
        (
            "a due row is acted on", "subscription 4, charge none",
            """
            UPDATE billing.subscriptions SET next_charge_at = now() - interval '61 minutes'
            WHERE subscription_id = 4
            """
        ),
        (
            "an open charge is somebody's", "subscription 2, charge 2",
            """
            UPDATE billing.subscriptions SET open_charge_id = NULL, state = 'active'
            WHERE subscription_id = 2
            """
        ),
        (
            "a running subscription has a next date", "subscription 4, charge none",
            "UPDATE billing.subscriptions SET next_charge_at = NULL WHERE subscription_id = 4"
        ),
        (
            "an open charge is planned or suspended", "subscription 2, charge 2",
            "UPDATE billing.subscriptions SET next_charge_at = NULL WHERE subscription_id = 2"
        ),
        (
            "the ledger agrees with the provider's books", "subscription none, charge none",
            """
            INSERT INTO billing.reconciliations (day, compared_at, payments, findings)
            VALUES ('2026-07-14', now(), 1, 0), ('2026-07-15', now(), 1, 2)
            """
        ),
    ]

    @Test(arguments: violations)
    func aBrokenPromiseIsFound(
        _ violation: (promise: String, place: String, script: String)
    ) async throws {
        let shop = try await soundShop()
        try await shop.database.run(
            "SET session_replication_role = replica; \(violation.script)")
        #expect(try await promises(shop) == ["\(violation.promise): \(violation.place)"])
    }

    @Test func everyPromiseIsBrokenByATest() async throws {
        let shop = try await Shop.open()
        let parts = try await shop.value(
            """
            SELECT count(*) FROM regexp_matches(
                pg_get_functiondef('billing.audit'::regproc), 'SELECT ''', 'g')
            """)
        #expect(parts == "\(Self.violations.count)")
    }

    /// A lease that was taken long after the due time is work in hand.
    @Test func aRowInHandIsNoFinding() async throws {
        let shop = try await soundShop()
        try await shop.work(
            4, "next_charge_at = now() - interval '2 hours', lease_until = now() + interval '1 min'"
        )
        #expect(try await promises(shop) == [])
    }
}
