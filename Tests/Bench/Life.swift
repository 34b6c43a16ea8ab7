import Foundation
import Glibc
import TestSupport

/// What a worker without work costs.
struct Life: Codable {
    /// Milliseconds from its start to the first answered claim, and from SIGTERM to its end.
    var ready: Double
    var stop: Double
    /// Rows that are not due.
    var subscriptions: Int
    /// Share of one core while nothing is due, percent.
    var idle: Double
    var postgresIdle: Double
    /// MB.
    var memory: Double

    /// Beside `subscriptions` that are not due, watched for `span`.
    static func measure(
        _ site: Site, subscriptions: Int, over span: Duration = .seconds(20)
    ) async throws -> Life {
        try await site.fill(subscriptions, due: .in20Days)
        let provider = try await CheapProvider(latency: 0)
        let start = BootClock.now
        let worker = try await site.worker(provider)
        try await eventually("the worker is ready") { worker.errors.contains("\"started\"") }
        let ready = Double(BootClock.now - start) / 1e6
        try await ContinuousClock().sleep(for: .seconds(3))
        let before = ProcessCost.cpu(worker.pid)
        let postgresBefore = site.cpu
        try await ContinuousClock().sleep(for: span)
        let spent = ProcessCost.cpu(worker.pid) - before
        let postgresSpent = site.cpu - postgresBefore
        let memory = ProcessCost.peakMemory(worker.pid)
        let told = BootClock.now
        worker.kill(SIGTERM)
        await worker.ended()
        let stop = Double(BootClock.now - told) / 1e6
        await provider.end()
        return Life(
            ready: ready, stop: stop, subscriptions: subscriptions,
            idle: spent / (span / .microseconds(1)) * 100,
            postgresIdle: postgresSpent / (span / .microseconds(1)) * 100, memory: memory)
    }
}
