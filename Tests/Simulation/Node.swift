import Billing
import Logging
import Worker

/// One worker process: a ``ChargingService`` as shipped, whose every wait goes through here. Dead,
/// nothing that it waits for ever comes; asleep, it comes when the process wakes.
final class Node: @unchecked Sendable {
    let id: Int
    unowned let world: World
    /// Of the secret key it was started with.
    let fingerprint: Int
    /// Schema version of its program.
    let version: Int
    /// Something beside an honest stop kept it from writing down what it had.
    var hadTrouble = false
    private(set) var isDead = false
    private(set) var hasEnded = false
    private var asleepUntil: Int64 = 0
    private var service: ChargingService?
    private var running: Task<Void, Never>?
    private var onStopped: @Sendable () -> Void = {}
    /// What a failed record left with it, and since when.
    var unwritten: (count: Int, since: Int64)?
    /// Kept alive for as long as the history: a process has no end of its own.
    var isAlive: Bool { !isDead && !hasEnded }
    var isAsleep: Bool { asleepUntil > world.now }

    init(id: Int, world: World, fingerprint: Int, version: Int) {
        self.id = id
        self.world = world
        self.fingerprint = fingerprint
        self.version = version
    }

    /// `onStopped`: it ended by itself, with everything recorded.
    nonisolated func start(
        _ database: Database, _ wire: Wire, onStopped: @escaping @Sendable () -> Void
    ) {
        self.onStopped = onStopped
        let swarm = world.swarm
        let configuration = WorkerConfiguration(
            maxInFlight: swarm.maxInFlight, pollInterval: .seconds(30 * 86_400),
            recordFlushInterval: swarm.flushes ? .milliseconds(2) : .zero,
            maxRecordBatch: 3, maxClaim: swarm.maxClaim, reportInterval: .seconds(400 * 86_400),
            summaryInterval: .seconds(400 * 86_400))
        let world = world
        let service = ChargingService(
            store: SimulatedStore(node: self, database: database),
            gateway: SimulatedGateway(node: self, wire: wire), configuration: configuration,
            logger: Self.logger,
            time: Timepiece(SimulatedClock(node: self)) { world.dice.fraction() })
        self.service = service
        running = Task {
            do {
                try await service.run()
                if !self.isDead { onStopped() }
            } catch {
                // The process ends here; what was still on its way ends with it.
                self.isDead = true
            }
            self.hasEnded = true
        }
    }

    private static let logger = Logger(label: "simulation") { _ in SwiftLogNoOpLogHandler() }

    /// A notification of the database, or the poll that a real worker makes every second.
    func wake() {
        whenAwake { self.service?.wake() }
    }

    /// SIGTERM.
    func stop() {
        whenAwake {
            if self.world.mutant == .stopDropsResults {
                self.isDead = true
                self.onStopped()
            }
            self.running?.cancel()
        }
    }

    /// kill −9.
    func crash() { isDead = true }

    /// SIGSTOP, a VM freeze, swap: the process stands still while its clock goes on.
    func stall(for duration: Duration) {
        hadTrouble = true
        asleepUntil = max(asleepUntil, world.now + Int64(duration / .microseconds(1)))
    }

    /// Runs `action` in this process after `delay`: later if it is asleep then, never if it is dead.
    func after(_ delay: Duration, _ action: @escaping () -> Void) {
        world.after(delay) { self.whenAwake(action) }
    }

    private func whenAwake(_ action: @escaping () -> Void) {
        if isDead { return }
        if asleepUntil > world.now {
            world.at(asleepUntil) { self.whenAwake(action) }
        } else {
            action()
        }
    }
}

/// The boot-time clock of a worker's machine.
struct SimulatedClock: Clock {
    struct Instant: InstantProtocol {
        var offset: Duration
        func advanced(by duration: Duration) -> Self { Self(offset: offset + duration) }
        func duration(to other: Self) -> Duration { other.offset - offset }
        static func < (left: Self, right: Self) -> Bool { left.offset < right.offset }
    }

    let node: Node
    var now: Instant { Instant(offset: .microseconds(node.world.now)) }
    var minimumResolution: Duration { .microseconds(1) }

    func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        let sleeper = Sleeper()
        try await withTaskCancellationHandler {
            try await withUnsafeThrowingContinuation {
                (continuation: UnsafeContinuation<Void, any Error>) in
                if Task.isCancelled { return continuation.resume(throwing: CancellationError()) }
                sleeper.continuation = continuation
                node.after(deadline.offset - now.offset) { sleeper.wake() }
            }
        } onCancel: {
            sleeper.cancel()
        }
    }

    private final class Sleeper: @unchecked Sendable {
        var continuation: UnsafeContinuation<Void, any Error>?

        func wake() {
            continuation?.resume()
            continuation = nil
        }

        func cancel() {
            continuation?.resume(throwing: CancellationError())
            continuation = nil
        }
    }
}
