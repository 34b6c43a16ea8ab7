import Postgres
import TestSupport
import Testing

/// A subscription that has a charge stays, and a billing key that has an attempt, whoever deletes
/// it and whenever; and the ledger refers to nothing that is not there.
@Suite(.serialized, .timeLimit(.minutes(2))) struct ReferredRowTests {
    /// A subscription without a charge, and one (2) with an open one (1) whose attempt was
    /// declined; of the two cards only the first was charged.
    private func shop() async throws -> Shop {
        let shop = try await Shop.open()
        try await shop.run("SELECT billing.register_billing_key('customer-1', 'billing-key-2')")
        try await shop.subscribe()
        _ = try await shop.pastDue()
        return shop
    }

    private static let newCharge = """
        INSERT INTO billing.charges (subscription_id, period_index, period_start, period_end,
            amount, order_name)
        VALUES (1, 0, now(), now() + interval '1 month', 9900, 'Monthly')
        """

    /// With the second card, whether that is there or not.
    private func newAttempt(_ shop: Shop) -> String {
        shop.newAttempt(2, of: 1).replacing("min(billing_key_id)", with: "max(2::bigint)")
    }

    @Test func whatHasAChargeOrAnAttemptStays() async throws {
        let shop = try await shop()
        for (table, row) in [("subscriptions WHERE subscription_id", 2), ("billing_keys", 1)] {
            let column = table.contains("WHERE") ? "" : " WHERE billing_key_id"
            try await shop.expectRefusal(
                of: "DELETE FROM billing.\(table)\(column) = \(row)", "23001",
                naming: "the ledger refers to row \(row)")
        }
    }

    @Test func whatHasNoneMayGo() async throws {
        let shop = try await shop()
        try await shop.run("DELETE FROM billing.subscriptions WHERE subscription_id = 1")
        try await shop.run("DELETE FROM billing.billing_keys WHERE billing_key_id = 2")
        try await shop.expectRefusal(of: Self.newCharge, "23503", naming: "no subscription 1")
        try await shop.expectRefusal(of: newAttempt(shop), "23514", naming: "no billing key 2")
    }

    @Test(arguments: [
        "TRUNCATE billing.subscriptions CASCADE", "TRUNCATE billing.billing_keys CASCADE",
        "UPDATE billing.subscriptions SET subscription_id = DEFAULT",
        "UPDATE billing.billing_keys SET billing_key_id = DEFAULT",
    ])
    func noRowGetsAnotherNumber(_ script: String) async throws {
        try await shop().expectRefusal(of: script, "23001")
    }

    @Test(arguments: ["REPEATABLE READ", "SERIALIZABLE"])
    func nothingIsDeletedOrOpenedBesideAnOldSnapshot(_ level: String) async throws {
        let shop = try await shop()
        for script in [
            Self.newCharge, "DELETE FROM billing.subscriptions WHERE subscription_id = 1",
            "DELETE FROM billing.billing_keys WHERE billing_key_id = 2",
        ] {
            try await shop.expectRefusal(
                of: "SET TRANSACTION ISOLATION LEVEL \(level); \(script)", "55000",
                naming: "READ COMMITTED")
        }
    }

    // MARK: At the same moment

    /// One session writes what refers to a row that the other deletes. The second waits for the
    /// first, even if the writer has not locked the subscription as a claim does, and is refused.
    @Test(arguments: [true, false], [true, false])
    func theFirstOfTwoSessionsWins(ofSubscription: Bool, deletes: Bool) async throws {
        let shop = try await shop()
        let write = ofSubscription ? Self.newCharge : newAttempt(shop)
        let delete =
            ofSubscription
            ? "DELETE FROM billing.subscriptions WHERE subscription_id = 1"
            : "DELETE FROM billing.billing_keys WHERE billing_key_id = 2"
        let first = try await shop.database.connect(as: deletes ? .owner : .worker)
        let second = try await shop.database.connect(as: deletes ? .worker : .owner)
        try await first.execute(script: "BEGIN; \(deletes ? delete : write)")
        let waiting = Task {
            do throws(PostgresError) {
                try await second.execute(script: deletes ? write : delete)
                return "accepted"
            } catch {
                return error.description
            }
        }
        try await eventually("the second session waits for the first") {
            try await shop.value(
                """
                SELECT count(*) FROM pg_stat_activity
                WHERE wait_event_type = 'Lock' AND datname = current_database()
                """) == "1"
        }
        try await first.execute(script: "COMMIT")
        let words =
            !deletes
            ? "the ledger refers to row"
            : ofSubscription ? "there is no subscription 1" : "there is no billing key 2"
        let answer = await waiting.value
        #expect(answer.contains(words), "\(answer)")
        await first.close()
        await second.close()
    }
}
