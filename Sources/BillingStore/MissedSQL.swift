import Postgres

/// Renewals that should have been charged and were not: `billing.forecast` against what happened.
enum MissedSQL {
    /// Of `billing.subscriptions`: a period whose charge is due for an hour and was not even opened.
    /// What will not be charged, because it is cancelled, paused or set aside, is none.
    static let isMissed: StaticString = """
        next_charge_at < (SELECT billing.now() - interval '1 hour')
        AND open_charge_id IS NULL AND held_reason IS NULL AND state IN ('active', 'past_due')
        AND (cancel_at IS NULL OR period_at < cancel_at)
        AND (resumed_at IS NULL OR period_at >= resumed_at)
        """

    /// Those not told yet, oldest first. `is_certain`: the business clock is the real one, so that an
    /// hour has passed for sure; a test's clock may have jumped over it a moment ago.
    static func untold(limit: Int) -> PostgresQuery {
        """
        SELECT s.subscription_id,
            (SELECT clock_offset = '0' FROM billing.settings) AS is_certain
        FROM billing.subscriptions AS s
        WHERE \(sql: isMissed)
          -- In shadow mode another system charges.
          AND NOT (SELECT t.shadow FROM billing.settings AS t)
          AND NOT EXISTS (
            SELECT FROM billing.events AS e
            WHERE e.type = 'renewal.missed' AND e.subscription_id = s.subscription_id
              AND e.data ->> 'period_index' = s.period_index::text)
        ORDER BY s.next_charge_at LIMIT \(limit)
        """
    }

    /// Tells those of `subscriptions` that are still missed, once for all workers.
    static func tell(_ subscriptions: [Int64]) -> PostgresQuery {
        """
        INSERT INTO billing.events (type, subscription_id, data)
        SELECT 'renewal.missed', subscription_id, jsonb_build_object(
            'period_index', period_index, 'due_at', next_charge_at)
        FROM billing.subscriptions
        WHERE subscription_id = ANY (\(subscriptions)) AND \(sql: isMissed)
        ON CONFLICT (subscription_id, (data ->> 'period_index')) WHERE type = 'renewal.missed'
        DO NOTHING
        RETURNING subscription_id
        """
    }
}
