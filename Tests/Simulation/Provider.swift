import Billing
import TestSupport
import TossPayments

/// What arrives at the provider: all that can tell one approve from another.
struct ApproveCall {
    var secretKey: Int
    var billingKey: String
    var idempotencyKey: String
    var orderID: OrderID
    var amount: Won
    var customerKey: String
    /// Whose, for the books: subscription and period by the name itself.
    var name: Name

    struct Name: Hashable {
        var subscription: Int64
        var period: Int
        var attempt: Int

        /// Reads `sub<id>-<period>-<attempt>`, and what follows is a mutant's.
        init(_ order: OrderID) {
            let parts = order.value.dropFirst(3).split(separator: "-")
            subscription = Int64(parts[0]) ?? 0
            period = Int(parts[1]) ?? 0
            attempt = Int(parts[2]) ?? 0
        }
    }
}

/// What the provider sends back.
enum ProviderReply {
    case payment(Payment)
    /// `trace`: of the request, and of an answer that was kept a second one.
    case error(String, status: Int, trace: String? = nil)
}

/// The provider: executes, remembers keys for 15 days, keeps the books, and has every switch of
/// toss-payments.md, section 8, that bears on a charge.
final class Provider: @unchecked Sendable {
    /// One execution that took money.
    struct Entry {
        var call: ApproveCall
        var paymentKey: String
        var at: Int64
        var isCancelled = false
        /// All of it went back.
        var isGivenBack = false
    }

    private struct Key: Hashable {
        var secret: Int
        var billingKey: String
        var name: String
    }

    private struct Memory {
        var reply: ProviderReply
        var at: Int64
        var isDecline: Bool
    }

    unowned let world: World
    private(set) var books: [Entry] = []
    private var memory: [Key: Memory] = [:]
    private var running: [Key: Int64] = [:]
    private var lingering: [Key: Int64] = [:]
    /// Approve requests so far: the number of one is its trace.
    private var requests = 0
    private var payments: [String: Payment] = [:]
    private var visibleAt: [String: Int64] = [:]
    private var declinedOrders: Set<String> = []
    private var deadCards: Set<String> = []
    private var removedCards: Set<String> = []
    /// Charges that the provider itself made impossible to end well, and how.
    private(set) var excuses: [ApproveCall.Name: String] = [:]
    private var outage: (mark: Mark, until: Int64)?
    /// Told of every execution that took money.
    var onApproved: (Entry) -> Void = { _ in }

    /// It answered nothing clearly for longer than an open attempt may be.
    private(set) var wasSilent = false

    static let memorySpan: Int64 = 15 * 86_400 * 1_000_000

    init(world: World) { self.world = world }

    func fallSilent(for duration: Duration) {
        wasSilent = true
        breakDown(.refusedBefore500, for: duration)
    }

    func excuse(_ name: ApproveCall.Name, _ why: String) {
        excuses[ApproveCall.Name(name, attempt: 0)] = why
    }

    func isExcused(_ subscription: Int64, _ period: Int) -> String? {
        excuses[ApproveCall.Name(subscription: subscription, period: period, attempt: 0)]
    }

    func breakDown(_ mark: Mark, for duration: Duration) {
        outage = (mark, world.now + Int64(duration / .microseconds(1)))
    }

    private var isOut: Mark? {
        guard let outage, outage.until > world.now, !world.isCalm else { return nil }
        return outage.mark
    }

    // MARK: Approve

    /// A request arrives. `answer` runs once, when the provider answers; not at all when it is down.
    func approve(_ call: ApproveCall, _ answer: @escaping (ProviderReply) -> Void) {
        requests += 1
        let trace = "t\(requests)"
        let order = call.orderID.value
        let key = Key(
            secret: call.secretKey, billingKey: call.billingKey, name: call.idempotencyKey)
        if let refusal = refusal(call, key) { return answer(refusal) }
        if isOut == .providerDown { return }
        if let end = lingering[key], end > world.now {
            world.note(.lingering409, call.name.subscription, "\(order) is said to run still")
            return answer(.error("IDEMPOTENT_REQUEST_PROCESSING", status: 409))
        }
        if let end = running[key], end > world.now {
            if world.swarm.racesOrders {
                world.note(
                    .duplicateOrder, call.name.subscription, "\(order) is running: duplicate")
                return answer(duplicate(call))
            }
            world.note(.running409, call.name.subscription, "\(order) is still running")
            return answer(.error("IDEMPOTENT_REQUEST_PROCESSING", status: 409))
        }
        if let reply = remembered(call, key) { return answer(reply) }
        let isSlow = world.strikes(world.swarm.slow)
        if isSlow { world.note(.slowExecution, call.name.subscription, order) }
        let span =
            isSlow
            ? world.dice.duration(.zero, .seconds(75))
            : world.dice.duration(.milliseconds(100), .seconds(2))
        running[key] = world.now + Int64(span / .microseconds(1))
        world.after(span) { [self] in
            var reply = execute(call).traced(trace)
            if case .payment = reply {
                if world.swarm.ancientCopies { sendAncientCopy(call) }
                if world.swarm.storesErrors, world.strikes(0.3) {
                    let code = "FAILED_BILLING_AUTO_CANCEL"
                    reply = .error(code, status: 500, trace: trace)
                    world.note(
                        .paidButStoredError, call.name.subscription,
                        "\(order) is paid, and \(code) is kept for it")
                }
            }
            memory[key] = Memory(reply: reply, at: world.now, isDecline: reply.isDecline)
            running[key] = nil
            if world.swarm.lingers {
                lingering[key] = world.now + Int64(world.dice.below(1_800)) * 1_000_000
            }
            answer(reply)
        }
    }

    /// Answered at the door, before anything is executed.
    private func refusal(_ call: ApproveCall, _ key: Key) -> ProviderReply? {
        let subscription = call.name.subscription
        let order = call.orderID.value
        var mark = isOut
        if mark == .providerDown { mark = nil }
        if mark == nil, world.strikes(world.swarm.refusal) {
            mark = world.dice.among([.maintenance, .tooMany, .unauthorized, .refusedBefore500])
        }
        // Not while a request of this key is being executed: that one's result is the key's (A1).
        if mark == nil, running[key] == nil, world.strikes(world.swarm.anyCode) { mark = .anyCode }
        guard let mark else { return nil }
        var reply: ProviderReply
        switch mark {
        case .maintenance: reply = .error("MAINTAINED_METHOD", status: 403)
        case .tooMany: reply = .error("TOO_MANY_REQUESTS", status: 429)
        case .unauthorized: reply = .error("UNAUTHORIZED_KEY", status: 401)
        case .anyCode:
            let code = world.dice.among(Self.codes)
            reply = .error(code, status: 400)
        default: reply = .error("FAILED_INTERNAL_SYSTEM_PROCESSING", status: 500)
        }
        reply = reply.traced("t\(requests)")
        world.note(mark, subscription, "\(order) answered \(reply.code) at the door")
        let isDefinite = reply.isDecline
        if reply.holds { excuse(call.name, reply.code) }
        // A decline is always kept (A2), unless this very name was executed before.
        if memory[key] == nil, isDefinite || world.swarm.storesErrors {
            memory[key] = Memory(reply: reply, at: world.now, isDecline: isDefinite)
            if !isDefinite {
                world.note(.storedError, subscription, "\(reply.code) is kept for \(order)")
                // Known by its two traces, it ends its name.
                if !world.swarm.showsReplays { excuse(call.name, "stored error") }
            }
        }
        return reply
    }

    static let codes = TossCode.table.keys.sorted() + ["NEVER_HEARD_OF", "NEW_CODE_2027"]

    private func remembered(_ call: ApproveCall, _ key: Key) -> ProviderReply? {
        guard let kept = memory[key] else { return nil }
        let subscription = call.name.subscription
        let order = call.orderID.value
        if world.now - kept.at >= Self.memorySpan {
            world.note(.windowEnded, subscription, "\(order): the key is forgotten after 15 days")
            memory[key] = nil
            return nil
        }
        if kept.isDecline, world.dice.happens(world.swarm.forgets) {
            world.note(.forgotDecline, subscription, "\(order): the decline is forgotten")
            excuse(call.name, "forgotten decline")
            memory[key] = nil
            return nil
        }
        world.note(.replayed, subscription, "\(order): replay of \(kept.reply.code)")
        guard world.swarm.showsReplays, case .error(let code, let status, let trace?) = kept.reply
        else { return kept.reply.traced("t\(requests)") }
        return .error(code, status: status, trace: "t\(requests), \(trace)")
    }

    /// A copy that turns up when the key is forgotten, beyond all that is assumed of late requests: of a
    /// paid name, which the provider takes no more (A7).
    private func sendAncientCopy(_ call: ApproveCall) {
        let late = world.dice.duration(.seconds(1), .seconds(4 * 86_400))
        world.after(.microseconds(Self.memorySpan) + late) { [self] in approve(call) { _ in } }
    }

    private func execute(_ call: ApproveCall) -> ProviderReply {
        let order = call.orderID.value
        let subscription = call.name.subscription
        if world.swarm.uniqueOrders, let status = payments[order]?.status, status != .aborted {
            world.note(.duplicateOrder, subscription, "\(order) was approved before")
            return duplicate(call)
        }
        if world.swarm.burnsOrders, declinedOrders.contains(order) {
            world.note(.burnedOrder, subscription, "\(order) was declined before and is burned")
            excuse(call.name, "burned order id")
            return duplicate(call)
        }
        if removedCards.contains(call.billingKey) {
            let isNotFound = world.swarm.removedIsNotFound
            world.note(
                isNotFound ? .removedCard404 : .removedCard400, subscription,
                "\(order): its card was removed")
            return isNotFound
                ? decline(call, "NOT_FOUND_BILLING", status: 404)
                : decline(call, "INVALID_BILL_KEY_REQUEST", status: 400)
        }
        if deadCards.contains(call.billingKey) { return decline(call, "INVALID_STOPPED_CARD") }
        if world.strikes(world.swarm.decline) {
            let code = world.dice.among(Self.declines)
            if code == "INVALID_STOPPED_CARD" { deadCards.insert(call.billingKey) }
            return decline(call, code)
        }
        let paymentKey = "pay\(books.count + 1)"
        let payment = Payment(
            paymentKey: paymentKey, orderID: call.orderID, status: .done,
            totalAmount: call.amount)
        payments[order] = payment
        let lags = world.strikes(world.swarm.lag)
        if lags {
            visibleAt[order] =
                world.now + Int64(world.dice.duration(.zero, .seconds(90)) / .microseconds(1))
        }
        let entry = Entry(call: call, paymentKey: paymentKey, at: world.now)
        books.append(entry)
        world.note(
            .approved, subscription, Int64(call.name.period),
            "the provider takes \(call.amount.value) won for \(order): \(paymentKey)\(lags ? ", look-ups lag" : "")"
        )
        onApproved(entry)
        return .payment(payment)
    }

    private static let declines = [
        "REJECT_CARD_PAYMENT", "REJECT_CARD_PAYMENT", "REJECT_CARD_COMPANY", "INVALID_REJECT_CARD",
        "EXCEED_MAX_AMOUNT", "INVALID_STOPPED_CARD",
    ]

    private func duplicate(_ call: ApproveCall) -> ProviderReply {
        if world.swarm.duplicateStatus == 409 {
            world.note(.duplicate409, call.name.subscription, "\(call.orderID)")
        }
        return .error("DUPLICATED_ORDER_ID", status: world.swarm.duplicateStatus)
    }

    private func decline(
        _ call: ApproveCall, _ code: String, status: Int = 403
    ) -> ProviderReply {
        let order = call.orderID.value
        if code == "EXCEED_MAX_AMOUNT" { excuse(call.name, code) }
        declinedOrders.insert(order)
        if world.swarm.showsAborted, payments[order] == nil {
            payments[order] = Payment(
                paymentKey: "void\(declinedOrders.count)", orderID: call.orderID, status: .aborted,
                totalAmount: call.amount, failure: Answer(code: code, httpStatus: 200))
        }
        return .error(code, status: status)
    }

    /// The web app deletes a billing key.
    func remove(_ billingKey: String) { removedCards.insert(billingKey) }

    // MARK: Look-ups

    func lookUp(_ order: OrderID) -> LookUp {
        let name = ApproveCall.Name(order)
        let subscription = name.subscription
        switch isOut {
        case .providerDown: return .unclear(Answer(code: "TIMEOUT"))
        case .unauthorized: return .faultOfAll(Answer(code: "UNAUTHORIZED_KEY", httpStatus: 401))
        case .tooMany: return .unclear(Answer(code: "TOO_MANY_REQUESTS", httpStatus: 429))
        case nil: break
        default:
            return .unclear(Answer(code: "FAILED_INTERNAL_SYSTEM_PROCESSING", httpStatus: 500))
        }
        guard let payment = payments[order.value] else {
            return .notFound(Answer(code: "NOT_FOUND_PAYMENT", httpStatus: 404))
        }
        if let visible = visibleAt[order.value], visible > world.now {
            // Half of those that lag show as a payment under way.
            if name.period % 2 == 1 {
                world.note(.lookUpUnfinished, subscription, "\(order) shows as unfinished")
                var unfinished = payment
                unfinished.status = .other("IN_PROGRESS")
                return .found(unfinished)
            }
            world.note(.lookUpLag, subscription, "\(order) does not show yet")
            return .notFound(Answer(code: "NOT_FOUND_PAYMENT", httpStatus: 404))
        }
        if payment.status == .aborted { world.note(.lookUpAborted, subscription, order.value) }
        return .found(payment)
    }

    // MARK: Console

    /// Somebody makes a payment of his own under this order id and cancels it, at once or later.
    func payWrongly(_ order: OrderID, _ amount: Won) {
        guard payments[order.value] == nil else { return }
        let name = ApproveCall.Name(order)
        let key = "stray\(world.steps)"
        payments[order.value] = Payment(
            paymentKey: key, orderID: order, status: .done, totalAmount: Won(amount.value + 1))
        world.note(.wrongPayment, name.subscription, "\(order)")
        if world.dice.happens(0.6) { return cancelWrong(order, key) }
        excuse(name, "wrong payment")
        world.after(world.dice.duration(.seconds(1), .seconds(7_200))) { [self] in
            cancelWrong(order, key)
        }
    }

    private func cancelWrong(_ order: OrderID, _ key: String) {
        guard payments[order.value]?.paymentKey == key else { return }
        payments[order.value]?.status = .canceled
        payments[order.value]?.balanceAmount = Won(0)
        world.note(.wrongCancelled, ApproveCall.Name(order).subscription, "\(order)")
    }

    /// Somebody cancels a payment in the provider's console, in whole or in part.
    func cancelOne() {
        guard let index = books.indices.last(where: { !books[$0].isCancelled }) else { return }
        let call = books[index].call
        books[index].isCancelled = true
        let isPart = world.dice.happens(0.4)
        books[index].isGivenBack = !isPart
        payments[call.orderID.value]?.status = isPart ? .partialCanceled : .canceled
        payments[call.orderID.value]?.balanceAmount = Won(isPart ? call.amount.value / 2 : 0)
        excuse(call.name, "cancelled in the console")
        world.note(
            isPart ? .refundedInPart : .cancelledInConsole, call.name.subscription,
            call.orderID.value)
    }
}

extension ApproveCall.Name {
    init(subscription: Int64, period: Int, attempt: Int) {
        self.subscription = subscription
        self.period = period
        self.attempt = attempt
    }

    init(_ name: Self, attempt: Int) {
        self.init(subscription: name.subscription, period: name.period, attempt: attempt)
    }
}

extension ProviderReply {
    var code: String {
        switch self {
        case .payment: "DONE"
        case .error(let code, _, _): code
        }
    }

    /// With the trace of its request.
    func traced(_ trace: String) -> Self {
        guard case .error(let code, let status, _) = self else { return self }
        return .error(code, status: status, trace: trace)
    }

    /// Our daemon ends an attempt on it.
    var isDecline: Bool {
        switch self {
        case .payment: false
        case .error(let code, let status, _):
            switch TossCode.classify(code, status: status) {
            case .soft, .softNextDay, .softOnce, .softFew, .softThenFault, .hard, .hardUnlessNew:
                true
            case .transient, .transientForHours, .unknown, .unknownOfBadInput, .faultOfRow,
                .faultOfAll, .duplicate:
                false
            }
        }
    }

    /// Our daemon may hold the charge on account of it, as documented.
    var holds: Bool {
        switch self {
        case .payment: false
        case .error(let code, let status, _):
            switch TossCode.classify(code, status: status) {
            case .softThenFault, .faultOfRow, .duplicate, .unknownOfBadInput: true
            case .soft, .softNextDay, .softOnce, .softFew, .hard, .hardUnlessNew, .transient,
                .transientForHours, .unknown, .faultOfAll:
                false
            }
        }
    }

    /// As the real gateway reads it.
    var outcome: Outcome {
        switch self {
        case .payment(let payment): return .approved(payment, traceID: nil)
        case .error(let code, let status, let trace):
            let answer = Answer(code: code, httpStatus: status, traceID: trace)
            return Outcome(answer, status: status)
        }
    }
}
