import Billing
import Synchronization

/// One claim of one subscription.
struct Slot: Hashable, Sendable {
    var subscription: SubscriptionID
    var lease: LeaseNumber
}

/// All that the poller, the chargers and the recorder must agree on, behind one lock.
final class WorkerStatus: Sendable {
    struct State {
        var phase = WorkerReport.State.starting
        /// Taken from claim to recorded (or given back).
        var slots: Set<Slot> = []
        var breaker: CircuitBreaker
        /// Why the store takes no records, if it does not: nothing is claimed meanwhile.
        var recordTrouble: String?
        var claimTrouble: String?
        /// `settings.paused` and the like: by order, no trouble.
        var pausedReason: String?
        var counters = WorkerCounters()
        var meters = WorkerMeters()
        var progress: UInt64 = 0
        var lastClaim: Duration?
        var lastProgress: Duration?
        /// A call of the store other than a claim came back since the last progress.
        var storeAnswered = false

        var isStopping: Bool { phase == .stopping || phase == .stopped }

        mutating func advance(now: Duration) {
            progress += 1
            lastProgress = now
            storeAnswered = false
        }
    }

    private let state: Mutex<State>
    private let maximum: Int
    let time: Timepiece

    /// `maximum`: most subscriptions that are ever between claim and record.
    init(time: Timepiece, maximum: Int = 256) {
        self.time = time
        self.maximum = maximum
        state = Mutex(State(breaker: CircuitBreaker(maximum: maximum)))
    }

    func read<T>(_ body: (State) -> T) -> T { state.withLock { body($0) } }
    func change<T>(_ body: (inout State) -> T) -> T { state.withLock { body(&$0) } }

    var isStopping: Bool { read { $0.isStopping } }
    var inFlight: Int { read { $0.slots.count } }

    func requestStop() {
        change { if $0.phase != .stopped { $0.phase = .stopping } }
    }

    /// Whether work of `epoch` may still start a request: not while stopping, and not after an
    /// answer that every row would get.
    func maySend(epoch: Int) -> Bool {
        read { !$0.isStopping && $0.breaker.epoch == epoch }
    }

    /// Notes how long a call of the store took that began at `start`, well or not.
    func note(_ call: WorkerMeters.StoreCall, since start: Duration) {
        let took = time.now() - start
        change { $0.meters[call].add(took) }
    }

    func free(_ slots: [Slot]) {
        change { $0.slots.subtract(slots) }
    }

    func health() -> WorkerHealth {
        let now = time.now()
        return read { state in
            let reason = state.trouble
            return WorkerHealth(
                ready: reason == nil && state.phase == .running, reason: reason,
                state: state.reportState, inFlight: state.slots.count,
                sinceClaim: state.lastClaim.map { now - $0 },
                sinceProgress: state.lastProgress.map { now - $0 }, progress: state.progress,
                breaker: state.breakerState, counters: state.counters, meters: state.meters,
                maximum: maximum, pause: max(.zero, state.breaker.pausedUntil - now))
        }
    }
}

extension WorkerStatus.State {
    var reportState: WorkerReport.State {
        if case .fault = breaker.cause, phase == .running { return .faulted }
        return phase
    }

    var breakerState: BreakerState {
        switch breaker.state {
        case .closed: .closed
        case .limited(let most): .limited(most)
        case .open(let open): .open(code: open.cause.code)
        }
    }

    /// What of ``trouble`` its state does not say by itself.
    var reportReason: String? { isStopping ? nil : hindrance }

    /// The first reason that keeps the worker from claiming as it should.
    var trouble: String? {
        if isStopping { return "stopping" }
        return hindrance ?? (phase == .starting ? "starting" : nil)
    }

    private var hindrance: String? {
        if let recordTrouble { return "cannot record: \(recordTrouble)" }
        if let claimTrouble { return "cannot claim: \(claimTrouble)" }
        switch breaker.cause {
        case .fault(let code): return "faulted: \(code)"
        case .silence(let code): return "the provider does not serve: \(code)"
        case nil: break
        }
        return pausedReason.map { "paused: \($0)" }
    }
}
