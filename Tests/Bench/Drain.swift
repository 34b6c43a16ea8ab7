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
        /// Milliseconds that the slowest hundredth of the transactions waited for locks at least; nil:
        /// not one.
        var lockWait: Double?
        var lockWaits: LockWaits
    }

    let site: Site

    func run(_ plan: Plan) async throws -> Result {
        try await site.fill(plan.charges)
        let provider = try await CheapProvider(latency: plan.latency)
        let before = try await site.counters()
        let logBefore = site.logSize
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
        try await eventually("all is recorded: \(plan.name)", within: .seconds(120)) {
            try await ContinuousClock().sleep(for: .milliseconds(50))
            return try await site.approved() == plan.charges
        }
        let after = try await site.counters()
        let books = try provider.books()
        let waits = site.lockWaits(since: logBefore)
        var result = Result(
            plan: plan,
            perSecond: Double(plan.charges) * 1e9 / Double(max(1, books.lastAt - books.firstAt)),
            daemonCPU: workers.map { ProcessCost.cpu($0.pid) }.reduce(0, +),
            postgresCPU: after.cpu - before.cpu,
            providerCPU: ProcessCost.cpu(provider.process.pid) - providerBefore,
            log: after.log - before.log, statements: after.calls - before.calls,
            commits: after.commits - before.commits,
            memory: workers.map { ProcessCost.peakMemory($0.pid) }.max() ?? 0,
            mostInFlight: books.mostInFlight,
            lockWait: waits.slowest1Percent(of: after.commits - before.commits), lockWaits: waits)
        for worker in workers { worker.kill(SIGTERM) }
        for worker in workers { await worker.ended() }
        await provider.end()
        try await check(plan, books)
        result.perCharge(Double(plan.charges))
        return result
    }

    private func check(_ plan: Plan, _ books: CheapProvider.Books) async throws {
        guard books.repeats == 0, books.won == plan.charges * 14_900 else {
            throw BenchFailure(
                "\(plan.name): \(books.repeats) repeats, \(books.won) won for \(plan.charges) charges"
            )
        }
        try await site.audited(plan.name, charges: plan.charges)
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
}
