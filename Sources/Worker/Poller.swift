import Billing
import Logging

/// What one claim brought, with what its sends are measured against.
struct Batch: Sendable {
    var claim: Claim
    var terms: Terms

    /// What the requests of one claim are held to.
    struct Terms: Sendable {
        /// On the worker's clock: no request starts at or after it.
        var deadline: Duration
        /// Longest one request may take.
        var requestTimeout: Duration
        var epoch: Int
    }
}

/// Looks for due rows. One task runs ``next()``; ``wake()`` and ``look()`` come from anywhere.
package actor Poller {
    private let store: any Store
    private let configuration: WorkerConfiguration
    private let status: WorkerStatus
    private let time: Timepiece
    private let logger: Logger
    private let signal = Signal()
    private let hint = Hint()
    /// When the next claim is worth while; hints bring it forward.
    private var dueAt: Duration = .zero
    /// The last claim came back full: more is due.
    private var hasBacklog = false
    /// Until when few free slots wait for more of them; nil: they do not.
    private var gathersUntil: Duration?
    /// No claim before this, whatever the hints say: the store failed.
    private var notBefore: Duration = .zero
    private var failures = 0
    private var lastComplaint: Duration?

    init(
        store: any Store, configuration: WorkerConfiguration, status: WorkerStatus,
        logger: Logger
    ) {
        self.store = store
        self.configuration = configuration
        self.status = status
        self.time = status.time
        self.logger = logger
    }

    /// Something may be due: claim at once if slots are free. Never lost, not even during a claim.
    package nonisolated func wake() {
        hint.give()
        signal.raise()
    }

    /// Something that the poller waits for may have changed: slots, troubles, the stop.
    nonisolated func look() { signal.raise() }

    /// The next claim that brought something; nil: the worker stops.
    func next() async -> Batch? {
        while !status.isStopping {
            let now = time.now()
            let limit = allowance(now)
            if limit == 0 || (now < dueAt && !hint.isGiven) {
                if limit == 0 { idle(now) }
                await signal.wait(until: now + pause(now, limit: limit), by: time)
                continue
            }
            if let limit = gathering(now) {
                await signal.wait(until: limit, by: time)
                continue
            }
            gathersUntil = nil
            if let batch = await claim(limit: limit), !batch.claim.isEmpty { return batch }
        }
        return nil
    }

    /// One claim, recorded in the status; its error as it is (for `runOnce`).
    func claimOnce() async throws(StoreError) -> Batch {
        let limit = allowance(time.now())
        // Taken before the claim is sent: the lease cannot have begun earlier.
        let start = time.now()
        let epoch = status.read { $0.breaker.epoch }
        hint.take()
        let claim: Claim
        do throws(StoreError) {
            claim = try await store.claim(limit: max(1, limit))
        } catch {
            status.note(.claim, since: start)
            status.change { $0.meters.claimFailures += 1 }
            throw error
        }
        let now = time.now()
        let change = status.change { state -> CircuitBreaker.Change? in
            state.meters.claims.add(now - start)
            state.meters.takenOver += UInt64(claim.takenOver)
            for work in claim.work {
                state.slots.insert(Slot(subscription: work.subscription, lease: work.lease))
            }
            for transition in claim.local {
                state.slots.insert(
                    Slot(subscription: transition.subscription, lease: transition.lease))
            }
            if !claim.work.isEmpty { state.breaker.started(epoch: epoch) }
            state.counters.claims += 1
            state.claimTrouble = nil
            state.pausedReason = claim.pausedReason
            state.lastClaim = now
            if state.phase == .starting { state.phase = .running }
            state.advance(now: now)
            let others = claim.work.count + claim.local.count - claim.wrongRows
            return state.breaker.claimed(
                wrong: claim.wrongRows + claim.setAside, others: others, epoch: epoch, now: now)
        }
        if let change { logger.log(change, after: nil) }
        plan(claim, limit: limit, now: now)
        return Batch(
            claim: claim,
            terms: Batch.Terms(
                deadline: start + claim.numbers.sendWindow,
                requestTimeout: claim.numbers.requestTimeout, epoch: epoch))
    }

    private func claim(limit: Int) async -> Batch? {
        do throws(StoreError) {
            let batch = try await claimOnce()
            if failures > 0 { logger.notice("claims go on") }
            failures = 0
            lastComplaint = nil
            return batch
        } catch {
            // What was hinted at is still to be claimed.
            dueAt = .zero
            complain(error)
            return nil
        }
    }

    /// Rows that may be claimed now.
    private func allowance(_ now: Duration) -> Int {
        guard now >= notBefore else { return 0 }
        return status.read { state in
            guard state.recordTrouble == nil else { return 0 }
            let limit = state.breaker.limit(inFlight: state.slots.count, now: now)
            return min(configuration.maxClaim, limit)
        }
    }

    /// Longest time that free slots wait for others.
    private static let longestGathering = Duration.milliseconds(20)

    /// Until when to wait because few slots are free and more is due: a claim of ten rows costs the
    /// store nearly what one of a hundred does, and slots that come back one by one would make it many of
    /// them. Nobody waits while a quarter of the slots is free, or for a row that was hinted at.
    private func gathering(_ now: Duration) -> Duration? {
        guard hasBacklog, !hint.isGiven else { return nil }
        let enough = min(configuration.maxClaim, configuration.maxInFlight / 4)
        guard configuration.maxInFlight - status.inFlight < enough else { return nil }
        let limit = gathersUntil ?? now + Self.longestGathering
        gathersUntil = limit
        return now < limit ? limit : nil
    }

    /// How long to wait if nothing happens: never beyond the poll interval.
    private func pause(_ now: Duration, limit: Int) -> Duration {
        var pause = configuration.pollInterval
        if limit > 0 { pause = min(pause, dueAt - now) }
        if now < notBefore { pause = min(pause, notBefore - now) }
        if let look = status.read({ $0.breaker.nextLook(now: now) }) { pause = min(pause, look) }
        return pause
    }

    private func plan(_ claim: Claim, limit: Int, now: Duration) {
        let brought = claim.work.count + claim.local.count
        hasBacklog = brought >= limit
        if hasBacklog {
            dueAt = now
            return
        }
        let wake = min(claim.wake ?? configuration.pollInterval, configuration.pollInterval)
        // More is due but none of it was to be had: somebody else holds it. No busy loop.
        let floor = min(.milliseconds(100), configuration.pollInterval)
        dueAt = now + (brought == 0 ? max(wake, floor) : wake)
    }

    /// A turn of the loop that claims nothing on purpose counts as progress only if a call of the
    /// store came back since the last one: a watchdog must see that neither hangs.
    private func idle(_ now: Duration) {
        status.change { if $0.storeAnswered { $0.advance(now: now) } }
    }

    private func complain(_ error: StoreError) {
        let now = time.now()
        let reason: String
        switch error {
        case .unavailable(let text, _):
            // A claim whose COMMIT was not acknowledged is never acted on: there is nothing to act
            // on here, and its rows are found when their lease runs out.
            notBefore = now + time.spread(min(.seconds(5), .milliseconds(100 << min(failures, 6))))
            reason = text
        case .refused(let text), .failed(let text):
            notBefore = now + .seconds(10)
            reason = text
        }
        failures += 1
        status.change {
            $0.claimTrouble = reason
            // The loop moved and the store's call came back: a watchdog that killed the worker now
            // would throw away the results that wait for the store.
            $0.advance(now: now)
        }
        if let lastComplaint, now - lastComplaint < .seconds(30) { return }
        lastComplaint = now
        var metadata: Logger.Metadata = ["reason": "\(singleLine(reason))"]
        if case .unavailable(_, let mayHaveCommitted) = error {
            metadata["may_have_committed"] = "\(mayHaveCommitted)"
            metadata["action"] = "is the database up? billingd check; claims go on by themselves"
            logger.warning("the store is unavailable: claims are tried again", metadata: metadata)
        } else {
            metadata["action"] = "billingd check tells what to mend"
            logger.error("the store refuses claims: tried again every 10 s", metadata: metadata)
        }
    }
}

extension Claim {
    var isEmpty: Bool { work.isEmpty && local.isEmpty }
}
