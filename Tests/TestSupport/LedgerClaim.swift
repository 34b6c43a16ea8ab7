package import Billing

/// `ClaimSQL` and the transaction of `PostgresStore.claim` around it.
extension Ledger {
    /// One claim. Throws ``StoreError`` `.refused` for another secret key, and ``Violation``.
    package mutating func claim(
        limit: Int, worker: Int, fingerprint: Int, at clocks: Clocks
    ) throws -> Claim {
        guard fingerprint == self.fingerprint else {
            throw StoreError.refused("this database is bound to another secret key")
        }
        if let refusal { throw StoreError.refused(refusal) }
        var claim = Claim(pausedReason: pausedReason, numbers: numbers)
        if claim.pausedReason == nil, let adoptedAt,
            clocks.real < adoptedAt + numbers.lateBound
        {
            claim.pausedReason = "this database was adopted"
        }
        if claim.pausedReason != nil { return claim }
        var allowance = allowance(at: clocks)
        if let wait = untilNextRequest(allowance), wait > .zero {
            claim.wake = wait
            return claim
        }
        let (locked, isFull) = due(limit: limit, isDayOver: allowance.isDayOver, at: clocks)
        let ids = together(locked)
        for id in ids.sorted() { try take(id, worker, at: clocks, &allowance, &claim) }
        if allowance.leftOutForWon > 0, isFull || ids.count < locked.count {
            // What needs no money does not wait behind rows that wait for tomorrow's won.
            let free = limit - claim.work.count - claim.local.count
            let open = together(due(limit: free, withoutMoney: true, at: clocks))
            allowance.used = [:]
            for id in open.sorted() { try take(id, worker, at: clocks, &allowance, &claim) }
        }
        if allowance.isDayOver || allowance.leftOutForWon > 0 {
            claim.pausedReason = "the day's won are used up"
        } else if allowance.leftOutForRequests > 0 {
            claim.wake = untilNextRequest(allowance)
        } else if isFull || ids.count < locked.count {
            claim.wake = .zero
        } else if let next = nextDue(after: clocks.business) {
            let wait = Duration.microseconds(next.microseconds - clocks.business.microseconds)
            claim.wake = min(wait, .seconds(86_400))
        }
        return claim
    }

    /// Gives claims back of which nothing left.
    package mutating func release(_ work: [Work], by worker: Int) {
        for work in work {
            guard work.subscription.value <= subscriptions.count else { continue }
            var row = self[subscription: work.subscription.value]
            guard row.lease == work.lease.value, row.leaseUntil != nil, row.leaseOwner == worker
            else { continue }
            if case .send = work.task, let id = row.openCharge,
                let last = self[charge: id].attempts.indices.last,
                self[charge: id].attempts[last].state == .open,
                self[charge: id].attempts[last].inDoubt
            {
                let wasSent = self[charge: id].attempts[last].sends > 1
                self[charge: id].attempts[last].sends -= 1
                self[charge: id].attempts[last].inDoubt = wasSent
                self[charge: id].attempts[last].absent = wasSent
            }
            row.leaseUntil = nil
            row.leaseOwner = nil
            row.claims = 0
            self[subscription: row.id] = row
        }
    }

    /// When something next becomes due or free; for the simulation's own planning.
    package func nextMoment(after clocks: Clocks) -> Duration? {
        subscriptions.compactMap { row -> Duration? in
            guard let next = row.nextChargeAt else { return nil }
            let due = next.microseconds - clocks.business.microseconds
            let free = (row.leaseUntil?.microseconds ?? 0) - clocks.real.microseconds
            return .microseconds(max(due, free, 0))
        }.min()
    }

    /// `PostgresStore.lock(limit:isDayOver:_:)`.
    private func due(
        limit: Int, isDayOver: Bool, at clocks: Clocks
    ) -> (locked: [Int64], isFull: Bool) {
        let share = isDayOver ? 0 : limit / 8
        let all = due(limit: .max, withoutMoney: isDayOver, at: clocks)
        let oldest = all.prefix(limit - share)
        guard oldest.count == limit - share, share > 0 else {
            return (Array(oldest), oldest.count == limit - share)
        }
        let newest = all.dropFirst(oldest.count).suffix(share)
        return (oldest + newest.reversed(), newest.count == share)
    }

    private func due(limit: Int, withoutMoney: Bool, at clocks: Clocks) -> [Int64] {
        var rows: [(Instant, Int64)] = []
        for row in subscriptions {
            guard let next = row.nextChargeAt, next <= clocks.business,
                row.leaseUntil.map({ $0 <= clocks.real }) ?? true,
                !withoutMoney || needsNoMoney(row, clocks.business)
            else { continue }
            rows.append((next, row.id))
        }
        rows.sort { $0 < $1 }
        return rows.prefix(limit).map(\.1)
    }

    /// `ClaimSQL.needsNoMoney`.
    package func needsNoMoney(_ row: Subscription, _ now: Instant) -> Bool {
        if row.attemptOpen { return true }
        if let cancelAt = row.cancelAt, cancelAt <= now,
            row.openCharge != nil || cancelAt <= row.periodAt
        {
            return true
        }
        guard let charge = row.openCharge.map({ self[charge: $0] }), !charge.attempts.isEmpty
        else { return false }
        return row.state == .paused || charge.end <= now
            || charge.declines > plans[row.plan].dunning.count
    }

    private func together(_ locked: [Int64]) -> [Int64] {
        var ids: [Int64] = []
        for (index, id) in locked.enumerated() {
            guard self[subscription: id].claims >= 3 else {
                ids.append(id)
                continue
            }
            if index == 0 { return [id] }
        }
        return ids
    }

    private func nextDue(after clock: Instant) -> Instant? {
        subscriptions.compactMap(\.nextChargeAt).filter { $0 > clock }.min()
    }

    /// Reads, decides and writes one locked row.
    private mutating func take(
        _ id: Int64, _ worker: Int, at clocks: Clocks, _ allowance: inout Allowance,
        _ claim: inout Claim
    ) throws {
        var row = self[subscription: id]
        let plan = plans[row.plan]
        // A plan of another cycle: its periods are counted from the next one's start.
        let moves = row.openCharge == nil && plan.cycle != row.cycle
        let anchorAt = moves ? row.periodAt : row.anchorAt
        let anchorIndex = moves ? row.periodIndex : row.anchorIndex
        let cycle = moves ? plan.cycle : row.cycle
        let end =
            row.openCharge.map { self[charge: $0].end }
            ?? cycle.start(from: anchorAt, row.periodIndex + 1 - anchorIndex)
        let due = read(row, plan, end: end, at: clocks, allowance.newCards)
        let step = Step.decide(due, numbers)
        guard admits(step, &allowance, clocks.business), claim.admits(step) else { return }
        var request: AttemptRequest?
        var opensAttempt = false
        if case .ask(.send(let sent, _, _, _), let opens) = step.action {
            request = sent
            opensAttempt = opens
        }
        if step.opensCharge { row.openCharge = try open(row, due, request) }
        let charge = row.openCharge
        if let charge {
            if opensAttempt, let request {
                try open(request, of: charge, at: clocks)
            } else if request != nil {
                send(again: charge, at: clocks)
            } else {
                doubt(charge, at: clocks)
            }
        }
        row.lease += 1
        row.leaseOwner = worker
        row.leaseUntil = clocks.real + numbers.lease
        row.claims = min(row.claims + 1, 1_000)
        row.attemptOpen = row.attemptOpen || opensAttempt
        (row.anchorAt, row.anchorIndex, row.cycle) = (anchorAt, anchorIndex, cycle)
        self[subscription: id] = row
        claim.append(due, step, charge.map { ChargeID($0) })
    }

    private func read(
        _ row: Subscription, _ plan: Plan, end: Instant, at clocks: Clocks, _ newCards: Set<Int64>
    ) -> DueSubscription {
        let amount = row.amount ?? plan.amount
        return DueSubscription(
            id: SubscriptionID(row.id), lease: LeaseNumber(row.lease + 1),
            silentClaims: row.claims + 1, state: row.state, now: clocks.business,
            cancelAt: row.cancelAt, resumedAt: row.resumedAt, askedAt: row.askedAt,
            periodIndex: row.periodIndex,
            periodStart: row.periodAt, periodEnd: end, orderPrefix: row.orderPrefix,
            customerKey: row.customerKey,
            terms: DueSubscription.Terms(
                amount: amount, taxFreeAmount: min(plan.taxFree, amount), orderName: "Plan"),
            catchUp: plan.catchUp, dunningSteps: plan.dunning.count,
            card: card(of: row).map {
                DueSubscription.Card(
                    id: $0.id, billingKey: $0.key, freeAt: keyIsFree($0.id, clocks.business),
                    isNew: newCards.contains($0.id))
            },
            problem: row.problem,
            looksFirst: lookFirstUntil.map { $0 > clocks.real } ?? false
                || lookFirstBefore.map { row.periodAt < $0 } ?? false,
            charge: row.openCharge.map { read(self[charge: $0], at: clocks) })
    }

    /// `billing.key_declines()`.
    private func keyIsFree(_ key: Int64, _ clock: Instant) -> Instant? {
        let ends = keyEnds(key, clock)
        guard ends.count >= FleetNumbers.keyDeclines else { return nil }
        return ends.sorted(by: >)[FleetNumbers.keyDeclines - 1] + FleetNumbers.keyWindow
    }

    /// When the attempts with this key were declined; now, those that still may be.
    func keyEnds(_ key: Int64, _ clock: Instant) -> [Instant] {
        charges.flatMap(\.attempts)
            .filter {
                $0.request.billingKeyID == key && ($0.state == .open || $0.state == .declined)
            }
            .map { $0.finishedAt ?? clock }
    }

    private func read(_ charge: Charge, at clocks: Clocks) -> DueSubscription.OpenCharge {
        let last = charge.attempts.last
        let earlier = charge.attempts.dropLast()
            .filter {
                $0.state == .declined && $0.request.billingKeyID == last?.request.billingKeyID
            }
            .map(\.code).suffix(2).reversed()
        return DueSubscription.OpenCharge(
            id: ChargeID(charge.id), terms: charge.terms, openedAt: charge.openedAt,
            unclearSince: charge.reason == Transition.WaitReason.unclear.rawValue
                ? charge.waitsSince : nil,
            isHeld: charge.state == .held,
            declines: charge.declines,
            attempt: last.map { attempt in
                DueSubscription.LastAttempt(
                    state: attempt.state, request: attempt.request, code: attempt.code,
                    traceID: attempt.traceID,
                    openedAt: attempt.openedAt, finishedAt: attempt.finishedAt,
                    nextDay: attempt.finishedAt.map { $0.nextKoreanDay },
                    everUnknown: attempt.unknownSince != nil, inDoubt: attempt.inDoubt,
                    absent: attempt.absent, sends: attempt.sends, lookups: attempt.lookups,
                    notFounds: attempt.notFounds,
                    quietOver: attempt.quietUntil.map { $0 <= clocks.real } ?? true,
                    notSents: attempt.notSents, sameKey: attempt.fingerprint == fingerprint)
            },
            earlierCode: earlier.first ?? nil, earliestCode: earlier.dropFirst().first ?? nil)
    }

    private mutating func open(
        _ row: Subscription, _ due: DueSubscription, _ request: AttemptRequest?
    ) throws -> Int64 {
        guard
            !charges.contains(where: {
                $0.subscription == row.id && ($0.period == row.periodIndex || $0.state == .open)
            })
        else { throw Violation(rule: "charges_one_per_period, charges_one_open") }
        guard due.periodStart < due.periodEnd else { throw Violation(rule: "charges_period") }
        guard Self.isWon(due.terms.amount) else { throw Violation(rule: "charges_amount") }
        let id = Int64(charges.count + 1)
        charges.append(
            Charge(
                id: id, subscription: row.id, period: row.periodIndex, start: due.periodStart,
                end: due.periodEnd, terms: due.terms, openedAt: due.now))
        return id
    }

    /// The insert into attempts with `billing.guard_new_attempt()`.
    private mutating func open(
        _ request: AttemptRequest, of id: Int64, at clocks: Clocks
    ) throws {
        let charge = self[charge: id]
        guard charge.state == .open else {
            throw Violation(rule: "attempt of a charge that is not open")
        }
        guard request.amount == charge.terms.amount, Self.isWon(request.amount),
            request.amount.value > 0
        else { throw Violation(rule: "an attempt has the amount of its charge") }
        guard request.number == charge.attempts.count + 1, request.number <= 20 else {
            throw Violation(rule: "attempts_attempt_no")
        }
        if let previous = charge.attempts.last {
            guard previous.state == .declined || previous.state == .refused else {
                throw Violation(rule: "the attempt before has not ended")
            }
            if previous.unknownSince != nil, let finished = previous.finishedAt,
                finished + numbers.gap > clocks.business
            {
                throw Violation(rule: "the gap after the attempt before is not over")
            }
            if previous.state == .refused, let finished = previous.finishedAt,
                finished + numbers.lateBound * 2 > clocks.business
            {
                throw Violation(rule: "refused less than 2 x late_bound ago", isByClock: true)
            }
        }
        self[charge: id].reason = nil
        self[charge: id].attempts.append(
            Attempt(
                request: request, fingerprint: fingerprint, openedAt: clocks.business,
                quietUntil: quiet(clocks)))
    }

    private mutating func send(again id: Int64, at clocks: Clocks) {
        guard let last = charges[Int(id) - 1].attempts.indices.last else { return }
        var attempt = self[charge: id].attempts[last]
        if attempt.inDoubt, attempt.unknownSince == nil { attempt.unknownSince = clocks.business }
        attempt.inDoubt = true
        attempt.absent = false
        attempt.notFounds = 0
        attempt.lookups = 0
        attempt.sends += 1
        attempt.quietUntil = quiet(clocks)
        self[charge: id].attempts[last] = attempt
    }

    /// Claimed again with its outcome open: from now on it was unknown once, whatever comes.
    private mutating func doubt(_ id: Int64, at clocks: Clocks) {
        guard let last = self[charge: id].attempts.last, last.state == .open, last.inDoubt,
            last.unknownSince == nil
        else { return }
        self[charge: id].attempts[self[charge: id].attempts.count - 1].unknownSince =
            clocks.business
    }

    private func quiet(_ clocks: Clocks) -> Instant {
        clocks.real + numbers.lease + numbers.requestTimeout * 2
    }

    static func isWon(_ amount: Won) -> Bool {
        amount.value == 0 || (100...100_000_000).contains(amount.value)
    }
}

extension Claim {
    fileprivate mutating func append(
        _ due: DueSubscription, _ step: Step, _ charge: ChargeID?
    ) {
        switch step.action {
        case .write(let decision):
            local.append(
                Transition(
                    subscription: due.id, lease: due.lease, charge: charge,
                    attempt: decision.attempt, chargeChange: decision.chargeChange,
                    standing: decision.standing,
                    next: decision.next))
        case .ask(let task, let opensAttempt):
            guard let charge else { return }
            work.append(
                Work(
                    subscription: due.id, lease: due.lease, charge: charge, task: task,
                    history: due.history(opensAttempt: opensAttempt, numbers)))
        }
    }
}

extension Instant {
    /// `billing.next_day()`: Korea is nine hours ahead of UTC, all year.
    var nextKoreanDay: Instant {
        let day: Int64 = 86_400_000_000
        let ahead = microseconds + 9 * 3_600_000_000
        return Instant(microseconds: (ahead / day + 1) * day - 9 * 3_600_000_000)
    }
}
