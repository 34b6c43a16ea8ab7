/// A held charge, as its end by an operator's hand is decided. Pure: what the provider shows under
/// its names is handed in.
package struct Hold: Sendable {
    package var amount: Won
    /// Names under which money may have been asked for; see ``names(prefix:period:recorded:)``.
    package var names: [OrderID]
    /// Those of them that have an attempt in the ledger.
    package var recorded: Set<OrderID>
    /// Its attempt is open and too old to be sent again: it ends first, and the charge a gap later.
    package var hasOldAttempt: Bool

    package init(
        amount: Won, names: [OrderID], recorded: Set<OrderID>, hasOldAttempt: Bool = false
    ) {
        self.amount = amount
        self.names = names
        self.recorded = recorded
        self.hasOldAttempt = hasOldAttempt
    }

    /// Most attempts that a charge can ever have had (`attempts_attempt_no`).
    private static let mostAttempts = 20

    /// Every name that a charge can have had, whatever the ledger knows: a failover or a restore may
    /// have lost attempts, and with them the only trace here of a payment.
    package static func names(prefix: String, period: Int, recorded: [OrderID]) -> [OrderID] {
        let all = (1...mostAttempts).map { OrderID(prefix: prefix, period: period, attempt: $0) }
        return all + recorded.filter { !all.contains($0) }
    }

    /// How a hold ends.
    package enum End: Hashable, Sendable {
        case open
        case failed
        /// Not yet: its old attempt ends as never executed.
        case attemptEnded
        /// Paid under this order id.
        case paid(Payment)
    }

    /// Why an operator's wish cannot be done.
    package struct Refusal: Error, Hashable, CustomStringConvertible, Sendable {
        package let description: String
        package init(_ description: String) { self.description = description }
    }

    /// What the hold becomes. `payments`: what the provider shows under all the names, without those
    /// that ended without money.
    package func end(_ payments: [Payment], asFailed: Bool) throws(Refusal) -> End {
        guard let payment = payments.first else {
            return hasOldAttempt ? .attemptEnded : asFailed ? .failed : .open
        }
        guard payments.count == 1 else {
            throw Refusal(
                "it was paid \(payments.count) times: cancel all but one in the "
                    + "provider's console, then come back")
        }
        guard payment.status == .done, payment.totalAmount == amount, payment.isBilling,
            payment.currency == "KRW", names.contains(payment.orderID)
        else {
            throw Refusal(
                "payment \(payment.paymentKey) is not what was asked for: "
                    + "\(payment.status), \(payment.totalAmount.value) \(payment.currency)")
        }
        guard recorded.contains(payment.orderID) else {
            throw Refusal(
                "payment \(payment.paymentKey) has order id \(payment.orderID), which the ledger has "
                    + "lost: cancel it in the provider's console, then come back")
        }
        return .paid(payment)
    }
}
