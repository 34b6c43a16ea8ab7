/// One day of the provider's books, in Korea; its texts and bounds come from the database, which
/// knows the zone.
package struct BooksDay: Hashable, Sendable {
    /// `2026-07-15`.
    package var day: String
    /// The day after it.
    package var next: String
    /// It has not ended, or less than an hour ago: the provider's list lags, so that what is missing
    /// may only be late.
    package var isProvisional: Bool
    /// `2026-07-15T23:05:00`, an hour before now in Korea: what is younger may still be late there,
    /// or on its way into the ledger here.
    package var recent: String
    /// The row of `billing.reconciliations` is this worker's; false: nobody's, a person asked.
    package var isClaimed: Bool

    package init(
        day: String, next: String, isProvisional: Bool, recent: String, isClaimed: Bool = false
    ) {
        self.day = day
        self.next = next
        self.isProvisional = isProvisional
        self.recent = recent
        self.isClaimed = isClaimed
    }
}

/// A line of the provider's list of transactions: an approval, or a cancel of one.
package struct BooksRow: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case approval, cancel
        /// A status that moves no money.
        case other
    }

    /// Where the next page begins.
    package var transactionKey: String
    package var paymentKey: String
    package var orderID: OrderID
    package var kind: Kind
    package var customerKey: CustomerKey?
    package var currency: String
    /// Nil: not whole, as amounts of other currencies may be. The sign of a cancel's is not settled.
    package var amount: Won?
    /// Korean time, `2026-07-15T09:30:04+09:00`.
    package var at: String

    package init(
        transactionKey: String, paymentKey: String, orderID: OrderID, kind: Kind,
        customerKey: CustomerKey?, currency: String = "KRW", amount: Won?, at: String
    ) {
        self.transactionKey = transactionKey
        self.paymentKey = paymentKey
        self.orderID = orderID
        self.kind = kind
        self.customerKey = customerKey
        self.currency = currency
        self.amount = amount
        self.at = at
    }

    /// Whether it is of that Korean day.
    package func isOf(_ day: BooksDay) -> Bool { at.hasPrefix(day.day) }
    /// Whether it is so young that the ledger may be about to learn of it.
    func isYoung(in day: BooksDay) -> Bool { at.prefix(19) > day.recent }
}

/// What the ledger knows of an order id that the provider shows.
package struct LedgerEntry: Hashable, Sendable {
    package struct Charge: Hashable, Sendable {
        package var id: ChargeID
        package var state: String
        package var amount: Won
        package var paymentKey: String?
        package var refunded: Won

        package init(
            id: ChargeID, state: String, amount: Won, paymentKey: String?, refunded: Won = Won(0)
        ) {
            self.id = id
            self.state = state
            self.amount = amount
            self.paymentKey = paymentKey
            self.refunded = refunded
        }
    }

    package struct Attempt: Hashable, Sendable {
        package var state: String
        package var amount: Won
        package var customerKey: CustomerKey
        package init(state: String, amount: Won, customerKey: CustomerKey) {
            self.state = state
            self.amount = amount
            self.customerKey = customerKey
        }
    }

    package var subscription: SubscriptionID
    package var period: Int
    /// The charge of that period; nil: the ledger has none.
    package var charge: Charge?
    /// The attempt of that very order id; nil: the ledger has none.
    package var attempt: Attempt?

    package init(
        subscription: SubscriptionID, period: Int, charge: Charge?, attempt: Attempt?
    ) {
        self.subscription = subscription
        self.period = period
        self.charge = charge
        self.attempt = attempt
    }
}

/// A payment that the ledger has recorded.
package struct LedgerPayment: Hashable, Sendable {
    package var subscription: SubscriptionID
    package var period: Int
    package var charge: LedgerEntry.Charge
    /// The name it was paid under; nil: no attempt of the charge tells.
    package var orderID: OrderID?
    /// Korean time, `2026-07-15T09:30:04+09:00`.
    package var at: String
    /// The same instant, exactly: where, with the charge's id, the next page begins.
    package var paidAt: Instant

    package init(
        subscription: SubscriptionID, period: Int, charge: LedgerEntry.Charge, orderID: OrderID?,
        at: String, paidAt: Instant
    ) {
        self.subscription = subscription
        self.period = period
        self.charge = charge
        self.orderID = orderID
        self.at = at
        self.paidAt = paidAt
    }
}

/// A cancel made in the provider's console, to be recorded.
package struct Refund: Hashable, Sendable {
    package var charge: ChargeID
    package var orderID: OrderID
    package var paymentKey: String
    /// All that went back so far.
    package var amount: Won
    package init(charge: ChargeID, orderID: OrderID, paymentKey: String, amount: Won) {
        self.charge = charge
        self.orderID = orderID
        self.paymentKey = paymentKey
        self.amount = amount
    }
}

/// What became of a ``Refund``.
package enum RefundVerdict: Hashable, Sendable {
    case recorded
    /// It stood there already.
    case repeated
    /// The database refuses it, or this role may not: why.
    case refused(String)
}

/// What the provider's list answers.
package enum TransactionsPage: Hashable, Sendable {
    case rows([BooksRow])
    /// No answer or "not now": the same request may work later.
    case unavailable(Answer)
    /// An answer that asking again does not change.
    case refused(Answer)
}

/// The provider as comparing sees it. Beside ``Gateway``, so that what compares cannot charge.
package protocol ProviderBooks: Sendable {
    /// A page of the approvals and cancels of the day, oldest first, at most `limit` of them: those
    /// after the row of `transactionKey`; nil: from the first.
    func transactions(
        of day: BooksDay, after transactionKey: String?, limit: Int, timeout: Duration
    ) async -> TransactionsPage
    /// Asks for the payment of an order id.
    func lookUp(_ orderID: OrderID, timeout: Duration) async -> LookUp
    /// Asks for a payment by the provider's own id of it.
    func lookUp(paymentKey: String, timeout: Duration) async -> LookUp
}

/// The ledger as comparing sees it: it reads, and records cancels made in the console.
package protocol LedgerBooks: Sendable {
    /// A day that is to be compared now, claimed for this worker; nil: none.
    func claimDay() async throws(StoreError) -> BooksDay?
    /// Before every request: takes it off the fleet's budget of requests and keeps the claim of the
    /// day. The time to wait before asking anew; zero: it may be sent.
    func admit(_ day: BooksDay) async throws(StoreError) -> Duration
    /// What the ledger knows of order ids, one each, in order; nil: they are not of it.
    func entries(_ orders: [OrderID]) async throws(StoreError) -> [LedgerEntry?]
    /// Payments recorded as taken on the day, those after `last` (nil: from the first) in the order
    /// of time; empty: no more.
    func payments(of day: BooksDay, after last: LedgerPayment?) async throws(StoreError)
        -> [LedgerPayment]
    func record(_ refund: Refund) async throws(StoreError) -> RefundVerdict
    /// Ends the claim of the day, with an event for each finding that had none yet.
    func finish(_ day: BooksDay, _ report: DayReport) async throws(StoreError)
}
