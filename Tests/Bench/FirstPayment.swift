import Foundation
import Glibc
import Postgres
import TestSupport

/// What a new customer waits for: from the COMMIT of a subscription to the provider's receipt of its
/// first payment.
struct FirstPayment {
    struct Result: Codable {
        /// Renewals that were due.
        var backlog: Int
        /// New subscriptions.
        var count: Int
        /// Milliseconds.
        var median: Double
        var slowest1Percent: Double
    }

    let site: Site

    /// `backlog`: renewals that are due already. One subscription at a time, `count` in all or as many as
    /// come before the backlog is through, with a pause that is no multiple of the poll interval.
    func run(backlog: Int, count: Int = 200) async throws -> Result {
        try await site.fill(backlog)
        let provider = try await CheapProvider(latency: 0)
        let worker = try await site.worker(provider)
        try await eventually("the worker is ready") {
            worker.errors.contains("\"started\"") || !worker.isRunning
        }
        let web = try await site.database.connect(as: .web)
        var committed: [String: UInt64] = [:]
        for number in 1...count {
            if backlog > 1, number % 10 == 0, try provider.books().orders >= backlog { break }
            let customer = "new\(number)-\(backlog)"
            _ = try await web.transaction { connection in
                _ = try connection.query(
                    "SELECT billing.register_billing_key(\(customer), \("Z_\(customer)012345="))")
                _ = try connection.query("SELECT billing.subscribe(\(customer), 'monthly')")
            }
            committed[customer] = BootClock.now
            try await ContinuousClock().sleep(for: .milliseconds(23))
        }
        await web.close()
        var receipts: [String: UInt64] = [:]
        try await eventually("all new ones are paid", within: .seconds(120)) {
            receipts = try provider.books().receipts
            return receipts.count == committed.count
        }
        worker.kill(SIGTERM)
        await worker.ended()
        await provider.end()
        guard committed.count >= min(count, 100) else {
            throw BenchFailure(
                "first payment: \(backlog) renewals drained beside \(committed.count) new ones; "
                    + "more are needed")
        }
        let waits = committed.compactMap { customer, at in
            receipts[customer].map { $0 > at ? Double($0 - at) / 1e6 : 0 }
        }.sorted()
        return Result(
            backlog: backlog, count: committed.count, median: waits[waits.count / 2],
            slowest1Percent: waits[waits.count * 99 / 100])
    }
}
