package import Billing

/// A subscription of the ``MemoryStore`` with all its charges. The columns of the real tables, as
/// far as they matter to the worker.
package struct MemorySubscription: Sendable {
    package var id: SubscriptionID
    package var state = DueSubscription.State.active
    package var nextChargeAt: Instant?
    package var lease: Int64 = 0
    /// Nil: nobody has claimed it.
    package var leaseUntil: Instant?
    package var silentClaims = 0
    package var cancelAt: Instant?
    package var resumedAt: Instant?
    package var periodIndex = 0
    package var anchor: Instant
    package var terms: DueSubscription.Terms
    package var catchUp = DueSubscription.CatchUp.latest
    package var ladder: [Duration]
    /// What the end of dunning makes of it.
    package var exhausted = DueSubscription.State.suspended
    /// Usable cards, the preferred one first; a hard decline removes one.
    package var cards: [DueSubscription.Card]
    package var charges: [MemoryCharge] = []
    /// What was written last, to know a repeat by.
    var lastRecorded: Transition?

    package var orderPrefix: String { "sub\(id.value)" }

    /// The name of attempt `attempt` of period `period`.
    package func order(period: Int = 0, attempt: Int = 1) -> OrderID {
        OrderID(prefix: orderPrefix, period: period, attempt: attempt)
    }

    var openCharge: Int? { charges.firstIndex { $0.state == .open } }

    package init(
        id: SubscriptionID, anchor: Instant, amount: Won = Won(9_900),
        cards: [DueSubscription.Card]? = nil,
        ladder: [Duration] = [.seconds(86_400), .seconds(3 * 86_400)]
    ) {
        self.id = id
        self.anchor = anchor
        self.nextChargeAt = anchor
        self.ladder = ladder
        terms = DueSubscription.Terms(
            amount: amount, taxFreeAmount: Won(0), orderName: "Membership")
        self.cards =
            cards ?? [DueSubscription.Card(id: id.value, billingKey: BillingKey("key\(id.value)"))]
    }
}

package struct MemoryCharge: Sendable {
    package enum State: Hashable, Sendable {
        case open, paid, free, refunded
        case failed(FailReason)
        case skipped(Transition.SkipReason)
        case held(String)
    }

    package var id: ChargeID
    package var period: Int
    package var terms: DueSubscription.Terms
    package var state = State.open
    package var payment: Payment?
    package var declines = 0
    package var attempts: [MemoryAttempt] = []
}

package struct MemoryAttempt: Sendable {
    package var seen: DueSubscription.LastAttempt
    /// From when the quiet time counts: the record of the unknown, or the end of the last lease.
    package var quietFrom: Instant
    /// An approval arrived although the attempt had ended.
    package var isContradicted = false
}

extension MemorySubscription {
    /// Writes `transition` as its comments say. `period`: length of every period.
    mutating func apply(_ transition: Transition, now: Instant, period: Duration, gap: Duration)
        -> Verdict
    {
        let isFact = transition.attempt?.isFact ?? false
        if !isFact, transition.lease.value != lease { return .stale }
        if transition == lastRecorded { return .repeated }
        let position = charges.firstIndex { $0.id == transition.charge }
        if isFact, let position {
            if let verdict = contradicts(transition, charges[position]) {
                if verdict == .contradiction { hold(position, transition) }
                return verdict
            }
        }
        if let position {
            if let attempt = transition.attempt { apply(attempt, to: position, now: now) }
            if let change = transition.chargeChange { apply(change, to: position) }
        }
        if let standing = transition.standing { apply(standing) }
        let ended = position.flatMap { charges[$0].attempts.last?.seen.finishedAt } ?? now
        schedule(transition.next, now: now, period: period, sealAt: ended + gap)
        lastRecorded = transition
        if transition.lease.value == lease {
            leaseUntil = nil
            silentClaims = 0
        }
        return .applied
    }

    /// An approval of what the ledger already knows, or knows otherwise; nil: it fits.
    private func contradicts(_ transition: Transition, _ charge: MemoryCharge) -> Verdict? {
        guard let payment = transition.attempt?.payment else { return nil }
        switch charge.state {
        case .paid, .refunded:
            return charge.payment?.paymentKey == payment.paymentKey ? .repeated : .contradiction
        case .failed, .skipped, .held, .free: return .contradiction
        case .open: break
        }
        guard let number = transition.attempt?.number, number <= charge.attempts.count else {
            return nil
        }
        return charge.attempts[number - 1].seen.state == .open ? nil : .contradiction
    }

    private mutating func hold(_ position: Int, _ transition: Transition) {
        charges[position].payment = charges[position].payment ?? transition.attempt?.payment
        if let number = transition.attempt?.number, number <= charges[position].attempts.count {
            charges[position].attempts[number - 1].isContradicted = true
        }
        charges[position].state = .held("contradiction")
        nextChargeAt = nil
    }

    private mutating func apply(
        _ change: Transition.AttemptChange, to position: Int, now: Instant
    ) {
        if case .earlierPaid(let order, _, let unsent) = change {
            for index in charges[position].attempts.indices {
                let number = index + 1
                if charges[position].attempts[index].seen.request.orderID == order {
                    charges[position].attempts[index].isContradicted = true
                }
                if number == unsent {
                    charges[position].attempts[index].end(.refused, "EARLIER_PAID", now)
                }
            }
            return
        }
        guard let number = change.number, number <= charges[position].attempts.count else { return }
        charges[position].attempts[number - 1].apply(change, now: now)
        if case .declined(_, _, let killsKey) = change {
            charges[position].declines += 1
            let card = charges[position].attempts[number - 1].seen.request.billingKeyID
            if killsKey { cards.removeAll { $0.id == card } }
        }
    }

    private mutating func apply(_ change: Transition.ChargeChange, to position: Int) {
        switch change {
        case .paid(let payment):
            charges[position].state = .paid
            charges[position].payment = payment
        case .refunded(let payment):
            charges[position].state = .refunded
            charges[position].payment = payment
        case .free: charges[position].state = .free
        case .failed(let reason): charges[position].state = .failed(reason)
        case .skipped(let reason): charges[position].state = .skipped(reason)
        case .held(let reason): charges[position].state = .held(reason)
        }
    }

    private mutating func apply(_ standing: Transition.Standing) {
        switch standing {
        case .good: if state == .pastDue || state == .suspended { state = .active }
        case .pastDue: if state == .active { state = .pastDue }
        case .suspended: if state == .active || state == .pastDue { state = .suspended }
        case .canceled: state = .canceled
        case .exhausted: if state != .canceled { state = exhausted }
        }
    }

    private mutating func schedule(
        _ next: Transition.Next, now: Instant, period: Duration, sealAt: Instant
    ) {
        let end = anchor + period * (periodIndex + 1)
        switch next {
        case .advance:
            periodIndex += 1
            nextChargeAt = end
        case .after(let duration): nextChargeAt = now + duration
        case .dunning(let step):
            nextChargeAt = step < ladder.count ? min(now + ladder[step], end) : end
        case .sealAfterGap: nextChargeAt = sealAt
        case .periodEnd: nextChargeAt = end
        case .at(let instant): nextChargeAt = instant
        case .never: nextChargeAt = nil
        }
    }
}

extension MemoryAttempt {
    mutating func end(_ state: DueSubscription.LastAttempt.State, _ code: String, _ now: Instant) {
        seen.state = state
        seen.code = code
        seen.finishedAt = now
        seen.inDoubt = false
    }

    mutating func apply(_ change: Transition.AttemptChange, now: Instant) {
        switch change {
        case .approved(_, _, let answer): end(.approved, answer.code, now)
        case .declined(_, let answer, _): end(.declined, answer.code, now)
        case .refused(_, let answer): end(.refused, answer.code, now)
        case .notSent:
            seen.notSents += 1
            seen.inDoubt = false
        case .unknown:
            seen.everUnknown = true
            seen.inDoubt = true
            quietFrom = now
        case .lookedUp(_, _, let found):
            seen.lookups += 1
            if found != .unclear { seen.notFounds += 1 }
            if found == .absent { seen.absent = true }
        case .earlierPaid: break
        }
    }
}

extension Transition.AttemptChange {
    /// Accepted from any worker, however stale.
    package var isFact: Bool {
        switch self {
        case .approved, .earlierPaid: true
        case .declined, .refused, .notSent, .unknown, .lookedUp: false
        }
    }

    package var number: Int? {
        switch self {
        case .approved(let number, _, _), .declined(let number, _, _), .refused(let number, _),
            .notSent(let number, _), .unknown(let number, _), .lookedUp(let number, _, _):
            number
        case .earlierPaid: nil
        }
    }

    package var payment: Payment? {
        switch self {
        case .approved(_, let payment, _), .earlierPaid(_, let payment, _): payment
        case .declined, .refused, .notSent, .unknown, .lookedUp: nil
        }
    }
}
