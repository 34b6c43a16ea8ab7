import Billing
import FoundationEssentials
package import Worker

/// `/livez` and `/readyz`: a status for machines, and JSON that says why.
package struct HealthReply: Encodable, Sendable {
    package var live: Bool
    package var ready: Bool
    /// Why not.
    package var reason: String?
    /// `billing.workers.worker_id`.
    package var worker: String
    package var state: String
    package var breaker: String
    package var inFlight: Int
    package var secondsSinceClaim: Double?
    package var secondsSinceProgress: Double?

    /// `patience`: how long the loops may stand still; `uptime`: since they were started.
    package init(
        _ health: WorkerHealth, worker: String, patience: Duration, uptime: Duration
    ) {
        self.worker = worker
        let still = health.sinceProgress ?? uptime
        live = still <= patience
        ready = health.ready && live
        reason =
            live
            ? health.reason
            : "no progress for \(Int(still / .seconds(1))) s: a loop or the database hangs"
        state = health.state.rawValue
        breaker = health.breaker.word
        inFlight = health.inFlight
        secondsSinceClaim = health.sinceClaim.map { Self.rounded($0) }
        secondsSinceProgress = health.sinceProgress.map { Self.rounded($0) }
    }

    /// The answer to `/livez`, or to `/readyz`.
    package func reply(isGood: Bool) -> Listener.Reply {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        let data = (try? encoder.encode(self)) ?? Data("{}".utf8)
        return Listener.Reply(
            status: isGood ? 200 : 503, contentType: "application/json",
            body: String(decoding: data, as: UTF8.self) + "\n")
    }

    private static func rounded(_ duration: Duration) -> Double {
        (duration / .milliseconds(1)).rounded() / 1_000
    }
}
