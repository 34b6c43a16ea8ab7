/// What a period would have come to, had this program charged it: by the rules of a claim
/// (``Step/decide(_:_:)``), and without one.
package struct ShadowDecision: Hashable, Sendable {
    package enum Kind: String, Sendable, CaseIterable {
        case charge
        /// 0 won.
        case free
        /// It would wait for a card.
        case noCard = "no_card"
        case skip
        /// A person would have to look.
        case hold
    }

    package var kind: Kind
    /// Why it would be skipped, held or wait, in the words of `charges.reason`.
    package var reason: String?
    package var amount: Won
    package var orderName: String
    /// The card that would be charged.
    package var card: Int64?

    /// Of a row whose next period has begun, and for which nothing is open. Nil: no charge would be
    /// opened, because it is not due, is stopped, or makes no sense.
    package init?(_ row: DueSubscription, _ numbers: FleetNumbers = FleetNumbers()) {
        var row = row
        // Nothing is sent: no name needs to be looked up first.
        row.looksFirst = false
        let step = Step.decide(row, numbers)
        guard step.opensCharge, !step.isWrongRow else { return nil }
        amount = row.terms.amount
        orderName = row.terms.orderName
        switch step.action {
        case .ask(.send(let request, _, _, _), _):
            kind = .charge
            card = request.billingKeyID
        case .ask: return nil
        case .write(let decision):
            switch decision.chargeChange {
            case .free: kind = .free
            case .skipped(let why): (kind, reason) = (.skip, why.rawValue)
            case .held(let why): (kind, reason) = (.hold, why)
            case .waits(let why): (kind, reason) = (.noCard, why.rawValue)
            case nil: kind = .noCard
            case .paid, .refunded, .failed: return nil
            }
        }
    }
}
