import BillingStore
import Logging
import ServiceLifecycle

/// Holds the forecast against what happened: a renewal that is an hour late is told, in the log and as
/// an event. It looks only, and what it cannot read now it reads at the next look.
struct MissedRenewalWatch: Service {
    /// Between two looks.
    static let rhythm = Duration.seconds(60)

    let store: PostgresStore
    let log: Logger

    func run() async throws {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await look() }
            try? await gracefulShutdown()
            group.cancelAll()
        }
    }

    private func look() async {
        var seen: Set<Int64> = []
        while !Task.isCancelled {
            do {
                let found = try await store.tellMissedRenewals(seen: seen)
                seen = found.seen
                if !found.told.isEmpty {
                    log.error(
                        "renewals should have been charged more than an hour ago",
                        metadata: [
                            "count": "\(found.told.count)",
                            "action": "billingd status, then billingd explain SUBSCRIPTION",
                            "subscriptions":
                                "\(found.told.prefix(5).map { "\($0)" }.joined(separator: ", "))",
                        ])
                }
            } catch {
                log.debug("no look for missed renewals", metadata: ["reason": "\(error)"])
            }
            try? await Task.sleep(for: Self.rhythm)
        }
    }
}
