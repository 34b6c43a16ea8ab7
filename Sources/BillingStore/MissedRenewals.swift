import Postgres

extension PostgresStore {
    /// What ``tellMissedRenewals(seen:)`` found.
    package struct MissedRenewals: Hashable, Sendable {
        /// Subscriptions of which an event was written now.
        package var told: [Int64]
        /// Those to be told if they are still missed at the next look.
        package var seen: Set<Int64>
    }

    /// Most renewals that one look tells; the next goes on.
    private static let mostMissed = 1_000

    /// Writes an event `renewal.missed` for each renewal that is due for more than an hour without a
    /// charge, once for each period. While a test moves the business clock only for those that the
    /// look before, which had `seen` them, found missed too. Throws a ``PostgresError``.
    package func tellMissedRenewals(seen: Set<Int64>) async throws -> MissedRenewals {
        try await reports.withConnection { connection in
            try connection.transaction { connection in
                var found = MissedRenewals(told: [], seen: [])
                var late: [Int64] = []
                for row in try connection.query(MissedSQL.untold(limit: Self.mostMissed)) {
                    let id = try row.int64("subscription_id")
                    if try row.bool("is_certain") || seen.contains(id) {
                        late.append(id)
                    } else {
                        found.seen.insert(id)
                    }
                }
                guard !late.isEmpty else { return found }
                found.told = try connection.query(MissedSQL.tell(late)).map {
                    try $0.int64("subscription_id")
                }
                return found
            }
        }
    }
}
