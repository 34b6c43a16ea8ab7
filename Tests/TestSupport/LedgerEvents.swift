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
        package var subscription: Int64
        package var charge: Int64?
        package var data: Data
    }

    mutating func tell(
        _ type: String, _ id: (subscription: Int64, charge: Int64?), _ data: Event.Data
    ) {
        events?.append(
            Event(type: type, subscription: id.subscription, charge: id.charge, data: data))
    }
}
