package import Billing
package import Logging
import ServiceLifecycle

/// The worker: claims through the store, asks the gateway, records. ``run()`` until it is stopped,
/// or ``runOnce()``; one of the two, once.
///
/// All of it runs in a task that cancellation does not reach: a charge on the wire that is
/// cancelled becomes an unknown, and a result that is not recorded costs a look-up. Cancelling
/// `run()` is a request to stop, like a graceful shutdown.
package struct ChargingService: Service {
    private let store: any Store
    private let configuration: WorkerConfiguration
    private let logger: Logger
    private let time: Timepiece
    private let status: WorkerStatus
    private let poller: Poller
    private let charger: Charger
    private let recorder: Recorder
    private let executor: (any TaskExecutor)?
    /// Slots became free.
    private let freed = Signal()
    private let stopRequested = Signal()

    /// `time`: the clock that send deadlines, pauses and reports are measured on, and the dice.
    /// `executor`: where charges run, which hardly do anything but wait for the gateway; nil: anywhere.
    package init(
        store: any Store, gateway: any Gateway,
        configuration: WorkerConfiguration = WorkerConfiguration(), logger: Logger,
        time: Timepiece = Timepiece(), executor: (any TaskExecutor)? = nil
    ) {
        self.executor = executor
        self.store = store
        self.configuration = configuration
        self.logger = logger
        self.time = time
        let status = WorkerStatus(time: time, maximum: configuration.maxInFlight)
        let poller = Poller(
            store: store, configuration: configuration, status: status, logger: logger)
        let freed = freed
        self.status = status
        self.poller = poller
        charger = Charger(gateway: gateway, status: status, logger: logger)
        recorder = Recorder(
            store: store, configuration: configuration, status: status, logger: logger
        ) { isDueAtOnce in
            freed.raise()
            isDueAtOnce ? poller.wake() : poller.look()
        }
    }

    /// Something may be due: claim at once if slots are free. Any task, any time; never lost.
    package func wake() { poller.wake() }

    /// How the worker is at this moment. Any task, any time; does no I/O.
    package func health() -> WorkerHealth { status.health() }

    /// Charges until a graceful shutdown or cancellation. Then: no new claims, unsent work is given
    /// back, requests in flight end, everything is recorded, and it returns.
    ///
    /// Throws ``StopTimeout`` when that took longer than `stopTimeout`; what it names goes on until
    /// the process ends and is resolved by the next worker.
    package func run() async throws {
        let ended = Signal()
        let machine = Task {
            await self.work()
            ended.raise()
        }
        let limit = Task {
            await stopRequested.wait(by: time)
            do { try await time.sleep(configuration.stopTimeout) } catch { return }
            ended.raise()
        }
        await withTaskCancellationOrGracefulShutdownHandler {
            await ended.wait(by: time)
        } onCancelOrGracefulShutdown: {
            stop()
        }
        // Ends the limit's wait too, should nobody have asked for the stop.
        stopRequested.raise()
        limit.cancel()
        let (phase, left) = status.read { ($0.phase, $0.slots) }
        guard phase != .stopped else { return await machine.value }
        throw StopTimeout(subscriptions: left.map(\.subscription).sorted())
    }

    private func stop() {
        status.requestStop()
        poller.look()
        stopRequested.raise()
    }

    private func work() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await recorder.run() }
            group.addTask { await reports() }
            group.addTask { await summaries() }
            while let batch = await poller.next() { start(batch, in: &group) }
            logger.notice("stopping", metadata: ["in_flight": "\(status.inFlight)"])
            await drained()
            await recorder.finish()
            // Only sleeps are left to cancel.
            group.cancelAll()
        }
        status.change { $0.phase = .stopped }
        await report()
        logger.notice("stopped: everything is recorded")
    }

    /// Slots bound the group: the poller never claims more than are free.
    private func start(_ batch: Batch, in group: inout DiscardingTaskGroup) {
        for transition in batch.claim.local {
            status.change { $0.counters.count(transition) }
            recorder.add(transition)
        }
        for work in batch.claim.work {
            group.addTask(executorPreference: executor) {
                let ending = await charger.run(work, under: batch.terms)
                switch ending {
                case .record(let transition): recorder.add(transition)
                case .release: recorder.giveBack(work)
                }
            }
        }
    }

    private func drained() async {
        while status.inFlight > 0 { await freed.wait(by: time) }
    }

    // MARK: Once

    /// What ``runOnce()`` did.
    package struct OnceSummary: Hashable, Sendable {
        /// Claims that brought something.
        package var rounds: Int
        package var counters: WorkerCounters
        /// Why it ended before nothing was due: paused, a fault, a stop, too many rounds.
        package var endedEarly: String?
    }

    /// Charges all that is due now, and what becomes due meanwhile, then returns.
    ///
    /// Claims that follow one another bring rows that are due again at once; at most 10,000
    /// rounds. A fault of all, `settings.paused` and cancellation end it early. Throws when a claim
    /// fails; what was claimed before is recorded by then.
    package func runOnce() async throws(StoreError) -> OnceSummary {
        let machine = Task { () async -> Result<OnceSummary, StoreError> in
            await withDiscardingTaskGroup { group in
                group.addTask { await recorder.run() }
                let result = await rounds(in: &group)
                await recorder.finish()
                return result
            }
        }
        let result = await withTaskCancellationOrGracefulShutdownHandler {
            await machine.value
        } onCancelOrGracefulShutdown: {
            stop()
        }
        return try result.get()
    }

    private func rounds(
        in group: inout DiscardingTaskGroup
    ) async -> Result<OnceSummary, StoreError> {
        var summary = OnceSummary(rounds: 0, counters: WorkerCounters())
        do throws(StoreError) {
            while true {
                if let reason = status.read({ $0.onceEnds }) {
                    summary.endedEarly = reason
                    break
                }
                let batch = try await poller.claimOnce()
                // What was set aside may have stood before rows that are due.
                if batch.claim.isEmpty, batch.claim.setAside == 0 {
                    summary.endedEarly = batch.claim.pausedReason
                    break
                }
                summary.rounds += 1
                start(batch, in: &group)
                await drained()
                if summary.rounds >= 10_000 {
                    summary.endedEarly = "10000 rounds"
                    break
                }
            }
        } catch {
            return .failure(error)
        }
        summary.counters = status.read { $0.counters }
        return .success(summary)
    }

    // MARK: Reports

    private func reports() async {
        repeat { await report() } while await slept(configuration.reportInterval)
    }

    private func report() async {
        let report = status.read {
            WorkerReport(
                state: $0.reportState, inFlight: $0.slots.count,
                reason: $0.reportReason.map { singleLine($0) })
        }
        let start = time.now()
        do throws(StoreError) {
            try await store.report(report)
            status.note(.report, since: start)
            status.change { $0.storeAnswered = true }
        } catch {
            status.note(.report, since: start)
            status.change { $0.meters.reportFailures += 1 }
            logger.debug(
                "not reported", metadata: ["reason": "\(singleLine(error.text))"])
        }
    }

    private func summaries() async {
        var last = WorkerCounters()
        while await slept(configuration.summaryInterval) {
            let (now, inFlight) = status.read { ($0.counters, $0.slots.count) }
            if let line = now.summary(since: last) {
                logger.info("summary", metadata: line.merging(["in_flight": "\(inFlight)"]) { $1 })
            }
            last = now
        }
    }

    private func slept(_ duration: Duration) async -> Bool {
        do { try await time.sleep(duration) } catch { return false }
        return true
    }
}

/// The stop took too long. What it names is resolved by the next worker.
package struct StopTimeout: Error, Hashable, CustomStringConvertible {
    /// Between claim and record when time was up, ascending.
    package var subscriptions: [SubscriptionID]

    package var description: String {
        let ids = subscriptions.prefix(20).map { "\($0.value)" }.joined(separator: ", ")
        let more = subscriptions.count > 20 ? ", …" : ""
        return """
            \(subscriptions.count) subscriptions were not recorded when the time to stop was up, \
            and are resolved when their leases end: \(ids)\(more)
            """
    }
}
