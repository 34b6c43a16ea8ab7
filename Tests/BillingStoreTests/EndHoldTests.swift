import Postgres
import TestSupport
import Testing

/// `billing.end_hold`: what a hold can become when the provider shows more than one payment, or one
/// that was cancelled.
@Suite(.serialized, .timeLimit(.minutes(2))) struct EndHoldTests {
    /// A subscription whose charge was paid under attempt 2 by payment-1; then payment-2 turned up for
    /// attempt 1, which had been declined.
    private func paidTwice() async throws -> (shop: Shop, charge: Int64) {
        let shop = try await Shop.open()
        let (_, charge) = try await shop.pastDue()
        try await shop.openAttempt(2, of: charge)
        try await shop.work(1, "attempt_open = true")
        try await shop.pay(charge)
        try await shop.run(
            """
            UPDATE billing.charges
            SET state = 'held', reason = 'contradiction', receipt_url = 'first', card = '{}';
            UPDATE billing.attempts SET contradiction = 'payment-2' WHERE attempt_no = 1
            """)
        return (shop, charge)
    }

    private func end(_ charge: Int64, _ arguments: String) -> String {
        "SELECT billing.end_hold(\(charge), \(arguments))"
    }

    private func audit(_ shop: Shop) async throws -> String? {
        try await shop.value("SELECT string_agg(a::text, '; ') FROM billing.audit() AS a")
    }

    /// Whichever of the two the operator cancelled, the other one is the charge's.
    @Test(arguments: [(1, "payment-2"), (2, "payment-1")])
    func ofTwoPaymentsTheOneThatIsLeftPays(_ attempt: Int, _ key: String) async throws {
        let (shop, charge) = try await paidTwice()
        try await shop.run(
            end(charge, "'paid', 'w', 'order-\(charge)-\(attempt)', '\(key)'"), as: .admin)
        #expect(try await shop.holds("state = 'paid' AND payment_key = '\(key)'", in: "charges"))
        let isOther = key == "payment-2"
        #expect(
            try await shop.holds(
                "receipt_url IS NOT DISTINCT FROM \(isOther ? "NULL" : "'first'")", in: "charges"))
        #expect(try await audit(shop) == nil)
    }

    /// What the audit forgives is what a person looked at, not what comes after.
    @Test func aPaymentThatTurnsUpAfterTheHoldIsAFinding() async throws {
        let (shop, charge) = try await paidTwice()
        try await shop.run(
            end(charge, "'paid', 'w', 'order-\(charge)-2', 'payment-1'"), as: .admin)
        try await shop.run(
            """
            SET session_replication_role = replica;
            UPDATE billing.charges SET payment_key = 'payment-3';
            SET session_replication_role = origin
            """)
        #expect(try await audit(shop)?.contains("one payment a period") == true)
    }

    @Test func aCancelledPaymentRefundsTheCharge() async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        try await shop.run(
            """
            UPDATE billing.charges SET state = 'held', reason = 'r';
            UPDATE billing.subscriptions SET lease_no = lease_no + 1, next_charge_at = NULL,
                state = 'past_due'
            """)
        for amount in ["NULL", "0", "9901"] {
            try await shop.expectRefusal(
                of: end(
                    charge, "'refunded', 'w', 'order-\(charge)-1', 'p', refunded => \(amount)"),
                "22023", naming: "refunded: 1 to the 9900 won", as: .admin)
        }
        try await shop.run(
            end(charge, "'refunded', 'w', 'order-\(charge)-1', 'p', refunded => 9900"), as: .admin)
        #expect(
            try await shop.holds(
                "state = 'refunded' AND payment_key = 'p' AND refunded_amount = 9900",
                in: "charges"))
        #expect(try await shop.holds("state = 'approved'", in: "attempts"))
        #expect(try await shop.holds("state = 'active' AND period_index = 1"))
        #expect(
            try await shop.value(
                "SELECT data ->> 'refunded_amount' FROM billing.events WHERE type = 'charge.refunded'"
            )
                == "9900")
        #expect(try await audit(shop) == nil)
    }

    /// The other payment may become the charge's only by the end of a hold.
    @Test func aHeldChargeKeepsItsPaymentKey() async throws {
        let (shop, _) = try await paidTwice()
        for change in ["payment_key = 'payment-2'", "state = 'failed', payment_key = NULL"] {
            try await shop.expectRefusal(
                of: "UPDATE billing.charges SET \(change)", "23514",
                naming: "a payment key never changes")
        }
    }
}
