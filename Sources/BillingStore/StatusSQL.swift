import Postgres

/// What `billingd status` shows.
enum StatusSQL {
    static func now() -> PostgresQuery {
        """
        SELECT s.mode, s.paused OR s.shadow AS paused,
            \(sql: ShadowSQL.pausedReason) AS paused_reason, s.rotating_to,
            billing.now() AS business_time,
            (SELECT count(*) FROM billing.subscriptions
             WHERE next_charge_at <= (SELECT billing.now())) AS due,
            (SELECT coalesce(extract(epoch FROM billing.now() - min(next_charge_at)), 0)::float8
             FROM billing.subscriptions
             WHERE next_charge_at <= (SELECT billing.now())) AS oldest_due_seconds,
            (SELECT count(*) FROM billing.subscriptions
             WHERE next_charge_at <= (SELECT billing.now()) AND lease_until > now()) AS in_flight,
            (SELECT count(*) FROM billing.attempts
             WHERE state = 'open' AND finished_at IS NULL) AS open_attempts,
            (SELECT count(*) FROM billing.attempts
             WHERE state = 'open' AND unknown_since IS NOT NULL) AS unknown,
            (SELECT count(*) FROM billing.charges WHERE state = 'held') AS held,
            (SELECT count(*) FROM billing.subscriptions WHERE held_reason IS NOT NULL) AS set_aside,
            (SELECT count(*) FROM billing.subscriptions WHERE state = 'past_due') AS past_due,
            (SELECT count(*) FROM billing.subscriptions WHERE state = 'suspended') AS suspended,
            (SELECT count(*) FROM billing.charges
             WHERE paid_at > billing.now() - interval '1 hour') AS paid_last_hour,
            (SELECT coalesce(sum(amount), 0)::bigint FROM billing.charges
             WHERE paid_at > billing.now() - interval '1 hour') AS won_last_hour,
            (SELECT min(next_charge_at) FROM billing.subscriptions
             WHERE next_charge_at > (SELECT billing.now())) AS next_due
        FROM billing.settings AS s
        """
    }

    /// How the books stand: days that should have been compared half a day ago and were not, findings
    /// of the days that were, and why the newest that cannot be compared cannot.
    static func books() -> PostgresQuery {
        """
        SELECT
            (SELECT max(day)::text FROM billing.reconciliations WHERE compared_at IS NOT NULL)
                AS last_day,
            (SELECT count(*) FROM billing.reconcile_days() AS d
             WHERE billing.reconcile_at(d.day) + interval '12 hours' < billing.now()
               AND NOT EXISTS (SELECT FROM billing.reconciliations AS r
                               WHERE r.day = d.day AND r.compared_at IS NOT NULL)) AS overdue,
            (SELECT coalesce(sum(findings), 0)::bigint FROM billing.reconciliations) AS findings,
            (SELECT coalesce(string_agg(day::text, ' ' ORDER BY day DESC), '') FROM (
                SELECT day FROM billing.reconciliations WHERE findings > 0
                ORDER BY day DESC LIMIT 10) AS r) AS finding_days,
            (SELECT day || ': ' || error FROM billing.reconciliations
             WHERE error IS NOT NULL ORDER BY day DESC LIMIT 1) AS error
        """
    }

    static func declines() -> PostgresQuery {
        """
        SELECT coalesce(data ->> 'code', 'unknown') AS code, count(*) AS times
        FROM billing.events
        WHERE type = 'charge.declined' AND occurred_at > billing.now() - interval '1 hour'
        GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 20
        """
    }

    static func workers() -> PostgresQuery {
        """
        SELECT worker_id, version, state, in_flight, reason,
               extract(epoch FROM now() - seen_at)::float8 AS seen_seconds_ago
        FROM billing.workers
        WHERE seen_at > now() - interval '1 day' AND state <> 'stopped'
        ORDER BY started_at LIMIT 50
        """
    }
}
