import Postgres

/// What the metrics and the page show beside ``StatusSQL``. All of it is read with a time limit of
/// its own, so that a look at the daemon never keeps its report waiting for long.
enum FiguresSQL {
    /// For the transaction that it stands in. Nothing in it writes.
    static let begin: PostgresQuery = """
        SELECT set_config('statement_timeout', '2s', true), set_config('jit', 'off', true),
               set_config('transaction_read_only', 'on', true)
        """

    static func more() -> PostgresQuery {
        """
        SELECT extract(epoch FROM clock_timestamp())::float8 AS server_clock,
            (SELECT coalesce(extract(epoch FROM billing.now() - min(unknown_since)), 0)::float8
             FROM billing.attempts WHERE state = 'open' AND unknown_since IS NOT NULL)
                AS oldest_unknown_seconds,
            -- Kept until the row's next claim or record: whoever took it has died or stands still.
            (SELECT count(*) FROM billing.subscriptions
             WHERE next_charge_at <= (SELECT billing.now()) AND lease_until < now())
                AS expired_leases,
            (SELECT count(*) FROM billing.workers
             WHERE state <> 'stopped' AND seen_at > now() - interval '30 seconds')
                AS workers_alive,
            (SELECT count(*) FROM billing.subscriptions
             WHERE \(sql: MissedSQL.isMissed)) AS missed_renewals,
            s.max_requests_per_minute, b.requests AS request_budget
        FROM billing.settings AS s CROSS JOIN billing.request_budget AS b
        """
    }
}
