import Foundation
import Glibc
import TestSupport

/// The workers, and whatever is done to them. A worker that ends without being told to is a finding.
actor Fleet {
    private let environment: [String: String]
    private let options: [String]
    private let logs: URL
    private var workers: [Worker] = []
    /// Told to go, and not gone yet.
    private var leaving: [Worker] = []
    private var started = 0
    private(set) var findings: [String] = []
    /// What was done, by signal.
    private(set) var kills = 0
    private(set) var freezes = 0
    private(set) var stops = 0

    private struct Worker {
        var number: Int
        var process: ChildProcess
        var wasHurried = false
    }

    /// Workers that are not started yet. `logs`: where each gets a folder.
    init(environment: [String: String], options: [String], logs: URL) {
        self.environment = environment
        self.options = options
        self.logs = logs
    }

    func start(_ count: Int) async throws {
        for _ in 0..<count { workers.append(try await make()) }
    }

    private func make() async throws -> Worker {
        started += 1
        let process = try await ChildProcess(
            Checkout.program("billingd"), ["run"] + options, environment: environment,
            into: logs.appending(path: "worker-\(started)"))
        return Worker(number: started, process: process)
    }

    // MARK: Faults

    func kill(_ place: Int) async throws {
        kills += 1
        let old = workers[place]
        old.process.kill(SIGKILL)
        await old.process.ended()
        workers[place] = try await make()
    }

    /// Stops it; the returned hand lets it go on.
    func freeze(_ place: Int) -> @Sendable () -> Void {
        freezes += 1
        let process = workers[place].process
        process.kill(SIGSTOP)
        return { process.kill(SIGCONT) }
    }

    func stop(_ place: Int, successorFirst: Bool, hurried: Bool = false) async throws {
        stops += 1
        var old = workers[place]
        let early = successorFirst ? try await make() : nil
        old.process.kill(SIGTERM)
        if hurried {
            // Both signals are pending at once and would be one.
            try await ContinuousClock().sleep(for: .milliseconds(50))
            old.process.kill(SIGTERM)
            old.wasHurried = true
        }
        leaving.append(old)
        workers[place] = if let early { early } else { try await make() }
    }

    /// Replaces workers that ended by themselves, and notes how.
    func look() async throws {
        for place in workers.indices where !workers[place].process.isRunning {
            note(workers[place], "ended by itself")
            workers[place] = try await make()
        }
        let gone = leaving.filter { !$0.process.isRunning }
        leaving.removeAll { !$0.process.isRunning }
        for worker in gone { await judge(worker) }
    }

    /// SIGTERM for all: each must record what it has in hand and exit 0.
    func end(within limit: Duration) async throws {
        for worker in workers { worker.process.kill(SIGTERM) }
        leaving += workers
        workers = []
        let deadline = ContinuousClock.now + limit
        for worker in leaving {
            while worker.process.isRunning, ContinuousClock.now < deadline {
                try await ContinuousClock().sleep(for: .milliseconds(20))
            }
            if worker.process.isRunning {
                note(worker, "does not end within \(limit) of SIGTERM")
                worker.process.kill(SIGKILL)
                await worker.process.ended()
            } else {
                await judge(worker)
            }
        }
        leaving = []
    }

    private func judge(_ worker: Worker) async {
        let status = await worker.process.ended()
        // Before it has set up its signals, SIGTERM ends it as it ends any program.
        let early = status == 128 + SIGTERM && !worker.process.errors.contains("\"started\"")
        if status == 0 || early || worker.wasHurried && status == 130 { return }
        note(worker, "was told to go and ended with \(status)")
    }

    private func note(_ worker: Worker, _ what: String) {
        let words = worker.process.errors.split(separator: "\n").suffix(3).joined(
            separator: "\n    ")
        findings.append("worker \(worker.number) \(what):\n    \(words)")
    }
}
