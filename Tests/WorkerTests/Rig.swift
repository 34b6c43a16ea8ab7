import Billing
import Logging
import ServiceLifecycle
import Synchronization
import TestSupport

@testable import Worker

/// A worker on a memory store, a scripted provider and a clock of the test's own.
struct Rig {
    let store = MemoryStore()
    let gateway = ScriptedGateway()
    let clock = ManualClock()
    let log = LogBook()
    let service: ChargingService

    /// Without a flush interval nothing has to be advanced for a record. Dice always say one half.
    init(
        _ configuration: WorkerConfiguration = WorkerConfiguration(recordFlushInterval: .zero)
    ) {
        service = ChargingService(
            store: store, gateway: gateway, configuration: configuration, logger: log.logger,
            time: Timepiece(clock, jitter: { 0.5 }))
    }

    /// Runs the service as the daemon does, and stops it gracefully after `body`.
    func running(_ body: () async throws -> Void) async throws {
        let group = serviceGroup()
        let run = Task { try await group.run() }
        do {
            try await body()
        } catch {
            await group.triggerGracefulShutdown()
            try await run.value
            throw error
        }
        await group.triggerGracefulShutdown()
        try await run.value
    }

    func serviceGroup() -> ServiceGroup {
        ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: service)], logger: LogBook().logger))
    }
}

/// Keeps log lines for a test to read, and to wait for.
final class LogBook: Sendable {
    struct Line: Hashable, Sendable {
        var level: Logger.Level
        var message: String
        var metadata: [String: String]
    }

    private let state = Mutex<
        (lines: [Line], waiters: [(String, CheckedContinuation<Void, Never>)])
    >(
        ([], []))

    var lines: [Line] { state.withLock { $0.lines } }

    var logger: Logger {
        var logger = Logger(label: "test") { _ in Handler(book: self) }
        logger.logLevel = .trace
        return logger
    }

    func lines(at level: Logger.Level) -> [Line] { lines.filter { $0.level == level } }

    /// Returns once a line begins with `text`.
    func says(_ text: String) async {
        await withCheckedContinuation { continuation in
            let isThere = state.withLock { state in
                if state.lines.contains(where: { $0.message.hasPrefix(text) }) { return true }
                state.waiters.append((text, continuation))
                return false
            }
            if isThere { continuation.resume() }
        }
    }

    private func add(_ line: Line) {
        let due = state.withLock { state in
            state.lines.append(line)
            let due = state.waiters.filter { line.message.hasPrefix($0.0) }
            state.waiters.removeAll { line.message.hasPrefix($0.0) }
            return due
        }
        for waiter in due { waiter.1.resume() }
    }

    private struct Handler: LogHandler {
        let book: LogBook
        var metadata: Logger.Metadata = [:]
        var logLevel: Logger.Level = .trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            book.add(
                Line(
                    level: event.level, message: "\(event.message)",
                    metadata: (event.metadata ?? [:]).mapValues { "\($0)" }))
        }
    }
}

extension Answer {
    static let poor = Answer(code: "NOT_ENOUGH_BALANCE", httpStatus: 403)
    static let badKey = Answer(code: "UNAUTHORIZED_KEY", httpStatus: 401, traceID: "trace-1")
    static let timeout = Answer(code: "TIMEOUT")
    static let busy = Answer(code: "TOO_MANY_REQUESTS", httpStatus: 429)
}

func order(_ subscription: Int64, period: Int = 0, attempt: Int = 1) -> OrderID {
    OrderID(prefix: "sub\(subscription)", period: period, attempt: attempt)
}
