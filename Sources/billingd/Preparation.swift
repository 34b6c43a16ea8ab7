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
    /// (after a boot it may come up later than we do). A key that is not bound yet is waited for as long
    /// as it takes, if at all: `billingd rotate-key` binds it. `tell` hears what is waited for, every
    /// second. Throws what must be mended.
    func run(waiting: Duration, tell: (String) -> Void = { _ in }) async throws {
        let (mode, fingerprint) = Daemon.fingerprint(key)
        let preflight = Preflight(
            database, mode: mode, fingerprint: fingerprint,
            stopTimeout: WorkerConfiguration().stopTimeout)
        let clock = ContinuousClock()
        let deadline = clock.now + waiting
        var complained: ContinuousClock.Instant?
        func isTimely(_ now: ContinuousClock.Instant) -> Bool {
            if let complained, now - complained < .seconds(30) { return false }
            complained = now
            return true
        }
        while true {
            let findings = await preflight.run()
            let bad = findings.filter { $0.mend != nil }
            if bad.isEmpty { return }
            if bad.count == 1, bad[0].subject == "secret key", waiting > .zero {
                tell("billingd rotate-key: \(bad[0].text)")
                if isTimely(clock.now) {
                    log.error(
                        """
                        the secret key is not the one that is bound: nothing is charged until \
                        billingd rotate-key binds it
                        """,
                        metadata: [
                            "reason": "\(bad[0].text)",
                            "action": "billingd rotate-key, or put the key back that is bound",
                        ])
                }
                try await Task.sleep(for: .seconds(1))
                continue
            }
            guard findings.count == 1, bad[0].subject == "database", clock.now < deadline else {
                throw Failure(Self.sentence(bad))
            }
            tell("the database: \(bad[0].text)")
            if isTimely(clock.now) {
                log.warning(
                    "the database cannot be reached; trying again",
                    metadata: [
                        "reason": "\(bad[0].text)", "action": "\(bad[0].mend ?? "")",
                    ])
            }
            try await Task.sleep(for: .seconds(1))
        }
    }

    private static func sentence(_ bad: [Preflight.Finding]) -> String {
        "billingd does not start:\n"
            + bad.map { "  \($0.subject): \($0.text)\n    mend: \($0.mend ?? "")" }
            .joined(separator: "\n")
    }
}
