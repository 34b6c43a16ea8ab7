import Postgres
import TestSupport
import Testing

/// What is refused at the door, for the web app's role unless said otherwise: each refusal names
/// the column and the rule.
@Suite(.serialized, .timeLimit(.minutes(2))) struct BadInputTests {
    /// One for all: what is refused leaves nothing behind.
    private static let shop = Task {
        let shop = try await Shop.open()
        try await shop.subscribe()
        try await shop.run("SELECT billing.register_billing_key('customer-2', 'billing-key-2')")
        return shop
    }

    private func refuse(_ script: String, _ sqlState: String, _ words: String) async throws {
        try await Self.shop.value.expectRefusal(of: script, sqlState, naming: words, as: .web)
    }

    /// Accepted by the same role, and taken back.
    private func accept(_ script: String) async throws {
        try await Self.shop.value.run("BEGIN; \(script); ROLLBACK", as: .web)
    }

    private static let amountRule = "amount: 0, or 100 to 100,000,000 won"
    private static let cycleRule = "cycle: whole months or whole days, more than 0"

    @Test(arguments: [
        ("amount", "50", amountRule), ("amount", "99", amountRule), ("amount", "1", amountRule),
        ("amount", "-1", amountRule), ("amount", "-9900", amountRule),
        ("amount", "100000001", amountRule), ("amount", "2147483648", amountRule),
        ("amount", "9223372036854775807", amountRule),
        ("tax_free_amount", "-1", "tax_free_amount: 0 to amount"),
        ("tax_free_amount", "9901", "tax_free_amount: 0 to amount"),
        ("cycle", "'0'", cycleRule), ("cycle", "'0 days'", cycleRule),
        ("cycle", "'-1 month'", cycleRule), ("cycle", "'-7 days'", cycleRule),
        ("cycle", "'1 month 1 day'", cycleRule), ("cycle", "'2 months -1 day'", cycleRule),
        ("cycle", "'1 year 1 day'", cycleRule), ("cycle", "'24 hours'", cycleRule),
        // Equal to a month for PostgreSQL, which takes it for 30 days and a day for 24 hours.
        ("cycle", "'1 month 1 day -24 hours'", cycleRule),
        ("cycle", "'1 month -30 days 720 hours'", cycleRule),
        ("cycle", "'2 months -30 days'", cycleRule), ("cycle", "'1 day -24 hours'", cycleRule),
        ("cycle", "'1 day 1 hour'", cycleRule), ("cycle", "'1 month 1 second'", cycleRule),
        ("cycle", "'1 day 0.000001 seconds'", cycleRule), ("cycle", "'121 months'", cycleRule),
        ("cycle", "'11 years'", cycleRule), ("cycle", "'3661 days'", cycleRule),
        ("name", "U&'\\00A0'", "name: 1 to 100 characters"),
        ("name", "U&'\\3000\\200B \\3164'", "name: 1 to 100 characters"),
        ("time_zone", "''", "plans.time_zone"), ("time_zone", "'Asia/Soeul'", "plans.time_zone"),
        ("time_zone", "E'Asia/Seoul\\n'", "plans.time_zone"),
        // POSIX text, whose sign is the other way round: 18 hours from what was meant.
        ("time_zone", "'UTC+9'", "plans.time_zone"), ("time_zone", "'Seoul9'", "plans.time_zone"),
        ("time_zone", "'+09:00'", "plans.time_zone"),
        ("dunning", "'{0 days}'", "dunning: at most 15 steps of 1 day to 60 days"),
        ("dunning", "'{1 day,23 hours}'", "dunning: at most 15 steps of 1 day to 60 days"),
        ("dunning", "'{61 days}'", "dunning: at most 15 steps of 1 day to 60 days"),
        ("dunning", "'{-1 day}'", "dunning: at most 15 steps of 1 day to 60 days"),
        ("dunning", "'{1 day,NULL}'", "dunning: at most 15 steps of 1 day to 60 days"),
        ("dunning", "'{{1 day},{3 days}}'", "dunning: at most 15 steps of 1 day to 60 days"),
        (
            "dunning", "array_fill(interval '1 day', '{16}')",
            "dunning: at most 15 steps of 1 day to 60 days"
        ),
        ("on_exhausted", "'ignore'", "on_exhausted: suspend or cancel"),
        ("catch_up", "'all'", "catch_up: latest, each or hold"),
        ("plan_id", "''", "plan_id: 1 to 100 characters"),
        ("plan_id", "repeat('p', 101)", "plan_id: 1 to 100 characters"),
    ])
    func aPlanIsRefused(_ column: String, _ value: String, _ rule: String) async throws {
        try await refuse("UPDATE billing.plans SET \(column) = \(value)", "23514", rule)
        var values = [
            "plan_id": "'new'", "name": "'New'", "amount": "9900", "cycle": "'1 month'",
        ]
        values[column] = value
        let columns = values.keys.sorted()
        try await refuse(
            """
            INSERT INTO billing.plans (\(columns.joined(separator: ", ")))
            VALUES (\(columns.compactMap { values[$0] }.joined(separator: ", ")))
            """, "23514", rule)
    }

    /// An order name of the provider: 1 to 100 UTF-16 units that can be read.
    private static let orderNames: [(String, Bool)] = [
        ("", false), (" ", false), (" \t ", false), ("\u{3000}", false),
        (String(repeating: "a", count: 100), true), (String(repeating: "a", count: 101), false),
        (String(repeating: "a", count: 200), false), ("two\nlines", false), ("end\n", false),
        ("\rstart", false), ("a\u{7}b", false), ("a\u{0}b", false), ("a\u{7f}b", false),
        ("a\u{85}b", false), ("프리미엄 월간 구독", true),
        (String(repeating: "구", count: 100), true), (String(repeating: "구", count: 101), false),
        // An emoji counts as two, as in the provider's UTF-16.
        ("Gold 🥇 plan", true), (String(repeating: "🎉", count: 50), true),
        (String(repeating: "🎉", count: 51), false),
        (String(repeating: "a", count: 98) + "🎉", true),
        (String(repeating: "a", count: 99) + "🎉", false),
        (String(repeating: "🇰🇷", count: 25), true), (String(repeating: "🇰🇷", count: 26), false),
        ("'; DROP TABLE billing.plans; --", true), ("100% \\ \"quoted\"", true),
    ]

    @Test(arguments: orderNames)
    func aNameIsAnOrderNameOrRefused(_ name: String, _ isGood: Bool) async throws {
        let shop = try await Self.shop.value
        let connection = try await shop.database.connect(as: .web)
        let statement: PostgresQuery = "UPDATE billing.plans SET name = \(name)"
        if isGood {
            _ = try await connection.query(statement)
            #expect(try await shop.value("SELECT name FROM billing.plans") == name)
        } else {
            let error = await #expect(throws: PostgresError.self) {
                _ = try await connection.query(statement)
            }
            // A zero byte is no text for PostgreSQL at all.
            let isRule = error?.constraint == "name: 1 to 100 characters, no control characters"
            #expect(isRule || name.contains("\0"), "\(String(describing: error))")
        }
        await connection.close()
    }

    @Test(arguments: [
        ("'c'", "customer_key: 2 to 300 characters"),
        ("''", "customer_key: 2 to 300 characters"),
        ("repeat('c', 301)", "customer_key: 2 to 300 characters"),
        ("'with space'", "customer_key: only A-Z a-z 0-9 - _ = . @"),
        ("'고객-1'", "customer_key: only A-Z a-z 0-9 - _ = . @"),
        ("'a/b'", "customer_key: only A-Z a-z 0-9 - _ = . @"),
        ("'a+b@example.com'", "customer_key: only A-Z a-z 0-9 - _ = . @"),
        ("E'ab\\n'", "customer_key: only A-Z a-z 0-9 - _ = . @"),
        ("E'ab\\ncd'", "customer_key: only A-Z a-z 0-9 - _ = . @"),
        ("'ａｂ'", "customer_key: only A-Z a-z 0-9 - _ = . @"),
    ])
    func aCustomerKeyIsRefused(_ key: String, _ rule: String) async throws {
        try await refuse(
            "INSERT INTO billing.customers (customer_key) VALUES (\(key))", "23514", rule)
        try await refuse(
            "SELECT billing.register_billing_key(\(key), 'billing-key-9')", "23514", rule)
    }

    @Test(arguments: ["'ab'", "repeat('c', 300)", "'A-z_0=9.@'"])
    func aCustomerKeyIsAccepted(_ key: String) async throws {
        try await accept("INSERT INTO billing.customers (customer_key) VALUES (\(key))")
    }

    @Test(arguments: [
        "'short-7'", "''", "repeat('k', 201)", "'billing/key/9'", "'../payments/9'",
        "'billing-key?a=b'", "'billing-key#9'", "'billing%2fkey'", "'billing key 9'",
        "E'billing-key-9\\r\\nX-Evil: 1'", "E'billing-key-9\\n'", "E'\\nbilling-key-9'",
        "'billing-key-빌링'",
    ])
    func aBillingKeyIsRefused(_ key: String) async throws {
        let rule = "billing_key: 8 to 200 of A-Z a-z 0-9 _ = -"
        try await refuse("SELECT billing.register_billing_key('customer-1', \(key))", "23514", rule)
        try await refuse(
            """
            INSERT INTO billing.billing_keys (customer_key, billing_key)
            VALUES ('customer-1', \(key))
            """, "23514", rule)
    }

    @Test(arguments: [
        "4330123412341234", "4330-1234-1234-1234", "4330 1234 1234 1234", "3782 822463 10005",
        "433012341234", "4330.1234.1234.1234", "433012******1234567890",
    ])
    func aCardNumberThatIsNotMaskedIsRefused(_ number: String) async throws {
        try await refuse(
            "SELECT billing.register_billing_key('customer-1', 'billing-key-9', '\(number)')",
            "23514", "card_number: masked, at most 20 characters")
    }

    @Test(arguments: ["43301234****123*", "433012******1234", "4330-12**-****-1234", "****"])
    func aMaskedCardNumberIsAccepted(_ number: String) async throws {
        try await accept(
            "SELECT billing.register_billing_key('customer-1', 'billing-key-9', '\(number)')")
    }

    @Test(arguments: [
        (
            "SELECT billing.register_billing_key('customer-2', 'billing-key-1')",
            "billing_keys.billing_key: this key was issued to another customer"
        ),
        (
            """
            INSERT INTO billing.billing_keys (customer_key, billing_key)
            VALUES ('customer-2', 'billing-key-1')
            """, "billing_keys_billing_key_unique"
        ),
    ])
    func aKeyOfAnotherCustomerIsNotStoredAgain(_ script: String, _ words: String) async throws {
        let error = try #require(try await Self.shop.value.refusal(of: script, as: .web))
        #expect(error.sqlState == "23505")
        #expect(error.description.contains(words), "\(error)")
        // PostgreSQL would tell the key to anyone who may read it.
        #expect(!error.debugDescription.contains("billing-key-1"), "\(error.debugDescription)")
    }

    @Test(arguments: [
        ("plan_id", "'yearly'", "23503", "subscriptions.plan_id: there is no plan \"yearly\""),
        ("plan_id", "NULL", "23503", "subscriptions.plan_id"),
        ("customer_key", "'nobody'", "23503", "subscriptions_customer_key_fkey"),
        ("amount", "50", "23514", "amount: null, 0, or 100 to 100,000,000 won"),
        ("amount", "-9900", "23514", "amount: null, 0, or 100 to 100,000,000 won"),
        ("amount", "100000001", "23514", "amount: null, 0, or 100 to 100,000,000 won"),
        ("amount", "4294967296", "23514", "amount: null, 0, or 100 to 100,000,000 won"),
        ("billing_key_id", "2", "23503", "billing_key_id: a card of this customer"),
        ("billing_key_id", "99", "23503", "billing_key_id: a card of this customer"),
        ("anchor_at", "'infinity'", "23514", "anchor_at: a finite time"),
        ("anchor_at", "'-infinity'", "23514", "anchor_at: a finite time"),
        ("cancel_at", "'infinity'", "23514", "cancel_at: a finite time or null"),
        ("cancel_at", "'-infinity'", "23514", "cancel_at: a finite time or null"),
        ("period_index", "-1", "23514", "period_index: 0 or more"),
        ("state", "'past_due'", "23514", "subscriptions.state"),
        ("state", "'suspended'", "23514", "subscriptions.state"),
        ("state", "'canceled'", "23514", "subscriptions.state"),
        ("state", "'trial'", "23514", "subscriptions.state"),
    ])
    func aNewSubscriptionIsRefused(
        _ column: String, _ value: String, _ sqlState: String, _ words: String
    ) async throws {
        var values = ["customer_key": "'customer-1'", "plan_id": "'monthly'"]
        values[column] = value
        let columns = values.keys.sorted()
        try await refuse(
            """
            INSERT INTO billing.subscriptions (\(columns.joined(separator: ", ")))
            VALUES (\(columns.compactMap { values[$0] }.joined(separator: ", ")))
            """, sqlState, words)
    }

    @Test(arguments: [
        ("subscribe('customer-1', 'yearly')", "23503", "subscriptions.plan_id"),
        ("subscribe('nobody', 'monthly')", "23503", "subscriptions_customer_key_fkey"),
        ("subscribe('customer-1', 'monthly', 'infinity')", "23514", "anchor_at: a finite time"),
        (
            "subscribe('customer-1', 'monthly', now(), 50)", "23514",
            "amount: null, 0, or 100 to 100,000,000 won"
        ),
        ("change_plan(1, 'yearly')", "23503", "subscriptions_plan_id_fkey"),
        ("change_plan(99, 'monthly')", "P0002", "subscription_id: there is no subscription 99"),
        ("change_amount(1, 99)", "23514", "amount: null, 0, or 100 to 100,000,000 won"),
        ("change_amount(99, 100)", "P0002", "subscription_id: there is no subscription 99"),
        ("cancel(1, 'tomorrow')", "22023", "at: period_end or now"),
        ("cancel(1, NULL)", "22023", "at: period_end or now"),
        ("cancel(99)", "P0002", "subscription_id: there is no subscription 99"),
        ("pause(99)", "P0002", "subscription_id: there is no subscription 99"),
        ("resume(99)", "P0002", "subscription_id: there is no subscription 99"),
        ("retry_now(99)", "P0002", "subscription_id: there is no subscription 99"),
        ("forecast('infinity')", "22023", "until: a finite time"),
        ("forecast('-infinity')", "22023", "until: a finite time"),
        ("forecast(NULL)", "22023", "until: a finite time"),
        ("pause(NULL)", "P0002", "subscription_id"),
        ("register_billing_key(NULL, 'billing-key-9')", "23502", "customer_key"),
        ("register_billing_key('customer-1', NULL)", "23514", "billing_key"),
    ])
    func aCallIsRefused(_ call: String, _ sqlState: String, _ words: String) async throws {
        try await refuse("SELECT billing.\(call)", sqlState, words)
    }
}
