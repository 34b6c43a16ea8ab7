import Billing
import Postgres
import Synchronization
import TestSupport

/// One of two sessions.
final class Player: Sendable {
    enum State { case fresh, running, waiting, done }
    let gate: Gate
    let side: PostgresSide
    let name: String
    private let result = Mutex<Result<PostgresSide.Reply, any Error>?>(nil)
    private let isStarted = Mutex(false)

    init(
        _ name: String, beside stage: PostgresSide, _ gate: Gate, through proxy: CuttingProxy? = nil
    ) async throws {
        self.name = name
        self.gate = gate
        side = try await PostgresSide(beside: stage, named: name, through: proxy) {
            gate.pass($0)
        }
    }

    func prepare(from stage: PostgresSide) async {
        await side.take(over: stage)
        result.withLock { $0 = nil }
        isStarted.withLock { $0 = false }
        gate.close()
    }

    var state: State {
        if result.withLock({ $0 != nil }) { return .done }
        if !isStarted.withLock({ $0 }) { return .fresh }
        return gate.waiting == nil ? .running : .waiting
    }

    var outcome: Result<PostgresSide.Reply, any Error>? { result.withLock { $0 } }

    /// Returns when the session stands before a statement, is done, or waits for a lock.
    func settle(_ monitor: PostgresConnection) async throws {
        var turns = 0
        while state == .running {
            turns += 1
            if turns % 8 == 0, try await isBlocked(monitor) { return }
            try await ContinuousClock().sleep(for: .microseconds(100))
        }
    }

    /// Waits for the end.
    func ending(_ monitor: PostgresConnection) async throws -> Result<PostgresSide.Reply, any Error>
    {
        try await eventually("\(name) is done") { state == .done }
        guard let outcome else { throw ChildProcess.Failure("\(name): no outcome") }
        return outcome
    }

    func isBlocked(_ monitor: PostgresConnection) async throws -> Bool {
        try await !monitor.execute(
            script: """
                SELECT pid FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = '\(name)'
                  AND cardinality(pg_blocking_pids(pid)) > 0
                """
        ).isEmpty
    }

    /// Ends the server's side of the session.
    func terminate(_ monitor: PostgresConnection) async throws {
        _ = try await monitor.execute(
            script: """
                SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                WHERE datname = current_database() AND application_name = '\(name)'
                  AND usename = 'test_worker'
                """)
    }

    /// One statement further.
    func step(_ operation: Operation, _ ledger: Ledger) {
        guard state == .fresh else { return gate.step() }
        isStarted.withLock { $0 = true }
        Task {
            let outcome: Result<PostgresSide.Reply, any Error>
            do { outcome = .success(try await side.reply(to: operation, ledger)) } catch {
                outcome = .failure(error)
            }
            result.withLock { $0 = outcome }
        }
    }
}
