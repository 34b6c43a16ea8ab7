import Billing
import Postgres

/// The register of workers.
enum RegisterSQL {
    static func report(_ report: WorkerReport, _ identity: PostgresStore.Identity)
        -> PostgresQuery
    {
        """
        INSERT INTO billing.workers AS w (worker_id, host, pid, version, in_flight, state,
            reason)
        VALUES (\(identity.worker), \(identity.host), \(identity.pid), \(identity.version),
                \(Int32(report.inFlight)), \(report.state.rawValue),
                left(\(report.reason), 300))
        ON CONFLICT (worker_id) DO UPDATE
        SET seen_at = now(), in_flight = excluded.in_flight, state = excluded.state,
            reason = excluded.reason
        """
    }
}
