import Billing
import BillingStore
import Logging
import Postgres
import TossPayments
import Worker

/// The checks before the first claim: all findings are logged, one without a mend stops the start.
struct Preparation {
    let database: PostgresConfiguration
    let key: SecretKey
    let log: Logger

    /// Runs the checks; while the database cannot be reached at all, tries again for `waiting`
    /// (after a boot it may come up later than we do). Throws what must be mended.
    func run(waiting: Duration) async throws {
        let (mode, fingerprint) = Daemon.fingerprint(key)
        let preflight = Preflight(
            database, mode: mode, fingerprint: fingerprint,
            stopTimeout: WorkerConfiguration().stopTimeout)
        let clock = ContinuousClock()
        let deadline = clock.now + waiting
        while true {
            let findings = await preflight.run()
            let bad = findings.filter { $0.mend != nil }
            if bad.isEmpty { return }
            guard findings.count == 1, bad[0].subject == "database", clock.now < deadline else {
                throw Failure(Self.sentence(bad))
            }
            log.warning(
                "the database cannot be reached; trying again",
                metadata: ["error": "\(bad[0].text)"])
            try await Task.sleep(for: .seconds(1))
        }
    }

    private static func sentence(_ bad: [Preflight.Finding]) -> String {
        "billingd does not start:\n"
            + bad.map { "  \($0.subject): \($0.text)\n    mend: \($0.mend ?? "")" }
            .joined(separator: "\n")
    }
}
