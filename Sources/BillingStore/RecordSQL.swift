import Billing
import Postgres

/// The statements of a record: the subscriptions are locked first, in order of their ids; only then
/// is their state read, by a statement whose snapshot is younger than the locks.
enum RecordSQL {
    static func lock(_ subscriptions: [Int64]) -> PostgresQuery {
        """
        SELECT subscription_id FROM billing.subscriptions
        WHERE subscription_id = ANY (\(subscriptions))
        ORDER BY subscription_id
        FOR NO KEY UPDATE
        """
    }

    /// Locks those that nobody else has; answers with the others.
    static func lockFree(_ subscriptions: [Int64]) -> PostgresQuery {
        """
        WITH free AS MATERIALIZED (
            SELECT subscription_id FROM billing.subscriptions
            WHERE subscription_id = ANY (\(subscriptions))
            ORDER BY subscription_id
            FOR NO KEY UPDATE SKIP LOCKED
        )
        SELECT subscription_id FROM billing.subscriptions
        WHERE subscription_id = ANY (\(subscriptions))
        EXCEPT SELECT subscription_id FROM free
        """
    }

    /// The same for the billing keys that are to be killed; answers with the subscriptions.
    static func lockFreeKeys(_ rows: RecordRows) -> PostgresQuery {
        """
        WITH wanted AS (
            SELECT t.subscription_id, a.billing_key_id
            FROM unnest(\(rows.subscription), \(rows.charge), \(rows.attemptNumber),
                        \(rows.killsKey)) AS t (subscription_id, charge_id, attempt_no, kills_key)
            JOIN billing.attempts AS a USING (charge_id, attempt_no)
            WHERE t.kills_key
        ), free AS MATERIALIZED (
            SELECT billing_key_id FROM billing.billing_keys
            WHERE billing_key_id IN (SELECT billing_key_id FROM wanted)
            ORDER BY billing_key_id
            FOR NO KEY UPDATE SKIP LOCKED
        )
        SELECT subscription_id FROM wanted
        WHERE billing_key_id NOT IN (SELECT billing_key_id FROM free)
        """
    }

    /// Applies many transitions at once and answers with a verdict for each.
    ///
    /// Facts are never fenced: an approval counts from any lease. Opinions count only from the
    /// current, unreleased lease; an equal, released lease is the repeat of a record whose answer
    /// was lost. A lease is its number *and* its owner: after a failover that lost rows the numbers are
    /// given out again.
    static func apply(_ rows: RecordRows, worker: String) -> PostgresQuery {
        """
        WITH input AS (
            -- Unnested in the select list, then judged by a chain of fences (OFFSET 0) of which only the
            -- last is stored, with the columns that are written: a function in FROM and each wide row
            -- between would go through a store of its own. 53 us of a charge instead of 63.
            SELECT unnest(\(rows.subscription)) AS subscription_id,
                   unnest(\(rows.lease)) AS lease_no,
                   unnest(\(rows.charge)) AS charge_id, unnest(\(rows.attemptKind)) AS attempt_kind,
                   unnest(\(rows.attemptNumber)) AS attempt_no, unnest(\(rows.code)) AS code,
                   unnest(\(rows.message)) AS message, unnest(\(rows.httpStatus)) AS http_status,
                   unnest(\(rows.traceID)) AS trace_id, unnest(\(rows.killsKey)) AS kills_key,
                   unnest(\(rows.paymentKey)) AS payment_key,
                   unnest(\(rows.approvedAt)) AS approved_at,
                   unnest(\(rows.receiptURL)) AS receipt_url, unnest(\(rows.card)) AS card,
                   unnest(\(rows.refunded)) AS refunded_amount,
                   unnest(\(rows.paidOrder)) AS paid_order,
                   unnest(\(rows.chargeKind)) AS charge_kind, unnest(\(rows.reason)) AS reason,
                   unnest(\(rows.standing)) AS standing, unnest(\(rows.nextKind)) AS next_kind,
                   unnest(\(rows.nextSeconds)) AS next_seconds,
                   unnest(\(rows.nextStep)) AS next_step, unnest(\(rows.nextAt)) AS next_at,
                   generate_series(1, \(rows.subscription.count)) AS ord
        ), known AS (
            SELECT i.*, s.subscription_id IS NULL AS is_lost, s.state AS was, s.cancel_at,
                   s.open_charge_id AS open_charge, s.next_charge_at AS next_was,
                   s.customer_key, s.billing_key_id AS own_card,
                   s.lease_no = i.lease_no AND s.lease_until IS NOT NULL
                       AND s.lease_owner = \(worker) AS holds,
                   s.lease_no = i.lease_no AND s.lease_until IS NULL AS released,
                   c.state AS charge_was, c.period_end, c.amount AS won,
                   c.payment_key AS known_payment, c.period_index AS charge_period,
                   a.state AS attempt_was, a.contradiction AS noted, a.billing_key_id, p.dunning,
                   p.on_exhausted, p.catch_up, b.clock,
                   -- Not joined: without statistics the one row of settings counts as 220.
                   (SELECT gap FROM billing.settings) AS gap
            FROM input AS i
            CROSS JOIN (SELECT billing.now() AS clock OFFSET 0) AS b
            LEFT JOIN billing.subscriptions AS s ON s.subscription_id = i.subscription_id
            LEFT JOIN billing.plans AS p ON p.plan_id = s.plan_id
            -- After a failover that lost rows their ids are issued again: news finds its own charge,
            -- and an approval its own order id, or nothing.
            LEFT JOIN billing.charges AS c
                ON c.charge_id = i.charge_id AND c.subscription_id = i.subscription_id
            LEFT JOIN billing.attempts AS a
                ON a.charge_id = c.charge_id AND a.attempt_no = i.attempt_no
                AND (i.attempt_kind <> 'approved' OR a.order_id = i.paid_order)
            OFFSET 0
        ), judged AS (
            SELECT k.*, CASE
                -- A row that is not there at all: nothing to write, and nobody to wait for.
                WHEN is_lost THEN 'stale'
                WHEN attempt_kind = 'approved' THEN CASE
                    WHEN charge_was IS NULL OR attempt_was IS NULL THEN 'stale'
                    WHEN attempt_was = 'approved' AND known_payment = payment_key
                        OR noted = payment_key THEN 'repeated'
                    WHEN attempt_was = 'open' AND (charge_was = 'open'
                        OR charge_was = 'held' AND known_payment IS NULL) THEN 'applied'
                    ELSE 'contradiction' END
                WHEN attempt_kind = 'earlier_paid' THEN CASE
                    WHEN known_payment = payment_key THEN 'repeated'
                    WHEN holds AND charge_was = 'open' THEN 'applied'
                    ELSE 'stale' END
                WHEN released THEN 'repeated'
                WHEN NOT holds THEN 'stale'
                WHEN attempt_kind IS NOT NULL AND attempt_was IS DISTINCT FROM 'open' THEN 'stale'
                WHEN charge_kind IS NOT NULL AND charge_was IS DISTINCT FROM 'open' THEN 'stale'
                ELSE 'applied' END AS verdict
            FROM known AS k
            OFFSET 0
        ), effect AS (
            SELECT j.*,
                -- Paid under a name that the database forgot: the last one it knows bears the note.
                -- A value, not EXISTS: that would be hashed from the whole table.
                CASE WHEN attempt_kind = 'earlier_paid' THEN (
                    SELECT count(*) FROM billing.attempts AS f
                    WHERE f.charge_id = j.charge_id AND f.order_id = j.paid_order) = 0
                ELSE false END AS is_forgotten,
                CASE WHEN verdict = 'contradiction' THEN 'held'
                     WHEN charge_kind = 'free' THEN 'paid'
                     WHEN charge_kind <> 'waits' THEN charge_kind END AS charge_becomes,
                CASE attempt_kind
                    WHEN 'approved' THEN 'approved' WHEN 'declined' THEN 'declined'
                    WHEN 'refused' THEN 'refused'
                    WHEN 'earlier_paid' THEN CASE WHEN attempt_no IS NOT NULL THEN 'refused' END
                END AS attempt_becomes,
                -- Null where nothing is said of the charge: not true, but not null either.
                (charge_kind IN ('paid', 'free', 'refunded', 'failed', 'skipped')
                    AND verdict = 'applied') IS TRUE AS closes,
                CASE WHEN verdict = 'contradiction' THEN was
                    ELSE CASE standing
                    WHEN 'good' THEN
                        CASE WHEN was IN ('past_due', 'suspended') THEN 'active' ELSE was END
                    WHEN 'past_due' THEN
                        CASE WHEN was IN ('active', 'suspended') THEN 'past_due' ELSE was END
                    WHEN 'suspended' THEN
                        CASE WHEN was IN ('active', 'past_due') THEN 'suspended' ELSE was END
                    WHEN 'canceled' THEN 'canceled'
                    WHEN 'exhausted' THEN CASE
                        WHEN was = 'paused' THEN was
                        WHEN on_exhausted = 'cancel' THEN 'canceled' ELSE 'suspended' END
                    ELSE was END END AS becomes
            FROM judged AS j
            OFFSET 0
        ), planned AS MATERIALIZED (
            SELECT ord, verdict, subscription_id, charge_id, attempt_no, attempt_kind,
                attempt_becomes, charge_kind, charge_becomes, clock, payment_key, code, closes,
                becomes, was, holds, period_end, open_charge, paid_order, is_forgotten, message,
                http_status, trace_id, reason, approved_at, receipt_url, card, refunded_amount,
                attempt_was, charge_period, won, kills_key, billing_key_id, CASE
                -- The news of another period does not stop this one.
                WHEN verdict = 'contradiction' THEN
                    CASE WHEN open_charge IS DISTINCT FROM charge_id THEN next_was END
                WHEN closes THEN CASE
                    WHEN cancel_at <= period_end AND becomes <> 'canceled' THEN cancel_at
                    WHEN becomes IN ('canceled', 'suspended', 'paused') THEN NULL
                    WHEN catch_up = 'each' AND period_end <= clock AND charge_becomes = 'paid'
                        THEN clock + interval '1 day'
                    ELSE period_end END
                WHEN becomes = 'canceled' OR next_kind = 'never' THEN NULL
                -- A person must look first.
                WHEN charge_was = 'held' THEN NULL
                -- What may be under way is followed to its end, paused or not.
                WHEN attempt_kind IN ('not_sent', 'unknown', 'looked_up_nothing',
                                      'looked_up_absent', 'looked_up_unclear')
                    THEN clock + make_interval(secs => next_seconds)
                -- Paused, it waits; but a cancel ends its charge all the same, by a seal when it may be.
                -- And a name that has ended is looked up once more, when nothing of it can act any more.
                WHEN becomes = 'paused' AND (cancel_at <= clock) IS NOT TRUE THEN
                    least(CASE WHEN open_charge IS NOT NULL THEN cancel_at END,
                        CASE WHEN attempt_becomes IS NOT NULL THEN clock + gap
                             WHEN next_kind = 'at' THEN next_at
                             WHEN next_kind = 'after'
                                 THEN clock + make_interval(secs => next_seconds) END)
                ELSE least(
                    CASE next_kind
                        WHEN 'after' THEN clock + make_interval(secs => next_seconds)
                        WHEN 'dunning' THEN least(period_end, clock
                            + coalesce(dunning[next_step + 1], gap))
                        WHEN 'next_day' THEN least(period_end,
                            billing.next_day(clock) + make_interval(secs => next_seconds))
                        WHEN 'seal_after_gap' THEN clock + gap
                        -- A card that came since the claim found none is tried at once.
                        WHEN 'period_end' THEN CASE WHEN EXISTS (
                            SELECT FROM billing.billing_keys AS k
                            WHERE k.customer_key = e.customer_key AND k.state = 'active'
                              AND (e.own_card IS NULL OR k.billing_key_id = e.own_card))
                            THEN clock ELSE period_end END
                        WHEN 'at' THEN next_at END,
                    -- A cancel ends dunning at once, but a seal that waits for its gap or for an
                    -- answer of the provider goes on waiting.
                    CASE WHEN cancel_at > clock
                             OR cancel_at IS NOT NULL AND attempt_becomes IS NOT NULL
                         THEN greatest(cancel_at, clock) END)
                END AS next_charge_at
            FROM effect AS e
        ), attempt_written AS (
            UPDATE billing.attempts AS a
            SET state = coalesce(e.attempt_becomes, a.state),
                code = e.code, message = e.message, http_status = e.http_status,
                -- Of the sends: what the provider keeps is known by it again.
                trace_id = CASE WHEN e.attempt_kind LIKE 'looked_up%' THEN a.trace_id
                    ELSE coalesce(e.trace_id, a.trace_id) END,
                contradiction = CASE WHEN e.is_forgotten THEN e.payment_key
                    ELSE a.contradiction END,
                finished_at = CASE WHEN e.attempt_becomes IS NOT NULL THEN e.clock END,
                unknown_since = CASE WHEN e.attempt_kind = 'unknown'
                    THEN coalesce(a.unknown_since, e.clock) ELSE a.unknown_since END,
                in_doubt = e.attempt_kind <> 'not_sent' AND e.attempt_becomes IS NULL,
                sent_at = CASE WHEN e.attempt_kind = 'not_sent' THEN NULL ELSE a.sent_at END,
                sends = a.sends - (e.attempt_kind = 'not_sent')::int,
                not_sents = a.not_sents + (e.attempt_kind = 'not_sent')::int,
                -- The look-up that finds the payment is one, too.
                lookups = a.lookups + (e.attempt_kind LIKE 'looked_up%'
                    OR e.attempt_kind = 'approved' AND e.code = 'LOOKED_UP')::int,
                not_founds = a.not_founds
                    + (e.attempt_kind IN ('looked_up_nothing', 'looked_up_absent'))::int,
                absent = e.attempt_kind = 'looked_up_absent',
                -- Given up now: whatever was sent was sent before.
                quiet_until = CASE WHEN e.attempt_kind = 'unknown'
                    THEN clock_timestamp() + 2 * (SELECT request_timeout FROM billing.settings)
                    ELSE a.quiet_until END
            FROM planned AS e
            WHERE e.verdict = 'applied' AND e.attempt_kind IS NOT NULL
              AND a.charge_id = e.charge_id AND a.attempt_no = e.attempt_no
            RETURNING a.charge_id
        ), contradicted AS (
            UPDATE billing.attempts AS a SET contradiction = e.payment_key
            FROM planned AS e
            WHERE a.charge_id = e.charge_id
              AND (a.order_id = e.paid_order
                   OR e.is_forgotten AND e.attempt_no IS NULL AND a.attempt_no = (
                       SELECT max(f.attempt_no) FROM billing.attempts AS f
                       WHERE f.charge_id = e.charge_id))
              AND (e.verdict = 'contradiction'
                   OR e.verdict = 'applied' AND e.attempt_kind = 'earlier_paid')
        ), charge_written AS (
            UPDATE billing.charges AS c
            SET state = coalesce(e.charge_becomes, c.state),
                reason = CASE
                    WHEN e.verdict = 'contradiction' THEN
                        'contradiction: payment ' || e.payment_key || ' for attempt '
                        || e.attempt_no || ', which had ended as ' || e.attempt_was
                    WHEN e.charge_becomes IS NOT NULL OR e.charge_kind = 'waits' THEN e.reason
                    ELSE c.reason END,
                paid_at = CASE WHEN e.charge_becomes IN ('paid', 'refunded')
                    THEN coalesce(e.approved_at, e.clock) ELSE c.paid_at END,
                payment_key = coalesce(c.payment_key, CASE
                    WHEN e.verdict <> 'contradiction' OR e.attempt_was <> 'open'
                    THEN e.payment_key END),
                receipt_url = coalesce(e.receipt_url, c.receipt_url),
                card = coalesce(e.card, c.card),
                refunded_amount = coalesce(e.refunded_amount, c.refunded_amount),
                declines = c.declines + (e.attempt_becomes = 'declined')::int,
                updated_at = e.clock
            FROM (SELECT coalesce(attempt_becomes, '') AS attempt_becomes, charge_becomes,
                         charge_kind, charge_id, verdict, reason, payment_key, attempt_no, attempt_was, clock,
                         approved_at, receipt_url, card, refunded_amount
                  FROM planned) AS e
            WHERE e.verdict IN ('applied', 'contradiction') AND c.charge_id = e.charge_id
              AND (e.charge_becomes IS NOT NULL OR e.attempt_becomes = 'declined'
                   OR e.charge_kind = 'waits')
        ), key_killed AS (
            UPDATE billing.billing_keys AS k SET state = 'dead', dead_code = e.code
            FROM (SELECT DISTINCT ON (billing_key_id) billing_key_id, code, subscription_id,
                         charge_id
                  FROM planned WHERE verdict = 'applied' AND kills_key
                  ORDER BY billing_key_id, subscription_id) AS e
            WHERE k.billing_key_id = e.billing_key_id AND k.state = 'active'
            RETURNING k.billing_key_id, k.dead_code, k.customer_key, e.subscription_id, e.charge_id
        ), subscription_written AS (
            UPDATE billing.subscriptions AS s
            SET state = CASE WHEN e.verdict IN ('applied', 'contradiction')
                    THEN e.becomes ELSE s.state END,
                next_charge_at = CASE WHEN e.verdict IN ('applied', 'contradiction')
                    THEN e.next_charge_at ELSE s.next_charge_at END,
                period_index = s.period_index + e.closes::int,
                period_at = CASE WHEN e.closes THEN e.period_end ELSE s.period_at END,
                open_charge_id = CASE WHEN e.closes THEN NULL ELSE s.open_charge_id END,
                attempt_open = s.attempt_open AND NOT e.closes
                    AND (e.verdict <> 'applied' OR e.attempt_becomes IS NULL),
                lease_until = CASE WHEN e.holds THEN NULL ELSE s.lease_until END,
                lease_owner = CASE WHEN e.holds THEN NULL ELSE s.lease_owner END,
                claims = CASE WHEN e.holds THEN 0 ELSE s.claims END
            FROM planned AS e
            WHERE s.subscription_id = e.subscription_id
              -- The news of a charge that is over changes nothing here, and a canceled row may not
              -- be touched any more.
              AND (e.holds OR e.verdict = 'applied'
                   OR e.verdict = 'contradiction' AND e.open_charge = e.charge_id)
        ), told AS (
            INSERT INTO billing.events (occurred_at, type, subscription_id, charge_id, data)
            SELECT e.clock, v.type, e.subscription_id, e.charge_id, CASE
                -- Of an ordinary approval: the same, without the nulls to be stripped, at half the cost.
                WHEN e.attempt_kind = 'approved' AND e.verdict = 'applied'
                    AND num_nulls(e.reason, e.refunded_amount) = 2
                THEN jsonb_build_object(
                    'period_index', e.charge_period, 'amount', e.won, 'code', e.code,
                    'attempt_no', e.attempt_no, 'payment_key', e.payment_key)
                ELSE jsonb_strip_nulls(jsonb_build_object(
                    'period_index', e.charge_period, 'amount', e.won, 'code', e.code,
                    'attempt_no', e.attempt_no, 'payment_key', e.payment_key,
                    'reason', CASE WHEN e.verdict = 'contradiction' THEN 'contradiction'
                                   ELSE e.reason END,
                    'refunded_amount', e.refunded_amount,
                    'next_charge_at', CASE
                        WHEN v.type IN ('charge.declined', 'subscription.past_due')
                        THEN e.next_charge_at END)) END
            FROM planned AS e
            CROSS JOIN LATERAL (VALUES
                (1, CASE WHEN e.attempt_becomes = 'declined' THEN 'charge.declined' END),
                (2, 'charge.' || e.charge_becomes),
                (3, CASE WHEN e.becomes <> e.was THEN CASE e.becomes
                    WHEN 'active' THEN 'subscription.recovered'
                    ELSE 'subscription.' || e.becomes END END)
            ) AS v (ord, type)
            WHERE e.verdict IN ('applied', 'contradiction') AND v.type IS NOT NULL
            UNION ALL
            SELECT (SELECT billing.now()), 'billing_key.dead', subscription_id, charge_id, jsonb_build_object(
                'billing_key_id', billing_key_id, 'code', dead_code)
            FROM key_killed
        ), quiet AS (
            -- The trigger events_announce leaves the announcing to ``announce``.
            SELECT set_config('billing.announces', 'later', true) AS announces
        )
        SELECT ord, verdict FROM planned
        WHERE (SELECT announces FROM quiet) IS NOT NULL
        ORDER BY ord
        """
    }

    /// Once the events of a record are committed: a transaction of its own, with nothing to flush.
    static let announce = "NOTIFY billing_events"
}
