/// A payment as the provider shows it, already compared with nothing: comparing is the rule's work.
package struct Payment: Hashable, Sendable {
    /// The states that matter to a charge; the provider's own words.
    package enum Status: Hashable, Sendable {
        case done, canceled, partialCanceled, aborted, expired
        /// Neither happened nor ended (READY, IN_PROGRESS, WAITING_FOR_DEPOSIT), or a word that is not
        /// known; kept for the log.
        case other(String)
    }

    package var paymentKey: String
    package var orderID: OrderID
    package var status: Status
    /// `type` is BILLING.
    package var isBilling: Bool
    package var currency: String
    package var totalAmount: Won
    /// What is left after cancels; equal to `totalAmount` when nothing was cancelled.
    package var balanceAmount: Won
    /// ISO 8601 with offset, as answered.
    package var approvedAt: String?
    package var receiptURL: String?
    /// The `card` object as JSON text: masked number, issuer, approval number.
    package var card: String?
    /// `failure` of an aborted payment.
    package var failure: Answer?
    /// What `failure` means for the card.
    package var failureClass: DeclineClass

    package init(
        paymentKey: String, orderID: OrderID, status: Status, isBilling: Bool = true,
        currency: String = "KRW", totalAmount: Won, balanceAmount: Won? = nil,
        approvedAt: String? = nil, receiptURL: String? = nil, card: String? = nil,
        failure: Answer? = nil, failureClass: DeclineClass = .soft
    ) {
        self.paymentKey = paymentKey
        self.orderID = orderID
        self.status = status
        self.isBilling = isBilling
        self.currency = currency
        self.totalAmount = totalAmount
        self.balanceAmount = balanceAmount ?? totalAmount
        self.approvedAt = approvedAt
        self.receiptURL = receiptURL
        self.card = card
        self.failure = failure
        self.failureClass = failureClass
    }

    /// Whether this is the end, without money, of the very order that was asked for.
    package func isDead(as order: OrderID) -> Bool {
        orderID == order && (status == .aborted || status == .expired)
    }

    /// Whether this is a payment of the very order that was asked for, and was never what was asked for,
    /// and all of it went back: a person cancelled it. It says of the charge no more than one that ended
    /// without money. (One that was what was asked for is paid and refunded.)
    package func isVoid(as order: OrderID, _ amount: Won) -> Bool {
        orderID == order && status == .canceled && balanceAmount == Won(0)
            && !answers(order, amount)
    }

    /// Some of it went back. A cancel that gave nothing back is none: the provider says one thing and
    /// shows another.
    var isGivenBack: Bool { balanceAmount >= Won(0) && balanceAmount < totalAmount }

    /// Nothing of the order's money is anywhere, and nothing was: another name may follow.
    package func isOver(as order: OrderID, _ amount: Won) -> Bool {
        isDead(as: order) || isVoid(as: order, amount)
    }

    /// Whether this payment is the one that `request` asked for.
    package func answers(_ request: AttemptRequest) -> Bool {
        answers(request.orderID, request.amount)
    }

    /// Whether so much was asked for under this name.
    func answers(_ order: OrderID, _ amount: Won) -> Bool {
        !paymentKey.isEmpty && isBilling && currency == "KRW" && orderID == order
            && totalAmount == amount
    }
}

/// What came back, for the ledger and the log: never a key, never a URL.
package struct Answer: Hashable, Sendable {
    /// The provider's code, or ours for what never got an answer (`TIMEOUT`, `CONNECTION_RESET` …).
    package var code: String
    package var message: String?
    package var httpStatus: Int?
    /// `X-TossPayments-Trace-Id`.
    package var traceID: String?
    package var trait: Trait

    /// What a code says beyond the class of its answer.
    package enum Trait: Hashable, Sendable {
        case none
        /// Of a refusal: maintenance, which takes hours.
        case lastsHours
        /// Of an unknown: the provider's own words for this very request, which it may keep and repeat
        /// under its key (``Work/isKept(_:)``).
        case finalWord
        /// The same, and it blames what was sent: when surely nothing was executed, sending it again is
        /// of no use.
        case badInput
    }

    /// Whether the provider told this before, under the same name: it keeps an answer under the
    /// idempotency key for 15 days and then sends two trace ids, a new one and that of the first time.
    /// `known`: the trace of an earlier answer under the name. Such a name is executed no more.
    func isReplay(of known: String?) -> Bool {
        guard let first = known.map(Self.traces)?.last, let traceID else { return false }
        let traces = Self.traces(traceID)
        return traces.count == 2 && traces[1] == first && traces[0] != first
    }

    private static func traces(_ text: String) -> [Substring] {
        text.split { $0 == "," || $0 == " " }
    }

    package init(
        code: String, message: String? = nil, httpStatus: Int? = nil, traceID: String? = nil,
        trait: Trait = .none
    ) {
        self.code = code
        self.message = message
        self.httpStatus = httpStatus
        self.traceID = traceID
        self.trait = trait
    }
}

/// What a decline means for the card.
package enum DeclineClass: Hashable, Sendable {
    /// May succeed later: the dunning ladder.
    case soft
    /// A limit of the day: tried again on the next one.
    case softNextDay
    /// Soft the first time, hard when the same code answers the next attempt too.
    case softOnce
    /// Soft twice, hard when the same code answers a third attempt: an issuer that gives no reason on
    /// three days will not give its consent on a fourth, and asking on costs fees.
    case softFew
    /// Soft the first time; when the same code answers the next attempt too, it is the row's data
    /// that is wrong (an amount above what any card takes), and a person must look.
    case softThenFault
    /// This card or billing key is finished.
    case hard
    /// The same, but of a card that was registered just now perhaps only not known everywhere yet:
    /// its first attempt is no decline, and there is one more.
    case hardUnlessNew
}

/// What is known after one approve request. Not knowing is an answer.
package indirect enum Outcome: Hashable, Sendable {
    /// HTTP 200 and a payment; whether it is *ours* is for ``Transition`` to compare.
    case approved(Payment, traceID: String?)
    case declined(Answer, DeclineClass)
    /// Answered, surely not executed, not the card's doing: try again after a backoff of minutes.
    case refused(Answer)
    /// Our data of this row is wrong: held.
    case faultOfRow(Answer)
    /// Our key, contract or program is wrong: every row would fail.
    case faultOfAll(Answer)
    /// The provider says this order was executed before: look it up and adopt.
    case duplicate(Answer)
    /// Proven that no byte of the request left.
    case notSent(Answer)
    /// Everything else: the money may have moved.
    case unknown(Answer)
}

/// What a look-up by order id says.
package indirect enum LookUp: Hashable, Sendable {
    case found(Payment)
    /// Status 404 **and** code `NOT_FOUND_PAYMENT`: no payment *yet*.
    case notFound(Answer)
    /// Anything else: it says nothing.
    case unclear(Answer)
    /// Our key, contract or program is wrong.
    case faultOfAll(Answer)

    /// The same, but for a payment of `order` that is under way: it may still be approved, and may
    /// still end without money, so that it says no more than no answer.
    package func settled(of order: OrderID) -> LookUp {
        guard case .found(let payment) = self, payment.orderID == order,
            case .other(let word) = payment.status
        else { return self }
        return .unclear(Answer(code: "NOT_FINISHED", message: word, httpStatus: 200))
    }
}
