package import Billing

/// `billing.events`.
extension Ledger {
    package struct Event: Sendable, Hashable {
        /// The keys of `data`, as far as the worker writes them.
        package struct Data: Sendable, Hashable {
            package var period: Int?
            package var amount: Won?
            package var code: String?
            package var attempt: Int?
            package var paymentKey: String?
            package var reason: String?
            package var refunded: Won?
            package var nextChargeAt: Instant?
            /// `billing_key_id`.
            package var card: Int64?
            /// `by`, `why` and `held` of an ended hold.
            package var hold: [String?] = []
        }

        package var type: String
        /// Nil: of the whole fleet.
        package var subscription: Int64?
        package var charge: Int64?
        package var data: Data
    }

    /// `billing.adopt_database()`.
    package mutating func adopt(lost: Duration, by user: String, why: String, at clocks: Clocks) {
        adoptedAt = clocks.real
        lookFirst(lost: lost, at: clocks)
        tell("database.adopted", (nil, nil), Event.Data(hold: [user, why, nil]))
    }

    /// The names that may be forgotten are looked up from now on.
    package mutating func lookFirst(lost: Duration, at clocks: Clocks) {
        lookFirstUntil = clocks.real + numbers.lateBound + lost
        if lost == .zero { return }
        let begun = clocks.business + numbers.lateBound
        lookFirstBefore = lookFirstBefore.map { max($0, begun) } ?? begun
    }

    mutating func tell(
        _ type: String, _ id: (subscription: Int64?, charge: Int64?), _ data: Event.Data
    ) {
        events?.append(
            Event(type: type, subscription: id.subscription, charge: id.charge, data: data))
    }
}
