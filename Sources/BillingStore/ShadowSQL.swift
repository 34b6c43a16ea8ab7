import Billing
import Postgres

/// The statements of shadow mode: what would be charged, noted beside the ledger.
enum ShadowSQL {
    /// Why nothing is claimed by order, of `billing.settings AS s`; null: no reason was given.
    static let pausedReason: StaticString = """
        CASE WHEN s.shadow THEN 'shadow mode: another system charges, until billing.end_shadow(why)'
             ELSE s.paused_reason END
        """

    /// `billing.subscriptions` as they stand in shadow mode, for ``ClaimSQL/read(_:keys:shadow:)``.
    static let subscriptions: StaticString = """
        (SELECT r.subscription_id, r.lease_no, r.claims, r.state, r.cancel_at, r.resumed_at,
                r.asked_at, r.order_prefix, r.customer_key, r.plan_id, r.amount, r.billing_key_id,
                r.open_charge_id, w.period_index, w.period_at, w.anchor_at, w.anchor_index, w.cycle
         FROM billing.subscriptions AS r JOIN billing.shadow_positions AS w USING (subscription_id))
        """

    /// Whether it is on, and the schema is the one this program writes.
    static func mode() -> PostgresQuery {
        "SELECT shadow, schema_version FROM billing.settings"
    }

    /// Subscriptions after `last` whose next period has begun, in their order.
    static func due(after last: Int64, limit: Int) -> PostgresQuery {
        """
        SELECT w.subscription_id FROM billing.shadow_positions AS w
        WHERE w.is_due AND w.subscription_id > \(last)
        ORDER BY w.subscription_id LIMIT \(limit)
        """
    }

    /// Notes decisions; another process may have noted some already.
    static func note(_ rows: ShadowRows) -> PostgresQuery {
        """
        INSERT INTO billing.shadow_charges (
            subscription_id, period_index, period_start, period_end, decision, reason, amount,
            order_name, billing_key_id, anchor_at, anchor_index, cycle)
        SELECT t.subscription_id, t.period_index, t.period_start, t.period_end, t.decision, t.reason,
               t.amount, t.order_name, t.billing_key_id, t.anchor_at, t.anchor_index,
               t.cycle::interval
        FROM unnest(
            \(rows.subscription), \(rows.periodIndex), \(rows.periodStart), \(rows.periodEnd),
            \(rows.decision), \(rows.reason), \(rows.amount), \(rows.orderName), \(rows.card),
            \(rows.anchorAt), \(rows.anchorIndex), \(rows.cycle)
        ) AS t (
            subscription_id, period_index, period_start, period_end, decision, reason, amount,
            order_name, billing_key_id, anchor_at, anchor_index, cycle)
        ON CONFLICT (subscription_id, period_index) DO NOTHING
        RETURNING decision, amount
        """
    }

    /// Periods that waited for a card, which has come before they ended: charged as they were opened.
    static func cardsCame() -> PostgresQuery {
        """
        UPDATE billing.shadow_charges AS c
        SET decision = 'charge', reason = NULL, billing_key_id = k.billing_key_id,
            decided_at = billing.now()
        FROM billing.subscriptions AS s
        CROSS JOIN LATERAL (
            SELECT x.billing_key_id FROM billing.billing_keys AS x
            WHERE x.customer_key = s.customer_key AND x.state = 'active'
              AND (s.billing_key_id IS NULL OR x.billing_key_id = s.billing_key_id)
            ORDER BY x.billing_key_id DESC LIMIT 1
        ) AS k
        WHERE c.decision = 'no_card' AND c.reason IS NULL
          AND c.period_end > (SELECT billing.now())
          AND s.subscription_id = c.subscription_id
          AND s.state IN ('active', 'past_due') AND s.held_reason IS NULL
          AND (s.cancel_at IS NULL OR s.cancel_at > (SELECT billing.now()))
        RETURNING c.amount
        """
    }

    // MARK: The report

    /// What the report says of the whole: whether it is on, and what should have been noted.
    static func outline() -> PostgresQuery {
        """
        SELECT s.shadow, billing.now() AS now,
               extract(epoch FROM (now() AT TIME ZONE s.time_zone) - (now() AT TIME ZONE 'UTC'))
                   ::bigint AS zone_offset,
               -- The daemon looks every few seconds: not yet is no fault.
               (SELECT count(*) FROM billing.shadow_positions AS w
                WHERE s.shadow AND w.is_due
                  AND w.period_at < billing.now() - interval '10 minutes') AS behind
        FROM billing.settings AS s
        """
    }

    /// Where subscriptions after `last` stand, in their order.
    static func positions(after last: Int64, limit: Int) -> PostgresQuery {
        """
        SELECT w.subscription_id, w.period_index, w.period_at,
               billing.payable_from(w.period_at, w.period_end) AS payable_from,
               CASE WHEN w.may_charge THEN NULL
                    WHEN s.held_reason IS NOT NULL THEN 'it was set aside'
                    WHEN s.state IN ('paused', 'suspended', 'canceled') THEN 'it is ' || s.state
                    WHEN s.cancel_at <= w.period_at THEN 'it is cancelled from ' || s.cancel_at
                    ELSE 'a charge of it is open' END AS stopped
        FROM billing.shadow_positions AS w JOIN billing.subscriptions AS s USING (subscription_id)
        WHERE w.subscription_id > \(last)
        ORDER BY w.subscription_id LIMIT \(limit)
        """
    }

    static func periods(from first: Int64, through last: Int64) -> PostgresQuery {
        """
        SELECT c.subscription_id, c.period_index, c.period_start, c.period_end, c.decision, c.reason,
               c.amount, billing.payable_from(c.period_start, c.period_end) AS payable_from
        FROM billing.shadow_charges AS c
        WHERE c.subscription_id BETWEEN \(first) AND \(last)
        ORDER BY c.subscription_id, c.period_index
        """
    }

    static func payments(from first: Int64, through last: Int64) -> PostgresQuery {
        """
        SELECT payment_id, subscription_id, paid_at, amount FROM billing.other_payments
        WHERE subscription_id BETWEEN \(first) AND \(last)
        ORDER BY subscription_id, paid_at, payment_id
        """
    }

    /// Payments of payers who are not here, at most `limit`.
    static func strangers(limit: Int) -> PostgresQuery {
        """
        SELECT payment_id, paid_at, amount FROM billing.other_payments
        WHERE subscription_id IS NULL ORDER BY paid_at, payment_id LIMIT \(limit)
        """
    }
}

/// The columns of ``ShadowSQL/note(_:)``, one element a row.
struct ShadowRows {
    var subscription: [Int64] = []
    var periodIndex: [Int32] = []
    var periodStart: [PostgresTimestamp] = []
    var periodEnd: [PostgresTimestamp] = []
    var decision: [String] = []
    var reason: [String?] = []
    var amount: [Int64] = []
    var orderName: [String] = []
    var card: [Int64?] = []
    var anchorAt: [PostgresTimestamp] = []
    var anchorIndex: [Int32] = []
    var cycle: [String] = []

    /// Adds what was decided of `due`; `row` carries the calendar's columns.
    mutating func append(
        _ due: DueSubscription, _ made: ShadowDecision, _ row: PostgresRow
    ) throws(PostgresError) {
        subscription.append(due.id.value)
        periodIndex.append(Int32(due.periodIndex))
        periodStart.append(PostgresTimestamp(microseconds: due.periodStart.microseconds))
        periodEnd.append(PostgresTimestamp(microseconds: due.periodEnd.microseconds))
        decision.append(made.kind.rawValue)
        reason.append(made.reason)
        amount.append(made.amount.value)
        orderName.append(made.orderName)
        card.append(made.card)
        anchorAt.append(try row.timestamp("anchor_at"))
        anchorIndex.append(Int32(try row.int("anchor_index")))
        cycle.append(try row.string("cycle"))
    }
}
