import Foundation
import Postgres
import TestSupport

/// Waits until nothing is left to do, on a business clock that is moved from rung to rung.
struct Calm: Sendable {
    let database: Cluster
    let site: Site

    struct Ending {
        var isEmpty: Bool
        var released = 0
    }

    /// Moves the clock on whenever nothing is due, in hand or to be waited for. `meanwhile` does what
    /// a person would, and says how often. False after `limit`.
    func wait(
        within limit: Duration, meanwhile: () async throws -> Int = { 0 }
    ) async throws -> Ending {
        let deadline = ContinuousClock.now + limit
        var ending = Ending(isEmpty: false)
        while ContinuousClock.now < deadline {
            let left = try await left()
            if left.busy > 0 {
                try await ContinuousClock().sleep(for: .milliseconds(50))
                continue
            }
            let released = try await meanwhile()
            ending.released += released
            if released > 0 { continue }
            if left.open == 0 {
                ending.isEmpty = true
                return ending
            }
            try await database.run(
                """
                UPDATE billing.settings SET clock_offset = clock_offset + (
                    SELECT greatest(min(s.next_charge_at) - billing.now(), '0')
                    FROM billing.subscriptions AS s JOIN billing.charges AS c
                        ON c.charge_id = s.open_charge_id AND c.state = 'open')
                WHERE EXISTS (
                    SELECT FROM billing.subscriptions AS s JOIN billing.charges AS c
                        ON c.charge_id = s.open_charge_id AND c.state = 'open'
                    WHERE s.next_charge_at IS NOT NULL)
                """)
            try await ContinuousClock().sleep(for: .milliseconds(20))
        }
        return ending
    }

    /// Rows that are due, in hand, or waited for on the real clock; and charges that are open.
    func left() async throws -> (busy: Int, open: Int) {
        let row = try await database.run(
            """
            SELECT
                (SELECT count(*) FROM billing.subscriptions AS s
                 WHERE next_charge_at <= billing.now() OR lease_until > now()
                    OR EXISTS (SELECT FROM billing.attempts AS a
                               WHERE a.charge_id = s.open_charge_id AND a.state = 'open'
                                 AND a.quiet_until > now())) AS busy,
                (SELECT count(*) FROM billing.charges WHERE state = 'open') AS open
            """)[0]
        return (try row.int("busy"), try row.int("open"))
    }

    /// What a person does about charges that are held for this reason: `billingd release`.
    func release(
        held reason: String, by secretKey: String, _ sandbox: Sandbox
    ) async throws -> Int {
        let rows = try await database.run(
            "SELECT charge_id FROM billing.charges WHERE state = 'held' AND starts_with(reason, '\(reason)')"
        )
        for row in rows {
            let charge = try row.string("charge_id")
            let result = try await ChildProcess.run(
                Checkout.program("billingd"), ["release", charge, "--why", "chaos"],
                environment: [
                    "DATABASE_URL": database.connectionString(as: .admin),
                    "TOSS_API_URL": sandbox.address, "TOSS_SECRET_KEY": secretKey,
                ])
            guard result.status == 0 else {
                throw ChildProcess.Failure("billingd release \(charge): \(result.errors)")
            }
            site.say(
                "  released charge \(charge): \(result.output.split(separator: "\n").last ?? "")")
        }
        return rows.count
    }
}
