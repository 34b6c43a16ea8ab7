import Postgres
import TestSupport
import Testing

/// Hints to idle workers and to readers of the outbox.
@Suite(.serialized, .timeLimit(.minutes(2))) struct NotificationTests {
    /// Payloads heard on `channel` because of a script. A probe of our own is heard last:
    /// notifications come in the order of their commits, so that silence is proven without waiting.
    private func heard(
        _ channel: String, by script: String, as role: TemporaryPostgres.Role = .web, in shop: Shop
    ) async throws -> [String] {
        try await heard(channel, in: shop.database) { try await shop.run(script, as: role) }
    }

    private func heard(
        _ channel: String, in database: TestDatabase, by action: () async throws -> Void
    ) async throws -> [String] {
        let listener = try await database.connect(as: .worker)
        try await listener.listen(channel)
        try await action()
        try await database.run("NOTIFY \(channel), 'probe'")
        var payloads: [String] = []
        while let heard = try await listener.notification(timeout: .seconds(30)) {
            #expect(heard.channel == channel)
            if heard.payload == "probe" { break }
            payloads.append(heard.payload)
        }
        await listener.close()
        return payloads
    }

    private static let wakers: [(String, String, TemporaryPostgres.Role)] = [
        ("", "SELECT billing.subscribe('customer-1', 'monthly')", .web),
        (
            "",
            """
            INSERT INTO billing.subscriptions (customer_key, plan_id)
            VALUES ('customer-1', 'monthly')
            """,
            .web
        ),
        ("past due", "SELECT billing.register_billing_key('customer-1', 'billing-key-2')", .web),
        (
            "past due",
            """
            INSERT INTO billing.billing_keys (customer_key, billing_key)
            VALUES ('customer-1', 'billing-key-2')
            """,
            .web
        ),
        ("past due", "SELECT billing.retry_now(1)", .web),
        ("past due", "SELECT billing.cancel(1, 'now')", .web),
        ("past due", "SELECT billing.pause(1); SELECT billing.resume(1)", .web),
        ("", "UPDATE billing.settings SET clock_offset = '1 day'", .admin),
        ("", "UPDATE billing.settings SET paused = false", .admin),
    ]

    @Test(arguments: wakers)
    func workersAreWoken(
        _ given: String, _ script: String, _ role: TemporaryPostgres.Role
    ) async throws {
        let shop = try await Shop.open()
        if given == "past due" { _ = try await shop.pastDue() }
        #expect(try await heard("billing_due", by: script, as: role, in: shop) == [""])
    }

    @Test(arguments: [
        "SELECT billing.subscribe('customer-1', 'monthly', billing.now() + '1 day')",
        "SELECT billing.register_billing_key('customer-1', 'billing-key-2')",
        "BEGIN; SELECT billing.subscribe('customer-1', 'monthly'); ROLLBACK",
        "SELECT billing.pause(1)", "SELECT billing.change_amount(1, 100)",
        "UPDATE billing.plans SET amount = 100",
    ])
    func workersAreLeftAloneWhenNothingIsDue(_ script: String) async throws {
        let shop = try await Shop.open()
        try await shop.subscribe(from: "billing.now() + interval '7 days'")
        #expect(try await heard("billing_due", by: script, in: shop) == [])
    }

    @Test func eventsAreAnnouncedOnceAStatement() async throws {
        let shop = try await Shop.open()
        let one = "INSERT INTO billing.events (type) VALUES ('charge.paid')"
        #expect(try await heard("billing_events", by: one, as: .worker, in: shop) == [""])
        let many = """
            INSERT INTO billing.events (type) SELECT 'charge.paid' FROM generate_series(1, 100)
            """
        #expect(try await heard("billing_events", by: many, as: .worker, in: shop) == [""])
        #expect(
            try await heard("billing_events", by: "BEGIN; \(one); ROLLBACK", as: .worker, in: shop)
                == [])
    }

    /// In the record's own transaction it would hold the server's lock of all who notify while that
    /// waits for the disk.
    @Test func aRecordIsAnnouncedRightAfterItsTransaction() async throws {
        let stage = try await StoreStage()
        try await stage.subscribe()
        let approved = try await stage.work().approved()
        let fromWithin = """
            BEGIN; SELECT set_config('billing.announces', 'later', true);
            INSERT INTO billing.events (type) VALUES ('charge.paid'); COMMIT
            """
        #expect(
            try await heard("billing_events", in: stage.database) {
                try await stage.database.run(fromWithin, as: .worker)
            } == [])
        #expect(
            try await heard("billing_events", in: stage.database) {
                try await stage.record(approved)
            } == [""])
        let setting = "SELECT coalesce(current_setting('billing.announces', true), '')"
        #expect(try await stage.value(setting) == "")
    }
}
