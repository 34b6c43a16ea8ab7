import Billing
import TestSupport

/// The operations on the ``Ledger``.
struct LedgerSide {
    private(set) var ledger = Ledger()
    private(set) var clocks = Ledger.Clocks(
        business: Instant(microseconds: NormalForm.epoch),
        real: Instant(microseconds: NormalForm.epoch))
    private var held: [(worker: Int, held: Held)] = []
    private var lastClaim = 0..<0
    /// Another session claims: what it gets is not in these hands.
    var keepsClaims = true

    /// For the tests of this test.
    enum Mistake: Sendable {
        /// A bad row takes its whole batch down with it.
        case wholeBatch
        /// No limit of won a day.
        case noCap
        /// Whoever records is taken for the owner of the lease.
        case anyOwner
    }
    var mistake: Mistake?

    init() {
        let day = 86_400
        var plans = [
            Ledger.Plan(
                amount: Won(9_900), cycle: .months(1),
                dunning: [.seconds(day), .seconds(3 * day)]),
            Ledger.Plan(
                amount: Won(50_000), cycle: .days(30),
                dunning: [1, 3, 5, 7].map { .seconds($0 * day) }),
            Ledger.Plan(amount: Won(120_000), cycle: .months(12), dunning: []),
        ]
        plans[0].taxFree = Won(900)
        plans[1].cancelsWhenExhausted = true
        plans[1].catchUp = .each
        plans[2].catchUp = .hold
        ledger.plans = plans
        ledger.addCard(customer: 0, clock: clocks.business)
        ledger.addCard(customer: 1, clock: clocks.business)
        ledger.events = []
    }

    /// The operation that both sides run; nil: none, it speaks of what is not there. Among rows that
    /// are due at the same instant the claim is free to choose: here it takes all or none of them.
    func settled(_ operation: Operation) -> Operation? {
        guard case .claim(let worker, let asked) = operation else { return operation }
        func due(_ withoutMoney: Bool) -> [Instant] {
            ledger.subscriptions.filter {
                ($0.leaseUntil ?? clocks.real) <= clocks.real
                    && (!withoutMoney || ledger.needsNoMoney($0, clocks.business))
            }.compactMap(\.nextChargeAt).filter { $0 <= clocks.business }.sorted()
        }
        let isPoisoned = ledger.subscriptions.contains { $0.claims >= 3 }
        let all = due(false)
        if isPoisoned, Set(all).count < all.count { return nil }
        var limit = asked
        let open = due(true)
        func splits(_ due: [Instant]) -> Bool {
            limit < due.count && due[limit - 1] == due[limit]
        }
        while splits(all) || splits(open) { limit += 1 }
        // Then a second lock may follow, for what is left of the limit.
        if ledger.limits.wonPerDay != nil, Set(all).count < all.count {
            limit = max(limit, all.count + 1)
        }
        return .claim(worker: worker, limit: limit)
    }

    mutating func run(_ operation: Operation) -> NormalForm {
        let answer = reply(to: operation)
        clocks.business = clocks.business + .seconds(1)
        return NormalForm(answer: answer, state: ledger.rows(at: clocks))
    }

    /// The answer alone; no time passes.
    mutating func reply(to operation: Operation) -> String {
        switch operation {
        case .claim(let worker, let limit): return claim(worker, limit)
        case .claimRefused(let why):
            ledger.refusal = "\(why)"
            defer { ledger.refusal = nil }
            return claim(1, 10)
        case .recordAll(let news):
            let all = Array(held[lastClaim])
            guard let worker = all.first?.worker, !news.isEmpty else { return "nothing" }
            return record(
                all.enumerated().map { $1.held.transition(after: news[$0 % news.count]) }, worker)
        case .record(let back, let news, let byAnother):
            guard let one = held.fromEnd(back) else { return "nothing" }
            return record(
                [one.held.transition(after: news)],
                byAnother && mistake != .anyOwner ? 3 - one.worker : one.worker)
        case .release(let back):
            guard let one = held.fromEnd(back), case .work(let work) = one.held else {
                return "nothing"
            }
            ledger.release([work], by: one.worker)
            return "released"
        case .pass(let seconds):
            clocks.business = clocks.business + .seconds(seconds)
            return ""
        case .elapse(let steps):
            clocks.real = clocks.real + .seconds(steps * Operation.step)
            return ""
        default: return change(operation)
        }
    }

    private mutating func claim(_ worker: Int, _ limit: Int) -> String {
        if keepsClaims { lastClaim = held.count..<held.count }
        let hasBudget = ledger.limits.requestsPerMinute != nil
        let cap = ledger.limits.wonPerDay
        if mistake == .noCap { ledger.limits.wonPerDay = nil }
        defer { ledger.limits.wonPerDay = cap }
        do {
            let claim = try ledger.claim(
                limit: limit, worker: worker, fingerprint: ledger.fingerprint, at: clocks)
            if keepsClaims {
                held += claim.held.map { (worker, $0) }
                lastClaim = lastClaim.lowerBound..<held.count
            }
            return NormalForm.claim(claim, hasBudget: hasBudget) { id in
                let charge = ledger[charge: id.value]
                return "\(charge.subscription)/\(charge.period)"
            }
        } catch StoreError.refused {
            return "refused"
        } catch {
            return "\(error)"
        }
    }

    /// As `PostgresStore.record`: halved until the bad row stands alone.
    private mutating func record(_ transitions: [Transition], _ worker: Int) -> String {
        verdicts(transitions, worker).map(\.rawValue).joined(separator: " ")
    }

    private mutating func verdicts(_ transitions: [Transition], _ worker: Int) -> [Verdict] {
        let before = ledger
        do {
            return try ledger.record(transitions, by: worker, at: clocks)
        } catch {
            ledger = before
            if mistake == .wholeBatch { return transitions.map { _ in .rejected } }
            guard transitions.count > 1 else { return [.rejected] }
            let middle = transitions.count / 2
            let first = verdicts(Array(transitions[..<middle]), worker)
            return first + verdicts(Array(transitions[middle...]), worker)
        }
    }

    /// What the web app or the operator does.
    private mutating func change(_ operation: Operation) -> String {
        let clock = clocks.business
        switch operation {
        case .subscribe(let customer, let plan, let seconds):
            ledger.subscribe(customer: customer, plan: plan, startsAt: clock + .seconds(seconds))
        case .newCard(let customer): ledger.addCard(customer: customer, clock: clock)
        case .deleteCard(let card):
            guard let card = ledger.cards.at(card) else { return "nothing" }
            ledger.deleteCard(card.id)
        case .changePrice(let plan, let amount, let taxFree):
            ledger.plans[plan].amount = Won(amount)
            ledger.plans[plan].taxFree = Won(taxFree)
        case .changeManners(let plan, let rungs, let cancels, let catchUp, let cycle):
            ledger.plans[plan].dunning = (0..<rungs).map { .seconds(86_400 * ($0 + 1)) }
            ledger.plans[plan].cancelsWhenExhausted = cancels
            ledger.plans[plan].catchUp = [.latest, .each, .hold][catchUp]
            ledger.plans[plan].cycle = cycle
        case .pauseFleet(let isPaused): ledger.pausedReason = isPaused ? "paused" : nil
        case .rotateKey: ledger.fingerprint = 3 - ledger.fingerprint
        case .limit(let won, let requests):
            ledger.limits.wonPerDay = won
            ledger.limits.requestsPerMinute = requests
        case .adopt(let lost):
            ledger.adopt(
                lost: .seconds(lost * Operation.step), by: "test_admin", why: "a drill",
                at: clocks)
        case .endHold(let number, let end): return endHold(number, end)
        default: return changeSubscription(operation, clock)
        }
        return ""
    }

    private mutating func changeSubscription(_ operation: Operation, _ clock: Instant) -> String {
        guard let row = ledger.subscriptions.at(operation.subscription ?? 0) else {
            return "nothing"
        }
        let isTaken: Bool
        switch operation {
        case .changePlan(_, let plan):
            ledger.changePlan(row.id, plan)
            isTaken = true
        case .changeAmount(_, let amount):
            ledger.changeAmount(row.id, amount.map { Won($0) })
            isTaken = true
        case .cancel(_, let now): isTaken = ledger.cancel(row.id, now: now, clock: clock)
        case .uncancel: isTaken = ledger.uncancel(row.id, clock: clock)
        case .pause: isTaken = ledger.pause(row.id, clock: clock)
        case .resume: isTaken = ledger.resume(row.id, clock: clock)
        case .choose(_, let card):
            isTaken = ledger.choose(
                ledger.own(card, of: row.customer), for: row.id, clock: clock)
        case .retryNow: return "\(ledger.retryNow(row.id, clock: clock))"
        default: return "nothing"
        }
        return isTaken ? "" : "refused"
    }

    private mutating func endHold(_ number: Int, _ end: Operation.End) -> String {
        guard let target = ledger.holdTarget(number, end) else { return "nothing" }
        do {
            try ledger.endHold(
                target.charge.id, target.end, by: "test_admin", why: "said so", at: clocks)
            return ""
        } catch {
            return "refused"
        }
    }
}

extension Ledger {
    /// The charge, held if there is one, and the end that an operation speaks of.
    func holdTarget(
        _ number: Int, _ end: Operation.End
    ) -> (charge: Charge, end: HoldEnd)? {
        let charge = charges.filter { $0.state == .held }.at(number) ?? charges.at(number)
        guard let charge else { return nil }
        let attempt = end == .paidFirst ? charge.attempts.first : charge.attempts.last
        let order = attempt?.request.orderID ?? OrderID(stored: "no-order")
        switch end {
        case .open: return (charge, .open)
        case .failed: return (charge, .failed)
        case .held: return (charge, .held)
        case .paid, .paidFirst:
            return (charge, .paid(order: order, paymentKey: "pay-held-\(order)"))
        case .refunded:
            let half = Won(charge.terms.amount.value / 2)
            return (charge, .refunded(order: order, paymentKey: "pay-held-\(order)", half))
        }
    }

    /// A card of the customer.
    func own(_ number: Int?, of customer: Int) -> Int64? {
        number.flatMap { number in cards.filter { $0.customer == customer }.at(number)?.id }
    }
}

extension Operation {
    /// The subscription that it speaks of.
    var subscription: Int? {
        switch self {
        case .changePlan(let id, _), .changeAmount(let id, _), .cancel(let id, _),
            .uncancel(let id), .pause(let id), .resume(let id), .choose(let id, _),
            .retryNow(let id):
            id
        default: nil
        }
    }
}

extension Claim {
    var held: [Held] { work.map { .work($0) } + local.map { .local($0) } }
}

extension Array {
    /// Modulo its length.
    func at(_ index: Int) -> Element? { isEmpty ? nil : self[index % count] }
    func fromEnd(_ back: Int) -> Element? { isEmpty ? nil : self[count - 1 - back % count] }
}
