import Billing

/// Something in a worker's hands, as the claim gave it.
enum Held: Sendable {
    case work(Work)
    case local(Transition)

    var subscription: Int64 {
        switch self {
        case .work(let work): work.subscription.value
        case .local(let transition): transition.subscription.value
        }
    }

    /// What the production rules make of the news. What needs no provider is written as it is.
    func transition(after news: Operation.News) -> Transition {
        switch self {
        case .local(let transition): transition
        case .work(let work): work.transition(after: news)
        }
    }
}

extension Work {
    fileprivate func transition(after news: Operation.News) -> Transition {
        switch task {
        case .send(let request, let earlier, let isRepeat, let tries):
            // The news of a look-up is about the names before; without any the send is lost.
            if let order = earlier.first, let lookUp = news.lookUp(order, request.amount),
                let transition = afterEarlier(
                    [(order, lookUp)], before: request, isRepeat: isRepeat, tries: tries,
                    jitter: 0.5)
            {
                return transition
            }
            return after(
                news.outcome(request), of: request, isRepeat: isRepeat, tries: tries, jitter: 0.5)
        case .resolve(let request, let doubt):
            if let lookUp = news.lookUp(request.orderID, request.amount) {
                return after(lookUp, of: request, doubt, jitter: 0.5)
            }
            return after(
                .notFound(.absent), of: request, doubt, confirms: news.outcome(request),
                jitter: 0.5)
        case .seal(let orders, let amount, let ending):
            let answers = orders.map {
                ($0, $0 == orders.last ? news.lookUp($0, amount) : nil) as (OrderID, LookUp?)
            }
            return afterSeal(
                answers.map { ($0, $1 ?? .notFound(.absent)) }, amount: amount, ending: ending)
        }
    }
}

extension Operation.News {
    func outcome(_ request: AttemptRequest) -> Outcome {
        switch self {
        case .approved: .approved(.of(request, "pay-"), traceID: nil)
        case .approvedAgain: .approved(.of(request, "pay-again-"), traceID: nil)
        case .approvedUnderAnothersKey: .approved(.of(request, nil), traceID: nil)
        case .approvedWrongly:
            .approved(
                Payment(
                    paymentKey: "wrong", orderID: request.orderID, status: .done,
                    totalAmount: Won(request.amount.value + 1)), traceID: nil)
        case .soft: .declined(Answer(code: "NOT_ENOUGH_BALANCE"), .soft)
        case .softOther: .declined(Answer(code: "EXCEED_MAX_AMOUNT"), .soft)
        case .softOnce: .declined(Answer(code: "INVALID_CARD"), .softOnce)
        case .softThenFault: .declined(Answer(code: "BELOW_MINIMUM"), .softThenFault)
        case .hard: .declined(Answer(code: "STOPPED_CARD"), .hard)
        case .refused: .refused(Answer(code: "MAINTAINED_METHOD"))
        case .faultOfRow: .faultOfRow(Answer(code: "INVALID_ORDER_NAME"))
        case .faultOfAll: .faultOfAll(Answer(code: "UNAUTHORIZED_KEY"))
        case .duplicate: .duplicate(Answer(code: "DUPLICATED_ORDER_ID"))
        case .notSent: .notSent(Answer(code: "UNKNOWN_HOST"))
        case .kept:
            .unknown(
                Answer(
                    code: "COMMON_ERROR", httpStatus: 500, traceID: "again,first",
                    trait: .finalWord))
        case .unknown, .absent, .unclear, .aborted, .abortedForGood, .refunded, .refundedInPart,
            .anothers:
            .unknown(Answer(code: "TIMEOUT"))
        }
    }

    /// Nil: it is no news of a look-up.
    func lookUp(_ order: OrderID, _ amount: Won) -> LookUp? {
        func payment(_ status: Payment.Status, left: Int64? = nil) -> Payment {
            Payment(
                paymentKey: "pay-\(order)", orderID: order, status: status, totalAmount: amount,
                balanceAmount: left.map { Won($0) })
        }
        switch self {
        case .approved: return .found(payment(.done))
        case .approvedAgain:
            return .found(
                Payment(
                    paymentKey: "pay-again-\(order)", orderID: order, status: .done,
                    totalAmount: amount))
        case .absent: return .notFound(.absent)
        case .unclear: return .unclear(Answer(code: "FAILED_INTERNAL_SYSTEM_PROCESSING"))
        case .faultOfAll: return .faultOfAll(Answer(code: "UNAUTHORIZED_KEY"))
        case .aborted: return .found(payment(.aborted))
        case .abortedForGood:
            var dead = payment(.expired)
            dead.failure = Answer(code: "STOPPED_CARD")
            dead.failureClass = .hard
            return .found(dead)
        case .refunded: return .found(payment(.canceled, left: 0))
        case .refundedInPart: return .found(payment(.partialCanceled, left: 60))
        case .anothers:
            return .found(
                Payment(
                    paymentKey: "pay-of-another", orderID: OrderID(stored: "another-order"),
                    status: .done, totalAmount: amount))
        case .approvedUnderAnothersKey, .approvedWrongly, .soft, .softOther, .softOnce,
            .softThenFault, .hard, .refused, .faultOfRow, .duplicate, .notSent, .unknown,
            .kept:
            return nil
        }
    }
}

extension Answer {
    static let absent = Answer(code: "NOT_FOUND_PAYMENT", httpStatus: 404)
}

extension Payment {
    /// The payment that `request` asked for; without a prefix under one key that all share, which
    /// the ledger takes once.
    fileprivate static func of(_ request: AttemptRequest, _ prefix: String?) -> Payment {
        Payment(
            paymentKey: prefix.map { $0 + request.orderID.value } ?? "pay-shared",
            orderID: request.orderID, status: .done, totalAmount: request.amount)
    }
}
