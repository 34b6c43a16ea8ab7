import FoundationEssentials
import Postgres

/// What the database knows, for metrics and the page; read at most every few seconds.
package struct Figures: Sendable {
    package var status: StatusReport
    /// Since the attempt that is unknown for longest became so; 0: there is none.
    package var oldestUnknownSeconds: Double
    /// Rows whose claim ran out and that nobody has taken over yet.
    package var expiredLeases: Int64
    /// Workers heard of in the last 30 s.
    package var workersAlive: Int64
    /// Renewals that were due more than an hour ago and have no charge yet.
    package var missedRenewals: Int64
    /// `settings.max_requests_per_minute`; nil: unlimited.
    package var requestsPerMinute: Int64?
    /// Requests that the fleet may send at once, as of the last claim.
    package var requestBudget: Double
    /// The database's clock less this machine's, in seconds, to half the time of a round trip.
    package var clockSkewSeconds: Double
}

extension PostgresStore {
    /// Reads ``Figures`` in one transaction of the connection that also reports; each statement may
    /// take 2 s. Throws a ``PostgresError``.
    package func figures() async throws -> Figures {
        try await reports.withConnection { connection in
            try connection.transaction { connection in
                _ = try connection.query(FiguresSQL.begin)
                let status = try StatusReport.read(connection)
                let before = Date().timeIntervalSince1970
                let rows = try connection.query(FiguresSQL.more())
                let middle = (before + Date().timeIntervalSince1970) / 2
                guard let row = rows.first else {
                    throw PostgresError.decoding("billing.settings is empty: apply schema.sql")
                }
                return Figures(
                    status: status,
                    oldestUnknownSeconds: try row.double("oldest_unknown_seconds"),
                    expiredLeases: try row.int64("expired_leases"),
                    workersAlive: try row.int64("workers_alive"),
                    missedRenewals: try row.int64("missed_renewals"),
                    requestsPerMinute: try row.int64OrNil("max_requests_per_minute"),
                    requestBudget: try row.double("request_budget"),
                    clockSkewSeconds: try row.double("server_clock") - middle)
            }
        }
    }

    /// Connections made beyond the first of each kind: so often one broke.
    package var reconnects: Int {
        [claims, records, reports].map { max(0, $0.connections - 1) }.reduce(0, +)
    }
}
