package import Billing

/// The ledger in memory: claims, leases and transitions as the protocol says them, a calendar of
/// periods of one length, and a clock that the test sets. It can be lost, refuse, and reject a row.
package actor MemoryStore: Store {
    package private(set) var now: Instant
    /// Length of every period.
    package let period: Duration
    package var numbers = FleetNumbers()
    package private(set) var subscriptions: [SubscriptionID: MemorySubscription] = [:]
    /// All calls of record that were answered, in order.
    package private(set) var recorded: [[Transition]] = []
    package private(set) var released: [SubscriptionID] = []
    package private(set) var reports: [WorkerReport] = []
    /// The limits that claims asked for.
    package private(set) var limits: [Int] = []
    /// Calls, answered or not.
    package nonisolated let claimCalls = Tally()
    package nonisolated let recordCalls = Tally()
    package nonisolated let reportCalls = Tally()
    /// Transitions that were answered, whatever the verdict.
    package nonisolated let written = Tally()
    package nonisolated let releases = Tally()

    private var claimError: StoreError?
    private var recordError: StoreError?
    private var pausedReason: String?
    private var rejected: Set<SubscriptionID> = []
    private var lastCharge: Int64 = 0
    private var claimHook: (@Sendable () async -> Void)?

    package init(
        now: Instant = Instant(microseconds: 1_800_000_000_000_000),
        period: Duration = .seconds(30 * 86_400)
    ) {
        self.now = now
        self.period = period
    }

    // MARK: What tests set

    package func add(_ subscription: MemorySubscription) {
        subscriptions[subscription.id] = subscription
    }

    /// Adds active subscriptions with these ids that are due now.
    package func addDue(_ ids: ClosedRange<Int64>) {
        for id in ids { add(MemorySubscription(id: SubscriptionID(id), anchor: now)) }
    }

    package func change(_ id: Int64, _ body: @Sendable (inout MemorySubscription) -> Void) {
        guard var subscription = subscriptions[SubscriptionID(id)] else { return }
        body(&subscription)
        subscriptions[SubscriptionID(id)] = subscription
    }

    package subscript(_ id: Int64) -> MemorySubscription? { subscriptions[SubscriptionID(id)] }

    package func advance(by duration: Duration) { now = now + duration }
    package func set(_ numbers: FleetNumbers) { self.numbers = numbers }
    /// Every claim fails so, until nil.
    package func failClaims(_ error: StoreError?) { claimError = error }
    /// Every record fails so, until nil. `mayHaveCommitted` of `.unavailable`: it did.
    package func failRecords(_ error: StoreError?) { recordError = error }
    package func pause(_ reason: String?) { pausedReason = reason }
    /// Every record of this row is rejected, until `isRejected` is false.
    package func reject(_ id: Int64, _ isRejected: Bool = true) {
        if isRejected {
            rejected.insert(SubscriptionID(id))
        } else {
            rejected.remove(SubscriptionID(id))
        }
    }
    /// Runs after every claim's rows are locked and before it is answered.
    package func onClaim(_ hook: (@Sendable () async -> Void)?) { claimHook = hook }

    // MARK: Store

    package func claim(limit: Int) async throws(StoreError) -> Claim {
        claimCalls.add()
        limits.append(limit)
        if let claimError { throw claimError }
        if let pausedReason { return Claim(pausedReason: pausedReason, numbers: numbers) }
        var claim = Claim(numbers: numbers)
        for id in dueRows(limit: limit) { take(id, &claim) }
        claim.wake = wake()
        if let claimHook { await claimHook() }
        return claim
    }

    package func record(_ transitions: [Transition]) async throws(StoreError) -> [Verdict] {
        recordCalls.add()
        if let recordError {
            if case .unavailable(_, mayHaveCommitted: true) = recordError {
                _ = transitions.map { apply($0) }
            }
            throw recordError
        }
        let verdicts = transitions.map { apply($0) }
        recorded.append(transitions)
        written.add(transitions.count)
        return verdicts
    }

    package func release(_ work: [Work]) async throws(StoreError) {
        for work in work {
            released.append(work.subscription)
            guard var row = subscriptions[work.subscription], row.lease == work.lease.value else {
                continue
            }
            row.leaseUntil = nil
            row.silentClaims = 0
            // The send that the claim had noted did not happen.
            if case .send(_, _, let isRepeat, _) = work.task, let open = row.openCharge,
                let last = row.charges[open].attempts.indices.last
            {
                row.charges[open].attempts[last].seen.sends -= 1
                row.charges[open].attempts[last].seen.inDoubt = isRepeat
                row.charges[open].attempts[last].seen.absent = isRepeat
            }
            subscriptions[work.subscription] = row
        }
        releases.add(work.count)
    }

    package func report(_ worker: WorkerReport) async throws(StoreError) {
        reports.append(worker)
        reportCalls.add()
    }

    // MARK: Claiming

    private func dueRows(limit: Int) -> [SubscriptionID] {
        let due = subscriptions.values
            .filter { row in
                guard let next = row.nextChargeAt, next <= now else { return false }
                return row.leaseUntil.map { $0 <= now } ?? true
            }
            .sorted { ($0.nextChargeAt ?? now, $0.id) < ($1.nextChargeAt ?? now, $1.id) }
        // After three claims without a result a row is claimed alone.
        if let first = due.first, first.silentClaims >= 3 { return [first.id] }
        return due.filter { $0.silentClaims < 3 }.prefix(max(0, limit)).map(\.id)
    }

    private func wake() -> Duration? {
        let times = subscriptions.values.compactMap { row in
            row.nextChargeAt.map { max($0, row.leaseUntil ?? $0) }
        }
        guard let first = times.min() else { return nil }
        return .microseconds(max(0, first.microseconds - now.microseconds))
    }

    private func take(_ id: SubscriptionID, _ claim: inout Claim) {
        guard var row = subscriptions[id] else { return }
        row.lease += 1
        row.silentClaims += 1
        row.leaseUntil = now + numbers.lease
        let lease = LeaseNumber(row.lease)
        let step = Step.decide(due(row), numbers)
        row.noteDoubt()
        if step.opensCharge {
            lastCharge += 1
            row.charges.append(
                MemoryCharge(
                    id: ChargeID(lastCharge), period: row.periodIndex, terms: row.terms))
        }
        let open = row.openCharge
        switch step.action {
        case .write(let decision):
            claim.local.append(
                Transition(
                    subscription: id, lease: lease, charge: open.map { row.charges[$0].id },
                    chargeChange: decision.chargeChange, standing: decision.standing,
                    next: decision.next))
        case .ask(let task, let opensAttempt):
            guard let open else { return }
            if case .send(let request, _, _, _) = task {
                row.charges[open].send(request, opens: opensAttempt, now: now, numbers: numbers)
            }
            let charge = row.charges[open]
            let history = Work.History(
                declines: charge.declines, dunningSteps: row.ladder.count,
                lastCode: charge.attempts.dropLast().last?.seen.code)
            claim.work.append(
                Work(
                    subscription: id, lease: lease, charge: charge.id, task: task,
                    history: history))
        }
        subscriptions[id] = row
    }

    private func due(_ row: MemorySubscription) -> DueSubscription {
        let charge = row.openCharge.map { row.charges[$0] }
        var last = charge?.attempts.last?.seen
        if let quietFrom = charge?.attempts.last?.quietFrom {
            last?.quietOver = now >= quietFrom + numbers.requestTimeout * 2
        }
        let start = row.anchor + period * row.periodIndex
        return DueSubscription(
            id: row.id, lease: LeaseNumber(row.lease), silentClaims: row.silentClaims,
            state: row.state, now: now, cancelAt: row.cancelAt, resumedAt: row.resumedAt,
            periodIndex: row.periodIndex, periodStart: start, periodEnd: start + period,
            orderPrefix: row.orderPrefix, customerKey: CustomerKey("customer\(row.id.value)"),
            terms: row.terms, catchUp: row.catchUp, dunningSteps: row.ladder.count,
            card: row.cards.first,
            charge: charge.map { charge in
                DueSubscription.OpenCharge(
                    id: charge.id, terms: charge.terms, declines: charge.declines, attempt: last,
                    earlierCode: charge.attempts.dropLast().last?.seen.code)
            })
    }

    private func apply(_ transition: Transition) -> Verdict {
        if rejected.contains(transition.subscription) { return .rejected }
        return subscriptions[transition.subscription]?.apply(
            transition, now: now, period: period, gap: numbers.gap) ?? .rejected
    }
}

extension MemorySubscription {
    /// An attempt in doubt that is claimed again was unknown once, whatever comes.
    fileprivate mutating func noteDoubt() {
        guard let open = openCharge, let last = charges[open].attempts.indices.last,
            charges[open].attempts[last].seen.state == .open,
            charges[open].attempts[last].seen.inDoubt
        else { return }
        charges[open].attempts[last].seen.everUnknown = true
    }
}

extension MemoryCharge {
    /// Notes, before it happens, that `request` may be sent.
    fileprivate mutating func send(
        _ request: AttemptRequest, opens: Bool, now: Instant, numbers: FleetNumbers
    ) {
        let quietFrom = now + numbers.lease
        if opens {
            let attempt = DueSubscription.LastAttempt(
                state: .open, request: request, openedAt: now)
            attempts.append(MemoryAttempt(seen: attempt, quietFrom: quietFrom))
        } else if let last = attempts.indices.last {
            attempts[last].seen.sends += 1
            attempts[last].seen.inDoubt = true
            attempts[last].seen.absent = false
            attempts[last].seen.notFounds = 0
            attempts[last].seen.lookups = 0
            attempts[last].quietFrom = quietFrom
        }
    }
}
