/// The ledger's word on one period beside the provider's.
package struct Agreement: Encodable, Sendable {
    /// No look-up contradicts the ledger, and each one said something.
    package var agrees: Bool
    /// Payments that the provider shows under the period's order ids.
    package var payments: Int
    package var sentences: [String]

    /// `answers`: one look-up for each order id of the period.
    package init(_ period: SubscriptionHistory.Period, _ answers: [(OrderID, LookUp)]) {
        agrees = true
        payments = 0
        sentences = []
        for (order, answer) in answers {
            let attempt = period.attempts.first { $0.order == order }
            compare(order, attempt, period, answer)
        }
        let verdict =
            switch payments {
            case 0: "no payment"
            case 1: "exactly one payment"
            default: "\(payments) payments"
            }
        sentences.append(
            "The provider shows \(verdict) for period \(period.index), "
                + (agrees ? "and the ledger agrees." : "and the ledger does not agree with it."))
        if payments > 1 {
            agrees = false
            sentences.append("All but one must be given back at the provider.")
        }
    }

    private mutating func compare(
        _ order: OrderID, _ attempt: SubscriptionHistory.Attempt?,
        _ period: SubscriptionHistory.Period, _ answer: LookUp
    ) {
        switch answer.settled(of: order) {
        case .unclear(let answer), .faultOfAll(let answer):
            agrees = false
            sentences.append("\(order): the provider does not say (\(answer.code)).")
        case .notFound:
            let expected = attempt?.state == "approved" || attempt?.contradiction != nil
            if expected { agrees = false }
            sentences.append(
                "\(order): no payment"
                    + (expected ? ", but the ledger has one under this name!" : "."))
        case .found(let payment) where payment.isDead(as: order):
            if attempt?.state == "approved" { agrees = false }
            sentences.append("\(order): ended without money.")
        case .found(let payment) where payment.isVoid(as: order, period.amount):
            if attempt?.state == "approved" { agrees = false }
            sentences.append(
                "\(order): payment \(payment.paymentKey), \(won(payment.totalAmount.value)), was "
                    + "never what this charge asked for, and all of it went back.")
        case .found(let payment):
            payments += 1
            let isRecorded =
                period.payments.contains(payment.paymentKey) && payment.orderID == order
                && payment.totalAmount == period.amount
            let given = payment.totalAmount.value - payment.balanceAmount.value
            let back = given == 0 ? "" : ", \(won(given)) of it given back"
            let refundIsKnown = given == (period.refunded?.value ?? 0)
            if !isRecorded || !refundIsKnown { agrees = false }
            var text =
                "\(order): payment \(payment.paymentKey), \(won(payment.totalAmount.value))\(back)"
            if !isRecorded {
                text +=
                    attempt?.state == "open"
                    ? "; the ledger does not have it yet, its next look-up will record it"
                    : "; the ledger does not have it!"
            } else if !refundIsKnown {
                text += "; the ledger does not know of the refund"
            }
            sentences.append(text + ".")
        }
    }
}
