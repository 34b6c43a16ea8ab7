import Postgres
import TestSupport
import Testing

/// What a wrong program, the daemon included, cannot do to the ledger.
@Suite(.serialized, .timeLimit(.minutes(2))) struct LedgerGuardTests {
    /// For what is refused, and leaves nothing behind: a charge whose attempt was declined, and one
    /// whose attempt is under way.
    private static let declined = Task {
        let shop = try await Shop.open()
        _ = try await shop.pastDue()
        return shop
    }
    private static let underWay = Task {
        let shop = try await Shop.open()
        try await shop.run("SELECT billing.register_billing_key('customer-1', 'billing-key-2')")
        try await shop.openCharge(of: shop.subscribe())
        return shop
    }

    // MARK: Nothing is lost

    @Test(
        arguments: ["charges", "attempts", "events"],
        ["DELETE FROM billing.%", "TRUNCATE billing.% CASCADE"])
    func rowsAreNeverDeleted(_ table: String, _ statement: String) async throws {
        let shop = try await Self.declined.value
        try await shop.expectRefusal(
            of: statement.replacing("%", with: table), "23001", naming: "rows are never deleted")
    }

    @Test(arguments: [
        "DELETE FROM billing.subscriptions", "DELETE FROM billing.customers",
        "DELETE FROM billing.plans", "DELETE FROM billing.billing_keys",
        "TRUNCATE billing.subscriptions CASCADE", "TRUNCATE billing.customers CASCADE",
    ])
    func whatTheLedgerRefersToStays(_ script: String) async throws {
        let shop = try await Self.declined.value
        let error = try #require(try await shop.refusal(of: script))
        #expect(["23001", "23503"].contains(error.sqlState))
    }

    // MARK: What is pinned stays

    @Test(arguments: [
        "subscription_id = subscription_id + 1", "period_index = 1",
        "period_start = period_start - interval '1 day'",
        "period_end = period_end + interval '1 day'", "amount = 10000", "tax_free_amount = 100",
        "order_name = 'Other'", "created_at = now()",
    ])
    func whatAChargeFrozeNeverChanges(_ assignment: String) async throws {
        let shop = try await Self.declined.value
        try await shop.expectRefusal(
            of: "UPDATE billing.charges SET \(assignment)", "23514",
            naming: "what was frozen when it was opened never changes")
    }

    @Test(arguments: [
        "charge_id = charge_id + 1", "attempt_no = 2", "order_id = 'another-name'",
        "idempotency_key = 'another-name'", "billing_key_id = 2", "amount = 10000",
        "tax_free_amount = 100", "customer_key = 'customer-2'", "order_name = 'Other'",
        "secret_key_fingerprint = 'other'", "opened_at = now()",
    ])
    func whatAnAttemptPinsNeverChanges(_ assignment: String) async throws {
        let shop = try await Self.underWay.value
        try await shop.expectRefusal(
            of: "UPDATE billing.attempts SET \(assignment)", "23514",
            naming: "a pinned field never changes")
    }

    @Test(
        arguments: [
            ("billing_key = 'billing-key-2'", "never change"),
            ("customer_key = 'customer-2'", "never change"),
        ], [true, false])
    func aStoredKeyNeverChanges(_ change: (String, String), _ isUsed: Bool) async throws {
        let shop = try await Shop.open()
        try await shop.run("INSERT INTO billing.customers (customer_key) VALUES ('customer-2')")
        if isUsed { try await shop.openCharge(of: shop.subscribe()) }
        try await shop.expectRefusal(
            of: "UPDATE billing.billing_keys SET \(change.0)", "23514", naming: change.1)
    }

    @Test func aPaymentKeyNeverChanges() async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        try await shop.pay(charge)
        for value in ["'payment-other'", "NULL"] {
            try await shop.expectRefusal(
                of: "UPDATE billing.charges SET payment_key = \(value)", "23514",
                naming: "a payment key never changes")
        }
    }

    // MARK: One of each

    @Test func aPeriodHasOneCharge() async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.pay(try await shop.openCharge(of: subscription))
        let second = """
            INSERT INTO billing.charges (subscription_id, period_index, period_start, period_end,
                amount, order_name)
            VALUES (\(subscription), 0, now(), now() + interval '1 month', 9900, 'Monthly')
            """
        try await shop.expectRefusal(of: second, "23505", naming: "charges_one_per_period")
        try await shop.expectRefusal(
            of: second, "23505", naming: "charges_one_per_period", as: .worker)
    }

    @Test func aSubscriptionHasOneOpenCharge() async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        try await shop.expectRefusal(
            of: """
                INSERT INTO billing.charges (subscription_id, period_index, period_start,
                    period_end, amount, order_name)
                VALUES (\(subscription), 1, now(), now() + interval '1 month', 9900, 'Monthly')
                """, "23505", naming: "charges_one_open")
    }

    @Test(arguments: [0, -1, 21])
    func attemptsAreNumberedFromOneToTwenty(_ number: Int) async throws {
        let shop = try await Shop.open()
        let (_, charge) = try await shop.pastDue()
        try await shop.expectRefusal(
            of: "SET session_replication_role = replica; \(shop.newAttempt(number, of: charge))",
            "23514", naming: "attempts_attempt_no")
    }

    /// The provider remembers an order id for ever: another charge may not use it again.
    @Test func anOrderIDIsUsedOnce() async throws {
        let shop = try await Shop.open()
        let first = try await shop.openCharge(of: shop.subscribe())
        let second = try await shop.openCharge(of: shop.subscribe())
        try await shop.decline(second)
        try await shop.expectRefusal(
            of: shop.newAttempt(2, of: second)
                .replacing("order-\(second)-2", with: "order-\(first)-1"),
            "23505", naming: "attempts_order_id_unique")
    }

    @Test func aPaymentPaysOneCharge() async throws {
        let shop = try await Shop.open()
        let first = try await shop.openCharge(of: shop.subscribe())
        let second = try await shop.openCharge(of: shop.subscribe())
        try await shop.pay(first)
        try await shop.expectRefusal(
            of: """
                UPDATE billing.attempts SET state = 'approved', finished_at = billing.now()
                WHERE charge_id = \(second);
                UPDATE billing.charges
                SET state = 'paid', paid_at = now(), payment_key = 'payment-\(first)'
                WHERE charge_id = \(second)
                """, "23505", naming: "charges_payment_key_unique")
    }

    // MARK: The gap

    @Test func anAttemptThatWasEverUnknownIsFollowedAfterTheGap() async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        try await shop.run("UPDATE billing.attempts SET unknown_since = billing.now()")
        try await shop.decline(charge, ago: "59 minutes")
        try await shop.expectRefusal(
            of: shop.newAttempt(2, of: charge), "23514",
            naming: "the gap after the one before it is not over")
        try await shop.run("UPDATE billing.settings SET clock_offset = '1 minute'")
        try await shop.openAttempt(2, of: charge)
    }

    @Test(arguments: ["failed", "skipped"])
    func aChargeEndsUnpaidAfterTheGap(_ state: String) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        let ending = "UPDATE billing.charges SET state = '\(state)', reason = 'exhausted'"
        try await shop.expectRefusal(
            of: ending, "23514", naming: "may not end while attempt 1 is open")
        try await shop.decline(charge, ago: "59 minutes")
        try await shop.expectRefusal(
            of: ending, "23514", naming: "may not end unpaid before its seal")
        try await shop.run("UPDATE billing.settings SET clock_offset = '1 minute'")
        try await shop.run(ending)
    }

    @Test func aChargeIsNotPaidWhileItsAttemptIsOpen() async throws {
        let shop = try await Self.underWay.value
        try await shop.expectRefusal(
            of: "UPDATE billing.charges SET state = 'paid', paid_at = now(), payment_key = 'p'",
            "23514", naming: "may not end while attempt 1 is open")
    }

    @Test func paidAndApprovedMayBeWrittenByOneStatement() async throws {
        let shop = try await Shop.open()
        try await shop.openCharge(of: shop.subscribe())
        try await shop.run(
            """
            WITH ended AS (
                UPDATE billing.attempts SET state = 'approved', finished_at = billing.now()
            )
            UPDATE billing.charges SET state = 'paid', paid_at = now(), payment_key = 'p'
            """)
        #expect(try await shop.holds("state = 'paid'", in: "charges"))
    }

    // MARK: The end is the end

    @Test(arguments: [
        ("state = 'open', finished_at = NULL", "has ended and never changes"),
        ("state = 'approved'", "has ended and never changes"),
        ("code = 'OTHER'", "has ended and never changes"),
        ("finished_at = now() - interval '1 day'", "has ended and never changes"),
    ])
    func anEndedAttemptNeverChanges(_ assignments: String, _ words: String) async throws {
        let shop = try await Self.declined.value
        try await shop.expectRefusal(
            of: "UPDATE billing.attempts SET \(assignments)", "23514", naming: words)
    }

    /// From one state of a charge to another, where the protocol's diagram has no arrow.
    @Test(arguments: [
        ("paid", "open"), ("paid", "failed"), ("paid", "skipped"), ("failed", "open"),
        ("failed", "paid"), ("failed", "skipped"), ("failed", "refunded"), ("skipped", "open"),
        ("skipped", "paid"), ("skipped", "failed"), ("refunded", "open"), ("refunded", "paid"),
        ("refunded", "failed"), ("refunded", "skipped"),
    ])
    func aChargeThatEndedStaysSo(_ from: String, _ to: String) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        switch from {
        case "paid": try await shop.pay(charge)
        case "refunded":
            try await shop.pay(charge)
            try await shop.run("UPDATE billing.charges SET state = 'refunded'")
        default:
            try await shop.decline(charge, ago: "2 hours")
            try await shop.run("UPDATE billing.charges SET state = '\(from)', reason = 'r'")
        }
        try await shop.expectRefusal(
            of: """
                UPDATE billing.charges
                SET state = '\(to)', reason = 'r', paid_at = coalesce(paid_at, now()),
                    payment_key = coalesce(payment_key, 'p')
                """, "23514", naming: "may not go from \(from) to \(to)")
    }

    @Test(arguments: [
        ("paid", "refunded"), ("paid", "held"), ("refunded", "held"), ("failed", "held"),
        ("open", "held"),
    ])
    func aPaymentThatTurnsUpIsHeld(_ from: String, _ to: String) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        if from == "paid" || from == "refunded" { try await shop.pay(charge) }
        if from == "refunded" {
            try await shop.run("UPDATE billing.charges SET state = 'refunded'")
        }
        if from == "failed" {
            try await shop.decline(charge, ago: "2 hours")
            try await shop.run("UPDATE billing.charges SET state = 'failed', reason = 'exhausted'")
        }
        try await shop.run("UPDATE billing.charges SET state = '\(to)', reason = 'contradiction'")
        #expect(try await shop.holds("state = '\(to)'", in: "charges"))
    }

    /// An attempt moves money: none for a charge that has ended or that a person must look at.
    @Test(arguments: ["failed", "skipped", "held"])
    func noAttemptIsOpenedForAChargeThatIsNotOpen(_ state: String) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        try await shop.decline(charge, ago: "2 hours")
        try await shop.run("UPDATE billing.charges SET state = '\(state)', reason = 'r'")
        try await shop.expectRefusal(
            of: shop.newAttempt(2, of: charge), "23514", naming: "is \(state)")
    }

    @Test func anAttemptIsForTheChargesAmount() async throws {
        let shop = try await Shop.open()
        let (_, charge) = try await shop.pastDue()
        try await shop.expectRefusal(
            of: shop.newAttempt(2, of: charge).replacing("c.amount, 0", with: "99000, 0"), "23514",
            naming: "amount")
    }

    // MARK: A row makes sense

    @Test(arguments: [
        ("state = 'paid', paid_at = now()", "charges_paid_has_payment"),
        ("state = 'paid', payment_key = 'p'", "charges_paid_has_payment"),
        ("state = 'refunded', paid_at = now()", "charges_paid_has_payment"),
        ("state = 'failed'", "charges_reason"), ("state = 'skipped'", "charges_reason"),
        ("state = 'held'", "charges_reason"), ("state = 'lost'", "charges_state"),
    ])
    func aChargeThatMakesNoSenseIsRefused(_ assignments: String, _ name: String) async throws {
        let shop = try await Self.declined.value
        try await shop.expectRefusal(
            of: "UPDATE billing.charges SET \(assignments)", "23514", naming: name, as: .worker)
    }

    @Test(arguments: [
        ("50", "'Monthly'", "0", "now() + interval '1 month'", "charges_amount"),
        ("-9900", "'Monthly'", "0", "now() + interval '1 month'", "charges_amount"),
        ("100000001", "'Monthly'", "0", "now() + interval '1 month'", "charges_amount"),
        ("9900", "''", "0", "now() + interval '1 month'", "charges_amount"),
        ("9900", "'Monthly'", "9901", "now() + interval '1 month'", "charges_amount"),
        ("9900", "'Monthly'", "0", "now()", "charges_period"),
        ("9900", "'Monthly'", "0", "now() - interval '1 day'", "charges_period"),
    ])
    func aChargeOfNonsenseIsNotOpened(
        _ amount: String, _ name: String, _ taxFree: String, _ end: String, _ constraint: String
    ) async throws {
        let shop = try await Self.declined.value
        try await shop.expectRefusal(
            of: """
                INSERT INTO billing.charges (subscription_id, period_index, period_start,
                    period_end, amount, tax_free_amount, order_name)
                VALUES (1, 1, now(), \(end), \(amount), \(taxFree), \(name))
                """, "23514", naming: constraint, as: .worker)
    }

    @Test(arguments: [
        ("state = 'declined'", "attempts_finished"), ("finished_at = now()", "attempts_finished"),
        ("state = 'lost', finished_at = now()", "attempts_state"),
    ])
    func anAttemptThatMakesNoSenseIsRefused(_ assignments: String, _ name: String) async throws {
        let shop = try await Self.underWay.value
        try await shop.expectRefusal(
            of: "UPDATE billing.attempts SET \(assignments)", "23514", naming: name, as: .worker)
    }
}
