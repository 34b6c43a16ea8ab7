import Billing
import Postgres

/// The statements of a claim, in the order in which one short transaction runs them.
enum ClaimSQL {
    /// What decides whether this worker may claim at all, read inside the claim.
    /// `seen`: how far the database had come when it last took something from this worker.
    static func permission(
        fingerprint: String, mode: String, schemaVersion: Int, seen: SeenPosition? = nil
    ) -> PostgresQuery {
        """
        SELECT
            CASE
                WHEN s.schema_version <> \(schemaVersion) THEN
                    'the database has schema version ' || s.schema_version || ', this program needs '
                    || \(schemaVersion) || ': apply the schema.sql of this version'
                WHEN s.mode <> \(mode) THEN
                    'settings.mode is ' || s.mode || ' but the secret key is for ' || \(mode)
                WHEN s.secret_key_fingerprint IS DISTINCT FROM \(fingerprint) THEN
                    'this database is bound to another secret key (another shop, or a rotated key)'
                WHEN s.database_identity IS DISTINCT FROM billing.identity() THEN
                    'this database is a clone, a restore or a promoted standby that nobody vouched '
                    || 'for: when no other copy is charged, run SELECT billing.adopt_database(why)'
                WHEN extract(epoch FROM s.adopted_at)::text IS NOT DISTINCT FROM \(seen?.adopted)
                    AND pg_current_wal_insert_lsn() < \(seen?.log)::pg_lsn THEN
                    'this database was set back to before what this worker wrote to it: a snapshot '
                    || 'was restored; when no other copy is charged, run billingd adopt-database '
                    || '--restored'
            END AS refusal,
            CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END AS log,
            extract(epoch FROM s.adopted_at)::text AS adopted,
            CASE
                WHEN s.paused OR s.shadow THEN
                    coalesce(\(sql: ShadowSQL.pausedReason), 'settings.paused is true')
                WHEN s.adopted_at + s.late_bound > now() THEN
                    'this database was adopted at ' || s.adopted_at
                    || ': requests sent before may act until ' || s.adopted_at + s.late_bound
            END AS paused,
            extract(epoch FROM s.request_timeout)::float8 AS request_timeout,
            extract(epoch FROM s.lease)::float8 AS lease,
            extract(epoch FROM s.late_bound)::float8 AS late_bound,
            extract(epoch FROM s.gap)::float8 AS gap,
            extract(epoch FROM s.last_send_age)::float8 AS last_send_age,
            extract(epoch FROM s.hold_age)::float8 AS hold_age,
            s.maximum_attempts, s.max_won_per_day, s.max_requests_per_minute
        FROM billing.settings AS s
        """
    }

    /// Locks what is due and free, oldest first.
    ///
    /// The clock stands in a sub-select, so that it is read once and the index bounds the scan
    /// (volatile in the predicate: 155 ms for 1 M rows instead of 0.3).
    /// `withoutMoney`: only rows that cannot need any of the day's won: an attempt that may be under
    /// way, which must be followed to its end whatever limits new ones, a seal, a cancel.
    static func lock(limit: Int, withoutMoney: Bool = false) -> PostgresQuery {
        """
        SELECT s.subscription_id, s.claims
        FROM billing.subscriptions AS s
        WHERE s.next_charge_at <= (SELECT billing.now())
          AND (s.lease_until IS NULL OR s.lease_until <= now())
          \(sql: withoutMoney ? needsNoMoney : "")
        ORDER BY s.next_charge_at
        LIMIT \(limit)
        FOR NO KEY UPDATE OF s SKIP LOCKED
        """
    }

    /// The same from the other end, what has been due for the shortest time, without those `known`: many
    /// rows fall due at the same instant, so that both ends may come upon the same.
    static func lockNewest(limit: Int, but known: [Int64]) -> PostgresQuery {
        """
        SELECT s.subscription_id, s.claims
        FROM billing.subscriptions AS s
        WHERE s.next_charge_at <= (SELECT billing.now())
          AND (s.lease_until IS NULL OR s.lease_until <= now())
          AND s.subscription_id <> ALL (\(known))
        ORDER BY s.next_charge_at DESC
        LIMIT \(limit)
        FOR NO KEY UPDATE OF s SKIP LOCKED
        """
    }

    private static let needsNoMoney: StaticString = """
        AND (s.attempt_open
             OR s.cancel_at <= (SELECT billing.now())
                AND (s.open_charge_id IS NOT NULL OR s.cancel_at <= s.period_at)
             OR EXISTS (
                SELECT FROM billing.charges AS c JOIN billing.plans AS p ON p.plan_id = s.plan_id
                WHERE c.charge_id = s.open_charge_id AND c.attempt_no > 0
                  AND (s.state = 'paused' OR c.period_end <= (SELECT billing.now())
                       OR c.declines > coalesce(cardinality(p.dunning), 0))))
        """

    /// Locks one row, if it is still due and nobody else holds it.
    static func lock(_ subscription: Int64) -> PostgresQuery {
        """
        SELECT subscription_id
        FROM billing.subscriptions
        WHERE subscription_id = \(subscription) AND next_charge_at <= (SELECT billing.now())
          AND (lease_until IS NULL OR lease_until <= now())
        FOR NO KEY UPDATE SKIP LOCKED
        """
    }

    /// All that the steps of the locked rows depend on. A statement of its own: its snapshot is
    /// taken after the locks, so that it sees every record that released them.
    /// Without `keys`, for those who may not read billing keys, these are empty. `shadow`: as they stand
    /// in shadow mode.
    static func read(
        _ subscriptions: [Int64], keys: Bool = true, shadow: Bool = false
    ) -> PostgresQuery {
        """
        SELECT
            s.subscription_id, s.lease_no + 1 AS lease_no, s.claims + 1 AS claims, s.state,
            b.clock AS now,
            -- Each sub-select for itself, so that it is read once and not for every row.
            ((SELECT t.look_first_until FROM billing.settings AS t) > now()
             OR s.period_at < (SELECT t.look_first_before FROM billing.settings AS t)) IS TRUE
                AS looks_first,
            s.cancel_at, s.resumed_at, s.asked_at, s.period_index, s.period_at,
            coalesce(c.period_end, billing.period_start(
                e.anchor_at, e.cycle, s.period_index + 1 - e.anchor_index, z.time_zone))
                AS period_end,
            e.anchor_at, e.anchor_index, e.cycle::text AS cycle,
            s.order_prefix, s.customer_key,
            coalesce(s.amount, p.amount) AS amount,
            least(p.tax_free_amount, coalesce(s.amount, p.amount)) AS tax_free_amount,
            p.name AS order_name, p.catch_up, coalesce(cardinality(p.dunning), 0) AS dunning_steps,
            k.billing_key_id AS card_id, k.key AS card_key, d.used AS card_used,
            d.free_at AS card_free_at,
            (k.created_at > b.clock - interval '10 minutes' AND d.used = 0) IS TRUE AS card_is_new,
            CASE
                WHEN NOT billing.is_order_name(p.name) THEN
                    'plans.name is no order name: 1 to 100 characters, no control characters'
                WHEN NOT billing.is_won(coalesce(s.amount, p.amount)) THEN
                    'amount ' || coalesce(s.amount, p.amount) || ': 0, or 100 to 100,000,000 won'
                WHEN NOT billing.is_cycle(p.cycle) THEN
                    'plans.cycle is no positive number of months or days'
                WHEN char_length(s.customer_key) NOT BETWEEN 2 AND 300
                    OR s.customer_key ~ '[^A-Za-z0-9._=@-]' THEN
                    'customer_key: 2 to 300 of A-Z a-z 0-9 - _ = . @'
                WHEN \(keys) AND (char_length(k.key) NOT BETWEEN 8 AND 200
                    OR k.key ~ '[^A-Za-z0-9_=-]') THEN
                    'billing_key: 8 to 200 of A-Z a-z 0-9 _ = -'
            END AS problem,
            c.charge_id, c.state = 'held' AS is_held, c.created_at AS charge_opened_at,
            CASE WHEN c.reason = \(Transition.WaitReason.unclear.rawValue) THEN c.updated_at END
                AS unclear_since,
            c.amount AS charge_amount,
            c.tax_free_amount AS charge_tax_free, c.order_name AS charge_name, c.declines,
            a.attempt_no, a.state AS attempt_state, a.order_id, a.billing_key_id AS attempt_card,
            \(sql: keys ? "ak.billing_key" : "''") AS attempt_key, a.customer_key AS attempt_customer,
            a.amount AS attempt_amount, a.tax_free_amount AS attempt_tax_free,
            a.order_name AS attempt_name, a.code AS attempt_code, a.trace_id,
            a.secret_key_fingerprint = (SELECT t.secret_key_fingerprint FROM billing.settings AS t)
                AS same_key,
            a.opened_at, a.finished_at, billing.next_day(a.finished_at) AS next_day,
            a.unknown_since IS NOT NULL AS ever_unknown, a.in_doubt,
            a.absent, a.sends, a.lookups, a.not_founds, a.not_sents,
            coalesce(a.quiet_until <= now(), true) AS quiet_over,
            CASE WHEN a.attempt_no > 1 THEN (
                SELECT r.code FROM billing.attempts AS r
                WHERE r.charge_id = c.charge_id AND r.attempt_no < a.attempt_no
                  AND r.billing_key_id = a.billing_key_id AND r.state = 'declined'
                ORDER BY r.attempt_no DESC LIMIT 1) END AS earlier_code,
            CASE WHEN a.attempt_no > 2 THEN (
                SELECT r.code FROM billing.attempts AS r
                WHERE r.charge_id = c.charge_id AND r.attempt_no < a.attempt_no
                  AND r.billing_key_id = a.billing_key_id AND r.state = 'declined'
                ORDER BY r.attempt_no DESC LIMIT 1 OFFSET 1) END AS earliest_code
        FROM \(sql: shadow ? ShadowSQL.subscriptions : "billing.subscriptions") AS s
        -- OFFSET 0: read once. Pulled up, the function would be called a row and a mention, 2 us each.
        CROSS JOIN (SELECT billing.now() AS clock OFFSET 0) AS b
        JOIN billing.plans AS p USING (plan_id)
        CROSS JOIN LATERAL (
            -- OFFSET 0: a column to what uses it, or billing.period_start() would not be inlined.
            SELECT coalesce(p.time_zone, (SELECT t.time_zone FROM billing.settings AS t))
                AS time_zone OFFSET 0) AS z
        CROSS JOIN LATERAL (
            -- A plan of another cycle: its periods are counted from the next one's start.
            SELECT
                CASE WHEN m.moves THEN s.period_at ELSE s.anchor_at END AS anchor_at,
                CASE WHEN m.moves THEN s.period_index ELSE s.anchor_index END AS anchor_index,
                CASE WHEN m.moves THEN p.cycle ELSE s.cycle END AS cycle
            FROM (SELECT s.open_charge_id IS NULL AND p.cycle::text <> s.cycle::text AS moves) AS m
        ) AS e
        LEFT JOIN billing.charges AS c ON c.charge_id = s.open_charge_id
        LEFT JOIN billing.attempts AS a
            ON a.charge_id = c.charge_id AND a.attempt_no = c.attempt_no
        LEFT JOIN billing.billing_keys AS ak ON ak.billing_key_id = a.billing_key_id
        LEFT JOIN LATERAL (
            SELECT x.billing_key_id, \(sql: keys ? "x.billing_key" : "''::text") AS key,
                   x.created_at
            FROM billing.billing_keys AS x
            WHERE x.customer_key = s.customer_key AND x.state = 'active'
              AND (s.billing_key_id IS NULL OR x.billing_key_id = s.billing_key_id)
            ORDER BY x.billing_key_id DESC LIMIT 1
        ) AS k ON true
        CROSS JOIN LATERAL billing.key_declines(k.billing_key_id) AS d
        WHERE s.subscription_id = ANY (\(subscriptions))
        ORDER BY s.subscription_id
        """
    }

    /// One claim at a time may look at what these billing keys have used of their budgets. Rows that
    /// only workers may lock; those of `billing.billing_keys` the web app may lock, too.
    static func lockKeys(_ keys: [Int64]) -> PostgresQuery {
        """
        SELECT l.slot FROM billing.key_locks AS l
        WHERE l.slot IN (SELECT k % 1024 FROM unnest(\(keys)) AS k)
        ORDER BY l.slot
        FOR NO KEY UPDATE OF l
        """
    }

    /// What they have used by now: a statement of its own, whose snapshot is taken after the locks.
    static func keyDeclines(_ keys: [Int64]) -> PostgresQuery {
        """
        SELECT k AS billing_key_id, d.used, d.free_at
        FROM unnest(\(keys)) AS k CROSS JOIN LATERAL billing.key_declines(k) AS d
        """
    }

    /// Takes the leases and writes charges and attempts, before anything is sent.
    static func write(_ rows: ClaimRows, worker: String, lease: Double, fingerprint: String)
        -> PostgresQuery
    {
        """
        WITH work AS MATERIALIZED (
            -- The new charges' ids are drawn here, so that nothing needs to be joined to them.
            SELECT t.*, coalesce(t.charge_id, CASE WHEN t.opens_charge
                THEN nextval('billing.charges_charge_id_seq') END) AS of_charge
            FROM unnest(
                \(rows.subscription), \(rows.opensCharge), \(rows.periodIndex),
                \(rows.periodStart), \(rows.periodEnd), \(rows.amount), \(rows.taxFree),
                \(rows.orderName), \(rows.anchorAt), \(rows.anchorIndex), \(rows.cycle),
                \(rows.charge), \(rows.attemptNumber), \(rows.opensAttempt), \(rows.resends),
                \(rows.orderID), \(rows.card), \(rows.customerKey)
            ) AS t (
                subscription_id, opens_charge, period_index, period_start, period_end, amount,
                tax_free_amount, order_name, anchor_at, anchor_index, cycle, charge_id, attempt_no,
                opens_attempt, resends, order_id, billing_key_id, customer_key)
        ), opened AS (
            INSERT INTO billing.charges (
                charge_id, subscription_id, period_index, period_start, period_end, amount,
                tax_free_amount, order_name, attempt_no, created_at, updated_at)
            OVERRIDING SYSTEM VALUE
            SELECT of_charge, subscription_id, period_index, period_start, period_end, amount,
                   tax_free_amount, order_name, CASE WHEN opens_attempt THEN attempt_no ELSE 0 END,
                   (SELECT billing.now()), (SELECT billing.now())
            FROM work WHERE opens_charge
        ), attempted AS (
            INSERT INTO billing.attempts (
                charge_id, attempt_no, order_id, idempotency_key, billing_key_id, amount,
                tax_free_amount, customer_key, order_name, secret_key_fingerprint, opened_at,
                sent_at, worker, quiet_until)
            SELECT of_charge, attempt_no, order_id, order_id, billing_key_id, amount,
                   tax_free_amount, customer_key, order_name, \(fingerprint),
                   (SELECT billing.now()), (SELECT billing.now()), \(worker), now() + make_interval(secs => \(lease))
                       + (SELECT 2 * request_timeout FROM billing.settings)
            FROM work WHERE opens_attempt
        ), doubted AS (
            -- Claimed again with its outcome open: from now on it was unknown once, whatever comes.
            -- By an array: a join was planned as every open attempt against every row of the claim.
            UPDATE billing.attempts AS a
            SET unknown_since = (SELECT billing.now())
            WHERE a.charge_id = ANY (ARRAY(
                    SELECT of_charge FROM work WHERE NOT opens_attempt AND NOT resends))
              AND a.state = 'open' AND a.in_doubt AND a.unknown_since IS NULL
        ), resent AS (
            UPDATE billing.attempts AS a
            SET unknown_since = CASE WHEN a.in_doubt
                    THEN coalesce(a.unknown_since, (SELECT billing.now())) ELSE a.unknown_since END,
                -- A new doubt: its ladder of look-ups starts anew.
                in_doubt = true, absent = false, not_founds = 0, lookups = 0, sends = a.sends + 1,
                sent_at = (SELECT billing.now()), worker = \(worker),
                quiet_until = now() + make_interval(secs => \(lease))
                    + (SELECT 2 * request_timeout FROM billing.settings)
            FROM work AS w WHERE w.resends AND a.charge_id = w.of_charge AND a.attempt_no = w.attempt_no
        ), numbered AS (
            UPDATE billing.charges AS c
            SET attempt_no = w.attempt_no, reason = NULL, updated_at = (SELECT billing.now())
            FROM work AS w
            WHERE w.opens_attempt AND NOT w.opens_charge AND c.charge_id = w.charge_id
        ), leased AS (
            UPDATE billing.subscriptions AS s
            SET lease_no = s.lease_no + 1, lease_owner = \(worker),
                lease_until = now() + make_interval(secs => \(lease)),
                claims = least(s.claims + 1, 1000), open_charge_id = w.of_charge,
                attempt_open = s.attempt_open OR w.opens_attempt,
                anchor_at = w.anchor_at, anchor_index = w.anchor_index, cycle = w.cycle::interval
            FROM work AS w WHERE s.subscription_id = w.subscription_id
        )
        SELECT subscription_id, of_charge FROM work
        """
    }

    /// Sets one row aside that broke its claim: it makes no sense, whatever the rules say of it.
    static func setAside(_ subscription: Int64, reason: String) -> PostgresQuery {
        """
        WITH aside AS (
            UPDATE billing.subscriptions
            SET held_reason = \(reason), next_charge_at = NULL, lease_until = NULL
            WHERE subscription_id = \(subscription)
            RETURNING subscription_id
        )
        INSERT INTO billing.events (type, subscription_id, data)
        SELECT 'charge.held', subscription_id, jsonb_build_object('reason', \(reason))
        FROM aside
        """
    }

    /// Seconds until the next row is due; no row: nothing is planned.
    static func nextDue() -> PostgresQuery {
        """
        SELECT extract(epoch FROM min(next_charge_at) - billing.now())::float8 AS seconds
        FROM billing.subscriptions
        WHERE next_charge_at > (SELECT billing.now())
          AND next_charge_at < 'infinity'  -- has no distance; a constraint forbids it, too
        """
    }

    /// Gives claims back of which nothing left: they are due again, under the same names.
    /// `sends`: the claim was for a send (and put its attempt in doubt), not for a look-up.
    static func release(
        _ subscriptions: [Int64], leases: [Int64], sends: [Bool], worker: String
    ) -> PostgresQuery {
        """
        WITH mine AS (
            SELECT s.subscription_id, s.open_charge_id, t.was_send
            FROM unnest(\(subscriptions), \(leases), \(sends))
                AS t (subscription_id, lease_no, was_send)
            JOIN billing.subscriptions AS s USING (subscription_id, lease_no)
            WHERE s.lease_until IS NOT NULL AND s.lease_owner = \(worker)
        ), unsent AS (
            UPDATE billing.attempts AS a
            SET sends = a.sends - 1, in_doubt = a.sends > 1, absent = a.sends > 1,
                sent_at = CASE WHEN a.sends > 1 THEN a.sent_at END
            FROM mine AS m JOIN billing.charges AS c ON c.charge_id = m.open_charge_id
            WHERE m.was_send AND a.charge_id = c.charge_id AND a.attempt_no = c.attempt_no
              AND a.state = 'open' AND a.in_doubt
        )
        UPDATE billing.subscriptions AS s
        SET lease_until = NULL, lease_owner = NULL, claims = 0
        FROM mine AS m WHERE s.subscription_id = m.subscription_id
        """
    }
}

/// The columns of a claim's write, one element a row.
struct ClaimRows {
    var subscription: [Int64] = []
    var opensCharge: [Bool] = []
    var periodIndex: [Int32] = []
    var periodStart: [PostgresTimestamp] = []
    var periodEnd: [PostgresTimestamp] = []
    var amount: [Int64] = []
    var taxFree: [Int64] = []
    var orderName: [String] = []
    var anchorAt: [PostgresTimestamp] = []
    var anchorIndex: [Int32] = []
    var cycle: [String] = []
    var charge: [Int64?] = []
    var attemptNumber: [Int32?] = []
    var opensAttempt: [Bool] = []
    var resends: [Bool] = []
    var orderID: [String?] = []
    var card: [Int64?] = []
    var customerKey: [String] = []
}
