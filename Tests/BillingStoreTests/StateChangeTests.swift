import Postgres
import TestSupport
import Testing

/// Which changes of a subscription are the web app's to make, by plain UPDATE.
@Suite(.serialized, .timeLimit(.minutes(2))) struct StateChangeTests {
    @Test(arguments: ["past_due", "suspended", "canceled"], ["active", "paused", "past_due"])
    func theWorkersStatesAreNotSetByHand(_ state: String, _ from: String) async throws {
        let shop = try await Shop.open()
        switch from {
        case "past_due":
            guard state != from else { return }
            _ = try await shop.pastDue()
        default:
            try await shop.subscribe()
            try await shop.run("UPDATE billing.subscriptions SET state = '\(from)'", as: .web)
        }
        try await shop.expectRefusal(
            of: "UPDATE billing.subscriptions SET state = '\(state)'", "23514",
            naming: "subscriptions.state: set paused or active", as: .web)
        // Not on the sly either, with a column that says somebody else's change.
        let error = try await shop.refusal(
            of: "UPDATE billing.subscriptions SET state = '\(state)', held_reason = 'mine'",
            as: .web)
        #expect(error?.sqlState == "23514")
    }

    @Test(arguments: [
        "UPDATE billing.subscriptions SET state = 'active'",
        "UPDATE billing.subscriptions SET state = 'paused'",
        "UPDATE billing.subscriptions SET state = 'past_due'",
        "UPDATE billing.subscriptions SET state = 'active', cancel_at = NULL",
        "UPDATE billing.subscriptions SET state = 'active', held_reason = 'mine'",
        "UPDATE billing.subscriptions SET cancel_at = NULL",
        "SELECT billing.resume(1)", "SELECT billing.pause(1)",
    ])
    func aCanceledSubscriptionStaysCanceled(_ script: String) async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.run("SELECT billing.cancel(\(subscription), 'now')", as: .web)
        try await shop.work(subscription, "state = 'canceled', next_charge_at = NULL")
        let error = try await shop.refusal(of: script, as: .web)
        #expect(error?.sqlState == "23514")
        #expect(try await shop.holds("state = 'canceled' AND next_charge_at IS NULL"))
    }

    /// Setting a row aside is the worker's; the web app may only take it back.
    @Test func aRowIsNotSetAsideByHand() async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.expectRefusal(
            of: "UPDATE billing.subscriptions SET held_reason = 'mine'", "23514",
            naming: "subscriptions.held_reason", as: .web)
        try await shop.run(
            """
            UPDATE billing.subscriptions
            SET held_reason = 'amount makes no sense', next_charge_at = NULL, lease_until = NULL
            WHERE subscription_id = \(subscription)
            """, as: .worker)
        try await shop.run("UPDATE billing.subscriptions SET held_reason = NULL", as: .web)
        #expect(try await shop.holds("held_reason IS NULL AND next_charge_at <= billing.now()"))
    }

    /// A card is changed for one of the same customer only.
    @Test func aSubscriptionIsNotChargedToTheCardOfAnother() async throws {
        let shop = try await Shop.open()
        try await shop.subscribe()
        try await shop.run("SELECT billing.register_billing_key('customer-2', 'billing-key-2')")
        try await shop.expectRefusal(
            of: "UPDATE billing.subscriptions SET billing_key_id = 2", "23503",
            naming: "billing_key_id: a card of this customer", as: .web)
        try await shop.run("UPDATE billing.subscriptions SET billing_key_id = 1", as: .web)
        // Nor does the customer change under a card.
        try await shop.expectRefusal(
            of: "UPDATE billing.subscriptions SET customer_key = 'customer-2'", "23503",
            naming: "billing_key_id: a card of this customer")
    }

    @Test(arguments: [
        ("amount = 50", "23514", "amount: null, 0, or 100 to 100,000,000 won"),
        ("amount = 3000000000", "23514", "amount: null, 0, or 100 to 100,000,000 won"),
        ("plan_id = 'yearly'", "23503", "subscriptions_plan_id_fkey"),
        ("cancel_at = 'infinity'", "23514", "cancel_at: a finite time or null"),
        ("cancel_at = '-infinity'", "23514", "cancel_at: a finite time or null"),
        ("state = 'trial'", "23514", "state: active, past_due, suspended, canceled, paused"),
    ])
    func aChangeIsRefused(_ assignment: String, _ sqlState: String, _ words: String) async throws {
        let shop = try await Shop.open()
        try await shop.subscribe()
        try await shop.expectRefusal(
            of: "UPDATE billing.subscriptions SET \(assignment)", sqlState, naming: words, as: .web)
    }

    @Test func dueTimesAreFiniteForTheWorkerToo() async throws {
        let shop = try await Shop.open()
        try await shop.subscribe()
        for time in ["infinity", "-infinity"] {
            try await shop.expectRefusal(
                of: "UPDATE billing.subscriptions SET next_charge_at = '\(time)'", "23514",
                naming: "next_charge_at: a finite time or null", as: .worker)
        }
    }
}
