import Foundation
import Glibc
import TestSupport

/// One measurement: so many due rows, so many workers, until all of it is paid and recorded.
struct Drain {
    struct Plan: Codable {
        var name: String
        var charges: Int
        /// The provider's, in milliseconds.
        var latency: Int
        var workers = 1
        /// `--max-in-flight` of each worker.
        var inFlight: Int
    }

    struct Result: Codable {
        var plan: Plan
        /// From the first execution at the provider to the last.
        var perSecond: Double
        /// Microseconds of processor time a charge, all threads and processes.
        var daemonCPU: Double
        var postgresCPU: Double
        var providerCPU: Double
        /// Bytes a charge.
        var log: Double
        var statements: Double
        var commits: Double
        /// Peak resident memory of the largest worker, MB.
        var memory: Double
        var mostInFlight: Int
    }

    let site: Site
    /// Also says where PostgreSQL's time went.
    var tellsStatements = false

    func run(_ plan: Plan) async throws -> Result {
        try await site.fill(plan.charges)
        let provider = try await CheapProvider(latency: plan.latency)
        let before = try await site.counters()
        let providerBefore = ProcessCost.cpu(provider.process.pid)
        var workers: [ChildProcess] = []
        for _ in 0..<plan.workers {
            workers.append(try await site.worker(provider, inFlight: plan.inFlight))
        }
        try await eventually("all is paid: \(plan.name)", within: .seconds(600)) {
            guard workers.allSatisfy(\.isRunning) else {
                throw BenchFailure("a worker ended: \(workers[0].errors.suffix(600))")
            }
            try await ContinuousClock().sleep(for: .milliseconds(100))
            return try provider.books().orders == plan.charges
        }
        try await eventually("all is recorded", within: .seconds(60)) {
            try await site.approved() == plan.charges
        }
        let after = try await site.counters()
        let books = try provider.books()
        var result = Result(
            plan: plan,
            perSecond: Double(plan.charges) * 1e9 / Double(max(1, books.lastAt - books.firstAt)),
            daemonCPU: workers.map { ProcessCost.cpu($0.pid) }.reduce(0, +),
            postgresCPU: after.cpu - before.cpu,
            providerCPU: ProcessCost.cpu(provider.process.pid) - providerBefore,
            log: after.log - before.log, statements: after.calls - before.calls,
            commits: after.commits - before.commits,
            memory: workers.map { ProcessCost.peakMemory($0.pid) }.max() ?? 0,
            mostInFlight: books.mostInFlight)
        if tellsStatements { for line in try await site.statements() { print(line) } }
        for worker in workers { worker.kill(SIGTERM) }
        for worker in workers { await worker.ended() }
        await provider.end()
        try await check(plan, books)
        result.perCharge(Double(plan.charges))
        return result
    }

    /// Speed at the price of a promise is none.
    private func check(_ plan: Plan, _ books: CheapProvider.Books) async throws {
        let findings = try await site.audit()
        guard books.repeats == 0, books.won == plan.charges * 14_900, findings == 0 else {
            throw BenchFailure(
                "\(plan.name): \(books.repeats) repeats, \(books.won) won for \(plan.charges) "
                    + "charges, \(findings) findings of the audit")
        }
    }
}

extension Drain.Result {
    fileprivate mutating func perCharge(_ charges: Double) {
        daemonCPU /= charges
        postgresCPU /= charges
        providerCPU /= charges
        log /= charges
        statements /= charges
        commits /= charges
    }

    static let head =
        "charges/s  daemon µs  PostgreSQL µs  provider µs  WAL B  statements  commits  MB"

    var line: String {
        String(
            format: "%9.0f  %9.1f  %13.1f  %11.1f  %5.0f  %10.4f  %7.4f  %3.0f", perSecond,
            daemonCPU, postgresCPU, providerCPU, log, statements, commits, memory)
    }
}
