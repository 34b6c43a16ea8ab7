import Billing
import TestSupport

/// Between a worker's gateway and the provider: requests and answers get lost, late, doubled, cut,
/// garbled and exchanged, and the worker dies or stands still around them.
final class Wire: @unchecked Sendable {
    unowned let world: World
    let provider: Provider
    let database: Database
    var onCrash: (Node, Mark) -> Void = { _, _ in }
    /// Told of every request that a worker asks for.
    var willSend: (AttemptRequest, Node) -> Void = { _, _ in }
    var willLookUp: (OrderID, Duration, Node) -> Void = { _, _, _ in }
    /// Told of every request that leaves, and of every not-found that arrives.
    var onSent: (OrderID) -> Void = { _ in }
    var onNotFound: (OrderID) -> Void = { _ in }
    private var tries = 0

    /// Longest time a request that was given up may still act (`settings.late_bound`).
    static let lateBound = Duration.seconds(600)

    init(world: World, provider: Provider, database: Database) {
        self.world = world
        self.provider = provider
        self.database = database
    }

    /// Runs `reply` once, or never: the worker died.
    func charge(
        _ request: AttemptRequest, _ timeout: Duration, _ node: Node,
        _ reply: @escaping (Outcome) -> Void
    ) {
        let swarm = world.swarm
        let subscription = ApproveCall.Name(request.orderID).subscription
        willSend(request, node)
        if world.strikes(swarm.crash / 4) { return onCrash(node, .crashBeforeSend) }
        var delay = Duration.zero
        if world.strikes(swarm.stall / 4) {
            // Between the last look at the clock and the first byte: nothing can guard that but the
            // gap, and only if the provider forgets.
            // After a failover nothing may leave later than the wait for it.
            let most: Int64 = swarm.failover > 0 ? 10 : swarm.forgets > 0 ? 2_000 : 40_000
            delay = world.dice.duration(.zero, .seconds(most))
            world.note(
                .stallBeforeSend, subscription,
                "worker \(node.id) stands still before \(request.orderID) leaves")
            node.stall(for: delay)
        }
        if world.strikes(swarm.notSent) {
            world.note(.notSentFault, subscription, "\(request.orderID) never leaves")
            return node.after(delay + .milliseconds(50)) {
                reply(.notSent(Answer(code: "COULDNT_CONNECT")))
            }
        }
        node.after(delay) { [self] in send(request, timeout, node, reply) }
    }

    private func send(
        _ request: AttemptRequest, _ timeout: Duration, _ node: Node,
        _ reply: @escaping (Outcome) -> Void
    ) {
        let swarm = world.swarm
        let call = self.call(request, node)
        let subscription = call.name.subscription
        world.note(
            .sent, subscription, Int64(call.name.attempt), "worker \(node.id) sends \(call.orderID)"
        )
        onSent(request.orderID)
        let conversation = Conversation(reply)
        node.after(timeout) { [self] in
            if !conversation.isOver, world.tells {
                world.note(.hang, subscription, "\(request.orderID): no answer in time")
            }
            conversation.end(change(.unknown(Answer(code: "TIMEOUT")), request))
        }
        if world.strikes(swarm.sendFault) {
            world.note(.sendLost, subscription, "\(request.orderID) is lost on its way")
        } else {
            let isLate = world.strikes(swarm.late)
            let way =
                isLate
                ? world.dice.duration(.zero, timeout + Self.lateBound - .seconds(80))
                : world.dice.duration(.milliseconds(5), .milliseconds(200))
            if isLate {
                world.note(
                    .sendLate, subscription,
                    "\(request.orderID) arrives \(way / .seconds(1)) s late")
            }
            world.after(way) { [self] in arrive(call, request, node, conversation) }
        }
        if world.strikes(swarm.doubled) {
            world.note(.sendDoubled, subscription, "\(request.orderID) is doubled on its way")
            // Most copies come at once, some as late as anything may act.
            let latest =
                world.dice.happens(0.5)
                ? Duration.seconds(2) : timeout + Self.lateBound - .seconds(80)
            world.after(world.dice.duration(.zero, latest)) {
                [self] in
                arrive(call, request, node, Conversation { _ in })
            }
        }
        if world.strikes(swarm.crash / 4) { onCrash(node, .crashAfterSend) }
    }

    private func arrive(
        _ call: ApproveCall, _ request: AttemptRequest, _ node: Node, _ conversation: Conversation
    ) {
        if conversation.isOver {
            world.note(
                .lateExecution, call.name.subscription,
                "\(call.orderID) arrives after it was given up")
        }
        provider.approve(call) { [self] answer in
            if conversation.isOver { return }
            deliver(answer, call, request, node, conversation)
        }
    }

    private func deliver(
        _ answer: ProviderReply, _ call: ApproveCall, _ request: AttemptRequest, _ node: Node,
        _ conversation: Conversation
    ) {
        let subscription = call.name.subscription
        var outcome = answer.outcome
        var way = world.dice.duration(.milliseconds(5), .milliseconds(200))
        if world.strikes(world.swarm.answerFault) {
            let mark = world.dice.among([
                Mark.answerLost, .answerCut, .answerGarbage, .answerOfAnother, .answer500,
                .answerLate,
                .hang, .answerLost,
            ])
            world.note(mark, subscription, "the answer \(answer.code) to \(call.orderID)")
            switch mark {
            case .answerLost: outcome = .unknown(Answer(code: "CONNECTION_RESET"))
            case .answerCut: outcome = .unknown(Answer(code: "PARTIAL_FILE"))
            case .answerGarbage:
                outcome = .unknown(Answer(code: "UNREADABLE_ANSWER", httpStatus: 200))
            case .answer500:
                outcome = .unknown(
                    Answer(code: "FAILED_INTERNAL_SYSTEM_PROCESSING", httpStatus: 500))
            case .answerOfAnother:
                outcome = .approved(another(request), traceID: nil)
            case .answerLate: way = world.dice.duration(.zero, .seconds(80))
            default: return
            }
        }
        node.after(way) { [self] in conversation.end(change(outcome, request)) }
    }

    /// A payment that is not ours: another order, another amount, or another kind.
    private func another(_ request: AttemptRequest) -> Payment {
        let order = OrderID(stored: "sub9999-0-1")
        let key = "foreign\(world.steps)"
        switch world.dice.below(4) {
        case 0:
            return Payment(
                paymentKey: key, orderID: order, status: .done, totalAmount: request.amount)
        case 1:
            return Payment(
                paymentKey: key, orderID: request.orderID, status: .done,
                totalAmount: Won(request.amount.value + 1))
        case 2:
            return Payment(
                paymentKey: key, orderID: request.orderID, status: .done, isBilling: false,
                totalAmount: request.amount)
        default:
            return Payment(
                paymentKey: "", orderID: request.orderID, status: .done,
                totalAmount: request.amount)
        }
    }

    // MARK: Look-ups

    func lookUp(
        _ order: OrderID, _ timeout: Duration, _ node: Node, _ reply: @escaping (LookUp) -> Void
    ) {
        let subscription = ApproveCall.Name(order).subscription
        willLookUp(order, timeout, node)
        if world.strikes(world.swarm.crash / 8) { return onCrash(node, .crashBeforeSend) }
        let way = world.dice.duration(.milliseconds(5), .milliseconds(200))
        if world.strikes(world.swarm.lookUpFault) {
            var mark = world.dice.among([
                Mark.lookUpLost, .lookUp5xx, .lookUp404, .lookUpGarbage, .lookUp429,
                .lookUpOfAnother,
            ])
            // Each of these ends in a person's hands: few, or histories end early.
            if mark == .lookUpOfAnother, !world.dice.happens(0.1) { mark = .lookUpGarbage }
            world.note(mark, subscription, "look-up of \(order)")
            let answer: LookUp
            var span = way
            switch mark {
            case .lookUpLost:
                span = timeout
                answer = .unclear(Answer(code: "TIMEOUT"))
            case .lookUp5xx: answer = .unclear(Answer(code: "COMMON_ERROR", httpStatus: 500))
            case .lookUp404:
                answer = .unclear(Answer(code: "UNREADABLE_ANSWER", httpStatus: 404))
            case .lookUpOfAnother: answer = .found(foreign(order))
            case .lookUp429: answer = .unclear(Answer(code: "TOO_MANY_REQUESTS", httpStatus: 429))
            default: answer = .unclear(Answer(code: "UNREADABLE_ANSWER", httpStatus: 200))
            }
            return node.after(span) { [self] in reply(change(answer, order)) }
        }
        world.after(way) { [self] in
            let answer = provider.lookUp(order)
            world.note(
                .lookedUp, subscription, "worker \(node.id) looks \(order) up: \(answer.story)")
            node.after(way) { [self] in
                switch answer {
                case .notFound: onNotFound(order)
                // A wrong payment that was cancelled is none.
                case .found(let payment) where payment.paymentKey.hasPrefix("stray"):
                    if payment.status == .canceled { onNotFound(order) }
                default: break
                }
                reply(change(answer, order))
            }
        }
    }

    /// Somebody else's payment in answer to a look-up.
    private func foreign(_ order: OrderID) -> Payment {
        provider.excuse(ApproveCall.Name(order), "another's payment")
        return Payment(
            paymentKey: "foreign\(world.steps)", orderID: OrderID(stored: "sub9999-0-1"),
            status: .done, totalAmount: Won(100))
    }

    // MARK: Mutants

    private func call(_ request: AttemptRequest, _ node: Node) -> ApproveCall {
        let name = ApproveCall.Name(request.orderID)
        var call = ApproveCall(
            secretKey: node.fingerprint, billingKey: request.billingKey.reveal(),
            idempotencyKey: request.orderID.value, orderID: request.orderID,
            amount: request.amount, customerKey: request.customerKey.reveal(), name: name)
        tries += 1
        switch world.mutant {
        case .keyPerTry: call.idempotencyKey += "-try\(tries)"
        case .namePerTry:
            call.orderID = OrderID(stored: request.orderID.value + "-try\(tries)")
            call.idempotencyKey = call.orderID.value
        case .cardUnpinned:
            let row = database.ledger[subscription: name.subscription]
            if let card = database.ledger.card(of: row) { call.billingKey = card.key.reveal() }
        case .amountFromPlan:
            let row = database.ledger[subscription: name.subscription]
            call.amount = row.amount ?? database.ledger.plans[row.plan].amount
        default: break
        }
        return call
    }

    private func change(_ outcome: Outcome, _ request: AttemptRequest) -> Outcome {
        world.mutant?.change(outcome, request) ?? outcome
    }

    private func change(_ lookUp: LookUp, _ order: OrderID) -> LookUp {
        guard let mutant = world.mutant else { return lookUp }
        let name = ApproveCall.Name(order)
        let charge = database.ledger.charges.first {
            $0.subscription == name.subscription && $0.period == name.period
        }
        return mutant.change(lookUp, order, amount: charge?.terms.amount ?? Won(0))
    }
}

/// One request and its one answer.
private final class Conversation {
    private var reply: ((Outcome) -> Void)?
    init(_ reply: @escaping (Outcome) -> Void) { self.reply = reply }
    var isOver: Bool { reply == nil }

    func end(_ outcome: Outcome) {
        let reply = reply
        self.reply = nil
        reply?(outcome)
    }
}

extension LookUp {
    var story: String {
        switch self {
        case .found(let payment): "\(payment.status) \(payment.paymentKey)"
        case .notFound: "not found"
        case .unclear(let answer), .faultOfAll(let answer): answer.code
        }
    }
}

/// The port of one worker to the ``Wire``.
struct SimulatedGateway: Gateway {
    let node: Node
    let wire: Wire

    func charge(_ request: AttemptRequest, timeout: Duration) async -> Outcome {
        await withUnsafeContinuation { continuation in
            wire.charge(request, timeout, node) { continuation.resume(returning: $0) }
        }
    }

    func lookUp(_ orderID: OrderID, timeout: Duration) async -> LookUp {
        await withUnsafeContinuation { continuation in
            wire.lookUp(orderID, timeout, node) { continuation.resume(returning: $0) }
        }
    }
}
