package import Billing

/// The ``Store`` of one worker over the ``Ledger``, which the conformance tests hold against
/// PostgreSQL. Both clocks are one that the test sets. It can be lost, refuse, and reject a row.
package actor MemoryStore: Store {
    /// A subscription with all its charges, oldest first.
    package struct Row: Sendable {
        package var subscription: Ledger.Subscription
        package var charges: [Ledger.Charge]
    }

    /// The plan: 9,900 won every 30 days, tried again after a day and after three.
    private static let plan = Ledger.Plan(
        amount: Won(9_900), cycle: .days(30), dunning: [.seconds(86_400), .seconds(3 * 86_400)])
    private static let worker = 1

    package private(set) var now: Instant
    private var ledger = Ledger()
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
    private var rejected: Set<SubscriptionID> = []
    private var locked: Set<SubscriptionID> = []
    private var brokenRows = 0
    private var claimHook: (@Sendable () async -> Void)?

    package init(now: Instant = Instant(microseconds: 1_800_000_000_000_000)) {
        self.now = now
        ledger.plans = [Self.plan]
    }

    // MARK: What tests set

    /// A customer with a card and an active subscription of this id, the next one free.
    package func subscribe(_ id: Int64, startsAt: Instant, amount: Won? = nil) {
        precondition(id == Int64(ledger.subscriptions.count + 1), "ids are given out in order")
        ledger.addCard(customer: Int(id), clock: now)
        ledger.subscribe(customer: Int(id), plan: 0, startsAt: startsAt)
        ledger[subscription: id].amount = amount
    }

    /// Adds active subscriptions with these ids that are due now.
    package func addDue(_ ids: ClosedRange<Int64>) {
        for id in ids { subscribe(id, startsAt: now) }
    }

    /// Another card of the customer of subscription `id`, tried before the older ones; its id.
    @discardableResult
    package func addCard(of id: Int64) -> Int64 {
        ledger.addCard(customer: ledger[subscription: id].customer, clock: now)
    }

    package subscript(_ id: Int64) -> Row? {
        guard ledger.subscriptions.indices.contains(Int(id) - 1) else { return nil }
        return Row(
            subscription: ledger[subscription: id],
            charges: ledger.charges.filter { $0.subscription == id })
    }

    package func advance(by duration: Duration) { now = now + duration }
    package func set(_ numbers: FleetNumbers) { ledger.numbers = numbers }
    /// Every claim fails so, until nil.
    package func failClaims(_ error: StoreError?) { claimError = error }
    /// Every record fails so, until nil. `mayHaveCommitted` of `.unavailable`: it did.
    package func failRecords(_ error: StoreError?) { recordError = error }
    package func pause(_ reason: String?) { ledger.pausedReason = reason }
    /// The row makes no sense any more, or makes sense again.
    package func spoil(_ id: Int64, _ problem: String? = "the plan is gone") {
        ledger[subscription: id].problem = problem
    }
    /// The next claims find so many rows that break them.
    package func setAside(_ count: Int) { brokenRows = count }
    /// Every record of this row is rejected.
    package func reject(_ id: Int64) { rejected.insert(SubscriptionID(id)) }
    /// Somebody else has this row's lock, or gives it back.
    package func lock(_ id: Int64, _ isLocked: Bool = true) {
        if isLocked {
            locked.insert(SubscriptionID(id))
        } else {
            locked.remove(SubscriptionID(id))
        }
    }
    /// Runs after every claim's rows are locked and before it is answered.
    package func onClaim(_ hook: (@Sendable () async -> Void)?) { claimHook = hook }

    // MARK: Store

    package func claim(limit: Int) async throws(StoreError) -> Claim {
        claimCalls.add()
        limits.append(limit)
        if let claimError { throw claimError }
        var claim: Claim
        do {
            claim = try ledger.claim(
                limit: limit, worker: Self.worker, fingerprint: ledger.fingerprint, at: clocks)
        } catch let error as StoreError {
            throw error
        } catch {
            throw .failed("\(error)")
        }
        // A store finds them alone, before others.
        claim.setAside = min(brokenRows, limit, Claim.mostWrongRows)
        brokenRows -= claim.setAside
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
        ledger.release(work, by: Self.worker)
        released += work.map(\.subscription)
        releases.add(work.count)
    }

    package func report(_ worker: WorkerReport) async throws(StoreError) {
        reports.append(worker)
        reportCalls.add()
    }

    private var clocks: Ledger.Clocks { Ledger.Clocks(business: now, real: now) }

    /// One alone, as the halving of a failing batch ends.
    private func apply(_ transition: Transition) -> Verdict {
        if rejected.contains(transition.subscription) { return .rejected }
        if locked.contains(transition.subscription) { return .busy }
        let before = ledger
        do {
            return try ledger.record([transition], by: Self.worker, at: clocks)[0]
        } catch {
            ledger = before
            return .rejected
        }
    }
}
