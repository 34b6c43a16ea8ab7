package import Billing

/// `RecordSQL.apply`: all transitions are judged by the state before the call, as one statement sees
/// it. No two of one call speak of the same subscription.
extension Ledger {
    /// `worker`: who records; a lease is its number and its owner.
    package mutating func record(
        _ transitions: [Transition], by worker: Int, at clocks: Clocks
    ) throws -> [Verdict] {
        let news = transitions.map { judged($0, worker, clocks.business) }
        // The triggers of a subscription's row see it as it was.
        for news in news { try write(news, at: clocks) }
        return news.map { $0?.verdict ?? .stale }
    }

    /// What is known of one transition under the lock, and what becomes of it.
    private struct News {
        var row: Subscription
        var plan: Plan
        var charge: Charge?
        /// Position in `charge.attempts`.
        var position: Int?
        var kind: Transition.AttemptChange?
        var change: Transition.ChargeChange?
        var payment: Payment?
        var holds: Bool
        var verdict = Verdict.applied
        var chargeBecomes: Charge.State?
        var attemptBecomes: DueSubscription.LastAttempt.State?
        var closes = false
        var becomes: DueSubscription.State
        var next: Instant?

        var attempt: Attempt? { position.flatMap { charge?.attempts[$0] } }

        /// `reason` of the record.
        var reason: String? {
            switch change {
            case .failed(let reason): reason.rawValue
            case .skipped(let reason): reason.rawValue
            case .held(let reason): reason
            case .waits(let reason): reason.rawValue
            case .paid, .free, .refunded, nil: nil
            }
        }

        /// `refunded_amount` of the record.
        var refunded: Won? {
            guard case .refunded(let payment) = change else { return nil }
            return Won(payment.totalAmount.value - payment.balanceAmount.value)
        }
    }

    /// Nil: the subscription is not there at all.
    private func judged(_ transition: Transition, _ worker: Int, _ clock: Instant) -> News? {
        guard transition.subscription.value <= subscriptions.count else { return nil }
        var news = known(transition, worker)
        news.verdict = judge(news, transition)
        effect(&news, transition)
        if news.verdict.isWritten { news.next = plannedNext(news, transition, clock) }
        return news
    }

    private mutating func write(_ news: News?, at clocks: Clocks) throws {
        guard var news else { return }
        guard news.verdict.isWritten else {
            if news.holds { release(news) }
            return
        }
        let attemptWas = news.attempt?.state
        try writeAttempt(&news, at: clocks)
        contradict(&news)
        try writeCharge(&news, attemptWas, clocks.business)
        tell(news)
        killCard(news)
        writeSubscription(news)
    }

    private mutating func killCard(_ news: News) {
        guard case .declined(_, let answer, true) = news.kind, news.verdict == .applied,
            let card = news.attempt?.request.billingKeyID,
            cards[Int(card) - 1].state == .active
        else { return }
        cards[Int(card) - 1].state = .dead
        cards[Int(card) - 1].deadCode = answer.code
        tell(
            "billing_key.dead", (news.row.id, news.charge?.id),
            Event.Data(code: answer.code, card: card))
    }

    /// The events of one transition.
    private mutating func tell(_ news: News) {
        guard events != nil else { return }
        var data = Event.Data(
            period: news.charge?.period, amount: news.charge?.terms.amount,
            code: news.kind?.answerCode, attempt: news.kind?.attemptNumber,
            paymentKey: news.payment?.paymentKey, reason: news.reason, refunded: news.refunded)
        if news.verdict == .contradiction { data.reason = "contradiction" }
        let id = (news.row.id, news.charge?.id)
        if let becomes = news.chargeBecomes { tell("charge." + becomes.rawValue, id, data) }
        let standing =
            news.becomes == news.row.state
            ? nil
            : news.becomes == .active ? "recovered" : news.becomes.rawValue
        if let standing, standing != "past_due" { tell("subscription." + standing, id, data) }
        data.nextChargeAt = news.next
        if news.attemptBecomes == .declined { tell("charge.declined", id, data) }
        if standing == "past_due" { tell("subscription.past_due", id, data) }
    }

    private func known(_ transition: Transition, _ worker: Int) -> News {
        let row = self[subscription: transition.subscription.value]
        var charge: Charge?
        if let id = transition.charge?.value, id <= charges.count,
            self[charge: id].subscription == row.id
        {
            charge = self[charge: id]
        }
        var position: Int?
        if let number = transition.attempt?.attemptNumber, let charge,
            number <= charge.attempts.count
        {
            position = number - 1
            if case .approved(_, let payment, _) = transition.attempt,
                charge.attempts[number - 1].request.orderID != payment.orderID
            {
                position = nil
            }
        }
        return News(
            row: row, plan: plans[row.plan], charge: charge, position: position,
            kind: transition.attempt, change: transition.chargeChange,
            payment: transition.attempt?.payment ?? transition.chargeChange?.payment,
            holds: row.lease == transition.lease.value && row.leaseUntil != nil
                && row.leaseOwner == worker,
            becomes: row.state)
    }

    private func judge(_ news: News, _ transition: Transition) -> Verdict {
        let charge = news.charge
        switch news.kind {
        case .approved(_, let payment, _):
            guard let charge, let attempt = news.attempt else { return .stale }
            if attempt.state == .approved, charge.paymentKey == payment.paymentKey {
                return .repeated
            }
            if attempt.contradiction == payment.paymentKey { return .repeated }
            if attempt.state == .open,
                charge.state == .open || charge.state == .held && charge.paymentKey == nil
            {
                return .applied
            }
            return .contradiction
        case .earlierPaid(_, let payment, _):
            if charge?.paymentKey == payment.paymentKey { return .repeated }
            return news.holds && charge?.state == .open ? .applied : .stale
        default: break
        }
        if news.row.lease == transition.lease.value, news.row.leaseUntil == nil {
            return .repeated
        }
        guard news.holds else { return .stale }
        if news.kind != nil, news.attempt?.state != .open { return .stale }
        if news.change != nil, charge?.state != .open { return .stale }
        return .applied
    }

    private func effect(_ news: inout News, _ transition: Transition) {
        switch news.kind {
        case .approved: news.attemptBecomes = .approved
        case .declined: news.attemptBecomes = .declined
        case .refused: news.attemptBecomes = .refused
        case .earlierPaid(_, _, let unsent): news.attemptBecomes = unsent == nil ? nil : .refused
        case .notSent, .unknown, .lookedUp, nil: break
        }
        if news.verdict == .contradiction {
            news.chargeBecomes = .held
            return
        }
        switch news.change {
        case .paid, .free: news.chargeBecomes = .paid
        case .refunded: news.chargeBecomes = .refunded
        case .failed: news.chargeBecomes = .failed
        case .skipped: news.chargeBecomes = .skipped
        case .held: news.chargeBecomes = .held
        case .waits, nil: break
        }
        news.closes =
            news.verdict == .applied && news.chargeBecomes != nil && news.chargeBecomes != .held
        let was = news.row.state
        switch transition.standing {
        case .good: if was == .pastDue || was == .suspended { news.becomes = .active }
        case .pastDue: if was == .active || was == .suspended { news.becomes = .pastDue }
        case .suspended: if was == .active || was == .pastDue { news.becomes = .suspended }
        case .canceled: news.becomes = .canceled
        case .exhausted:
            if was != .paused {
                news.becomes = news.plan.cancelsWhenExhausted ? .canceled : .suspended
            }
        case nil: break
        }
    }

    /// `planned.next_charge_at`.
    private func plannedNext(
        _ news: News, _ transition: Transition, _ clock: Instant
    ) -> Instant? {
        let row = news.row
        let end = news.charge?.end
        if news.verdict == .contradiction {
            return row.openCharge != news.charge?.id ? row.nextChargeAt : nil
        }
        if news.closes {
            if let cancelAt = row.cancelAt, let end, cancelAt <= end, news.becomes != .canceled {
                return cancelAt
            }
            switch news.becomes {
            case .canceled, .suspended, .paused: return nil
            case .active, .pastDue: break
            }
            if news.plan.catchUp == .each, let end, end <= clock, news.chargeBecomes == .paid {
                return clock + .seconds(86_400)
            }
            return end
        }
        if news.becomes == .canceled || transition.next == .never { return nil }
        if news.charge?.state == .held { return nil }
        switch news.kind {
        case .notSent, .unknown, .lookedUp:
            if case .after(let wait) = transition.next { return clock + wait }
            return nil
        default: break
        }
        if news.becomes == .paused, row.cancelAt.map({ $0 > clock }) ?? true {
            var date: Instant?
            if news.attemptBecomes != nil {
                date = clock + numbers.gap
            } else if case .at(let instant) = transition.next {
                date = instant
            } else if case .after(let wait) = transition.next {
                date = clock + wait
            }
            return [row.openCharge == nil ? nil : row.cancelAt, date].compactMap { $0 }.min()
        }
        var dates: [Instant] = []
        switch transition.next {
        case .advance, .never: break
        case .after(let wait): dates.append(clock + wait)
        case .dunning(let rung):
            let step = rung < news.plan.dunning.count ? news.plan.dunning[rung] : numbers.gap
            dates.append(end.map { min($0, clock + step) } ?? clock + step)
        case .nextDay(let wait):
            let date = clock.nextKoreanDay + wait
            dates.append(end.map { min($0, date) } ?? date)
        case .sealAfterGap: dates.append(clock + numbers.gap)
        case .periodEnd:
            // A card that came since the claim found none is tried at once.
            if card(of: row) != nil { dates.append(clock) } else if let end { dates.append(end) }
        case .at(let instant): dates.append(instant)
        }
        if let cancelAt = row.cancelAt, cancelAt > clock || news.attemptBecomes != nil {
            dates.append(max(cancelAt, clock))
        }
        return dates.min()
    }

    private mutating func writeAttempt(_ news: inout News, at clocks: Clocks) throws {
        guard news.verdict == .applied, let kind = news.kind, let position = news.position,
            var attempt = news.attempt
        else { return }
        if attempt.state != .open {
            throw Violation(rule: "an attempt that has ended never changes")
        }
        attempt.state = news.attemptBecomes ?? attempt.state
        attempt.code = kind.answerCode
        if case .lookedUp = kind {} else { attempt.traceID = kind.answerTrace ?? attempt.traceID }
        attempt.finishedAt = news.attemptBecomes == nil ? nil : clocks.business
        attempt.inDoubt = news.attemptBecomes == nil
        attempt.absent = false
        switch kind {
        case .unknown:
            attempt.unknownSince = attempt.unknownSince ?? clocks.business
            attempt.quietUntil = clocks.real + numbers.requestTimeout * 2
        case .notSent:
            attempt.inDoubt = false
            attempt.sends -= 1
            attempt.notSents += 1
        case .lookedUp(_, _, let found):
            attempt.lookups += 1
            if found != .unclear { attempt.notFounds += 1 }
            attempt.absent = found == .absent
        case .earlierPaid(let order, let payment, _):
            if news.charge?.knows(order) == false { attempt.contradiction = payment.paymentKey }
        case .approved(_, _, let answer): if answer.code == "LOOKED_UP" { attempt.lookups += 1 }
        case .declined, .refused: break
        }
        news.charge?.attempts[position] = attempt
    }

    /// An ended attempt notes the payment that the provider shows for it all the same.
    private func contradict(_ news: inout News) {
        guard let payment = news.payment else { return }
        if case .earlierPaid = news.kind {
            guard news.verdict == .applied else { return }
        } else if news.verdict != .contradiction {
            return
        }
        guard let attempts = news.charge?.attempts else { return }
        // Paid under a name that the ledger forgot: the last one it knows bears the note.
        if case .earlierPaid(let order, _, nil) = news.kind, news.charge?.knows(order) == false,
            let last = attempts.indices.last
        {
            news.charge?.attempts[last].contradiction = payment.paymentKey
        }
        for (index, attempt) in attempts.enumerated()
        where attempt.request.orderID == payment.orderID {
            news.charge?.attempts[index].contradiction = payment.paymentKey
        }
    }

    private mutating func writeCharge(
        _ news: inout News, _ attemptWas: DueSubscription.LastAttempt.State?, _ clock: Instant
    ) throws {
        guard var charge = news.charge else { return }
        defer { self[charge: charge.id] = charge }
        if case .waits(let reason) = news.change, news.verdict == .applied {
            charge.reason = reason.rawValue
            charge.waitsSince = clock
        }
        guard news.chargeBecomes != nil || news.attemptBecomes == .declined else { return }
        let was = charge.state
        charge.state = news.chargeBecomes ?? was
        if news.verdict == .contradiction {
            charge.reason =
                "contradiction: payment \(news.payment?.paymentKey ?? "") for attempt "
                + "\(news.kind?.attemptNumber ?? 0), which had ended as "
                + "\(attemptWas?.rawValue ?? "")"
        } else if news.chargeBecomes != nil {
            charge.reason = news.reason
        }
        if charge.paymentKey == nil, let payment = news.payment,
            news.verdict != .contradiction || attemptWas != .open
        {
            guard !charges.contains(where: { $0.paymentKey == payment.paymentKey }) else {
                throw Violation(rule: "charges_payment_key_unique")
            }
            charge.paymentKey = payment.paymentKey
        }
        charge.refunded = news.refunded ?? charge.refunded
        if news.attemptBecomes == .declined { charge.declines += 1 }
        try guardCharge(from: was, charge, clock)
    }

    /// `guard_charge`, `guard_charge_end` and the table's checks.
    func guardCharge(from was: Charge.State, _ charge: Charge, _ clock: Instant) throws {
        if charge.state != was {
            let isLegal =
                switch was {
                case .open, .held: true
                case .paid: charge.state == .refunded || charge.state == .held
                case .failed, .skipped, .refunded: charge.state == .held
                }
            guard isLegal else {
                throw Violation(rule: "charge may not go from \(was) to \(charge.state)")
            }
        }
        switch charge.state {
        case .open, .held: return
        case .paid, .refunded, .failed, .skipped: break
        }
        if charge.state == .paid || charge.state == .refunded {
            guard charge.paymentKey != nil || charge.terms.amount.value == 0 else {
                throw Violation(rule: "charges_paid_has_payment")
            }
        }
        guard charge.terms.amount.value > 0, let last = charge.attempts.last else { return }
        if last.state == .open {
            throw Violation(rule: "charge may not end while an attempt is open")
        }
        if charge.isUnpaid, let finished = last.finishedAt, finished + numbers.gap > clock {
            throw Violation(rule: "charge may not end unpaid before its seal", isByClock: true)
        }
        if charge.attempts.filter({ $0.state == .approved }).count > 1 {
            throw Violation(rule: "a charge has one approved attempt")
        }
    }

    private mutating func writeSubscription(_ news: News) {
        var row = news.row
        row.state = news.becomes
        row.nextChargeAt = news.next
        if news.closes {
            row.periodIndex += 1
            row.periodAt = news.charge?.end ?? row.periodAt
            row.openCharge = nil
        }
        row.attemptOpen =
            row.attemptOpen && !news.closes
            && (news.verdict != .applied || news.attemptBecomes == nil)
        self[subscription: row.id] = row
        if news.holds { release(news) }
    }

    private mutating func release(_ news: News) {
        self[subscription: news.row.id].leaseUntil = nil
        self[subscription: news.row.id].leaseOwner = nil
        self[subscription: news.row.id].claims = 0
    }
}

extension Verdict {
    fileprivate var isWritten: Bool { self == .applied || self == .contradiction }
}

extension Transition.AttemptChange {
    /// `attempt_no` of the record.
    fileprivate var attemptNumber: Int? {
        if case .earlierPaid(_, _, let unsent) = self { return unsent }
        return number
    }

    fileprivate var answerTrace: String? {
        switch self {
        case .approved(_, _, let answer), .declined(_, let answer, _), .refused(_, let answer),
            .notSent(_, let answer), .unknown(_, let answer), .lookedUp(_, let answer, _):
            answer.traceID
        case .earlierPaid: nil
        }
    }

    fileprivate var answerCode: String {
        switch self {
        case .approved(_, _, let answer), .declined(_, let answer, _), .refused(_, let answer),
            .notSent(_, let answer), .unknown(_, let answer), .lookedUp(_, let answer, _):
            answer.code
        case .earlierPaid: "EARLIER_ATTEMPT_PAID"
        }
    }
}

extension Transition.ChargeChange {
    fileprivate var payment: Payment? {
        switch self {
        case .paid(let payment), .refunded(let payment): payment
        case .free, .failed, .skipped, .held, .waits: nil
        }
    }
}

extension Ledger.Charge {
    fileprivate func knows(_ order: OrderID) -> Bool {
        attempts.contains { $0.request.orderID == order }
    }
}
