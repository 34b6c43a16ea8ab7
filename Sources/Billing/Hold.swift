/// A held charge, as its end by an operator's hand is decided. Pure: what the provider shows under
/// its names is handed in.
package struct Hold: Sendable {
    package var amount: Won
    /// Names under which money may have been asked for; see ``names(prefix:period:recorded:)``.
    package var names: [OrderID]
    /// Those of them that have an attempt in the ledger.
    package var recorded: Set<OrderID>
    /// The name of its open attempt.
    package var openAttempt: OrderID?
    /// That attempt is too old to be sent again: it ends first, and the charge a gap later.
    package var isOld: Bool
    /// The payment that the ledger has.
    package var paymentKey: String?
    /// Attempts it may have (`settings.maximum_attempts`).
    package var maximumAttempts: Int

    package init(
        amount: Won, names: [OrderID], recorded: Set<OrderID>, openAttempt: OrderID? = nil,
        isOld: Bool = false, paymentKey: String? = nil, maximumAttempts: Int = mostAttempts
    ) {
        self.amount = amount
        self.names = names
        self.recorded = recorded
        self.openAttempt = openAttempt
        self.isOld = isOld
        self.paymentKey = paymentKey
        self.maximumAttempts = maximumAttempts
    }

    /// Most attempts that a charge can ever have had (`attempts_attempt_no`).
    package static let mostAttempts = 20

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
        /// Paid, and cancelled since: all of it or a part.
        case refunded(Payment)
    }

    /// Why an operator's wish cannot be done.
    package struct Refusal: Error, Hashable, CustomStringConvertible, Sendable {
        package let description: String
        package init(_ description: String) { self.description = description }
    }

    /// What the hold becomes. `payments`: what the provider shows under all the names, without those
    /// that ended without money.
    package func end(_ payments: [Payment], asFailed: Bool) throws(Refusal) -> End {
        let left = payments.filter { $0.status != .canceled || $0.balanceAmount.value != 0 }
        let ours = left.isEmpty ? payments.filter { isOurs($0) } : left
        if let openAttempt, isOld, !ours.contains(where: { $0.orderID == openAttempt }) {
            return .attemptEnded
        }
        guard left.count <= 1 else {
            throw Refusal(
                "it was paid \(left.count) times: cancel all but one in the provider's console, "
                    + "then come back")
        }
        // Several that were cancelled: the one that the ledger has, else the last.
        let known = ours.last { $0.paymentKey == paymentKey } ?? ours.last
        guard let payment = known else { return try unpaid(asFailed) }
        try check(payment)
        return payment.status == .done ? .paid(payment) : .refunded(payment)
    }

    private func unpaid(_ asFailed: Bool) throws(Refusal) -> End {
        if asFailed { return .failed }
        guard openAttempt != nil || recorded.count < maximumAttempts else {
            throw Refusal(
                "all \(maximumAttempts) attempts (settings.maximum_attempts) are used, it would be "
                    + "held again at once: billingd fail ends it")
        }
        return .open
    }

    /// A payment that was asked for, under a name that the ledger has.
    private func isOurs(_ payment: Payment) -> Bool {
        isAskedFor(payment) && recorded.contains(payment.orderID)
    }

    private func isAskedFor(_ payment: Payment) -> Bool {
        let isPaid =
            switch payment.status {
            case .done: payment.balanceAmount == payment.totalAmount
            case .canceled, .partialCanceled:
                payment.balanceAmount >= Won(0) && payment.balanceAmount < payment.totalAmount
            case .aborted, .expired, .other: false
            }
        return isPaid && payment.totalAmount == amount && payment.isBilling
            && payment.currency == "KRW" && !payment.paymentKey.isEmpty
            && names.contains(payment.orderID)
    }

    private func check(_ payment: Payment) throws(Refusal) {
        guard isAskedFor(payment) else {
            throw Refusal(
                "payment \(payment.paymentKey) is not what was asked for: \(payment.status), "
                    + "\(payment.totalAmount.value) \(payment.currency); cancel it in the provider's "
                    + "console, then come back")
        }
        guard recorded.contains(payment.orderID) else {
            throw Refusal(
                "payment \(payment.paymentKey) has order id \(payment.orderID), which the ledger has "
                    + "lost: cancel it in the provider's console, then come back")
        }
        guard let openAttempt, openAttempt != payment.orderID else { return }
        throw Refusal(
            "payment \(payment.paymentKey) pays it, but its attempt \(openAttempt) is open and too "
                + "young to be ended: come back when settings.last_send_age is over")
    }
}
