/// What the conformance tests add to a database: a business clock that stands still between the
/// operations, a real clock that can be pushed, and the rows in the normal form.
enum Tools {
    /// Installed by the owner. `billing.now()` is the one function of the contract that is replaced:
    /// it takes its base from here, and the rest from `settings.clock_offset` as ever.
    static let script = """
        SET search_path = public;
        CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz
            LANGUAGE sql STABLE PARALLEL SAFE
            AS $$ SELECT to_timestamp(1800000000) + (SELECT clock_offset FROM billing.settings) $$;
        CREATE TABLE public.frozen (at timestamptz);
        INSERT INTO public.frozen VALUES (clock_timestamp());
        CREATE FUNCTION public.tick(passed float8, elapsed float8) RETURNS void
            LANGUAGE plpgsql AS $$
        DECLARE
            -- What really passed does not count.
            shift interval := clock_timestamp() - (SELECT at FROM public.frozen)
                - make_interval(secs => elapsed);
        BEGIN
            UPDATE billing.subscriptions SET lease_until = lease_until + shift
            WHERE lease_until IS NOT NULL;
            UPDATE billing.attempts SET quiet_until = quiet_until + shift
            WHERE quiet_until IS NOT NULL;
            UPDATE billing.settings
            SET clock_offset = clock_offset + make_interval(secs => passed),
                adopted_at = adopted_at + shift, look_first_until = look_first_until + shift;
            UPDATE billing.request_budget SET refilled_at = refilled_at + shift;
            UPDATE public.frozen SET at = clock_timestamp();
        END $$;
        CREATE FUNCTION public.micros(t timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
            SELECT coalesce(
                ((extract(epoch FROM t) * 1000000)::bigint - 1800000000000000)::text, '-') $$;
        CREATE FUNCTION public.words(VARIADIC words text[]) RETURNS text LANGUAGE sql IMMUTABLE
            AS $$ SELECT array_to_string(words, ' ', '-') $$;
        CREATE FUNCTION public.flag(b boolean) RETURNS text LANGUAGE sql IMMUTABLE
            AS $$ SELECT CASE b WHEN true THEN 't' WHEN false THEN 'f' END $$;
        CREATE VIEW public.rows AS
        SELECT words('subscription', s.subscription_id::text, s.state, 'period',
            s.period_index::text, micros(s.period_at), 'next', micros(s.next_charge_at), 'cancel',
            micros(s.cancel_at), 'resumed', micros(s.resumed_at), 'amount', s.amount::text, 'plan',
            substr(s.plan_id, 5), 'card', s.billing_key_id::text, 'anchor', micros(s.anchor_at),
            s.anchor_index::text, CASE WHEN extract(day FROM s.cycle) > 0
                THEN extract(day FROM s.cycle) || 'd'
                ELSE extract(year FROM s.cycle) * 12 + extract(month FROM s.cycle) || 'm' END,
            'charge', c.subscription_id || '/' || c.period_index, flag(s.attempt_open), 'lease',
            s.lease_no::text, CASE WHEN s.lease_until > clock_timestamp() THEN 'held'
                WHEN s.lease_until IS NULL THEN 'free' ELSE 'over' END,
            CASE WHEN s.lease_until IS NOT NULL THEN substr(s.lease_owner, 8) END, 'claims',
            s.claims::text) || coalesce(' set aside: ' || s.held_reason, '') AS line
        FROM billing.subscriptions AS s
        LEFT JOIN billing.charges AS c ON c.charge_id = s.open_charge_id
        UNION ALL
        SELECT words('charge', c.subscription_id || '/' || c.period_index, micros(c.period_start),
            micros(c.period_end), c.amount::text, c.tax_free_amount::text, c.order_name, c.state,
            c.payment_key, c.refunded_amount::text, c.attempt_no::text, c.declines::text, c.reason)
        FROM billing.charges AS c
        UNION ALL
        SELECT words('attempt', c.subscription_id || '/' || c.period_index, a.attempt_no::text,
            a.order_id, a.billing_key_id::text, a.customer_key, a.amount::text,
            a.tax_free_amount::text, a.order_name, a.secret_key_fingerprint, a.state, a.code,
            micros(a.opened_at), micros(a.finished_at), 'unknown', micros(a.unknown_since),
            flag(a.in_doubt), flag(a.absent), 'sends', a.sends::text, a.lookups::text,
            a.not_founds::text, a.not_sents::text, CASE WHEN a.quiet_until > clock_timestamp()
                THEN 'quiet' WHEN a.quiet_until IS NOT NULL THEN 'over' END, a.contradiction,
                a.trace_id)
        FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
        UNION ALL
        SELECT words('card', billing_key_id::text, customer_key, state, dead_code)
        FROM billing.billing_keys
        UNION ALL
        SELECT words('event', e.type, e.subscription_id::text,
            c.subscription_id || '/' || c.period_index, e.data ->> 'period_index',
            e.data ->> 'amount', e.data ->> 'code', e.data ->> 'attempt_no',
            e.data ->> 'payment_key', e.data ->> 'reason', e.data ->> 'refunded_amount',
            micros((e.data ->> 'next_charge_at')::timestamptz), e.data ->> 'billing_key_id',
            e.data ->> 'by', e.data ->> 'why', e.data ->> 'held')
        FROM billing.events AS e LEFT JOIN billing.charges AS c USING (charge_id)
        UNION ALL
        SELECT words('settings', flag(s.paused), s.secret_key_fingerprint,
            s.max_won_per_day::text, s.max_requests_per_minute::text)
        FROM billing.settings AS s;
        """

    /// Empties all tables, as a connection whose triggers sleep.
    static let reset = """
        SET session_replication_role = replica;
        SET search_path = public;
        SET TimeZone = 'UTC';
        SET jit = off;
        TRUNCATE billing.events, billing.attempts, billing.charges, billing.subscriptions,
            billing.billing_keys, billing.customers, billing.plans RESTART IDENTITY CASCADE;
        DELETE FROM billing.settings;
        DELETE FROM billing.request_budget;
        INSERT INTO billing.request_budget DEFAULT VALUES;
        INSERT INTO billing.settings (schema_version, secret_key_fingerprint, database_identity)
        VALUES (1, 'fingerprint-1', billing.identity());
        INSERT INTO billing.plans (plan_id, name, amount, tax_free_amount, cycle, dunning,
            on_exhausted, catch_up)
        VALUES ('plan0', 'Plan', 9900, 900, '1 month', '{1 day,3 days}', 'suspend', 'latest'),
               ('plan1', 'Plan', 50000, 0, '30 days', '{1 day,3 days,5 days,7 days}', 'cancel', 'each'),
               ('plan2', 'Plan', 120000, 0, '1 year', '{}', 'suspend', 'hold');
        INSERT INTO billing.customers (customer_key)
        VALUES ('customer0'), ('customer1'), ('customer2');
        INSERT INTO billing.billing_keys (customer_key, billing_key)
        VALUES ('customer0', 'billing-card1'), ('customer1', 'billing-card2');
        UPDATE public.frozen SET at = clock_timestamp()
        """

    /// All rows, and the names of the charges.
    static let look = """
        SELECT (SELECT string_agg(line, E'\\n') FROM public.rows) AS lines,
               (SELECT string_agg(charge_id || ' ' || subscription_id || '/' || period_index, ',')
                FROM billing.charges) AS charges
        """
}
