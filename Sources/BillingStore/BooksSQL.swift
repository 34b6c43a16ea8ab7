import Billing
import Postgres

/// The statements of reconciling.
enum BooksSQL {
    /// A claimed day stands this long on the real clock; every request keeps it. A request may take 65 s
    /// and a wait between two 30 s, so that a live worker never loses it.
    private static let lease = "5 minutes"

    /// One claim at a time in the whole fleet. A row that only workers may lock, see
    /// ``LimitSQL/lockDay()``; held for a moment once in a while.
    static func lockDays() -> PostgresQuery { LimitSQL.lockDay() }

    /// Days that have become due to be compared since the last look.
    static func addDays() -> PostgresQuery {
        """
        INSERT INTO billing.reconciliations (day, next_at)
        SELECT d.day, billing.reconcile_at(d.day) FROM billing.reconcile_days() AS d
        WHERE NOT EXISTS (SELECT FROM billing.reconciliations AS r WHERE r.day = d.day)
        """
    }

    /// Claims the newest day that is due, unless some day is in a worker's hand: one at a time is
    /// enough, and is all that the provider should bear.
    static func claimDay(worker: String) -> PostgresQuery {
        """
        UPDATE billing.reconciliations
        SET worker = \(worker), lease_until = clock_timestamp() + \(lease)::interval,
            started_at = billing.now()
        WHERE day = (
            SELECT r.day FROM billing.reconciliations AS r
            WHERE r.next_at <= (SELECT billing.now())
              AND NOT EXISTS (SELECT FROM billing.reconciliations AS o WHERE o.lease_until > now())
            ORDER BY r.day DESC LIMIT 1)
        RETURNING day::text AS day
        """
    }

    /// Keeps the claim of a day; no row: it is another's.
    static func keep(_ day: String, worker: String) -> PostgresQuery {
        """
        UPDATE billing.reconciliations SET lease_until = clock_timestamp() + \(lease)::interval
        WHERE day = \(day)::date AND worker = \(worker) AND lease_until IS NOT NULL
        RETURNING 1 AS kept
        """
    }

    static func reserve() -> PostgresQuery { "SELECT billing.reserve_request() AS seconds" }

    /// The day's bounds. All texts are Korean time, as the provider's.
    static func day(_ day: String) -> PostgresQuery {
        """
        SELECT to_char(d.day, 'YYYY-MM-DD') AS day, to_char(d.day + 1, 'YYYY-MM-DD') AS next,
               (d.day + 1)::timestamp AT TIME ZONE 'Asia/Seoul' + interval '1 hour' > billing.now()
                   AS provisional,
               d.day::timestamp AT TIME ZONE 'Asia/Seoul' > billing.now() AS future,
               to_char((billing.now() - interval '1 hour') AT TIME ZONE 'Asia/Seoul',
                       'YYYY-MM-DD"T"HH24:MI:SS') AS recent
        FROM (SELECT \(day)::date AS day) AS d
        """
    }

    /// What keeps the books from being compared at all, if anything.
    static func permission(
        fingerprint: String, mode: String, schemaVersion: Int
    ) -> PostgresQuery {
        """
        SELECT CASE
            WHEN s.schema_version <> \(schemaVersion) THEN
                'the database has schema version ' || s.schema_version || ', this program needs '
                || \(schemaVersion)
            WHEN s.mode <> \(mode) THEN
                'settings.mode is ' || s.mode || ' but the secret key is for ' || \(mode)
            WHEN s.secret_key_fingerprint <> \(fingerprint) THEN
                'this database is bound to another secret key (another shop, or a rotated key)'
        END AS refusal
        FROM billing.settings AS s
        """
    }

    /// What is known of order ids: the attempt of that name, or at least the subscription of its prefix
    /// and the charge of its period.
    static func entries(
        _ orders: [String], prefixes: [String?], periods: [Int64?]
    ) -> PostgresQuery {
        """
        SELECT i.ord, s.subscription_id, coalesce(c.period_index, i.period) AS period,
               c.charge_id, c.state, c.amount, c.payment_key,
               coalesce(c.refunded_amount, 0) AS refunded, a.state AS attempt_state,
               a.amount AS attempt_amount, a.customer_key AS attempt_customer
        FROM unnest(\(orders), \(prefixes), \(periods))
            WITH ORDINALITY AS i (order_id, prefix, period, ord)
        LEFT JOIN billing.attempts AS a ON a.order_id = i.order_id
        LEFT JOIN billing.subscriptions AS p
            ON p.order_prefix = i.prefix AND i.period IS NOT NULL
        LEFT JOIN billing.charges AS c ON c.charge_id = coalesce(a.charge_id, (
            SELECT x.charge_id FROM billing.charges AS x
            WHERE x.subscription_id = p.subscription_id AND x.period_index = i.period))
        JOIN billing.subscriptions AS s
            ON s.subscription_id = coalesce(c.subscription_id, p.subscription_id)
        """
    }

    /// The day's payments, a thousand at a time.
    static func payments(_ day: String, after last: LedgerPayment?) -> PostgresQuery {
        let time = PostgresTimestamp(microseconds: last?.paidAt.microseconds ?? 0)
        return """
            SELECT c.charge_id, c.subscription_id, c.period_index, c.state, c.amount, c.payment_key,
                   coalesce(c.refunded_amount, 0) AS refunded, c.paid_at,
                   to_char(c.paid_at AT TIME ZONE 'Asia/Seoul', 'YYYY-MM-DD"T"HH24:MI:SS"+09:00"')
                       AS at,
                   (SELECT a.order_id FROM billing.attempts AS a
                    WHERE a.charge_id = c.charge_id
                      AND (a.state = 'approved' OR a.contradiction = c.payment_key)
                    ORDER BY a.contradiction IS NOT DISTINCT FROM c.payment_key DESC, a.attempt_no
                    LIMIT 1) AS order_id
            FROM billing.charges AS c
            WHERE c.paid_at >= \(day)::date::timestamp AT TIME ZONE 'Asia/Seoul'
              AND c.paid_at < (\(day)::date + 1)::timestamp AT TIME ZONE 'Asia/Seoul'
              AND (c.paid_at, c.charge_id) > (\(time), \(last?.charge.id.value ?? 0))
              AND c.payment_key IS NOT NULL
            ORDER BY c.paid_at, c.charge_id LIMIT 1000
            """
    }

    static func mayRecord() -> PostgresQuery {
        """
        SELECT has_function_privilege('billing.record_refund(text, text, bigint)', 'EXECUTE') AS may
        """
    }

    static func record(_ refund: Refund) -> PostgresQuery {
        """
        SELECT billing.record_refund(\(refund.orderID.value), \(refund.paymentKey),
                                     \(refund.amount.value)) AS verdict
        """
    }

    /// Compared to the end: again on each of the next three days, for rows and cancels that show late;
    /// with findings for a month, until they are mended.
    static func finish(_ report: DayReport, worker: String) -> PostgresQuery {
        """
        UPDATE billing.reconciliations AS r
        SET lease_until = NULL, compared_at = billing.now(), failures = 0, error = NULL,
            payments = \(Int64(report.payments)), won = \(report.won),
            refunds = coalesce(r.refunds, 0) + \(Int64(report.refunds)),
            late = \(Int64(report.late)), foreign_payments = \(Int64(report.foreign)),
            findings = \(Int64(report.findingsCount)),
            next_at = (SELECT min(billing.reconcile_at(r.day, n::int))
                       FROM generate_series(1, \(report.findingsCount > 0 ? 31 : 3)) AS n
                       WHERE billing.reconcile_at(r.day, n::int) > billing.now())
        WHERE r.day = \(report.day.day)::date AND r.worker = \(worker)
          AND r.lease_until IS NOT NULL
        RETURNING 1 AS kept
        """
    }

    /// Not compared to the end: the numbers of the last comparison that was stay.
    static func fail(_ report: DayReport, worker: String) -> PostgresQuery {
        let ladder = (1...5).map { Backoff.reconcile(after: $0) / .seconds(1) }
        return """
            UPDATE billing.reconciliations AS r
            SET lease_until = NULL, failures = r.failures + 1, error = \(report.trouble),
                refunds = coalesce(r.refunds, 0) + \(Int64(report.refunds)),
                next_at = billing.now() + make_interval(
                    secs => (\(ladder)::float8[])[least(r.failures + 1, 5)])
            WHERE r.day = \(report.day.day)::date AND r.worker = \(worker)
              AND r.lease_until IS NOT NULL
            RETURNING 1 AS kept
            """
    }

    /// An event for each finding that has none yet.
    static func tell(_ findings: [Finding], day: String) -> PostgresQuery {
        """
        INSERT INTO billing.events (type, subscription_id, charge_id, data)
        SELECT 'reconcile.finding', f.subscription_id, f.charge_id,
               jsonb_strip_nulls(jsonb_build_object(
                   'finding', f.key, 'kind', f.kind, 'day', \(day), 'period_index', f.period,
                   'order_id', f.order_id, 'payment_key', f.payment_key, 'amount', f.amount,
                   'ledger_amount', f.ledger_amount, 'at', f.at, 'detail', f.detail,
                   'advice', f.advice))
        FROM unnest(
            \(findings.map(\.key)), \(findings.map(\.kind.rawValue)),
            \(findings.map { $0.subscription?.value }), \(findings.map { $0.charge?.value }),
            \(findings.map { $0.period.map { Int64($0) } }), \(findings.map { $0.orderID?.value }),
            \(findings.map(\.paymentKey)), \(findings.map { $0.amount?.value }),
            \(findings.map { $0.ledgerAmount?.value }), \(findings.map(\.at)),
            \(findings.map(\.detail)), \(findings.map(\.advice))
        ) AS f (key, kind, subscription_id, charge_id, period, order_id, payment_key, amount,
                ledger_amount, at, detail, advice)
        ON CONFLICT DO NOTHING
        """
    }
}
