import TestSupport
import Testing

/// What the web app's functions and plain statements set off.
@Suite(.serialized, .timeLimit(.minutes(2))) struct WebAppTests {
    // MARK: subscribe

    @Test func aSubscriptionIsDueWhenItStarts() async throws {
        let shop = try await Shop.open()
        try await shop.run("SELECT billing.subscribe('customer-1', 'monthly')", as: .web)
        #expect(
            try await shop.holds(
                """
                state = 'active' AND next_charge_at = created_at AND anchor_at = created_at
                AND period_at = created_at AND period_index = 0 AND amount IS NULL
                AND cycle = '1 month' AND cancel_at IS NULL AND next_charge_at <= billing.now()
                """))
    }

    @Test func aSubscriptionThatStartsLaterIsDueLater() async throws {
        let shop = try await Shop.open()
        try await shop.run(
            "SELECT billing.subscribe('customer-1', 'monthly', '2040-01-31 09:00+09', 4900)",
            as: .web)
        #expect(
            try await shop.holds(
                """
                next_charge_at = '2040-01-31 09:00+09' AND anchor_at = next_charge_at
                AND amount = 4900
                """))
    }

    @Test func subscribingIsAPlainInsert() async throws {
        let shop = try await Shop.open()
        try await shop.run(
            """
            SELECT billing.subscribe('customer-1', 'monthly', '2040-01-31 09:00+09', 4900);
            INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, amount)
            VALUES ('customer-1', 'monthly', '2040-01-31 09:00+09', 4900)
            """, as: .web)
        #expect(
            try await shop.value(
                """
                SELECT count(DISTINCT to_jsonb(s) - '{subscription_id,order_prefix,created_at}'
                    ::text[]) || ' of ' || count(*)
                FROM billing.subscriptions AS s
                """) == "1 of 2")
    }

    /// As when customers move in from another system.
    @Test func aSubscriptionMayStartInALaterPeriod() async throws {
        let shop = try await Shop.open()
        try await shop.run(
            """
            INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, period_index)
            VALUES ('customer-1', 'monthly', '2040-01-31 09:00+09', 1)
            """, as: .web)
        #expect(
            try await shop.holds(
                "period_at = '2040-02-29 09:00+09' AND next_charge_at = period_at"))
    }

    @Test func aSubscriptionMayStartPaused() async throws {
        let shop = try await Shop.open()
        try await shop.run(
            """
            INSERT INTO billing.subscriptions (customer_key, plan_id, state)
            VALUES ('customer-1', 'monthly', 'paused')
            """, as: .web)
        #expect(try await shop.holds("next_charge_at IS NULL"))
        try await shop.run("UPDATE billing.subscriptions SET state = 'active'", as: .web)
        #expect(try await shop.holds("next_charge_at = period_at"))
    }

    @Test func theFirstPeriodIsInThePlansZone() async throws {
        let shop = try await Shop.open()
        try await shop.run(
            """
            UPDATE billing.plans SET time_zone = 'America/New_York';
            INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, period_index)
            VALUES ('customer-1', 'monthly', '2040-02-20 09:00-05', 1)
            """, as: .web)
        #expect(try await shop.holds("next_charge_at = '2040-03-20 09:00-04'"))
    }

    // MARK: register_billing_key

    @Test func theSameKeyTwiceIsOneRow() async throws {
        let shop = try await Shop.open()
        let call = "SELECT billing.register_billing_key('customer-9', 'billing-key-9')"
        let first = try await shop.value(call, as: .web)
        #expect(try await shop.value(call, as: .web) == first)
        #expect(
            try await shop.value(
                "SELECT count(*) FROM billing.billing_keys WHERE customer_key = 'customer-9'")
                == "1")
    }

    private static let registrations = [
        "SELECT billing.register_billing_key('customer-1', 'billing-key-2')",
        """
        INSERT INTO billing.billing_keys (customer_key, billing_key)
        VALUES ('customer-1', 'billing-key-2')
        """,
    ]

    @Test(arguments: ["past_due", "suspended"], registrations)
    func aNewCardMakesADeclinedChargeDueAtOnce(
        _ state: String, _ registration: String
    ) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        try await shop.decline(
            charge, leaves: state,
            next: state == "suspended" ? "NULL" : "billing.now() + interval '3 days'")
        try await shop.run(registration, as: .web)
        #expect(
            try await shop.holds(
                """
                next_charge_at BETWEEN billing.now() - interval '1 minute' AND billing.now()
                AND state = '\(state)' AND open_charge_id = \(charge)
                """))
    }

    @Test(arguments: registrations)
    func aNewCardDoesNotPostponeWhatIsDue(_ registration: String) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        try await shop.decline(charge, next: "billing.now() - interval '1 hour'")
        try await shop.run(registration, as: .web)
        #expect(try await shop.holds("next_charge_at < billing.now() - interval '59 minutes'"))
    }

    private static let untouched: [String: String] = [
        "active": "state = 'active', open_charge_id = NULL",
        "exhausted": "state = 'suspended', open_charge_id = NULL, next_charge_at = NULL",
        "paused": "state = 'paused', next_charge_at = NULL",
        "canceled": "state = 'canceled', next_charge_at = NULL",
        "under way": "attempt_open = true",
        "set aside": "held_reason = 'nonsense', next_charge_at = NULL",
    ]

    @Test(arguments: untouched.keys.sorted())
    func aNewCardLeavesOthersAlone(_ name: String) async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        try await shop.work(subscription, Self.untouched[name] ?? "")
        let before = try await shop.value("SELECT to_jsonb(s) FROM billing.subscriptions AS s")
        try await shop.run(Self.registrations[0], as: .web)
        #expect(
            try await shop.value("SELECT to_jsonb(s) FROM billing.subscriptions AS s") == before)
    }

    @Test func aNewCardLeavesHeldChargesAndOtherCustomersAlone() async throws {
        let shop = try await Shop.open()
        let (subscription, charge) = try await shop.pastDue()
        try await shop.run("SELECT billing.register_billing_key('customer-2', 'billing-key-9')")
        #expect(try await shop.holds("next_charge_at > billing.now()"))
        try await shop.run("UPDATE billing.charges SET state = 'held', reason = 'r'")
        try await shop.work(subscription, "next_charge_at = NULL")
        try await shop.run(Self.registrations[0], as: .web)
        #expect(try await shop.holds("next_charge_at IS NULL AND open_charge_id = \(charge)"))
    }

    @Test func choosingAnotherCardMakesADeclinedChargeDueAtOnce() async throws {
        let shop = try await Shop.open()
        try await shop.run(Self.registrations[0])
        _ = try await shop.pastDue()
        try await shop.run("UPDATE billing.subscriptions SET billing_key_id = 2", as: .web)
        #expect(try await shop.holds("next_charge_at <= billing.now()"))
    }

    // MARK: change_plan, change_amount

    @Test func aChangeOfPlanHoldsFromTheNextChargeOn() async throws {
        let shop = try await Shop.open()
        try await shop.run(
            """
            INSERT INTO billing.plans (plan_id, name, amount, cycle)
            VALUES ('weekly', 'Weekly', 3000, '7 days')
            """)
        let (subscription, _) = try await shop.pastDue()
        let before = try await shop.value(
            "SELECT to_jsonb(s) - 'plan_id' FROM billing.subscriptions AS s")
        try await shop.run("SELECT billing.change_plan(\(subscription), 'weekly')", as: .web)
        // The anchor moves with the charge that is opened next, not before.
        #expect(
            try await shop.value("SELECT to_jsonb(s) - 'plan_id' FROM billing.subscriptions AS s")
                == before)
        #expect(try await shop.holds("plan_id = 'weekly'"))
        #expect(try await shop.holds("amount = 9900", in: "charges"))
    }

    @Test func aChangeOfAmountHoldsFromTheNextChargeOn() async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        try await shop.run("SELECT billing.change_amount(\(subscription), 4900)", as: .web)
        #expect(try await shop.holds("amount = 4900"))
        #expect(try await shop.holds("amount = 9900", in: "charges"))
        try await shop.run("SELECT billing.change_amount(\(subscription), NULL)", as: .web)
        #expect(try await shop.holds("amount IS NULL"))
    }

    // MARK: retry_now

    @Test(arguments: ["past_due", "suspended"])
    func aDeclinedChargeIsRetriedNow(_ state: String) async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.decline(try await shop.openCharge(of: subscription), leaves: state)
        #expect(
            try await shop.value("SELECT billing.retry_now(\(subscription))", as: .web) == "true")
        #expect(try await shop.holds("next_charge_at <= billing.now() AND state = '\(state)'"))
    }

    @Test func retryingDoesNotPostponeWhatIsDue() async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.decline(
            try await shop.openCharge(of: subscription), next: "billing.now() - interval '1 hour'")
        #expect(try await shop.value("SELECT billing.retry_now(\(subscription))") == "true")
        #expect(try await shop.holds("next_charge_at < billing.now() - interval '59 minutes'"))
    }

    @Test(arguments: ["active", "exhausted", "paused", "canceled", "under way"])
    func thereIsNothingToRetry(_ name: String) async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        try await shop.work(subscription, Self.untouched[name] ?? "")
        let before = try await shop.value("SELECT to_jsonb(s) FROM billing.subscriptions AS s")
        #expect(
            try await shop.value("SELECT billing.retry_now(\(subscription))", as: .web) == "false")
        #expect(
            try await shop.value("SELECT to_jsonb(s) FROM billing.subscriptions AS s") == before)
    }

    @Test func aHeldChargeIsNotRetried() async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        try await shop.run("UPDATE billing.charges SET state = 'held', reason = 'r'")
        #expect(try await shop.value("SELECT billing.retry_now(\(subscription))") == "false")
    }
}
