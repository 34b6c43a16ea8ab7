import Billing
import Dashboard
import FoundationEssentials
import Logging
import ServiceLifecycle
import Worker

/// systemd's notify protocol (sd_notify(3)); outside systemd it does nothing.
struct Systemd: Sendable {
    private let socket: String?
    /// How often the watchdog wants a sign of life, if it does.
    let watchdog: Duration?

    init() {
        let environment = ProcessInfo.processInfo.environment
        socket = environment["NOTIFY_SOCKET"].flatMap { $0.isEmpty ? nil : $0 }
        watchdog = environment["WATCHDOG_USEC"].flatMap(Int64.init).map { .microseconds($0) }
    }

    func ready() { send("READY=1") }
    /// The start takes longer than TimeoutStartSec, on purpose.
    func stillStarting() { send("EXTEND_TIMEOUT_USEC=60000000") }
    func stopping() { send("STOPPING=1") }
    /// The stop goes on for at least this long, even if somebody set TimeoutStopSec= too short for
    /// the requests in flight. The program ends by itself before that becomes for ever.
    func stillStopping() { send("EXTEND_TIMEOUT_USEC=15000000") }
    func alive() { send("WATCHDOG=1") }

    /// A sentence for `systemctl status`.
    func status(_ text: String) {
        // One line, as the protocol wants it, whatever an operator's reason for a pause holds.
        send("STATUS=" + text.split(whereSeparator: \.isNewline).joined(separator: " "))
    }

    private func send(_ state: String) {
        guard let socket else { return }
        LibC.notify(state, socket: socket)
    }
}

/// Tells systemd how the worker is: READY when all checks passed and the database answered the first
/// claim (a pause by order included: the service is up and says that it waits), WATCHDOG only while
/// the loops make progress, STOPPING when it was told to stop.
struct SystemdService: Service {
    let systemd: Systemd
    let service: ChargingService
    let listener: Listener?

    func run() async throws {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await tell() }
            try? await gracefulShutdown()
            group.cancelAll()
        }
    }

    private func tell() async {
        var isReady = false
        var fed: UInt64 = 0
        var told = ""
        var minute = LastMinute()
        let rhythm = min(.seconds(1), (systemd.watchdog ?? .seconds(3)) / 3)
        var isStopping = false
        while !Task.isCancelled {
            let health = service.health()
            if health.state == .stopping {
                if !isStopping { systemd.stopping() }
                isStopping = true
                systemd.stillStopping()
            }
            if health.sinceClaim != nil, !isReady {
                isReady = true
                systemd.ready()
            }
            if health.progress != fed {
                fed = health.progress
                systemd.alive()
            }
            minute.add(health.counters, at: .now)
            var sentence = Self.sentence(health, minute)
            if listener?.trouble != nil {
                sentence += "; nobody can look: see --listen in the log"
            }
            if sentence != told {
                told = sentence
                systemd.status(sentence)
            }
            // Ready is told soon, all else at a calm rhythm.
            try? await Task.sleep(for: isReady ? rhythm : .milliseconds(20))
        }
    }

    static func sentence(_ health: WorkerHealth, _ minute: LastMinute) -> String {
        let counts = """
            last minute \(minute.paid) paid, \(minute.declined) declined, \(minute.unknown) unknown; \
            since start \(health.counters.approved) paid, \(health.counters.allDeclined) declined, \
            \(health.counters.held) held
            """
        if health.state == .stopping {
            return "stopping: \(health.inFlight) in flight are finished and recorded; \(counts)"
        }
        if let reason = health.reason {
            return "not charging: \(reason); \(health.inFlight) in flight; \(counts)"
        }
        var few = ""
        if case .limited(let most) = health.breaker { few = " (at most \(most) for now)" }
        return "charging: \(health.inFlight) in flight\(few); \(counts)"
    }
}

extension WorkerCounters {
    var allDeclined: UInt64 { declined.values.reduce(0, +) }
}

/// What was counted in the last sixty seconds, from counters that never fall.
struct LastMinute {
    private var samples: [(at: ContinuousClock.Instant, counters: WorkerCounters)] = []

    var paid: UInt64 { difference(\.approved) }
    var declined: UInt64 { difference(\.allDeclined) }
    var unknown: UInt64 { difference(\.unknown) }

    mutating func add(_ counters: WorkerCounters, at now: ContinuousClock.Instant) {
        // One a second at most: 61 of them span a minute.
        if samples.count > 1, now - samples[samples.count - 2].at < .seconds(1) {
            samples.removeLast()
        }
        samples.append((now, counters))
        // The newest that is a minute old is what is subtracted; those before it are not needed.
        while samples.count > 1, now - samples[1].at >= .seconds(60) { samples.removeFirst() }
    }

    private func difference(_ count: (WorkerCounters) -> UInt64) -> UInt64 {
        guard let first = samples.first, let last = samples.last else { return 0 }
        return count(last.counters) - count(first.counters)
    }
}
