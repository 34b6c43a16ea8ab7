import Postgres

/// What the page shows. Days, months and times are those of `settings.time_zone`.
enum PageSQL {
    /// Most rows of a list.
    static let most = 50

    static func clock() -> PostgresQuery {
        """
        SELECT s.time_zone,
            to_char(billing.now() AT TIME ZONE s.time_zone, 'YYYY-MM-DD HH24:MI') AS local_time
        FROM billing.settings AS s
        """
    }

    /// Outcomes of today by hour.
    static func hours() -> PostgresQuery {
        """
        WITH today AS (
            SELECT date_trunc('day', billing.now() AT TIME ZONE time_zone) AS start, time_zone
            FROM billing.settings
        )
        SELECT extract(hour FROM e.occurred_at AT TIME ZONE t.time_zone)::int AS hour,
               count(*) FILTER (WHERE e.type = 'charge.paid') AS paid,
               count(*) FILTER (WHERE e.type = 'charge.declined') AS declined,
               count(*) FILTER (WHERE e.type = 'charge.held') AS held
        FROM today AS t JOIN billing.events AS e
            ON e.occurred_at >= t.start AT TIME ZONE t.time_zone
            AND e.occurred_at < (t.start + interval '1 day') AT TIME ZONE t.time_zone
        WHERE e.type IN ('charge.paid', 'charge.declined', 'charge.held')
        GROUP BY 1 ORDER BY 1
        """
    }

    /// Declines of 30 days by code, most frequent first.
    static func codes() -> PostgresQuery {
        """
        SELECT coalesce(data ->> 'code', '?') AS code, count(*) AS times
        FROM billing.events
        WHERE type = 'charge.declined' AND occurred_at > billing.now() - interval '30 days'
        GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 12
        """
    }

    /// What became of the charges that were declined in 90 days, by the declines they have had.
    static func steps() -> PostgresQuery {
        """
        SELECT c.declines AS step,
               count(*) FILTER (WHERE c.state IN ('paid', 'refunded')) AS recovered,
               count(*) FILTER (WHERE c.state IN ('failed', 'skipped')) AS failed,
               count(*) FILTER (WHERE c.state IN ('open', 'held')) AS waiting
        FROM (SELECT DISTINCT charge_id FROM billing.events
              WHERE type = 'charge.declined'
                AND occurred_at > billing.now() - interval '90 days') AS e
        JOIN billing.charges AS c USING (charge_id)
        WHERE c.declines > 0
        GROUP BY 1 ORDER BY 1
        """
    }

    /// Charges that wait: held ones first, then those in doubt, then the next to be tried.
    static func charges() -> PostgresQuery {
        """
        SELECT c.subscription_id, c.charge_id, c.state, c.amount, c.reason,
               a.code, a.state = 'open' AND a.unknown_since IS NOT NULL AS is_unknown,
               to_char(c.period_start AT TIME ZONE t.time_zone, 'YYYY-MM-DD') AS period,
               to_char(s.next_charge_at AT TIME ZONE t.time_zone, 'YYYY-MM-DD HH24:MI') AS next
        FROM billing.settings AS t CROSS JOIN billing.charges AS c
        JOIN billing.subscriptions AS s USING (subscription_id)
        LEFT JOIN billing.attempts AS a
            ON a.charge_id = c.charge_id AND a.attempt_no = c.attempt_no
        WHERE c.state IN ('open', 'held')
        ORDER BY c.state = 'held' DESC,
                 coalesce(a.state = 'open' AND a.unknown_since IS NOT NULL, false) DESC,
                 s.next_charge_at NULLS LAST, c.charge_id
        LIMIT \(most)
        """
    }

    static func setAside() -> PostgresQuery {
        """
        SELECT subscription_id, held_reason FROM billing.subscriptions
        WHERE held_reason IS NOT NULL ORDER BY subscription_id LIMIT \(most)
        """
    }

    /// Paid less refunded, by the month it was paid in, a year back.
    static func months() -> PostgresQuery {
        """
        WITH this AS (
            SELECT date_trunc('month', billing.now() AT TIME ZONE time_zone) AS start, time_zone
            FROM billing.settings
        )
        SELECT to_char(m.start, 'YYYY-MM') AS month, count(c.charge_id) AS charges,
               coalesce(sum(c.amount - coalesce(c.refunded_amount, 0)), 0)::bigint AS won
        FROM this AS t
        CROSS JOIN LATERAL generate_series(
            t.start - interval '11 months', t.start, interval '1 month') AS m (start)
        LEFT JOIN billing.charges AS c
            ON c.paid_at >= m.start AT TIME ZONE t.time_zone
            AND c.paid_at < (m.start + interval '1 month') AT TIME ZONE t.time_zone
        GROUP BY m.start ORDER BY m.start
        """
    }
}
