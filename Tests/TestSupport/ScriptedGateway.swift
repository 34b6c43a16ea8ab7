package import Billing
import Synchronization

/// A provider that answers by the book of a test: approves what no script speaks of, and shows no
/// payment that was not approved.
package final class ScriptedGateway: Gateway {
    package enum Request: Hashable, Sendable {
        case charge(OrderID)
        case lookUp(OrderID)
    }

    fileprivate struct State {
        var charges: [OrderID: [Outcome]] = [:]
        var lookUps: [OrderID: [LookUp]] = [:]
        var everyCharge: Outcome?
        var everyLookUp: LookUp?
        var hanging: Set<Request> = []
        var hung: [Request: [CheckedContinuation<Void, Never>]] = [:]
        var requests: [Request] = []
        var lookUpLimits: [Duration] = []
        var payments: [OrderID: Payment] = [:]
        var sent: [AttemptRequest] = []
        var running = 0
        var mostRunning = 0
        var sawCancellation = false
        var hooks: [Request: @Sendable () -> Void] = [:]
    }

    private let state = Mutex(State())
    /// Requests that arrived.
    package let arrivals = Tally()
    /// Requests that were answered.
    package let answers = Tally()

    package init() {}

    /// All requests in the order of their arrival.
    package var requests: [Request] { state.withLock { $0.requests } }
    /// How long the look-ups among them might take.
    package var lookUpLimits: [Duration] { state.withLock { $0.lookUpLimits } }
    /// What the charges among them carried.
    package var sent: [AttemptRequest] { state.withLock { $0.sent } }
    /// The most requests that were under way at one time.
    package var mostConcurrent: Int { state.withLock { $0.mostRunning } }
    /// A request ran in a task that was cancelled: a real one might have been given up.
    package var sawCancellation: Bool { state.withLock { $0.sawCancellation } }
    /// The provider's books: what was taken.
    package var payments: [OrderID: Payment] { state.withLock { $0.payments } }

    /// The next charges under `order` are answered so, one each; then approved.
    package func script(_ order: OrderID, charges: Outcome...) {
        state.withLock { $0.charges[order, default: []] += charges }
    }

    /// The next look-ups of `order` are answered so, one each; then from the books.
    package func script(_ order: OrderID, lookUps: LookUp...) {
        state.withLock { $0.lookUps[order, default: []] += lookUps }
    }

    /// What every charge without a script of its own is answered; nil: approved.
    package func answerEveryCharge(_ outcome: Outcome?) {
        state.withLock { $0.everyCharge = outcome }
    }

    /// What every look-up without a script of its own is answered; nil: from the books.
    package func answerEveryLookUp(_ answer: LookUp?) {
        state.withLock { $0.everyLookUp = answer }
    }

    /// The next such request gets no answer before ``release(_:)``.
    package func hang(_ request: Request) {
        state.withLock { _ = $0.hanging.insert(request) }
    }

    package func release(_ request: Request) {
        let hung = state.withLock { state in
            state.hanging.remove(request)
            return state.hung.removeValue(forKey: request) ?? []
        }
        for continuation in hung { continuation.resume() }
    }

    /// Runs `hook` when such a request arrives, before it is answered.
    package func on(_ request: Request, _ hook: @escaping @Sendable () -> Void) {
        state.withLock { $0.hooks[request] = hook }
    }

    package func charge(_ request: AttemptRequest, timeout: Duration) async -> Outcome {
        await arrive(.charge(request.orderID), request)
        let outcome = state.withLock { state in
            state.running -= 1
            if Task.isCancelled { state.sawCancellation = true }
            let outcome = state.nextOutcome(request)
            if case .approved(let payment, _) = outcome {
                state.payments[request.orderID] = payment
            }
            return outcome
        }
        answers.add()
        return outcome
    }

    package func lookUp(_ orderID: OrderID, timeout: Duration) async -> LookUp {
        state.withLock { $0.lookUpLimits.append(timeout) }
        await arrive(.lookUp(orderID), nil)
        let answer = state.withLock { state in
            state.running -= 1
            if Task.isCancelled { state.sawCancellation = true }
            return state.nextLookUp(orderID)
        }
        answers.add()
        return answer
    }

    private func arrive(_ request: Request, _ attempt: AttemptRequest?) async {
        let (hangs, hook) = state.withLock { state in
            state.requests.append(request)
            if let attempt { state.sent.append(attempt) }
            state.running += 1
            state.mostRunning = max(state.mostRunning, state.running)
            return (state.hanging.contains(request), state.hooks[request])
        }
        hook?()
        guard hangs else { return arrivals.add() }
        await withCheckedContinuation { continuation in
            let isReleased = state.withLock { state in
                guard state.hanging.contains(request) else { return true }
                state.hung[request, default: []].append(continuation)
                return false
            }
            if isReleased { continuation.resume() }
            arrivals.add()
        }
    }
}

extension ScriptedGateway.State {
    fileprivate mutating func nextOutcome(_ request: AttemptRequest) -> Outcome {
        if let outcome = charges[request.orderID]?.first {
            charges[request.orderID]?.removeFirst()
            return outcome
        }
        return everyCharge ?? .approved(.of(request), traceID: nil)
    }

    fileprivate mutating func nextLookUp(_ order: OrderID) -> LookUp {
        if let answer = lookUps[order]?.first {
            lookUps[order]?.removeFirst()
            return answer
        }
        if let everyLookUp { return everyLookUp }
        if let payment = payments[order] { return .found(payment) }
        return .notFound(Answer(code: "NOT_FOUND_PAYMENT", httpStatus: 404))
    }
}

extension Payment {
    /// The payment that `request` asked for.
    package static func of(_ request: AttemptRequest, status: Status = .done) -> Payment {
        Payment(
            paymentKey: "pay-\(request.orderID)", orderID: request.orderID, status: status,
            totalAmount: request.amount)
    }
}
