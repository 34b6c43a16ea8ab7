package import Billing
import Logging
import Synchronization

/// Writes transitions in batches, and repeats until the store takes them: a result is never dropped
/// while the store is away. Runs where cancellation does not reach it (``ChargingService``).
package actor Recorder {
    private let store: any Store
    private let configuration: WorkerConfiguration
    private let status: WorkerStatus
    private let time: Timepiece
    private let logger: Logger
    /// Slots became free, or recording is possible again; `true`: rows are due at once.
    private let onChange: @Sendable (_ isDueAtOnce: Bool) -> Void
    private let signal = Signal()
    private let queue = Mutex(Queue())
    /// Transitions of rows that somebody else has locked; they keep no other from being written.
    private var stuck: [Transition] = []
    private var stuckUntil: Duration = .zero
    private var stuckRounds = 0
    private var isFinishing = false
    private var failures = 0
    private var lastComplaint: Duration?
    /// Records that failed for good, one after another.
    private var lostInARow = 0

    /// What waits to be written. Behind a lock, because a charge must not wait for the actor's turn to
    /// hand over its result.
    private struct Queue {
        var transitions: [Transition] = []
        var releases: [Work] = []
        var count: Int { transitions.count + releases.count }
    }

    init(
        store: any Store, configuration: WorkerConfiguration, status: WorkerStatus,
        logger: Logger, onChange: @escaping @Sendable (_ isDueAtOnce: Bool) -> Void
    ) {
        self.store = store
        self.configuration = configuration
        self.status = status
        self.time = status.time
        self.logger = logger
        self.onChange = onChange
    }

    /// Queues a transition. Its slot stays taken until the store answered.
    package nonisolated func add(_ transition: Transition) {
        queue.withLock { $0.transitions.append(transition) }
        signal.raise()
    }

    /// Queues claimed work of which nothing was sent, to be given back.
    package nonisolated func giveBack(_ work: Work) {
        queue.withLock { $0.releases.append(work) }
        signal.raise()
    }

    /// Lets ``run()`` return once all is written.
    func finish() {
        isFinishing = true
        signal.raise()
    }

    /// Writes until ``finish()`` and nothing is left.
    func run() async {
        while true {
            await gather()
            await giveBackAll()
            let batch = takeBatch()
            if !batch.isEmpty {
                await write(batch)
            } else if queue.withLock({ $0.releases.isEmpty }) {
                if isFinishing, backlog == 0 { return }
                await signal.wait(until: stuck.isEmpty ? nil : stuckUntil, by: time)
            }
        }
    }

    /// Transitions not yet written.
    var backlog: Int { queue.withLock { $0.transitions.count } + stuck.count }

    /// Under load a batch fills while the last one is written; a lone result does not wait at all.
    private func gather() async {
        let queued = queue.withLock { $0.count }
        guard configuration.recordFlushInterval > .zero, queued < configuration.maxRecordBatch,
            0 < queued, queued + stuck.count < status.inFlight
        else { return }
        try? await time.sleep(configuration.recordFlushInterval)
    }

    /// The oldest transitions, at most one a subscription: the store locks each subscription once
    /// in a call, and the second must see what the first did. Or those that were stuck, when it is time
    /// to try them again: without others, which would wait for the same locks.
    private func takeBatch() -> [Transition] {
        if !stuck.isEmpty, time.now() >= stuckUntil {
            let batch = Array(stuck.prefix(configuration.maxRecordBatch))
            stuck.removeFirst(batch.count)
            return batch
        }
        let waiting = queue.withLock { queue in
            defer { queue.transitions = [] }
            return queue.transitions
        }
        var subscriptions: Set<SubscriptionID> = []
        if stuck.isEmpty, waiting.count <= configuration.maxRecordBatch,
            waiting.allSatisfy({ subscriptions.insert($0.subscription).inserted })
        {
            return waiting
        }
        var batch: [Transition] = []
        var rest: [Transition] = []
        var seen = Set(stuck.map(\.subscription))
        for transition in waiting {
            if batch.count < configuration.maxRecordBatch,
                seen.insert(transition.subscription).inserted
            {
                batch.append(transition)
            } else {
                rest.append(transition)
            }
        }
        if !rest.isEmpty { queue.withLock { $0.transitions.insert(contentsOf: rest, at: 0) } }
        return batch
    }

    private func write(_ batch: [Transition]) async {
        while true {
            let start = time.now()
            do throws(StoreError) {
                let verdicts = try await store.record(batch)
                status.note(.record, since: start)
                guard verdicts.count == batch.count else {
                    throw .failed("\(verdicts.count) verdicts for \(batch.count) transitions")
                }
                recovered()
                settle(batch, verdicts)
                return
            } catch {
                status.change { $0.counters.recordFailures += 1 }
                status.note(.record, since: start)
                switch error {
                case .unavailable(let reason, _):
                    let step = Duration.milliseconds(100 << min(failures, 6))
                    await waitAfter(reason, pause: time.spread(min(.seconds(5), step)))
                case .refused(let reason):
                    await waitAfter(reason, pause: .seconds(10))
                case .failed(let reason):
                    return await writeAlone(batch, because: reason)
                }
            }
        }
    }

    /// Repeating does not mend the batch: each transition on its own, so that what can be written
    /// is. What fails alone stays claimed, and is resolved when its lease ends.
    private func writeAlone(_ batch: [Transition], because reason: String) async {
        if batch.count > 1 {
            for transition in batch { await write([transition]) }
            return
        }
        logger.error(
            "not recorded: found at the provider when the lease ends",
            metadata: ids(batch[0]).merging([
                "reason": "\(singleLine(reason))",
                "action": "mend what the reason and the database's log name",
            ]) { $1 })
        recovered()
        lost()
        free(batch.map(\.slot), isDueAtOnce: false)
    }

    /// A result could not be recorded for good. Three one after another are no matter of one row: to
    /// charge on without a ledger would be reckless.
    private func lost() {
        lostInARow += 1
        guard lostInARow >= 3 else { return }
        let now = time.now()
        status.change {
            _ = $0.breaker.ended(
                .fault(code: "RECORD_FAILED"), epoch: $0.breaker.epoch, now: now)
        }
    }

    private func waitAfter(_ reason: String, pause: Duration) async {
        failures += 1
        status.change {
            $0.recordTrouble = reason
            $0.storeAnswered = true
        }
        let now = time.now()
        if lastComplaint.map({ now - $0 >= .seconds(30) }) ?? true {
            lastComplaint = now
            logger.error(
                "cannot record: results are kept and written when the store is back",
                metadata: [
                    "reason": "\(singleLine(reason))", "backlog": "\(status.inFlight)",
                    "action": "mend the database; do not stop this worker, it keeps what it knows",
                ])
        }
        try? await time.sleep(pause)
    }

    private func recovered() {
        status.change {
            $0.recordTrouble = nil
            $0.storeAnswered = true
        }
        guard failures > 0 else { return }
        failures = 0
        lastComplaint = nil
        logger.notice("recording goes on")
        onChange(false)
    }

    private func settle(_ batch: [Transition], _ verdicts: [Verdict]) {
        var busy: [Transition] = []
        for (transition, verdict) in zip(batch, verdicts) {
            if verdict.isOfLedger { lostInARow = 0 }
            switch verdict {
            case .applied, .repeated: continue
            case .busy: busy.append(transition)
            case .stale:
                status.change { $0.meters.stale += 1 }
                logger.notice(
                    "an opinion from an old lease: somebody else has the row",
                    metadata: ids(transition))
            case .contradiction:
                logger.error(
                    "the ledger says otherwise: the charge is held",
                    metadata: ids(transition).merging([
                        "action": "billingd explain \(transition.subscription.value) --ask"
                    ]) { $1 })
            case .rejected:
                logger.error(
                    "the store rejects this record: resolved when the lease ends",
                    metadata: ids(transition).merging([
                        "action": "mend what the database's log names"
                    ]) { $1 })
                lost()
            }
        }
        if busy.isEmpty {
            if stuck.isEmpty { stuckRounds = 0 }
        } else {
            wait(for: busy)
        }
        var written: [Slot] = []
        var isDueAtOnce = false
        for index in batch.indices where verdicts[index] != .busy {
            written.append(batch[index].slot)
            if batch[index].next == .after(.zero) { isDueAtOnce = true }
        }
        free(written, isDueAtOnce: isDueAtOnce)
    }

    /// Somebody has these rows locked: they keep their slots and are tried again in 5 s, doubling to a
    /// minute, because each try may wait for the lock as long as the store does.
    private func wait(for busy: [Transition]) {
        let now = time.now()
        if stuck.isEmpty || now >= stuckUntil {
            stuckUntil = now + time.spread(min(.seconds(60), .seconds(5 << min(stuckRounds, 4))))
            stuckRounds += 1
        }
        stuck += busy
        logger.error(
            "results wait for rows that somebody else keeps locked",
            metadata: [
                "action": "find who in pg_stat_activity, and end that transaction",
                "count": "\(stuck.count)",
                "subscriptions":
                    "\(stuck.prefix(5).map { "\($0.subscription.value)" }.joined(separator: ", "))",
            ])
    }

    private func giveBackAll() async {
        let work = queue.withLock { queue in
            let work = Array(queue.releases.prefix(configuration.maxRecordBatch))
            queue.releases.removeFirst(work.count)
            return work
        }
        guard !work.isEmpty else { return }
        let start = time.now()
        do throws(StoreError) {
            try await store.release(work)
            status.change { $0.storeAnswered = true }
        } catch {
            // Not worth repeating: nothing was sent, and the leases end by themselves.
            logger.warning(
                "claims not given back: they are due again when their leases end",
                metadata: [
                    "count": "\(work.count)", "reason": "\(singleLine("\(error)"))",
                    "action": "none: nothing of them was sent",
                ])
        }
        status.note(.release, since: start)
        status.change { $0.counters.released += UInt64(work.count) }
        free(
            work.map { Slot(subscription: $0.subscription, lease: $0.lease) }, isDueAtOnce: false)
    }

    private func free(_ slots: [Slot], isDueAtOnce: Bool) {
        status.free(slots)
        onChange(isDueAtOnce)
    }

    private func ids(_ transition: Transition) -> Logger.Metadata {
        var metadata: Logger.Metadata = ["subscription": "\(transition.subscription.value)"]
        if let charge = transition.charge { metadata["charge"] = "\(charge.value)" }
        if let number = transition.attempt?.number { metadata["attempt"] = "\(number)" }
        return metadata
    }
}

extension Transition {
    var slot: Slot { Slot(subscription: subscription, lease: lease) }
}

extension Transition.AttemptChange {
    /// The attempt it speaks of; nil: an earlier one, known by its order id.
    var number: Int? {
        switch self {
        case .approved(let number, _, _), .declined(let number, _, _), .refused(let number, _),
            .notSent(let number, _), .unknown(let number, _), .lookedUp(let number, _, _):
            number
        case .earlierPaid: nil
        }
    }
}
