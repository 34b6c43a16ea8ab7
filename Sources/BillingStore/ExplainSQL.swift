import Billing
import Postgres

/// What `billingd explain` reads: never a billing key, so that `billing_report` may.
enum ExplainSQL {
    /// One snapshot for all that follows, and nothing can be written.
    static let begin = """
        BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
        SELECT set_config('search_path', '', true), set_config('DateStyle', 'ISO', true),
               set_config('IntervalStyle', 'postgres', true), set_config('TimeZone', 'UTC', true),
               set_config('jit', 'off', true)
        """

    static func ofOrder(_ order: String) -> PostgresQuery {
        """
        SELECT c.subscription_id, c.period_index, a.attempt_no
        FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
        WHERE a.order_id = \(order)
        """
    }

    static func ofPayment(_ key: String) -> PostgresQuery {
        """
        SELECT subscription_id, period_index FROM billing.charges WHERE payment_key = \(key)
        UNION
        SELECT c.subscription_id, c.period_index
        FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
        WHERE a.contradiction = \(key)
        LIMIT 1
        """
    }

    static func fleet() -> PostgresQuery {
        """
        SELECT s.mode, s.paused OR s.shadow AS paused,
               \(sql: ShadowSQL.pausedReason) AS paused_reason, s.rotating_to,
               s.secret_key_fingerprint,
               s.database_identity, billing.identity() AS identity, s.schema_version,
               billing.now() AS business_now, now() AS real_now,
               extract(epoch FROM (now() AT TIME ZONE s.time_zone) - (now() AT TIME ZONE 'UTC'))
                   ::bigint AS zone_offset,
               s.adopted_at + s.late_bound AS adopted_until, s.look_first_until, s.look_first_before,
               s.max_won_per_day, s.max_requests_per_minute, b.requests,
               extract(epoch FROM clock_timestamp() - b.refilled_at)::float8 AS refilled_ago,
               extract(epoch FROM s.request_timeout)::float8 AS request_timeout,
               extract(epoch FROM s.lease)::float8 AS lease,
               extract(epoch FROM s.late_bound)::float8 AS late_bound,
               extract(epoch FROM s.gap)::float8 AS gap,
               extract(epoch FROM s.last_send_age)::float8 AS last_send_age,
               extract(epoch FROM s.hold_age)::float8 AS hold_age, s.maximum_attempts
        FROM billing.settings AS s CROSS JOIN billing.request_budget AS b
        """
    }

    static func row(_ subscription: Int64) -> PostgresQuery {
        """
        SELECT s.plan_id, p.name AS plan_name, p.on_exhausted,
               regexp_replace(s.cycle::text, 'mon', 'month') AS cycle,
               s.next_charge_at, s.lease_until, s.lease_owner, s.claims, s.held_reason,
               a.quiet_until, k.state AS card_state, k.dead_code
        FROM billing.subscriptions AS s
        JOIN billing.plans AS p USING (plan_id)
        LEFT JOIN billing.charges AS c ON c.charge_id = s.open_charge_id
        LEFT JOIN billing.attempts AS a
            ON a.charge_id = c.charge_id AND a.attempt_no = c.attempt_no AND a.state = 'open'
        LEFT JOIN LATERAL (
            SELECT x.state, x.dead_code FROM billing.billing_keys AS x
            WHERE x.customer_key = s.customer_key
              AND (s.billing_key_id IS NULL OR x.billing_key_id = s.billing_key_id)
            ORDER BY x.billing_key_id DESC LIMIT 1
        ) AS k ON true
        WHERE s.subscription_id = \(subscription)
        """
    }

    static func cardNumber(_ card: Int64) -> PostgresQuery {
        "SELECT card_number FROM billing.billing_keys WHERE billing_key_id = \(card)"
    }

    /// The columns of ``ClaimSQL/read(_:keys:)`` for a row that breaks it: what nothing computes.
    static func bareRow(_ subscription: Int64) -> PostgresQuery {
        """
        SELECT s.subscription_id, s.lease_no, 0 AS claims, s.state, billing.now() AS now,
               false AS looks_first, s.cancel_at, s.resumed_at, s.asked_at, s.period_index,
               s.period_at, s.period_at AS period_end, s.order_prefix, s.customer_key,
               coalesce(s.amount, p.amount) AS amount, 0 AS tax_free_amount, p.name AS order_name,
               p.catch_up, coalesce(cardinality(p.dunning), 0) AS dunning_steps,
               NULL AS card_id, NULL AS problem, NULL AS charge_id
        FROM billing.subscriptions AS s JOIN billing.plans AS p USING (plan_id)
        WHERE s.subscription_id = \(subscription)
        """
    }

    /// The newest `limit` periods, or the one with this index, newest first; `total` counts all.
    static func charges(_ subscription: Int64, limit: Int, period: Int?) -> PostgresQuery {
        """
        SELECT charge_id, period_index, period_start, period_end, amount, state, reason, paid_at,
               payment_key, receipt_url, refunded_amount,
               (SELECT count(*) FROM billing.charges WHERE subscription_id = \(subscription))
                   AS total
        FROM billing.charges
        WHERE subscription_id = \(subscription)
          AND (\(period)::bigint IS NULL OR period_index = \(period))
        ORDER BY period_index DESC LIMIT \(limit)
        """
    }

    static func attempts(_ charges: [Int64]) -> PostgresQuery {
        """
        SELECT a.charge_id, a.attempt_no, a.order_id, a.amount, a.billing_key_id, k.card_number,
               a.state, a.code, a.message, a.http_status, a.trace_id, a.opened_at, a.sent_at,
               a.finished_at, a.lookups, a.sends, a.unknown_since, a.in_doubt, a.contradiction
        FROM billing.attempts AS a JOIN billing.billing_keys AS k USING (billing_key_id)
        WHERE a.charge_id = ANY (\(charges))
        ORDER BY a.charge_id, a.attempt_no
        """
    }

    /// What people did by hand.
    static func deeds(_ subscription: Int64, _ charges: [Int64]) -> PostgresQuery {
        """
        SELECT charge_id, occurred_at, type, data ->> 'by' AS by, data ->> 'why' AS why
        FROM billing.events
        WHERE subscription_id = \(subscription) AND data ? 'by' AND charge_id = ANY (\(charges))
        ORDER BY event_id
        """
    }

    static func workers() -> PostgresQuery {
        """
        SELECT worker_id, state, reason,
               extract(epoch FROM clock_timestamp() - seen_at)::float8 AS seen_seconds_ago
        FROM billing.workers
        WHERE seen_at > now() - interval '1 day' AND state <> 'stopped'
        ORDER BY seen_at DESC LIMIT 1000
        """
    }
}
