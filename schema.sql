-- billingd's database contract: web apps in any language, reports and the daemon meet here.
--
--   psql -v ON_ERROR_STOP=1 -f schema.sql
--
-- PostgreSQL 14 or newer, no extension. Applied twice it changes nothing. The one who applies it
-- owns all and must be allowed to create roles (CREATEROLE) the first time. Constraints are named
-- after their rule, so that PostgreSQL's own message tells what was wrong.
--
-- Identifiers are compared byte by byte (COLLATE "C"): where the database's own collation is
-- en_US.UTF-8 their indexes cost 12 us less of a charge. One that is there already keeps what it has.
--
-- Money is whole won in bigint. Business time (due, ladders, gaps, ages) is billing.now(); leases
-- and quiet times, which guard real requests, are on the database's real clock.

BEGIN;
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog;

DO $$
DECLARE
    role_name text;
BEGIN
    IF current_setting('server_version_num')::int < 140000 THEN
        RAISE EXCEPTION 'billingd needs PostgreSQL 14 or newer, this is %',
            current_setting('server_version');
    END IF;
    FOREACH role_name IN ARRAY
        ARRAY['billing_web', 'billing_worker', 'billing_report', 'billing_admin']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role_name);
        END IF;
    END LOOP;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;  -- another session made it just now
    WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'roles billing_web, billing_worker, billing_report, billing_admin are '
            'missing and % may not create them', current_user
            USING HINT = 'Let an administrator run CREATE ROLE … NOLOGIN for each, once.';
END
$$;

CREATE SCHEMA IF NOT EXISTS billing;
COMMENT ON SCHEMA billing IS
    'Subscriptions charged by billingd through Toss Payments automatic billing.';

-- Settings and clock -------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS billing.settings (
    one_row boolean PRIMARY KEY DEFAULT true CONSTRAINT settings_one_row CHECK (one_row),
    mode text NOT NULL DEFAULT 'test' CONSTRAINT "mode: test or live" CHECK (mode IN ('test', 'live')),
    time_zone text NOT NULL DEFAULT 'Asia/Seoul',
    paused boolean NOT NULL DEFAULT false,
    paused_reason text,
    clock_offset interval NOT NULL DEFAULT '0',
    max_requests_per_minute integer
        CONSTRAINT "max_requests_per_minute: 1 or more" CHECK (max_requests_per_minute > 0),
    max_won_per_day bigint CONSTRAINT "max_won_per_day: 0 or more" CHECK (max_won_per_day >= 0),
    secret_key_fingerprint text COLLATE "C",
    rotating_to text,
    rotation_pause text,
    database_identity text,
    adopted_at timestamptz,
    adopted_reason text,
    look_first_until timestamptz,
    look_first_before timestamptz,
    request_timeout interval NOT NULL DEFAULT '65 seconds',
    lease interval NOT NULL DEFAULT '4 minutes',
    late_bound interval NOT NULL DEFAULT '10 minutes',
    gap interval NOT NULL DEFAULT '1 hour',
    last_send_age interval NOT NULL DEFAULT '13 days',
    hold_age interval NOT NULL DEFAULT '14 days',
    maximum_attempts integer NOT NULL DEFAULT 20
        CONSTRAINT "maximum_attempts: 1 to 20" CHECK (maximum_attempts BETWEEN 1 AND 20),
    schema_version integer NOT NULL,
    shadow boolean NOT NULL DEFAULT false,
    -- Part by part: '1 month -30 days' equals '0', and yet moves a date.
    CONSTRAINT "clock_offset: zero in live mode" CHECK (
        mode = 'test' OR (extract(year FROM clock_offset) = 0 AND extract(month FROM clock_offset) = 0
                          AND extract(day FROM clock_offset) = 0 AND clock_offset = '0')),
    CONSTRAINT "request_timeout: at least 61 s in live mode"
        CHECK (mode = 'test' OR request_timeout >= '61 seconds'),
    CONSTRAINT "lease: at least 2 x request_timeout + 60 s in live mode"
        CHECK (mode = 'test' OR lease >= 2 * request_timeout + '60 seconds'),
    CONSTRAINT "late_bound: at least 10 minutes in live mode" CHECK (mode = 'test' OR late_bound >= '10 minutes'),
    CONSTRAINT "late_bound: 0 or more" CHECK (late_bound >= '0'),
    CONSTRAINT "lease: more than 2 x request_timeout" CHECK (lease > 2 * request_timeout AND request_timeout > '0'),
    CONSTRAINT "gap: at least 6 x late_bound, more than lease + late_bound" CHECK (gap >= 6 * late_bound AND gap > lease + late_bound),
    CONSTRAINT "gap < last_send_age < hold_age, last_send_age < 15 days" CHECK (
        gap < last_send_age AND last_send_age < hold_age
        AND last_send_age + late_bound < '15 days'),
    CONSTRAINT "hold_age: at most 60 days" CHECK (hold_age <= '60 days')
);
DO $$
BEGIN
    -- Asked first: ALTER TABLE would keep claims waiting even when there is nothing to add.
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'billing.settings'::regclass
                   AND attname = 'shadow' AND NOT attisdropped) THEN
        ALTER TABLE billing.settings ADD COLUMN shadow boolean NOT NULL DEFAULT false;
    END IF;
END
$$;
INSERT INTO billing.settings (schema_version) VALUES (1) ON CONFLICT DO NOTHING;

COMMENT ON TABLE billing.settings IS 'One row: what the whole fleet shares. The operator writes it.';
COMMENT ON COLUMN billing.settings.one_row IS 'Always true: there is one row.';
COMMENT ON COLUMN billing.settings.mode IS
    'test or live. A worker whose secret key has the other prefix gets nothing.';
COMMENT ON COLUMN billing.settings.time_zone IS 'Calendar of plans that name none.';
COMMENT ON COLUMN billing.settings.paused IS 'Kill switch: the next claim gets nothing.';
COMMENT ON COLUMN billing.settings.paused_reason IS 'Why, and by whom: shown by status and check.';
COMMENT ON COLUMN billing.settings.clock_offset IS
    'Added to the real clock by billing.now(). Must be zero in live mode.';
COMMENT ON COLUMN billing.settings.max_requests_per_minute IS
    'Requests of the whole fleet to the provider in a minute; null: unlimited.';
COMMENT ON COLUMN billing.settings.max_won_per_day IS
    'Won that attempts opened on one day (in time_zone) may add up to; null: unlimited.';
COMMENT ON COLUMN billing.settings.secret_key_fingerprint IS
    'Of the provider''s secret key, bound by the first worker that starts.';
COMMENT ON COLUMN billing.settings.rotating_to IS
    'Fingerprint of the key that billingd rotate-key is about to bind; null: no rotation is under way.';
COMMENT ON COLUMN billing.settings.rotation_pause IS
    'The paused_reason that the rotation set, which its end takes back; null: it was paused before.';
COMMENT ON COLUMN billing.settings.database_identity IS
    'This database as the first worker found it; a clone or restore differs and is not charged.';
COMMENT ON COLUMN billing.settings.adopted_at IS
    'When somebody vouched for a changed identity; claims wait late_bound from then. Real clock.';
COMMENT ON COLUMN billing.settings.adopted_reason IS 'Who vouched, and why.';
COMMENT ON COLUMN billing.settings.look_first_until IS
    'Until then even a first attempt is looked up before it is sent: the database may have '
    'forgotten one of that name. Real clock.';
COMMENT ON COLUMN billing.settings.look_first_before IS
    'A period that began before it is looked up before each of its sends for as long as it is open: '
    'attempts of it may be forgotten, however late its next one is due. Business clock.';
COMMENT ON COLUMN billing.settings.request_timeout IS
    'Longest one request may take; the provider asks for at least 60 s.';
COMMENT ON COLUMN billing.settings.lease IS 'How long a claim stands, on the real clock.';
COMMENT ON COLUMN billing.settings.late_bound IS
    'Longest time a request that was given up may still act at the provider (assumed).';
COMMENT ON COLUMN billing.settings.gap IS
    'Rest between an attempt that was ever unknown and the next name, and before a charge fails.';
COMMENT ON COLUMN billing.settings.last_send_age IS
    'An open attempt older than this is only looked up; the provider forgets its key at 15 days.';
COMMENT ON COLUMN billing.settings.hold_age IS 'An open attempt older than this is held.';
COMMENT ON COLUMN billing.settings.maximum_attempts IS 'Attempts a charge may have; then held.';
COMMENT ON COLUMN billing.settings.schema_version IS 'Compared by every claim with the worker''s.';
COMMENT ON COLUMN billing.settings.shadow IS
    'Another system charges: nothing is claimed, billingd run --shadow notes what would be. '
    'billing.begin_shadow and billing.end_shadow set it.';

CREATE TABLE IF NOT EXISTS billing.request_budget (
    one_row boolean PRIMARY KEY DEFAULT true
        CONSTRAINT request_budget_one_row CHECK (one_row),
    requests double precision NOT NULL DEFAULT 0,
    -- Long ago: a budget that is used for the first time is full.
    refilled_at timestamptz NOT NULL DEFAULT '2000-01-01 00:00:00+00'
) WITH (fillfactor = 10);
INSERT INTO billing.request_budget DEFAULT VALUES ON CONFLICT DO NOTHING;
COMMENT ON TABLE billing.request_budget IS
    'One row: requests that the fleet may send now, while settings.max_requests_per_minute is set.';
COMMENT ON COLUMN billing.request_budget.one_row IS 'Always true: there is one row.';
COMMENT ON COLUMN billing.request_budget.requests IS
    'At most a tenth of the minute''s; refilled so that no minute sees more than the limit.';
COMMENT ON COLUMN billing.request_budget.refilled_at IS 'Real clock of the last refill.';

-- A row lock, and not an advisory one, because those any role of the database can take, and hold.
CREATE TABLE IF NOT EXISTS billing.key_locks (
    slot smallint PRIMARY KEY CONSTRAINT key_locks_slot CHECK (slot BETWEEN 0 AND 1023)
);
INSERT INTO billing.key_locks SELECT generate_series(0, 1023) ON CONFLICT DO NOTHING;
COMMENT ON TABLE billing.key_locks IS
    'Nothing but rows to lock: a claim that counts the declines of a billing key holds the row of '
    'its number modulo 1024, so that no two claims count the same key at once.';
COMMENT ON COLUMN billing.key_locks.slot IS
    '0 to 1023, all of them: a right to update it is a right to lock it, and to change nothing.';

-- Functions that every caller runs in its own right are parsed here and now (RETURN): operators that
-- somebody puts into a search_path of his own do not reach them.
-- The clock is no SQL function: with its sub-select it is not inlined, and would be planned anew in each
-- statement, 70 us of it, which are 5 with a plan that is kept. All that it names is qualified.
CREATE OR REPLACE FUNCTION billing.now() RETURNS timestamptz
    LANGUAGE plpgsql STABLE PARALLEL SAFE
    AS $$
BEGIN
    RETURN pg_catalog.now() OPERATOR(pg_catalog.+) (SELECT clock_offset FROM billing.settings);
END
$$;
COMMENT ON FUNCTION billing.now() IS
    'The business clock: transaction start plus settings.clock_offset (test mode).';

-- The calendar: one place for the web app, the forecast and the daemon -------------------------

CREATE OR REPLACE FUNCTION billing.period_start(
    anchor_at timestamptz, cycle interval, n integer, time_zone text DEFAULT 'Asia/Seoul'
) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (anchor_at AT TIME ZONE time_zone + n * cycle) AT TIME ZONE time_zone;
COMMENT ON FUNCTION billing.period_start(timestamptz, interval, integer, text) IS
    'Start of period n, always counted from the anchor in the zone, clamped to the month''s end: '
    '31 Jan, 28 Feb, 31 Mar; 29 Feb yearly comes back in leap years.';

CREATE OR REPLACE FUNCTION billing.next_day(instant timestamptz) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT (date_trunc('day', instant AT TIME ZONE 'Asia/Seoul') + interval '1 day')
        AT TIME ZONE 'Asia/Seoul'
    $$;
COMMENT ON FUNCTION billing.next_day(timestamptz) IS
    'The midnight in Korea after it, where the days of issuers'' limits end, whatever a plan''s zone.';

CREATE OR REPLACE FUNCTION billing.is_cycle(cycle interval) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- Interval equality takes a month for 30 days and a day for 24 hours; what date_trunc() takes away
    -- is a field of its own, so that nothing is left out. With extract(), numeric, it takes 1.2 us.
    RETURN coalesce(date_trunc('day', cycle) = cycle AND CASE date_trunc('month', cycle)
        WHEN cycle THEN cycle >= '1 month' AND cycle <= '120 months'
        WHEN '0' THEN cycle >= '1 day' AND cycle <= '3660 days'
        ELSE false END, false);
COMMENT ON FUNCTION billing.is_cycle(interval) IS
    'A positive number of months (to 120) or of days (to 3660), not both, no hours.';

CREATE OR REPLACE FUNCTION billing.is_dunning(dunning interval[]) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(array_ndims(dunning), 1) = 1 AND coalesce(cardinality(dunning), 0) <= 15
       AND coalesce((SELECT bool_and(rung IS NOT NULL AND rung >= '1 day' AND rung <= '60 days')
                     FROM unnest(dunning) AS rung), true);
COMMENT ON FUNCTION billing.is_dunning(interval[]) IS
    'At most 15 rungs, each between 1 day and 60 days: at most one decline a day.';

CREATE OR REPLACE FUNCTION billing.is_order_name(name text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN char_length(name) >= 1 AND char_length(name) <= 100 AND name !~ '[[:cntrl:]]'
       AND name ~ '[^\s\u00A0\u00AD\u115F\u1160\u1680\u180E\u2000-\u200F\u2028-\u202F\u205F-\u2064\u2800\u3000\u3164\uFEFF\uFFA0]'
       AND (char_length(name) <= 50
            OR char_length(name) + char_length(regexp_replace(name, '[^\U00010000-\U0010FFFF]', '', 'g')) <= 100);
COMMENT ON FUNCTION billing.is_order_name(text) IS
    '1 to 100 characters, one of them visible, no control characters (Toss Payments, orderName). A character '
    'beyond U+FFFF, such as an emoji, counts as two.';

CREATE OR REPLACE FUNCTION billing.is_won(amount bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN amount = 0 OR amount BETWEEN 100 AND 100000000;
COMMENT ON FUNCTION billing.is_won(bigint) IS 'Nothing, or 100 to 100,000,000 won.';

CREATE OR REPLACE FUNCTION billing.check_time_zone() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    -- "UTC+9" or "Seoul9" would be read as POSIX, whose sign is the other way round.
    IF NEW.time_zone !~ '^([A-Za-z_/-]+|Etc/GMT[+-][0-9]{1,2})$' THEN
        RAISE invalid_parameter_value;
    END IF;
    PERFORM timezone(NEW.time_zone, pg_catalog.now());
    RETURN NEW;
EXCEPTION WHEN invalid_parameter_value THEN
    RAISE EXCEPTION '%.time_zone: "%" is no time zone', TG_TABLE_NAME, NEW.time_zone
        USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, COLUMN = 'time_zone',
              HINT = 'A name of the tz database, such as Asia/Seoul.';
END
$$;
CREATE OR REPLACE TRIGGER settings_time_zone
    BEFORE INSERT OR UPDATE OF time_zone ON billing.settings
    FOR EACH ROW EXECUTE FUNCTION billing.check_time_zone();

CREATE OR REPLACE FUNCTION billing.wake_workers() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN PERFORM pg_notify('billing_due', ''); RETURN NULL; END $$;
COMMENT ON FUNCTION billing.wake_workers() IS
    'A hint to idle workers that something may be due; they find it by polling all the same.';
CREATE OR REPLACE TRIGGER settings_wake_workers
    AFTER UPDATE OF clock_offset, paused, mode, shadow ON billing.settings
    FOR EACH ROW EXECUTE FUNCTION billing.wake_workers();

-- Plans, customers, cards --------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS billing.plans (
    plan_id text COLLATE "C" PRIMARY KEY
        CONSTRAINT "plan_id: 1 to 100 characters" CHECK (char_length(plan_id) BETWEEN 1 AND 100),
    name text NOT NULL CONSTRAINT "name: 1 to 100 characters, no control characters" CHECK (billing.is_order_name(name)),
    amount bigint NOT NULL CONSTRAINT "amount: 0, or 100 to 100,000,000 won" CHECK (billing.is_won(amount)),
    tax_free_amount bigint NOT NULL DEFAULT 0
        CONSTRAINT "tax_free_amount: 0 to amount" CHECK (tax_free_amount BETWEEN 0 AND amount),
    cycle interval NOT NULL CONSTRAINT "cycle: whole months or whole days, more than 0" CHECK (billing.is_cycle(cycle)),
    time_zone text,
    dunning interval[] NOT NULL DEFAULT '{1 day,3 days,5 days,7 days}'
        CONSTRAINT "dunning: at most 15 steps of 1 day to 60 days" CHECK (billing.is_dunning(dunning)),
    on_exhausted text NOT NULL DEFAULT 'suspend'
        CONSTRAINT "on_exhausted: suspend or cancel" CHECK (on_exhausted IN ('suspend', 'cancel')),
    catch_up text NOT NULL DEFAULT 'latest'
        CONSTRAINT "catch_up: latest, each or hold" CHECK (catch_up IN ('latest', 'each', 'hold')),
    created_at timestamptz NOT NULL DEFAULT billing.now()
);
CREATE OR REPLACE TRIGGER plans_time_zone
    BEFORE INSERT OR UPDATE OF time_zone ON billing.plans
    FOR EACH ROW WHEN (NEW.time_zone IS NOT NULL) EXECUTE FUNCTION billing.check_time_zone();

COMMENT ON TABLE billing.plans IS
    'What is sold. The web app writes it; a change holds for charges opened after it.';
COMMENT ON COLUMN billing.plans.plan_id IS 'Your own key, 1 to 100 characters.';
COMMENT ON COLUMN billing.plans.name IS 'Becomes the order name on the customer''s statement.';
COMMENT ON COLUMN billing.plans.amount IS 'Won a period: 0 (free) or 100 to 100,000,000.';
COMMENT ON COLUMN billing.plans.tax_free_amount IS 'Part of the amount that carries no VAT.';
COMMENT ON COLUMN billing.plans.cycle IS
    'Months or days, as in ''1 month'', ''3 months'', ''1 year'', ''7 days''. A change sets a new '
    'anchor at each subscription''s next period.';
COMMENT ON COLUMN billing.plans.time_zone IS 'Calendar of its periods; null: settings.time_zone.';
COMMENT ON COLUMN billing.plans.dunning IS
    'Wait after the first, second … soft decline of a period before it is tried again.';
COMMENT ON COLUMN billing.plans.on_exhausted IS 'When dunning ends unpaid: suspend or cancel.';
COMMENT ON COLUMN billing.plans.catch_up IS
    'After an outage: latest (missed periods are skipped), each (oldest first, one a day), hold.';
COMMENT ON COLUMN billing.plans.created_at IS 'Business time of the row.';

CREATE TABLE IF NOT EXISTS billing.customers (
    customer_key text COLLATE "C" PRIMARY KEY
        CONSTRAINT "customer_key: 2 to 300 characters" CHECK (char_length(customer_key) BETWEEN 2 AND 300)
        CONSTRAINT "customer_key: only A-Z a-z 0-9 - _ = . @" CHECK (customer_key ~ '^[A-Za-z0-9._=@-]+$'),
    name text CONSTRAINT "name: at most 100 characters" CHECK (char_length(name) <= 100),
    email text CONSTRAINT "email: at most 100 characters" CHECK (char_length(email) <= 100),
    created_at timestamptz NOT NULL DEFAULT billing.now()
);
COMMENT ON TABLE billing.customers IS 'Payers. The web app writes it.';
COMMENT ON COLUMN billing.customers.customer_key IS
    'The customerKey the billing key was issued for: 2 to 300 of [A-Za-z0-9-_=.@], unguessable.';
COMMENT ON COLUMN billing.customers.name IS 'For people; never sent.';
COMMENT ON COLUMN billing.customers.email IS
    'For people; never sent (the provider would mail the customer at every change).';
COMMENT ON COLUMN billing.customers.created_at IS 'Business time of the row.';

CREATE TABLE IF NOT EXISTS billing.billing_keys (
    billing_key_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_key text COLLATE "C" NOT NULL REFERENCES billing.customers,
    billing_key text COLLATE "C" NOT NULL CONSTRAINT billing_keys_billing_key_unique UNIQUE
        CONSTRAINT "billing_key: 8 to 200 of A-Z a-z 0-9 _ = -" CHECK (
            char_length(billing_key) >= 8 AND char_length(billing_key) <= 200
            AND billing_key !~ '[^A-Za-z0-9_=-]'),
    card_number text CONSTRAINT "card_number: masked, at most 20 characters"
        CHECK (char_length(card_number) <= 20
               AND char_length(regexp_replace(card_number, '[^0-9]', '', 'g')) < 12),
    card_issuer text,
    card_type text,
    state text NOT NULL DEFAULT 'active'
        CONSTRAINT "state: active, dead or deleted" CHECK (state IN ('active', 'dead', 'deleted')),
    dead_code text,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT billing_keys_of_customer UNIQUE (customer_key, billing_key_id)
);
CREATE INDEX IF NOT EXISTS billing_keys_newest
    ON billing.billing_keys (customer_key, billing_key_id DESC) WHERE state = 'active';
COMMENT ON TABLE billing.billing_keys IS
    'Stored cards. The web app inserts; the worker marks dead. billing_key is a secret.';
COMMENT ON COLUMN billing.billing_keys.billing_key_id IS 'Key of the row; grows, so newest is largest.';
COMMENT ON COLUMN billing.billing_keys.customer_key IS 'Whose card; never changes.';
COMMENT ON COLUMN billing.billing_keys.billing_key IS
    'The provider''s token: whoever has it and the secret key can charge. Never changes.';
COMMENT ON COLUMN billing.billing_keys.card_number IS 'Masked, as the provider returns it.';
COMMENT ON COLUMN billing.billing_keys.card_issuer IS 'Issuer code.';
COMMENT ON COLUMN billing.billing_keys.card_type IS 'Credit, debit, gift, in the provider''s words.';
COMMENT ON COLUMN billing.billing_keys.state IS
    'active; dead: the provider refused it for good; deleted: by you.';
COMMENT ON COLUMN billing.billing_keys.dead_code IS 'The provider''s code that killed it.';
COMMENT ON COLUMN billing.billing_keys.created_at IS 'Business time of the row.';

-- Subscriptions ------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS billing.subscriptions (
    subscription_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_key text COLLATE "C" NOT NULL REFERENCES billing.customers,
    plan_id text COLLATE "C" NOT NULL REFERENCES billing.plans,
    amount bigint CONSTRAINT "amount: null, 0, or 100 to 100,000,000 won" CHECK (billing.is_won(amount)),
    billing_key_id bigint,
    state text NOT NULL DEFAULT 'active' CONSTRAINT "state: active, past_due, suspended, canceled, paused"
        CHECK (state IN ('active', 'past_due', 'suspended', 'canceled', 'paused')),
    anchor_at timestamptz NOT NULL DEFAULT billing.now()
        CONSTRAINT "anchor_at: a finite time" CHECK (isfinite(anchor_at)),
    period_index integer NOT NULL DEFAULT 0
        CONSTRAINT "period_index: 0 or more" CHECK (period_index >= 0),
    next_charge_at timestamptz
        CONSTRAINT "next_charge_at: a finite time or null" CHECK (isfinite(next_charge_at)),
    cancel_at timestamptz CONSTRAINT "cancel_at: a finite time or null" CHECK (isfinite(cancel_at)),
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    -- From here on the worker's own.
    -- 96 random bits. No unique index: order ids are unique, so a second one of the same prefix cannot
    -- be charged, and an index of random texts would be written at each renewal.
    order_prefix text COLLATE "C" NOT NULL DEFAULT left(replace(gen_random_uuid()::text, '-', ''), 24)
        CONSTRAINT subscriptions_order_prefix CHECK (
            char_length(order_prefix) >= 6 AND char_length(order_prefix) <= 40
            AND order_prefix !~ '[^A-Za-z0-9_-]'),
    cycle interval NOT NULL,
    anchor_index integer NOT NULL DEFAULT 0,
    period_at timestamptz NOT NULL,
    resumed_at timestamptz,
    asked_at timestamptz,
    held_reason text,
    open_charge_id bigint,
    attempt_open boolean NOT NULL DEFAULT false,
    lease_no bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    lease_owner text COLLATE "C",
    claims smallint NOT NULL DEFAULT 0,
    CONSTRAINT "billing_key_id: a card of this customer" FOREIGN KEY (customer_key, billing_key_id)
        REFERENCES billing.billing_keys (customer_key, billing_key_id),
    CONSTRAINT subscriptions_attempt_open CHECK (open_charge_id IS NOT NULL OR NOT attempt_open)
) WITH (fillfactor = 70);
-- fillfactor 70: every claim and record updates the row; with room on the page the lease updates
-- stay HOT and twenty cycles over 200,000 rows kept 34,600 rows/s and a 69 MB heap, against
-- 21,300 and 540 MB at 100.
CREATE INDEX IF NOT EXISTS subscriptions_due
    ON billing.subscriptions (next_charge_at) WHERE next_charge_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS subscriptions_customer ON billing.subscriptions (customer_key);
CREATE INDEX IF NOT EXISTS subscriptions_set_aside
    ON billing.subscriptions (subscription_id) WHERE held_reason IS NOT NULL;
CREATE INDEX IF NOT EXISTS subscriptions_past_due
    ON billing.subscriptions (state) WHERE state IN ('past_due', 'suspended');

COMMENT ON TABLE billing.subscriptions IS
    'Standing agreements to be charged every period. The web app inserts rows and changes plan_id, '
    'amount, billing_key_id, cancel_at and state (paused, active); the worker does the rest.';
COMMENT ON COLUMN billing.subscriptions.subscription_id IS 'Key of the row.';
COMMENT ON COLUMN billing.subscriptions.customer_key IS 'Who pays.';
COMMENT ON COLUMN billing.subscriptions.plan_id IS 'Price and cycle; a change holds from the next charge on.';
COMMENT ON COLUMN billing.subscriptions.amount IS 'Own price in won; null: the plan''s.';
COMMENT ON COLUMN billing.subscriptions.billing_key_id IS
    'The card to charge; null: the customer''s newest active one.';
COMMENT ON COLUMN billing.subscriptions.state IS
    'active; past_due: declined, being retried; suspended: no card to try, or dunning ended; '
    'canceled; paused: set by you, back with active.';
COMMENT ON COLUMN billing.subscriptions.anchor_at IS
    'Periods are counted from here; a change of cycle moves it to the next period''s start.';
COMMENT ON COLUMN billing.subscriptions.period_index IS 'Of the next, or the open, charge; from 0.';
COMMENT ON COLUMN billing.subscriptions.next_charge_at IS
    'When the worker must act on it; null: nothing to do.';
COMMENT ON COLUMN billing.subscriptions.cancel_at IS
    'Null: never. Charges whose period starts at or after it are not made.';
COMMENT ON COLUMN billing.subscriptions.created_at IS 'Business time of the row.';
COMMENT ON COLUMN billing.subscriptions.order_prefix IS 'Random part of its order ids.';
COMMENT ON COLUMN billing.subscriptions.cycle IS 'Cycle that the anchor counts in.';
COMMENT ON COLUMN billing.subscriptions.anchor_index IS 'period_index that starts at anchor_at.';
COMMENT ON COLUMN billing.subscriptions.period_at IS 'Start of period period_index.';
COMMENT ON COLUMN billing.subscriptions.resumed_at IS
    'End of the last pause or suspension: periods that began before it are skipped.';
COMMENT ON COLUMN billing.subscriptions.asked_at IS
    'When a person last asked for its open charge to be tried: that does not wait for the day after '
    'the last decline.';
COMMENT ON COLUMN billing.subscriptions.held_reason IS
    'The row itself makes no sense and was set aside: why. billing.resume() tries again.';
COMMENT ON COLUMN billing.subscriptions.open_charge_id IS 'Its open or held charge, if any.';
COMMENT ON COLUMN billing.subscriptions.attempt_open IS 'An attempt may be under way.';
COMMENT ON COLUMN billing.subscriptions.lease_no IS 'Number of its claims; fences late news.';
COMMENT ON COLUMN billing.subscriptions.lease_until IS 'End of the claim, on the real clock.';
COMMENT ON COLUMN billing.subscriptions.lease_owner IS 'Worker that claimed it.';
COMMENT ON COLUMN billing.subscriptions.claims IS 'Claims since the last record.';

-- The ledger ---------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS billing.charges (
    charge_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id bigint NOT NULL,  -- of billing.subscriptions: charges_guard_new looks
    period_index integer NOT NULL CONSTRAINT charges_period_index CHECK (period_index >= 0),
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    amount bigint NOT NULL,
    tax_free_amount bigint NOT NULL DEFAULT 0,
    order_name text NOT NULL,
    state text NOT NULL DEFAULT 'open' CONSTRAINT charges_state
        CHECK (state IN ('open', 'paid', 'failed', 'skipped', 'held', 'refunded')),
    reason text,
    paid_at timestamptz,
    payment_key text COLLATE "C",
    receipt_url text,
    card jsonb,
    refunded_amount bigint,
    attempt_no integer NOT NULL DEFAULT 0,
    declines integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT billing.now(),
    updated_at timestamptz NOT NULL DEFAULT billing.now(),
    CONSTRAINT charges_one_per_period UNIQUE (subscription_id, period_index),
    CONSTRAINT charges_period CHECK (period_start < period_end),
    CONSTRAINT charges_amount CHECK (
        state = 'held' OR (billing.is_won(amount) AND tax_free_amount BETWEEN 0 AND amount
                           AND billing.is_order_name(order_name))),
    CONSTRAINT charges_paid_has_payment CHECK (
        state NOT IN ('paid', 'refunded')
        OR (paid_at IS NOT NULL AND (payment_key IS NOT NULL OR amount = 0))),
    CONSTRAINT charges_reason CHECK (
        state NOT IN ('failed', 'skipped', 'held') OR reason IS NOT NULL)
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX IF NOT EXISTS charges_one_open
    ON billing.charges (subscription_id) WHERE state = 'open';
-- Partial: a charge that is opened has none yet and writes nothing here.
CREATE UNIQUE INDEX IF NOT EXISTS charges_payment_key_unique
    ON billing.charges (payment_key) WHERE payment_key IS NOT NULL;
CREATE INDEX IF NOT EXISTS charges_held ON billing.charges (charge_id) WHERE state = 'held';
-- No BRIN: reconciling reads a day in this order, page by page, and would read all of it for each.
CREATE INDEX IF NOT EXISTS charges_paid_at ON billing.charges (paid_at) WHERE paid_at IS NOT NULL;

COMMENT ON TABLE billing.charges IS
    'One row a subscription and period: that period''s money and how it ended. The worker writes it.';
COMMENT ON COLUMN billing.charges.charge_id IS 'Key of the row.';
COMMENT ON COLUMN billing.charges.subscription_id IS 'Whose.';
COMMENT ON COLUMN billing.charges.period_index IS 'Which period, from 0; unique for a subscription.';
COMMENT ON COLUMN billing.charges.period_start IS 'First instant the charge pays for.';
COMMENT ON COLUMN billing.charges.period_end IS 'First instant it no longer pays for.';
COMMENT ON COLUMN billing.charges.amount IS 'Won, frozen when the charge was opened.';
COMMENT ON COLUMN billing.charges.tax_free_amount IS 'Part of it without VAT, frozen.';
COMMENT ON COLUMN billing.charges.order_name IS 'The plan''s name, frozen.';
COMMENT ON COLUMN billing.charges.state IS
    'open; paid; failed (reason exhausted, superseded, canceled, no_card); skipped (missed, '
    'paused); held: a person must look; refunded: paid and then cancelled at the provider.';
COMMENT ON COLUMN billing.charges.reason IS
    'Why it failed, was skipped or is held; of an open one: why it waits, if not for its ladder.';
COMMENT ON COLUMN billing.charges.paid_at IS 'When the provider approved it.';
COMMENT ON COLUMN billing.charges.payment_key IS 'The provider''s id of the payment.';
COMMENT ON COLUMN billing.charges.receipt_url IS 'The provider''s receipt.';
COMMENT ON COLUMN billing.charges.card IS 'Masked card and approval number, as answered.';
COMMENT ON COLUMN billing.charges.refunded_amount IS 'Won cancelled at the provider.';
COMMENT ON COLUMN billing.charges.attempt_no IS 'Number of its last attempt; 0: none yet.';
COMMENT ON COLUMN billing.charges.declines IS 'Declined attempts: rungs of dunning used up.';
COMMENT ON COLUMN billing.charges.created_at IS 'Business time of its opening.';
COMMENT ON COLUMN billing.charges.updated_at IS 'Business time of its last change.';

CREATE TABLE IF NOT EXISTS billing.attempts (
    charge_id bigint NOT NULL,  -- of billing.charges: attempts_guard_new looks, nothing deletes there
    attempt_no integer NOT NULL CONSTRAINT attempts_attempt_no CHECK (attempt_no BETWEEN 1 AND 20),
    order_id text COLLATE "C" NOT NULL CONSTRAINT attempts_order_id_unique UNIQUE
        -- Length and letters apart: one expression with {6,64} costs 8 us a row, {8,200} 26. So it is
        -- 0.3; translate() and ltrim() would be 2 to 17, and all checks of a charge's rows are 3.
        CONSTRAINT attempts_order_id CHECK (
            char_length(order_id) >= 6 AND char_length(order_id) <= 64
            AND order_id !~ '[^A-Za-z0-9_-]'),
    idempotency_key text COLLATE "C" NOT NULL
        CONSTRAINT attempts_idempotency_key CHECK (char_length(idempotency_key) BETWEEN 6 AND 300),
    billing_key_id bigint NOT NULL,  -- of billing.billing_keys: attempts_guard_new looks
    amount bigint NOT NULL
        CONSTRAINT attempts_amount CHECK (amount BETWEEN 100 AND 100000000),
    tax_free_amount bigint NOT NULL,
    customer_key text COLLATE "C" NOT NULL,
    order_name text NOT NULL,
    secret_key_fingerprint text COLLATE "C" NOT NULL,
    state text NOT NULL DEFAULT 'open'
        CONSTRAINT attempts_state CHECK (state IN ('open', 'approved', 'declined', 'refused')),
    code text,
    message text,
    http_status integer,
    trace_id text COLLATE "C",
    opened_at timestamptz NOT NULL DEFAULT billing.now(),
    sent_at timestamptz,
    finished_at timestamptz,
    lookups integer NOT NULL DEFAULT 0,
    worker text COLLATE "C",
    unknown_since timestamptz,
    in_doubt boolean NOT NULL DEFAULT true,
    absent boolean NOT NULL DEFAULT false,
    sends integer NOT NULL DEFAULT 1,
    not_founds integer NOT NULL DEFAULT 0,
    not_sents integer NOT NULL DEFAULT 0,
    quiet_until timestamptz,
    contradiction text COLLATE "C",
    PRIMARY KEY (charge_id, attempt_no),
    CONSTRAINT attempts_finished CHECK ((state = 'open') = (finished_at IS NULL))
) WITH (fillfactor = 60);
-- fillfactor 60: two of three records find room on the page of their claim, and the log then has only
-- what differs: 80 bytes less of a charge, for 100 more of the table.

-- For max_won_per_day: rows come in the order of opened_at, so that a few blocks a day are read.
CREATE INDEX IF NOT EXISTS attempts_opened ON billing.attempts USING brin (opened_at);
-- For the budget of a billing key: open ones first, then the newest declines. And for those who look
-- for open ones now and then; finished_at IS NULL beside the state spares them the declined.
CREATE INDEX IF NOT EXISTS attempts_of_key
    ON billing.attempts (billing_key_id, finished_at DESC) WHERE state IN ('open', 'declined');
-- For the figures, which ask every few seconds: an ordinary charge writes nothing here.
CREATE INDEX IF NOT EXISTS attempts_unknown
    ON billing.attempts (unknown_since) WHERE state = 'open' AND unknown_since IS NOT NULL;
CREATE INDEX IF NOT EXISTS attempts_contradicted
    ON billing.attempts (contradiction) WHERE contradiction IS NOT NULL;
-- That a charge has one open attempt and one approved at most needs no index, which would be 130 bytes
-- of log a charge: attempts_guard_new lets a number in only behind one that ended declined or refused,
-- attempts_guard keeps it so, nothing is deleted. So all but the last have ended unpaid.
DROP INDEX IF EXISTS billing.attempts_one_open, billing.attempts_one_approved;

COMMENT ON TABLE billing.attempts IS
    'One row a name at the provider: order id, idempotency key and all that is sent under it, '
    'written before the first send. The worker writes it.';
COMMENT ON COLUMN billing.attempts.charge_id IS 'Of which charge.';
COMMENT ON COLUMN billing.attempts.attempt_no IS 'From 1; a new one only after the last ended.';
COMMENT ON COLUMN billing.attempts.order_id IS 'Prefix of the subscription, period, attempt number.';
COMMENT ON COLUMN billing.attempts.idempotency_key IS 'The same text as order_id.';
COMMENT ON COLUMN billing.attempts.billing_key_id IS 'Card charged, pinned.';
COMMENT ON COLUMN billing.attempts.amount IS 'Won sent, pinned.';
COMMENT ON COLUMN billing.attempts.tax_free_amount IS 'Tax-free part sent, pinned.';
COMMENT ON COLUMN billing.attempts.customer_key IS 'Customer key sent, pinned.';
COMMENT ON COLUMN billing.attempts.order_name IS 'Order name sent, pinned.';
COMMENT ON COLUMN billing.attempts.secret_key_fingerprint IS 'Of the secret key it is sent with.';
COMMENT ON COLUMN billing.attempts.state IS
    'open: may have been sent; approved; declined; refused: surely not executed, not the card''s doing.';
COMMENT ON COLUMN billing.attempts.code IS 'The provider''s last code, or ours for no answer.';
COMMENT ON COLUMN billing.attempts.message IS 'The provider''s text to it.';
COMMENT ON COLUMN billing.attempts.http_status IS 'Status of the last answer.';
COMMENT ON COLUMN billing.attempts.trace_id IS
    'The provider''s trace id of the last answer to a send, for its support; of an answer that it kept '
    'two, the second of the first time.';
COMMENT ON COLUMN billing.attempts.opened_at IS 'Business time of its opening, before any send.';
COMMENT ON COLUMN billing.attempts.sent_at IS
    'Business time of the last claim that sent it; null: proven not to have left.';
COMMENT ON COLUMN billing.attempts.finished_at IS 'Business time of its end.';
COMMENT ON COLUMN billing.attempts.lookups IS
    'Times the provider was asked about it since its last send.';
COMMENT ON COLUMN billing.attempts.worker IS 'Worker that opened or last sent it.';
COMMENT ON COLUMN billing.attempts.unknown_since IS 'Since when its outcome is, or once was, unknown.';
COMMENT ON COLUMN billing.attempts.in_doubt IS 'A request of it may have been executed.';
COMMENT ON COLUMN billing.attempts.absent IS 'Looked for twice, late enough, not there: may be sent again.';
COMMENT ON COLUMN billing.attempts.sends IS 'Claims that may have sent it.';
COMMENT ON COLUMN billing.attempts.not_founds IS 'Not-found answers since the last send.';
COMMENT ON COLUMN billing.attempts.not_sents IS 'Sends proven not to have left.';
COMMENT ON COLUMN billing.attempts.quiet_until IS 'Real clock: from then on a not-found counts.';
COMMENT ON COLUMN billing.attempts.contradiction IS
    'A payment the provider shows for this name although it had ended otherwise; or for a later name '
    'that the database has forgotten.';

CREATE TABLE IF NOT EXISTS billing.events (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    occurred_at timestamptz NOT NULL DEFAULT billing.now(),
    type text NOT NULL CONSTRAINT events_type CHECK (type IN (
        'charge.paid', 'charge.declined', 'charge.failed', 'charge.skipped', 'charge.held',
        'charge.released', 'charge.retried', 'charge.refunded', 'subscription.past_due',
        'subscription.suspended', 'subscription.recovered', 'subscription.canceled',
        'billing_key.dead', 'secret_key.rotating', 'secret_key.rotated', 'secret_key.kept',
        'database.adopted', 'reconcile.finding', 'renewal.missed', 'shadow.begun',
        'shadow.ended', 'subscription.taken_over')),
    -- No foreign keys: they cost 13 us a charge. Only functions and the worker write here, in the
    -- statement that writes the charge, and no charge is ever deleted.
    subscription_id bigint,
    charge_id bigint,
    data jsonb NOT NULL DEFAULT '{}'
);
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'billing.events'::regclass
                   AND conname = 'events_type'
                   AND pg_get_constraintdef(oid) LIKE '%shadow.begun%') THEN
        ALTER TABLE billing.events DROP CONSTRAINT IF EXISTS events_type;
        -- Rows that are there were let in by a shorter list.
        ALTER TABLE billing.events ADD CONSTRAINT events_type CHECK (type IN (
            'charge.paid', 'charge.declined', 'charge.failed', 'charge.skipped', 'charge.held',
            'charge.released', 'charge.retried', 'charge.refunded', 'subscription.past_due',
            'subscription.suspended', 'subscription.recovered', 'subscription.canceled',
            'billing_key.dead', 'secret_key.rotating', 'secret_key.rotated', 'secret_key.kept',
            'database.adopted', 'reconcile.finding', 'renewal.missed', 'shadow.begun',
            'shadow.ended', 'subscription.taken_over')) NOT VALID;
    END IF;
END
$$;
CREATE INDEX IF NOT EXISTS events_occurred ON billing.events USING brin (occurred_at);
-- What people did by hand, for billingd explain; all other events cost it nothing.
CREATE INDEX IF NOT EXISTS events_by_hand ON billing.events (subscription_id) WHERE data ? 'by';
-- A finding is told once, however often its day is compared.
CREATE UNIQUE INDEX IF NOT EXISTS events_finding_once
    ON billing.events ((data ->> 'finding')) WHERE type = 'reconcile.finding';
-- A renewal that was missed is told once, however many workers see it.
CREATE UNIQUE INDEX IF NOT EXISTS events_missed_once
    ON billing.events (subscription_id, (data ->> 'period_index')) WHERE type = 'renewal.missed';
COMMENT ON TABLE billing.events IS
    'The outbox: written in the transaction that makes it true. LISTEN billing_events, then read '
    'rows after the last event_id you handled. Ids may become visible out of order: look back a little.';
COMMENT ON COLUMN billing.events.event_id IS 'Grows; gaps are normal.';
COMMENT ON COLUMN billing.events.occurred_at IS 'Business time.';
COMMENT ON COLUMN billing.events.type IS 'What happened, such as charge.paid.';
COMMENT ON COLUMN billing.events.subscription_id IS 'To which subscription.';
COMMENT ON COLUMN billing.events.charge_id IS 'To which charge, if to one.';
COMMENT ON COLUMN billing.events.data IS 'Amount, code, reason and the like.';
CREATE OR REPLACE FUNCTION billing.announce_events() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$ BEGIN PERFORM pg_notify('billing_events', ''); RETURN NULL; END $$;
-- A transaction that notifies holds a lock of the whole server from before its flush to after it, so
-- that the records of several workers would be written one after another: up to 81 ms of waiting. A
-- worker notifies in a transaction of its own right after, which has nothing to flush.
CREATE OR REPLACE TRIGGER events_announce AFTER INSERT ON billing.events
    FOR EACH STATEMENT WHEN (current_setting('billing.announces', true) IS DISTINCT FROM 'later')
    EXECUTE FUNCTION billing.announce_events();

CREATE TABLE IF NOT EXISTS billing.workers (
    worker_id text COLLATE "C" PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    seen_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    in_flight integer NOT NULL DEFAULT 0,
    state text NOT NULL
        CONSTRAINT workers_state CHECK (state IN ('starting', 'running', 'stopping', 'stopped', 'faulted')),
    reason text CONSTRAINT workers_reason CHECK (char_length(reason) <= 300)
);
COMMENT ON TABLE billing.workers IS 'Who charges: one row a worker process, on the real clock.';
COMMENT ON COLUMN billing.workers.worker_id IS 'Host, process id and start.';
COMMENT ON COLUMN billing.workers.host IS 'Machine.';
COMMENT ON COLUMN billing.workers.pid IS 'Process id there.';
COMMENT ON COLUMN billing.workers.version IS 'Of the program.';
COMMENT ON COLUMN billing.workers.started_at IS 'Real time of its start.';
COMMENT ON COLUMN billing.workers.seen_at IS 'Real time of its last sign of life.';
COMMENT ON COLUMN billing.workers.in_flight IS 'Claims in hand at that time.';
COMMENT ON COLUMN billing.workers.state IS 'starting, running, stopping, stopped or faulted.';
COMMENT ON COLUMN billing.workers.reason IS
    'Why it claims nothing, or next to nothing, if so: a fault of all, a provider that does not serve, '
    'a database that refuses it, a pause. For people; it may be worded otherwise at any time.';

-- Reconciling: the ledger against the provider's books, day by day in Korea -------------------

CREATE TABLE IF NOT EXISTS billing.reconciliations (
    day date PRIMARY KEY,
    next_at timestamptz,
    worker text COLLATE "C",
    lease_until timestamptz,
    started_at timestamptz,
    compared_at timestamptz,
    failures integer NOT NULL DEFAULT 0,
    error text,
    payments bigint,
    won bigint,
    refunds bigint,
    late bigint,
    foreign_payments bigint,
    findings bigint,
    CONSTRAINT reconciliations_compared CHECK (
        compared_at IS NULL OR (payments IS NOT NULL AND findings IS NOT NULL))
);
COMMENT ON TABLE billing.reconciliations IS
    'One row a Korean day: how the ledger compares with the provider''s list of transactions. Workers '
    'write it; each finding is an event reconcile.finding. billingd reconcile --day shows them.';
COMMENT ON COLUMN billing.reconciliations.day IS 'Day in Asia/Seoul, where the provider keeps its books.';
COMMENT ON COLUMN billing.reconciliations.next_at IS
    'Business time of the next comparison; null: it was compared often enough.';
COMMENT ON COLUMN billing.reconciliations.worker IS 'Who compares it, or did last.';
COMMENT ON COLUMN billing.reconciliations.lease_until IS
    'End of the claim, on the real clock, kept by every request; null: nobody compares it now.';
COMMENT ON COLUMN billing.reconciliations.started_at IS 'Business time of the last start.';
COMMENT ON COLUMN billing.reconciliations.compared_at IS
    'Business time of the last comparison that came to its end; the numbers are of that one.';
COMMENT ON COLUMN billing.reconciliations.failures IS 'Comparisons since then that did not.';
COMMENT ON COLUMN billing.reconciliations.error IS 'Why the last one did not.';
COMMENT ON COLUMN billing.reconciliations.payments IS 'Payments on which both books agree.';
COMMENT ON COLUMN billing.reconciliations.won IS 'Their won.';
COMMENT ON COLUMN billing.reconciliations.refunds IS 'Cancels of the console recorded by it.';
COMMENT ON COLUMN billing.reconciliations.late IS
    'Payments that the list did not show, and a look-up did.';
COMMENT ON COLUMN billing.reconciliations.foreign_payments IS
    'Payments there under names that are not ours: another system of the same merchant.';
COMMENT ON COLUMN billing.reconciliations.findings IS 'Things in which the books do not agree.';

CREATE OR REPLACE FUNCTION billing.reconcile_at(day date, times integer DEFAULT 0)
    RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
    SELECT (day + 1)::timestamp AT TIME ZONE 'Asia/Seoul' + interval '2 hours'
           + times * interval '1 day'
    $$;
COMMENT ON FUNCTION billing.reconcile_at(date, integer) IS
    'When a day is compared, and compared again: two hours after its end in Korea, an hour for the '
    'lag of the provider''s list and one in which what was unknown at midnight is resolved.';

CREATE OR REPLACE FUNCTION billing.reconcile_days() RETURNS TABLE (day date)
    LANGUAGE sql STABLE
    AS $$
    SELECT g::date
    FROM (
        SELECT date_trunc('day', (billing.now() - interval '2 hours') AT TIME ZONE 'Asia/Seoul')
                   AS today,
               date_trunc('day', (SELECT created_at FROM billing.charges
                                  ORDER BY charge_id LIMIT 1) AT TIME ZONE 'Asia/Seoul') AS first
    ) AS b
    CROSS JOIN generate_series(greatest(b.first, b.today - interval '31 days'),
        b.today - interval '1 day', interval '1 day') AS g
    WHERE b.first IS NOT NULL
    $$;
COMMENT ON FUNCTION billing.reconcile_days() IS
    'Korean days that must be compared by now: since the first charge, 31 back at most. Older ones '
    'are for billingd reconcile --day.';

-- Shadow: beside another system that charges, until it is taken over ----------------------------

CREATE TABLE IF NOT EXISTS billing.shadow_charges (
    subscription_id bigint NOT NULL REFERENCES billing.subscriptions,
    period_index integer NOT NULL CONSTRAINT shadow_charges_period_index CHECK (period_index >= 0),
    period_start timestamptz NOT NULL,
    period_end timestamptz NOT NULL,
    decision text NOT NULL CONSTRAINT shadow_charges_decision
        CHECK (decision IN ('charge', 'free', 'no_card', 'skip', 'hold')),
    reason text,
    amount bigint NOT NULL CONSTRAINT shadow_charges_amount CHECK (billing.is_won(amount)),
    order_name text NOT NULL,
    billing_key_id bigint,
    decided_at timestamptz NOT NULL DEFAULT billing.now(),
    anchor_at timestamptz NOT NULL,
    anchor_index integer NOT NULL,
    cycle interval NOT NULL,
    PRIMARY KEY (subscription_id, period_index),
    CONSTRAINT shadow_charges_period CHECK (period_start < period_end)
);
CREATE INDEX IF NOT EXISTS shadow_charges_no_card
    ON billing.shadow_charges (subscription_id) WHERE decision = 'no_card';
COMMENT ON TABLE billing.shadow_charges IS
    'One row a subscription and period that began in shadow mode: what this program would have done. '
    'billingd run --shadow writes it; no charge, attempt or subscription knows of it.';
COMMENT ON COLUMN billing.shadow_charges.subscription_id IS 'Whose.';
COMMENT ON COLUMN billing.shadow_charges.period_index IS
    'Which period, counted on from the subscription''s own period_index.';
COMMENT ON COLUMN billing.shadow_charges.period_start IS 'First instant it would have paid for.';
COMMENT ON COLUMN billing.shadow_charges.period_end IS 'First instant it would not.';
COMMENT ON COLUMN billing.shadow_charges.decision IS
    'charge; free: 0 won; no_card: it would wait for one, and becomes charge if one comes before the '
    'period ends; skip; hold: a person would have to look.';
COMMENT ON COLUMN billing.shadow_charges.reason IS
    'Why it would be skipped (missed, paused), held or wait.';
COMMENT ON COLUMN billing.shadow_charges.amount IS 'Won, as of decided_at.';
COMMENT ON COLUMN billing.shadow_charges.order_name IS 'The plan''s name, as of decided_at.';
COMMENT ON COLUMN billing.shadow_charges.billing_key_id IS 'Card that would be charged.';
COMMENT ON COLUMN billing.shadow_charges.decided_at IS 'Business time of the decision.';
COMMENT ON COLUMN billing.shadow_charges.anchor_at IS 'The period is counted from here.';
COMMENT ON COLUMN billing.shadow_charges.anchor_index IS 'period_index that starts at anchor_at.';
COMMENT ON COLUMN billing.shadow_charges.cycle IS 'Cycle that it is counted in.';

CREATE TABLE IF NOT EXISTS billing.other_payments (
    payment_id text COLLATE "C" PRIMARY KEY CONSTRAINT "payment_id: 1 to 200 characters"
        CHECK (char_length(payment_id) BETWEEN 1 AND 200),
    subscription_id bigint REFERENCES billing.subscriptions,
    paid_at timestamptz NOT NULL CONSTRAINT "paid_at: a finite time" CHECK (isfinite(paid_at)),
    amount bigint NOT NULL CONSTRAINT "amount: 1 won or more" CHECK (amount > 0)
);
CREATE INDEX IF NOT EXISTS other_payments_subscription
    ON billing.other_payments (subscription_id, paid_at);
COMMENT ON TABLE billing.other_payments IS
    'What the other system charged, and did not give back: filled by INSERT or COPY, read by billingd '
    'shadow-report and billing.end_shadow.';
COMMENT ON COLUMN billing.other_payments.payment_id IS
    'Its order id or payment key: a payment that is filled in twice is refused.';
COMMENT ON COLUMN billing.other_payments.subscription_id IS
    'Whose, here; null: of a payer who was not imported.';
COMMENT ON COLUMN billing.other_payments.paid_at IS
    'When. It pays the last period for which it is not too early: billing.payable_from.';
COMMENT ON COLUMN billing.other_payments.amount IS 'Won.';

CREATE OR REPLACE FUNCTION billing.payable_from(period_start timestamptz, period_end timestamptz)
    RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN period_start
        - least(interval '24 hours', (extract(epoch FROM period_end - period_start) / 4)
                * interval '1 second');
COMMENT ON FUNCTION billing.payable_from(timestamptz, timestamptz) IS
    'From when on a payment of another system is one for this period, and no longer for the one before: '
    'a day before it starts, because a cron charges at midnight of the day; a quarter of the period, if '
    'that is less.';

CREATE OR REPLACE VIEW billing.shadow_positions AS
SELECT w.subscription_id, w.period_index, w.period_at,
       billing.period_start(e.anchor_at, e.cycle, w.period_index + 1 - e.anchor_index, w.time_zone)
           AS period_end,
       e.anchor_at, e.anchor_index, e.cycle, w.time_zone,
       w.may_charge AND w.period_at <= (SELECT billing.now()) AS is_due, w.may_charge
FROM (
    SELECT s.subscription_id, coalesce(h.period_index + 1, s.period_index) AS period_index,
           coalesce(h.period_end, s.period_at) AS period_at,
           coalesce(h.anchor_at, s.anchor_at) AS anchor_at,
           coalesce(h.anchor_index, s.anchor_index) AS anchor_index,
           coalesce(h.cycle, s.cycle) AS cycle, p.cycle AS plan_cycle,
           coalesce(p.time_zone, (SELECT time_zone FROM billing.settings)) AS time_zone,
           s.state IN ('active', 'past_due') AND s.held_reason IS NULL AND s.open_charge_id IS NULL
               AND (s.cancel_at IS NULL OR s.cancel_at > coalesce(h.period_end, s.period_at))
               AS may_charge
    FROM billing.subscriptions AS s
    JOIN billing.plans AS p USING (plan_id)
    LEFT JOIN LATERAL (
        -- Rows of an earlier time in shadow lie behind.
        SELECT c.* FROM billing.shadow_charges AS c
        WHERE c.subscription_id = s.subscription_id AND c.period_index >= s.period_index
        ORDER BY c.period_index DESC LIMIT 1
    ) AS h ON true
) AS w
CROSS JOIN LATERAL (
    -- A plan of another cycle: its periods are counted from the next one's start, as in a claim.
    SELECT CASE WHEN m.moves THEN w.period_at ELSE w.anchor_at END AS anchor_at,
           CASE WHEN m.moves THEN w.period_index ELSE w.anchor_index END AS anchor_index,
           CASE WHEN m.moves THEN w.plan_cycle ELSE w.cycle END AS cycle
    FROM (SELECT w.plan_cycle::text <> w.cycle::text AS moves) AS m
) AS e;
COMMENT ON VIEW billing.shadow_positions IS
    'Where each subscription stands in shadow mode: the period after the last one that was noted, or its '
    'own next one.';
COMMENT ON COLUMN billing.shadow_positions.subscription_id IS 'Whose.';
COMMENT ON COLUMN billing.shadow_positions.period_index IS 'Which period comes next.';
COMMENT ON COLUMN billing.shadow_positions.period_at IS 'Its start.';
COMMENT ON COLUMN billing.shadow_positions.period_end IS 'Its end, by the plan as it is now.';
COMMENT ON COLUMN billing.shadow_positions.anchor_at IS 'It is counted from here.';
COMMENT ON COLUMN billing.shadow_positions.anchor_index IS 'period_index that starts at anchor_at.';
COMMENT ON COLUMN billing.shadow_positions.cycle IS 'Cycle that it is counted in.';
COMMENT ON COLUMN billing.shadow_positions.time_zone IS 'Zone of its calendar.';
COMMENT ON COLUMN billing.shadow_positions.is_due IS 'It has begun and is not noted yet.';
COMMENT ON COLUMN billing.shadow_positions.may_charge IS
    'Neither paused, cancelled, suspended nor set aside.';

-- A subscription that other systems charged until now keeps its days.
CREATE OR REPLACE FUNCTION billing.import_subscription(
    customer_key text, plan_id text, anchor_at timestamptz, paid_until timestamptz,
    amount bigint DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    plan billing.plans;
    zone text;
    seconds double precision;
    days record;
    next_index bigint;
    made bigint;
BEGIN
    IF anchor_at IS NULL OR NOT isfinite(anchor_at) THEN
        RAISE EXCEPTION 'anchor_at: a finite time, not "%"', anchor_at
            USING ERRCODE = 'invalid_parameter_value', COLUMN = 'anchor_at';
    END IF;
    IF paid_until IS NULL OR NOT isfinite(paid_until) THEN
        RAISE EXCEPTION 'paid_until: a finite time, not "%"', paid_until
            USING ERRCODE = 'invalid_parameter_value', COLUMN = 'paid_until';
    END IF;
    SELECT p.* INTO plan FROM billing.plans AS p WHERE p.plan_id = import_subscription.plan_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'plan_id: there is no plan "%"', import_subscription.plan_id
            USING ERRCODE = 'foreign_key_violation', COLUMN = 'plan_id';
    END IF;
    IF NOT EXISTS (SELECT FROM billing.customers AS c
                   WHERE c.customer_key = import_subscription.customer_key) THEN
        RAISE EXCEPTION 'customer_key: there is no customer "%"', import_subscription.customer_key
            USING ERRCODE = 'foreign_key_violation', COLUMN = 'customer_key',
                  HINT = 'billing.register_billing_key makes one together with the card.';
    END IF;
    zone := coalesce(plan.time_zone, (SELECT t.time_zone FROM billing.settings AS t));
    seconds := greatest(0, extract(epoch FROM paid_until - anchor_at));
    -- A cycle has at least and at most so many days; only the periods in between are looked at.
    SELECT extract(year FROM plan.cycle) * 365 + extract(month FROM plan.cycle) * 28
               + extract(day FROM plan.cycle) AS fewest,
           extract(year FROM plan.cycle) * 366 + extract(month FROM plan.cycle) * 31
               + extract(day FROM plan.cycle) AS most INTO days;
    IF seconds / 86400 / days.fewest > 100000 THEN
        RAISE EXCEPTION 'paid_until: at most 100,000 periods after anchor_at, not "%"', paid_until
            USING ERRCODE = 'invalid_parameter_value', COLUMN = 'paid_until';
    END IF;
    SELECT g INTO next_index
    FROM generate_series(greatest(0, floor(seconds / 86400 / days.most)::bigint - 1),
                         ceil(seconds / 86400 / days.fewest)::bigint + 1) AS g
    WHERE billing.period_start(anchor_at, plan.cycle, g::integer, zone) >= paid_until
    ORDER BY g LIMIT 1;
    INSERT INTO billing.subscriptions AS s (customer_key, plan_id, anchor_at, period_index, amount)
    VALUES (import_subscription.customer_key, import_subscription.plan_id, anchor_at,
            next_index::integer, import_subscription.amount)
    RETURNING s.subscription_id INTO made;
    RETURN made;
END
$$;
COMMENT ON FUNCTION billing.import_subscription(text, text, timestamptz, timestamptz, bigint) IS
    'A payer of another system: periods are counted from the day it began there (the 31st stays the '
    '31st), and the first one charged here is the first that starts at paid_until or later. Called twice '
    'it makes two.';

-- What must never be: kept by triggers against a wrong program --------------------------------

CREATE OR REPLACE FUNCTION billing.refuse() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RAISE EXCEPTION 'billing.%: rows are never deleted', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END
$$;
CREATE OR REPLACE TRIGGER charges_kept BEFORE DELETE OR TRUNCATE ON billing.charges
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse();
CREATE OR REPLACE TRIGGER attempts_kept BEFORE DELETE OR TRUNCATE ON billing.attempts
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse();
CREATE OR REPLACE TRIGGER events_kept BEFORE DELETE OR TRUNCATE ON billing.events
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse();

-- What the ledger refers to. No foreign keys: they cost 10 us and 180 bytes of log a charge. The guards
-- of new charges and attempts look whether the row is there; here it is kept while one refers to it.
CREATE OR REPLACE FUNCTION billing.keep_referred() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        RAISE EXCEPTION 'billing.%: the ledger refers to its rows', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    ELSIF TG_OP = 'UPDATE' THEN
        RAISE EXCEPTION 'billing.%: a row''s own number never changes', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END IF;
    -- A snapshot from before the locks would not show what they waited for.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'billing.%: rows are deleted in READ COMMITTED only', TG_TABLE_NAME
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- Claims and records end, or wait until this is committed, and then find the row gone: they hold a
    -- lock of subscriptions first, and those who write into the ledger without it are waited for, too.
    LOCK TABLE billing.subscriptions IN EXCLUSIVE MODE;
    LOCK TABLE billing.charges, billing.attempts IN SHARE ROW EXCLUSIVE MODE;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER subscriptions_kept
    BEFORE DELETE OR TRUNCATE OR UPDATE OF subscription_id ON billing.subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION billing.keep_referred();
CREATE OR REPLACE TRIGGER billing_keys_kept
    BEFORE DELETE OR TRUNCATE OR UPDATE OF billing_key_id ON billing.billing_keys
    FOR EACH STATEMENT EXECUTE FUNCTION billing.keep_referred();

CREATE OR REPLACE FUNCTION billing.refuse_referred() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    kept bigint;
BEGIN
    -- Each branch is planned when it is reached: the other table's rows have no such column.
    IF TG_TABLE_NAME = 'subscriptions' THEN
        SELECT min(c.subscription_id) INTO kept
        FROM gone AS g JOIN billing.charges AS c ON c.subscription_id = g.subscription_id;
    ELSE
        SELECT min(a.billing_key_id) INTO kept
        FROM gone AS g JOIN billing.attempts AS a ON a.billing_key_id = g.billing_key_id;
    END IF;
    IF kept IS NOT NULL THEN
        RAISE EXCEPTION 'billing.%: the ledger refers to row %, which therefore stays', TG_TABLE_NAME,
            kept USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER subscriptions_referred AFTER DELETE ON billing.subscriptions
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_referred();
CREATE OR REPLACE TRIGGER billing_keys_referred AFTER DELETE ON billing.billing_keys
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION billing.refuse_referred();
DO $$
BEGIN
    -- Asked first: ALTER TABLE would keep claims waiting even when there is nothing to drop.
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'billing.charges'::regclass
               AND conname = 'charges_subscription_id_fkey') THEN
        ALTER TABLE billing.charges DROP CONSTRAINT charges_subscription_id_fkey;
    END IF;
    IF EXISTS (SELECT FROM pg_constraint WHERE conrelid = 'billing.attempts'::regclass
               AND conname = 'attempts_billing_key_id_fkey') THEN
        ALTER TABLE billing.attempts DROP CONSTRAINT attempts_billing_key_id_fkey;
    END IF;
END
$$;

-- PostgreSQL shows the whole row in its message of a broken constraint, to the client and in its log.
CREATE OR REPLACE FUNCTION billing.check_billing_key() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    broken text := CASE
        WHEN NEW.billing_key IS NULL OR char_length(NEW.billing_key) NOT BETWEEN 8 AND 200
            OR NEW.billing_key ~ '[^A-Za-z0-9_=-]'
            THEN 'billing_key: 8 to 200 of A-Z a-z 0-9 _ = -'
        WHEN char_length(NEW.card_number) > 20
            OR char_length(regexp_replace(NEW.card_number, '[^0-9]', '', 'g')) >= 12
            THEN 'card_number: masked, at most 20 characters'
        WHEN NEW.customer_key IS NULL THEN 'customer_key: must be given' END;
BEGIN
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'new row for relation "billing_keys" violates "%"', broken
            USING ERRCODE = 'check_violation', SCHEMA = 'billing', TABLE = 'billing_keys',
                  COLUMN = split_part(broken, ':', 1), CONSTRAINT = broken;
    END IF;
    IF EXISTS (SELECT FROM billing.billing_keys WHERE billing_key = NEW.billing_key) THEN
        RAISE EXCEPTION 'billing_keys.billing_key: this key is stored already'
            USING ERRCODE = 'unique_violation', SCHEMA = 'billing', TABLE = 'billing_keys',
                  COLUMN = 'billing_key', CONSTRAINT = 'billing_keys_billing_key_unique';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER billing_keys_check BEFORE INSERT ON billing.billing_keys
    FOR EACH ROW EXECUTE FUNCTION billing.check_billing_key();

CREATE OR REPLACE FUNCTION billing.guard_billing_key() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NEW.billing_key IS DISTINCT FROM OLD.billing_key
        OR NEW.customer_key IS DISTINCT FROM OLD.customer_key
        OR NEW.billing_key_id IS DISTINCT FROM OLD.billing_key_id
    THEN
        RAISE EXCEPTION 'billing_keys.billing_key and .customer_key never change: insert a new row'
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER billing_keys_guard BEFORE UPDATE ON billing.billing_keys
    FOR EACH ROW EXECUTE FUNCTION billing.guard_billing_key();

CREATE OR REPLACE FUNCTION billing.guard_charge() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF ROW (NEW.subscription_id, NEW.period_index, NEW.period_start, NEW.period_end, NEW.amount,
            NEW.tax_free_amount, NEW.order_name, NEW.created_at)
        IS DISTINCT FROM
        ROW (OLD.subscription_id, OLD.period_index, OLD.period_start, OLD.period_end, OLD.amount,
             OLD.tax_free_amount, OLD.order_name, OLD.created_at)
    THEN
        RAISE EXCEPTION 'charge %: what was frozen when it was opened never changes', OLD.charge_id
            USING ERRCODE = 'check_violation';
    END IF;
    -- But for a hold that ends: of two payments the other one may be what is left.
    IF OLD.payment_key IS NOT NULL AND NEW.payment_key IS DISTINCT FROM OLD.payment_key
        AND NOT (OLD.state = 'held' AND NEW.state IN ('paid', 'refunded')
                 AND NEW.payment_key IS NOT NULL)
    THEN
        RAISE EXCEPTION 'charge %: a payment key never changes', OLD.charge_id
            USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.state <> OLD.state AND NOT (
        OLD.state IN ('open', 'held')
        OR (OLD.state = 'paid' AND NEW.state IN ('refunded', 'held'))
        OR (OLD.state IN ('failed', 'skipped', 'refunded') AND NEW.state = 'held'))
    THEN
        RAISE EXCEPTION 'charge % may not go from % to %', OLD.charge_id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
-- The function is called only when there may be something to refuse: a call costs 2.3 us.
CREATE OR REPLACE TRIGGER charges_guard BEFORE UPDATE ON billing.charges
    FOR EACH ROW WHEN (
        NEW.subscription_id IS DISTINCT FROM OLD.subscription_id
        OR NEW.period_index IS DISTINCT FROM OLD.period_index
        OR NEW.period_start IS DISTINCT FROM OLD.period_start
        OR NEW.period_end IS DISTINCT FROM OLD.period_end
        OR NEW.amount IS DISTINCT FROM OLD.amount
        OR NEW.tax_free_amount IS DISTINCT FROM OLD.tax_free_amount
        OR NEW.order_name IS DISTINCT FROM OLD.order_name
        OR NEW.created_at IS DISTINCT FROM OLD.created_at
        OR (OLD.payment_key IS NOT NULL AND NEW.payment_key IS DISTINCT FROM OLD.payment_key)
        OR (OLD.state <> 'open' AND NEW.state <> OLD.state))
    EXECUTE FUNCTION billing.guard_charge();

CREATE OR REPLACE FUNCTION billing.guard_new_charges() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    -- By index for each row, whatever the tables looked like when the plan was made.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    AS $$
DECLARE
    wrong record;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'charges are opened in READ COMMITTED: an older snapshot does not show what '
            'forbids them' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT n.subscription_id INTO wrong
    FROM fresh AS n LEFT JOIN billing.subscriptions AS s ON s.subscription_id = n.subscription_id
    WHERE s.subscription_id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'charges.subscription_id: there is no subscription %', wrong.subscription_id
            USING ERRCODE = 'foreign_key_violation', SCHEMA = 'billing', TABLE = 'charges',
                  COLUMN = 'subscription_id';
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER charges_guard_new AFTER INSERT ON billing.charges
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_new_charges();

-- After the whole statement, so that an attempt ended by the same statement counts as ended; and once
-- for all its rows: a call a row costs 16 us of a charge.
CREATE OR REPLACE FUNCTION billing.guard_charge_end() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    -- By index for each row, whatever the tables looked like when the plan was made.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    AS $$
DECLARE
    wrong record;
BEGIN
    SELECT n.charge_id, last.attempt_no, last.state INTO wrong
    FROM changed AS n CROSS JOIN LATERAL (
        SELECT a.attempt_no, a.state, a.finished_at FROM billing.attempts AS a
        WHERE a.charge_id = n.charge_id ORDER BY a.attempt_no DESC LIMIT 1) AS last
    WHERE n.state IN ('paid', 'failed', 'skipped', 'refunded') AND n.amount > 0
      AND (last.state = 'open'
           OR n.state IN ('failed', 'skipped')
              -- Each in a sub-select, so that it is read once at most, not for every row: 5 us a charge.
              AND last.finished_at + (SELECT gap FROM billing.settings) > (SELECT billing.now()))
    ORDER BY n.charge_id LIMIT 1;
    IF wrong.state = 'open' THEN
        RAISE EXCEPTION 'charge % may not end while attempt % is open', wrong.charge_id,
            wrong.attempt_no USING ERRCODE = 'check_violation';
    ELSIF FOUND THEN
        RAISE EXCEPTION 'charge % may not end unpaid before its seal', wrong.charge_id
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER charges_end AFTER UPDATE ON billing.charges
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_charge_end();

CREATE OR REPLACE FUNCTION billing.guard_attempt() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF ROW (NEW.charge_id, NEW.attempt_no, NEW.order_id, NEW.idempotency_key, NEW.billing_key_id,
            NEW.amount, NEW.tax_free_amount, NEW.customer_key, NEW.order_name,
            NEW.secret_key_fingerprint, NEW.opened_at)
        IS DISTINCT FROM
        ROW (OLD.charge_id, OLD.attempt_no, OLD.order_id, OLD.idempotency_key, OLD.billing_key_id,
             OLD.amount, OLD.tax_free_amount, OLD.customer_key, OLD.order_name,
             OLD.secret_key_fingerprint, OLD.opened_at)
    THEN
        RAISE EXCEPTION 'attempt % of charge %: a pinned field never changes', OLD.attempt_no,
            OLD.charge_id USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.state <> 'open' AND ROW (NEW.state, NEW.code, NEW.finished_at)
        IS DISTINCT FROM ROW (OLD.state, OLD.code, OLD.finished_at)
    THEN
        RAISE EXCEPTION 'attempt % of charge % has ended and never changes', OLD.attempt_no,
            OLD.charge_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER attempts_guard BEFORE UPDATE ON billing.attempts
    FOR EACH ROW WHEN (
        NEW.charge_id IS DISTINCT FROM OLD.charge_id
        OR NEW.attempt_no IS DISTINCT FROM OLD.attempt_no
        OR NEW.order_id IS DISTINCT FROM OLD.order_id
        OR NEW.idempotency_key IS DISTINCT FROM OLD.idempotency_key
        OR NEW.billing_key_id IS DISTINCT FROM OLD.billing_key_id
        OR NEW.amount IS DISTINCT FROM OLD.amount
        OR NEW.tax_free_amount IS DISTINCT FROM OLD.tax_free_amount
        OR NEW.customer_key IS DISTINCT FROM OLD.customer_key
        OR NEW.order_name IS DISTINCT FROM OLD.order_name
        OR NEW.secret_key_fingerprint IS DISTINCT FROM OLD.secret_key_fingerprint
        OR NEW.opened_at IS DISTINCT FROM OLD.opened_at
        OR (OLD.state <> 'open' AND (NEW.state IS DISTINCT FROM OLD.state
            OR NEW.code IS DISTINCT FROM OLD.code
            OR NEW.finished_at IS DISTINCT FROM OLD.finished_at)))
    EXECUTE FUNCTION billing.guard_attempt();

-- Once for all rows of a statement: a call a row costs 9 us of a charge.
CREATE OR REPLACE FUNCTION billing.guard_new_attempts() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    -- By index for each row, whatever the tables looked like when the plan was made.
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
    AS $$
DECLARE
    wrong record;
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'attempts are opened in READ COMMITTED: an older snapshot does not show what '
            'forbids them' USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    SELECT n.charge_id, n.attempt_no, CASE
        WHEN c.charge_id IS NULL THEN 'there is no such charge'
        WHEN k.billing_key_id IS NULL THEN 'there is no billing key ' || n.billing_key_id
        WHEN c.state <> 'open' THEN 'the charge is ' || c.state || ', not open'
        WHEN ROW (n.amount, n.tax_free_amount, n.order_name)
            IS DISTINCT FROM ROW (c.amount, c.tax_free_amount, c.order_name)
            THEN 'amount and name are not those of the charge'
        -- A claim that was permitted before a rotation and writes after it.
        WHEN n.secret_key_fingerprint <> t.secret_key_fingerprint
            THEN 'this database is bound to another secret key'
        -- A claim that was permitted before shadow mode began and writes after it.
        WHEN t.shadow THEN 'this database is in shadow mode: another system charges'
        WHEN n.attempt_no = 1 THEN NULL
        WHEN p.state = 'approved' THEN 'the one before it was approved'
        WHEN p.state IS NULL OR p.state NOT IN ('declined', 'refused')
            THEN 'the one before it has not ended'
        WHEN p.unknown_since IS NOT NULL AND p.finished_at + t.gap > (SELECT billing.now())
            THEN 'the gap after the one before it is not over'
        -- The provider does not remember a refusal: a copy of that request may yet be executed, and
        -- its payment take as long again to show.
        WHEN p.state = 'refused' AND p.finished_at + 2 * t.late_bound > (SELECT billing.now())
            THEN 'the one before it was refused less than 2 x late_bound ago'
        END AS reason
    INTO wrong
    FROM fresh AS n LEFT JOIN billing.settings AS t ON true
    LEFT JOIN billing.charges AS c ON c.charge_id = n.charge_id
    LEFT JOIN billing.billing_keys AS k ON k.billing_key_id = n.billing_key_id
    LEFT JOIN billing.attempts AS p
        ON n.attempt_no > 1 AND p.charge_id = n.charge_id AND p.attempt_no = n.attempt_no - 1
    WHERE c.state IS DISTINCT FROM 'open' OR k.billing_key_id IS NULL
       OR ROW (n.amount, n.tax_free_amount, n.order_name)
            IS DISTINCT FROM ROW (c.amount, c.tax_free_amount, c.order_name)
       OR n.secret_key_fingerprint <> t.secret_key_fingerprint OR t.shadow
       OR n.attempt_no > 1 AND (
            p.state IS NULL OR p.state NOT IN ('declined', 'refused')
            OR p.unknown_since IS NOT NULL AND p.finished_at + t.gap > (SELECT billing.now())
            OR p.state = 'refused' AND p.finished_at + 2 * t.late_bound > (SELECT billing.now()))
    ORDER BY n.charge_id, n.attempt_no LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'attempt % of charge %: %', wrong.attempt_no, wrong.charge_id,
            wrong.reason USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER attempts_guard_new AFTER INSERT ON billing.attempts
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION billing.guard_new_attempts();

-- Subscriptions: what a change by the web app sets off ----------------------------------------

CREATE OR REPLACE FUNCTION billing.prepare_subscription() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    plan billing.plans;
BEGIN
    SELECT * INTO plan FROM billing.plans WHERE plan_id = NEW.plan_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'subscriptions.plan_id: there is no plan "%"', NEW.plan_id
            USING ERRCODE = 'foreign_key_violation', TABLE = 'subscriptions', COLUMN = 'plan_id';
    END IF;
    IF NEW.state NOT IN ('active', 'paused') THEN
        RAISE EXCEPTION 'subscriptions.state: a new subscription is active or paused, not %',
            NEW.state
            USING ERRCODE = 'check_violation', TABLE = 'subscriptions', COLUMN = 'state';
    END IF;
    NEW.cycle := plan.cycle;
    NEW.anchor_index := 0;
    NEW.period_at := billing.period_start(NEW.anchor_at, plan.cycle, NEW.period_index,
        coalesce(plan.time_zone, (SELECT time_zone FROM billing.settings)));
    NEW.next_charge_at := CASE
        WHEN NEW.state = 'paused' THEN NULL ELSE coalesce(NEW.next_charge_at, NEW.period_at) END;
    IF NEW.next_charge_at <= billing.now() THEN
        PERFORM pg_notify('billing_due', '');
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER subscriptions_prepare BEFORE INSERT ON billing.subscriptions
    FOR EACH ROW EXECUTE FUNCTION billing.prepare_subscription();

-- The worker's own updates change the lease or the period; all others are somebody's wish.
CREATE OR REPLACE FUNCTION billing.ladder_date(of_charge bigint) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $$
    SELECT CASE a.state
        WHEN 'declined' THEN least(c.period_end, a.finished_at
            + coalesce(p.dunning[c.declines], (SELECT gap FROM billing.settings)))
        ELSE billing.now() END
    FROM billing.charges AS c
    JOIN billing.subscriptions AS s USING (subscription_id)
    JOIN billing.plans AS p USING (plan_id)
    LEFT JOIN billing.attempts AS a ON a.charge_id = c.charge_id AND a.attempt_no = c.attempt_no
    WHERE c.charge_id = of_charge AND c.state = 'open'
    $$;
COMMENT ON FUNCTION billing.ladder_date(bigint) IS
    'When an open charge is tried again by its plan''s ladder: what a cancel that is taken back hid.';

CREATE OR REPLACE FUNCTION billing.follow_subscription() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    clock timestamptz := billing.now();
    became text := CASE WHEN NEW.state <> OLD.state THEN NEW.state END;
BEGIN
    IF NEW.held_reason IS NOT NULL AND OLD.held_reason IS NULL THEN
        -- The worker sets a row aside together with its due time; the web app may only mend it.
        IF OLD.next_charge_at IS NULL OR NEW.next_charge_at IS NOT NULL OR became IS NOT NULL THEN
            RAISE EXCEPTION 'subscriptions.held_reason: the worker sets it; null mends the row'
                USING ERRCODE = 'check_violation', TABLE = 'subscriptions', COLUMN = 'held_reason';
        END IF;
        RETURN NEW;
    END IF;

    IF became IN ('past_due', 'suspended', 'canceled') THEN
        RAISE EXCEPTION 'subscriptions.state: set paused or active; to cancel, set cancel_at '
            '(or use billing.cancel), the worker then ends it'
            USING ERRCODE = 'check_violation', TABLE = 'subscriptions', COLUMN = 'state';
    END IF;
    IF OLD.state = 'canceled' THEN
        RAISE EXCEPTION 'subscription % is canceled: make a new one', OLD.subscription_id
            USING ERRCODE = 'check_violation', TABLE = 'subscriptions';
    END IF;

    -- An open attempt stays due whatever is wished: if money moved, it must be found.
    IF became = 'paused' AND NOT NEW.attempt_open THEN
        -- A cancel that was to come still comes, and ends the dunning of a charge that is open. And what
        -- was tried is looked up once more: a copy of it may have been executed all the same.
        NEW.next_charge_at := least(
            CASE
                WHEN NEW.cancel_at IS NULL THEN NULL
                WHEN NEW.open_charge_id IS NOT NULL THEN greatest(NEW.cancel_at, clock)
                WHEN NEW.cancel_at <= NEW.period_at THEN NEW.cancel_at END,
            (SELECT greatest(a.finished_at + (SELECT gap FROM billing.settings), clock)
             FROM billing.charges AS c JOIN billing.attempts AS a USING (charge_id, attempt_no)
             WHERE c.charge_id = NEW.open_charge_id AND c.state = 'open'));
    ELSIF became = 'active' THEN
        NEW.held_reason := NULL;
        IF OLD.held_reason IS NULL THEN
            NEW.resumed_at := clock;
        END IF;
        NEW.asked_at := clock;
        IF NEW.open_charge_id IS NULL THEN
            NEW.next_charge_at := NEW.period_at;
        ELSE
            NEW.state := 'past_due';
            -- A row that was set aside had lost its date.
            NEW.next_charge_at := CASE
                WHEN NEW.attempt_open THEN coalesce(NEW.next_charge_at, clock) ELSE clock END;
        END IF;
    ELSIF NEW.held_reason IS NULL AND OLD.held_reason IS NOT NULL THEN
        NEW.next_charge_at := clock;
    END IF;

    IF NEW.cancel_at IS DISTINCT FROM OLD.cancel_at THEN
        -- The date was the cancel's: without it an active one goes on, others wait for resume().
        IF NEW.open_charge_id IS NULL AND OLD.cancel_at <= NEW.period_at THEN
            NEW.next_charge_at := CASE
                WHEN NEW.state IN ('active', 'past_due') THEN NEW.period_at END;
        END IF;
        IF NEW.cancel_at IS NULL THEN
            IF NEW.open_charge_id IS NOT NULL AND NOT NEW.attempt_open
                AND NEW.state = 'past_due' AND NEW.next_charge_at IS NOT NULL AND became IS NULL
            THEN
                -- The cancel had made it due: dunning goes on where it was.
                NEW.next_charge_at :=
                    coalesce(billing.ladder_date(NEW.open_charge_id), NEW.next_charge_at);
            END IF;
        ELSIF NEW.open_charge_id IS NULL THEN
            -- A cancel that commits before the claim wins: the period that began but has not
            -- been charged is not charged any more.
            IF NEW.cancel_at <= clock THEN
                NEW.cancel_at := least(NEW.cancel_at, NEW.period_at);
            END IF;
            IF NEW.cancel_at <= NEW.period_at THEN
                NEW.next_charge_at := NEW.cancel_at;
            END IF;
        ELSIF NOT NEW.attempt_open THEN
            NEW.next_charge_at := least(NEW.next_charge_at, greatest(NEW.cancel_at, clock));
        END IF;
    END IF;

    -- Another card for a charge that waits for one.
    IF NEW.billing_key_id IS DISTINCT FROM OLD.billing_key_id AND NEW.open_charge_id IS NOT NULL
        AND NOT NEW.attempt_open AND NEW.state IN ('past_due', 'suspended')
    THEN
        NEW.next_charge_at := clock;
    END IF;
    IF NEW.next_charge_at <= clock AND NEW.next_charge_at IS DISTINCT FROM OLD.next_charge_at THEN
        PERFORM pg_notify('billing_due', '');
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER subscriptions_follow
    BEFORE UPDATE OF state, cancel_at, billing_key_id, held_reason ON billing.subscriptions
    FOR EACH ROW WHEN (
        NEW.lease_owner IS NOT DISTINCT FROM OLD.lease_owner AND NEW.lease_no = OLD.lease_no
        AND NEW.period_index = OLD.period_index)
    EXECUTE FUNCTION billing.follow_subscription();

CREATE OR REPLACE FUNCTION billing.use_new_key() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF NEW.state <> 'active' THEN
        RETURN NULL;
    END IF;
    -- In the order in which workers lock them, and before their state is read: a record of "no
    -- card" that is being written is waited for, and then undone.
    PERFORM FROM billing.subscriptions WHERE customer_key = NEW.customer_key
    ORDER BY subscription_id FOR NO KEY UPDATE;
    UPDATE billing.subscriptions
    SET next_charge_at = least(next_charge_at, billing.now())
    WHERE customer_key = NEW.customer_key AND state IN ('past_due', 'suspended')
      -- One that is bound to another card would only be declined once more.
      AND billing_key_id IS NULL
      AND open_charge_id IS NOT NULL AND NOT attempt_open
      AND held_reason IS NULL
      AND NOT EXISTS (SELECT FROM billing.charges AS c
                      WHERE c.charge_id = open_charge_id AND c.state = 'held');
    IF FOUND THEN
        PERFORM pg_notify('billing_due', '');
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION billing.use_new_key() IS
    'A new card makes its customer''s declined charges due at once, also by plain INSERT.';
CREATE OR REPLACE TRIGGER billing_keys_use_new AFTER INSERT ON billing.billing_keys
    FOR EACH ROW EXECUTE FUNCTION billing.use_new_key();

-- Functions for the web app -------------------------------------------------------------------

CREATE OR REPLACE FUNCTION billing.register_billing_key(
    customer_key text, billing_key text, card_number text DEFAULT NULL,
    card_issuer text DEFAULT NULL, card_type text DEFAULT NULL
) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    known record;
BEGIN
    INSERT INTO billing.customers (customer_key) VALUES (register_billing_key.customer_key)
    ON CONFLICT DO NOTHING;
    <<store>>
    FOR try IN 1..2 LOOP
        SELECT k.billing_key_id, k.customer_key, k.state, k.dead_code INTO known
        FROM billing.billing_keys AS k
        WHERE k.billing_key = register_billing_key.billing_key;
        EXIT store WHEN FOUND;
        BEGIN
            INSERT INTO billing.billing_keys AS k
                (customer_key, billing_key, card_number, card_issuer, card_type)
            VALUES (register_billing_key.customer_key, register_billing_key.billing_key,
                    register_billing_key.card_number, register_billing_key.card_issuer,
                    register_billing_key.card_type)
            RETURNING k.billing_key_id, k.customer_key, k.state, k.dead_code INTO known;
            EXIT store;
        EXCEPTION WHEN unique_violation THEN NULL;  -- stored by another session just now
        END;
    END LOOP;
    IF known.customer_key <> register_billing_key.customer_key THEN
        RAISE EXCEPTION 'billing_keys.billing_key: this key was issued to another customer'
            USING ERRCODE = 'unique_violation', TABLE = 'billing_keys', COLUMN = 'billing_key';
    END IF;
    IF known.state <> 'active' THEN
        RAISE EXCEPTION 'billing_keys.billing_key: this key is % and cannot be used again',
            known.state || coalesce(' (' || known.dead_code || ')', '')
            USING ERRCODE = 'check_violation', TABLE = 'billing_keys', COLUMN = 'billing_key',
                  HINT = 'Have the customer register a card anew: that makes another key.';
    END IF;
    RETURN known.billing_key_id;
END
$$;
COMMENT ON FUNCTION billing.register_billing_key(text, text, text, text, text) IS
    'Stores a key issued to this customer and returns its id; the same key twice is one row. '
    'Declined charges of that customer become due at once.';

CREATE OR REPLACE FUNCTION billing.subscribe(
    customer_key text, plan_id text, starts_at timestamptz DEFAULT billing.now(),
    amount bigint DEFAULT NULL
) RETURNS bigint
    LANGUAGE sql SET search_path = pg_catalog, pg_temp
    AS $$
    INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, amount)
    VALUES (customer_key, plan_id, coalesce(starts_at, billing.now()), amount)
    RETURNING subscription_id
    $$;
COMMENT ON FUNCTION billing.subscribe(text, text, timestamptz, bigint) IS
    'A new subscription; its first charge is due at starts_at: now means at once.';

-- The parameter is not called found: PL/pgSQL's own variable of that name would hide it.
CREATE OR REPLACE FUNCTION billing.require_subscription(subscription_id bigint, is_there boolean)
    RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF is_there IS NOT TRUE THEN
        RAISE EXCEPTION 'subscription_id: there is no subscription %', subscription_id
            USING ERRCODE = 'no_data_found';
    END IF;
END
$$;
COMMENT ON FUNCTION billing.require_subscription(bigint, boolean) IS
    'Raises "there is no subscription" unless it is there.';

CREATE OR REPLACE FUNCTION billing.change_plan(subscription_id bigint, plan_id text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE billing.subscriptions AS s SET plan_id = change_plan.plan_id
    WHERE s.subscription_id = change_plan.subscription_id;
    PERFORM billing.require_subscription(subscription_id, FOUND);
END
$$;
COMMENT ON FUNCTION billing.change_plan(bigint, text) IS 'From the next charge on.';

CREATE OR REPLACE FUNCTION billing.change_amount(subscription_id bigint, amount bigint)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE billing.subscriptions AS s SET amount = change_amount.amount
    WHERE s.subscription_id = change_amount.subscription_id;
    PERFORM billing.require_subscription(subscription_id, FOUND);
END
$$;
COMMENT ON FUNCTION billing.change_amount(bigint, bigint) IS
    'Own price from the next charge on; null: the plan''s again.';

CREATE OR REPLACE FUNCTION billing.cancel(subscription_id bigint, at text DEFAULT 'period_end')
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    IF at IS NULL OR at NOT IN ('period_end', 'now') THEN
        RAISE EXCEPTION 'at: period_end or now, not "%"', at
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- A claim that opens the charge is waited for first: the update's own snapshot would know the
    -- subscription's new charge, but not the charge.
    PERFORM FROM billing.subscriptions AS s
    WHERE s.subscription_id = cancel.subscription_id FOR NO KEY UPDATE;
    UPDATE billing.subscriptions AS s
    SET cancel_at = CASE
        WHEN cancel.at = 'now' THEN billing.now()
        -- In shadow the row stands still; what is paid there ends with the period noted last.
        WHEN s.open_charge_id IS NULL THEN coalesce((
            SELECT h.period_at FROM billing.shadow_positions AS h CROSS JOIN billing.settings AS t
            WHERE t.shadow AND h.subscription_id = s.subscription_id), s.period_at)
        ELSE (SELECT c.period_end FROM billing.charges AS c WHERE c.charge_id = s.open_charge_id)
        END
    WHERE s.subscription_id = cancel.subscription_id;
    PERFORM billing.require_subscription(subscription_id, FOUND);
END
$$;
COMMENT ON FUNCTION billing.cancel(bigint, text) IS
    'At the end of the period that is paid, or now (which also ends dunning).';

CREATE OR REPLACE FUNCTION billing.pause(subscription_id bigint)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE billing.subscriptions AS s SET state = 'paused'
    WHERE s.subscription_id = pause.subscription_id;
    PERFORM billing.require_subscription(subscription_id, FOUND);
END
$$;
COMMENT ON FUNCTION billing.pause(bigint) IS
    'No charges until resumed; an attempt that is under way is still recorded.';

CREATE OR REPLACE FUNCTION billing.resume(subscription_id bigint)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    UPDATE billing.subscriptions AS s SET state = 'active', held_reason = NULL
    WHERE s.subscription_id = resume.subscription_id
      AND (s.state IN ('paused', 'suspended', 'canceled') OR s.held_reason IS NOT NULL);
    IF NOT FOUND THEN
        PERFORM billing.require_subscription(subscription_id, EXISTS (
            SELECT FROM billing.subscriptions AS s
            WHERE s.subscription_id = resume.subscription_id));
    END IF;
END
$$;
COMMENT ON FUNCTION billing.resume(bigint) IS
    'Ends a pause, a suspension or a row set aside. Periods that began meanwhile are skipped; a '
    'declined charge that is still open is tried at once.';

CREATE OR REPLACE FUNCTION billing.retry_now(subscription_id bigint)
    RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    is_due boolean;
BEGIN
    UPDATE billing.subscriptions AS s
    SET next_charge_at = least(s.next_charge_at, billing.now()), asked_at = billing.now()
    FROM billing.charges AS c
    WHERE s.subscription_id = retry_now.subscription_id AND c.charge_id = s.open_charge_id
      AND c.state = 'open' AND NOT s.attempt_open AND s.state IN ('past_due', 'suspended');
    is_due := FOUND;
    IF is_due THEN
        PERFORM pg_notify('billing_due', '');
    ELSE
        PERFORM billing.require_subscription(subscription_id, EXISTS (
            SELECT FROM billing.subscriptions AS s
            WHERE s.subscription_id = retry_now.subscription_id));
    END IF;
    RETURN is_due;
END
$$;
COMMENT ON FUNCTION billing.retry_now(bigint) IS
    'An open, declined charge becomes due now; it counts as the next attempt. False: there is none.';

CREATE OR REPLACE FUNCTION billing.forecast(until timestamptz)
    RETURNS TABLE (subscription_id bigint, period_index integer, due_at timestamptz, amount bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
BEGIN
    IF until IS NULL OR NOT isfinite(until) THEN
        RAISE EXCEPTION 'until: a finite time, not "%"', until
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    WITH basis AS (
        SELECT s.subscription_id, s.period_index, s.period_at, s.next_charge_at, s.cancel_at,
               s.open_charge_id, s.attempt_open, c.amount AS open_amount,
               c.period_end AS open_end,
               coalesce(s.amount, p.amount) AS amount,
               p.cycle::text <> s.cycle::text AS moves, p.cycle, s.cycle AS old_cycle,
               s.anchor_at, s.anchor_index, s.resumed_at, p.catch_up,
               coalesce(p.time_zone, (SELECT time_zone FROM billing.settings)) AS time_zone
        FROM billing.subscriptions AS s
        JOIN billing.plans AS p USING (plan_id)
        LEFT JOIN billing.charges AS c ON c.charge_id = s.open_charge_id
        -- A suspended one only if a new card made it due: otherwise it waits for its period's end.
        WHERE (s.state IN ('active', 'past_due')
               OR s.state = 'suspended' AND s.next_charge_at < c.period_end)
          AND s.next_charge_at IS NOT NULL AND s.held_reason IS NULL
    ), anchored AS (
        SELECT b.*,
               CASE WHEN moves THEN coalesce(open_end, period_at) ELSE anchor_at END AS base_at,
               CASE WHEN moves THEN period_index + (open_charge_id IS NOT NULL)::int
                    ELSE anchor_index END AS base_index
        FROM basis AS b
    )
    SELECT subscription_id, period_index, next_charge_at, open_amount
    FROM anchored WHERE open_charge_id IS NOT NULL AND next_charge_at < until
      AND (cancel_at IS NULL OR next_charge_at < cancel_at)
      -- At its period's end a declined charge is sealed, not tried again.
      AND (next_charge_at < open_end OR attempt_open)
    UNION ALL
    SELECT l.subscription_id, l.n, l.due_at, l.amount
    FROM (
    SELECT a.subscription_id, n.n, greatest(n.starts_at, a.next_charge_at) AS due_at, a.amount,
           -- A missed period of a plan that holds stops all that follow.
           bool_or(a.catch_up = 'hold' AND n.ends_at <= billing.now())
               OVER (PARTITION BY a.subscription_id) AS is_held
    FROM anchored AS a
    CROSS JOIN LATERAL (
        SELECT g AS n, billing.period_start(a.base_at, a.cycle, g - a.base_index, a.time_zone)
               AS starts_at,
               billing.period_start(a.base_at, a.cycle, g + 1 - a.base_index, a.time_zone)
               AS ends_at
        FROM generate_series(
            a.period_index + (a.open_charge_id IS NOT NULL)::int,
            a.period_index + 1 + greatest(0, ceil(extract(epoch FROM until - a.period_at)
                / (86400 * greatest(1, extract(year FROM a.cycle) * 365
                   + extract(month FROM a.cycle) * 28 + extract(day FROM a.cycle)))))::int) AS g
    ) AS n
    WHERE n.starts_at < until AND (a.cancel_at IS NULL OR n.starts_at < a.cancel_at)
      -- Periods that will be skipped: paused, or missed when only the latest is caught up.
      AND (a.resumed_at IS NULL OR n.starts_at >= a.resumed_at)
      AND (a.catch_up <> 'latest' OR billing.now() < n.ends_at)
    ) AS l
    WHERE NOT l.is_held;
END
$$;
COMMENT ON FUNCTION billing.forecast(timestamptz) IS
    'What will be charged until then, as things stand and if every charge succeeds.';

CREATE OR REPLACE FUNCTION billing.audit()
    RETURNS TABLE (promise text, subscription_id bigint, charge_id bigint, detail text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    -- Without statistics the planner takes the ledger for empty, right after a first large run: nested
    -- loops over 60,000 charges took 104 s instead of 0.2.
    SET enable_nestloop = off
    AS $$
    SELECT 'one payment a period', c.subscription_id, c.charge_id,
           'attempt ' || a.attempt_no || ' was paid, too: ' || a.contradiction
    FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
    WHERE c.state IN ('paid', 'refunded') AND a.contradiction IS NOT NULL
      AND (a.contradiction <> c.payment_key
           OR EXISTS (SELECT FROM billing.attempts AS o
                      WHERE o.charge_id = a.charge_id AND o.state = 'approved'))
      -- Unless a person ended the hold that followed: of its payments this one is left.
      AND NOT EXISTS (SELECT FROM billing.events AS e
                      WHERE e.subscription_id = c.subscription_id AND e.data ? 'by'
                        AND e.data ? 'held' AND e.charge_id = c.charge_id
                        AND e.type IN ('charge.paid', 'charge.refunded')
                        AND e.data ->> 'payment_key' = c.payment_key)
    UNION ALL
    SELECT 'paid has a payment key', c.subscription_id, c.charge_id, 'state ' || c.state
    FROM billing.charges AS c
    WHERE c.state IN ('paid', 'refunded') AND c.amount > 0 AND c.payment_key IS NULL
    UNION ALL
    SELECT 'an approval is paid', c.subscription_id, c.charge_id,
           'attempt ' || a.attempt_no || ' approved, charge ' || c.state
    FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
    WHERE a.state = 'approved' AND c.state NOT IN ('paid', 'refunded', 'held')
    UNION ALL
    SELECT 'paid was approved', c.subscription_id, c.charge_id, 'no approved attempt'
    FROM billing.charges AS c
    WHERE c.state IN ('paid', 'refunded') AND c.amount > 0
      AND NOT EXISTS (SELECT FROM billing.attempts AS a
                      WHERE a.charge_id = c.charge_id
                        AND (a.state = 'approved' OR a.contradiction = c.payment_key))
      -- Found at the provider for a period whose attempts this database had lost.
      AND NOT (c.attempt_no = 0 AND c.payment_key IS NOT NULL AND c.period_start < coalesce(
          (SELECT look_first_before FROM billing.settings), '-infinity'))
    UNION ALL
    SELECT 'amounts are what was pinned', c.subscription_id, c.charge_id,
           'charge ' || c.amount || ', attempt ' || a.amount
    FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
    WHERE a.amount <> c.amount
    UNION ALL
    SELECT 'attempts follow each other', c.subscription_id, c.charge_id,
           'attempt ' || a.attempt_no || ' was made, the one before it is '
               || coalesce(p.state, 'missing')
    FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
    LEFT JOIN billing.attempts AS p
        ON p.charge_id = a.charge_id AND p.attempt_no = a.attempt_no - 1
    WHERE a.attempt_no > 1 AND (p.state IN ('declined', 'refused')) IS NOT TRUE
    UNION ALL
    SELECT 'an ended charge has no open attempt', c.subscription_id, c.charge_id,
           'attempt ' || a.attempt_no
    FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
    WHERE a.state = 'open' AND c.state NOT IN ('open', 'held')
    UNION ALL
    SELECT 'an open attempt ends or is held in time', c.subscription_id, c.charge_id,
           'attempt ' || a.attempt_no || ' open since ' || a.opened_at
    FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
    WHERE a.state = 'open' AND c.state = 'open'
      AND a.opened_at + (SELECT hold_age FROM billing.settings) + interval '1 hour'
          < (SELECT billing.now())
    UNION ALL
    SELECT 'a due row is acted on', s.subscription_id, s.open_charge_id,
           'due since ' || s.next_charge_at
    FROM billing.subscriptions AS s
    WHERE s.next_charge_at < (SELECT billing.now()) - interval '1 hour'
      AND (s.lease_until IS NULL OR s.lease_until < pg_catalog.now() - interval '1 hour')
      AND NOT (SELECT t.shadow FROM billing.settings AS t)
    UNION ALL
    SELECT 'an open charge is somebody''s', c.subscription_id, c.charge_id,
           'subscription points at ' || coalesce(s.open_charge_id::text, 'none')
    FROM billing.charges AS c JOIN billing.subscriptions AS s USING (subscription_id)
    WHERE c.state = 'open' AND s.open_charge_id IS DISTINCT FROM c.charge_id
    UNION ALL
    SELECT 'a running subscription has a next date', s.subscription_id, s.open_charge_id,
           'state ' || s.state || ', nothing planned, nothing held'
    FROM billing.subscriptions AS s
    LEFT JOIN billing.charges AS c ON c.charge_id = s.open_charge_id
    WHERE s.state IN ('active', 'past_due') AND s.next_charge_at IS NULL
      AND s.held_reason IS NULL AND c.state IS DISTINCT FROM 'open'
      AND c.state IS DISTINCT FROM 'held'
    UNION ALL
    SELECT 'an open charge is planned or suspended', c.subscription_id, c.charge_id,
           'nothing is planned, state ' || s.state
    FROM billing.charges AS c JOIN billing.subscriptions AS s USING (subscription_id)
    WHERE c.state = 'open' AND s.next_charge_at IS NULL AND s.state <> 'paused'
      AND s.held_reason IS NULL
    UNION ALL
    SELECT 'the ledger agrees with the provider''s books', NULL, NULL,
           r.findings || ' findings on ' || r.day || ': billingd reconcile --day ' || r.day
    FROM billing.reconciliations AS r WHERE r.findings > 0
    $$;
COMMENT ON FUNCTION billing.audit() IS
    'A row for every violated promise; empty means sound. Held charges are not violations: they '
    'wait for a person and stand in billing.charges.';

-- The operator's hand: a held charge ends here and nowhere else --------------------------------

CREATE OR REPLACE FUNCTION billing.end_hold(
    charge_id bigint, becomes text, why text, order_id text DEFAULT NULL,
    payment_key text DEFAULT NULL, paid_at timestamptz DEFAULT NULL,
    receipt_url text DEFAULT NULL, refunded bigint DEFAULT NULL
) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    charge billing.charges;
    owner billing.subscriptions;
    clock timestamptz := billing.now();
    is_current boolean;
    is_paid boolean := becomes IN ('paid', 'refunded');
    -- Of several payments another one than the ledger had is left.
    is_other boolean;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF why IS NULL OR why !~ '\S' THEN
        RAISE EXCEPTION 'why: say why; it goes into the ledger'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF becomes IS NULL OR becomes NOT IN ('open', 'paid', 'refunded', 'failed', 'held') THEN
        RAISE EXCEPTION 'becomes: open, paid, refunded, failed or held, not "%"', becomes
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- The order of all locks: subscription, charge, attempt.
    SELECT s.* INTO owner FROM billing.subscriptions AS s WHERE s.subscription_id = (
        SELECT c.subscription_id FROM billing.charges AS c WHERE c.charge_id = end_hold.charge_id)
    FOR NO KEY UPDATE;
    SELECT c.* INTO charge FROM billing.charges AS c WHERE c.charge_id = end_hold.charge_id
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'charge_id: there is no charge %', end_hold.charge_id
            USING ERRCODE = 'no_data_found';
    END IF;
    IF charge.state <> 'held' THEN
        RAISE EXCEPTION 'charge % is %, not held', charge.charge_id, charge.state
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF owner.lease_until > pg_catalog.now() THEN
        RAISE EXCEPTION 'subscription % is in a worker''s hand until %: try again then',
            owner.subscription_id, owner.lease_until
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    is_current := owner.open_charge_id IS NOT DISTINCT FROM charge.charge_id;

    IF becomes = 'held' THEN
        -- Not the charge: its attempt, too old to be sent again and not at the provider, ends as never
        -- executed. The charge may end, or be tried anew, a gap later.
        UPDATE billing.attempts AS a
        SET state = 'refused', finished_at = clock, code = 'NOT_FOUND_PAYMENT', in_doubt = false,
            message = left('ended by ' || session_user || ': ' || why, 500)
        WHERE a.charge_id = charge.charge_id AND a.state = 'open'
          AND a.opened_at + (SELECT last_send_age FROM billing.settings) <= clock;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'charge % has no open attempt that is too old to be sent again',
                charge.charge_id USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        UPDATE billing.subscriptions AS s SET lease_no = s.lease_no + 1, attempt_open = false
        WHERE s.subscription_id = owner.subscription_id AND is_current;
        RETURN;
    END IF;
    is_other := is_paid AND charge.payment_key IS NOT NULL
        AND charge.payment_key IS DISTINCT FROM end_hold.payment_key;
    IF is_paid THEN
        IF payment_key IS NULL OR order_id IS NULL THEN
            RAISE EXCEPTION 'payment_key, order_id: of the payment that the provider shows'
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        IF becomes = 'refunded' AND (refunded IS NULL OR refunded NOT BETWEEN 1 AND charge.amount)
        THEN
            RAISE EXCEPTION 'refunded: 1 to the % won of charge %, not %', charge.amount,
                charge.charge_id, refunded USING ERRCODE = 'invalid_parameter_value';
        END IF;
        UPDATE billing.attempts AS a
        SET state = CASE WHEN a.state = 'open' THEN 'approved' ELSE a.state END,
            finished_at = coalesce(a.finished_at, clock),
            code = CASE WHEN a.state = 'open' THEN 'LOOKED_UP' ELSE a.code END,
            in_doubt = false,
            contradiction = CASE WHEN a.state IN ('open', 'approved') THEN a.contradiction
                                 ELSE end_hold.payment_key END
        WHERE a.charge_id = charge.charge_id AND a.order_id = end_hold.order_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'order_id: "%" is no attempt of charge %', order_id, charge.charge_id
                USING ERRCODE = 'no_data_found';
        END IF;
        -- The payment that was cancelled: late news of it is no news.
        UPDATE billing.attempts AS a SET contradiction = charge.payment_key
        WHERE is_other AND a.charge_id = charge.charge_id AND a.state = 'approved'
          AND a.order_id <> end_hold.order_id AND a.contradiction IS NULL;
    ELSIF charge.payment_key IS NOT NULL THEN
        RAISE EXCEPTION 'charge % has payment %: it can only become paid or refunded',
            charge.charge_id, charge.payment_key USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF becomes = 'open' AND NOT (is_current AND charge.order_name <> '?') THEN
        RAISE EXCEPTION 'charge % cannot be charged any more: its period is over, or it was never a '
            'legal charge', charge.charge_id USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'billingd fail ends it; the next period is charged as usual.';
    END IF;

    UPDATE billing.charges AS c
    SET state = becomes, updated_at = clock,
        reason = CASE WHEN becomes = 'open' THEN NULL
                      ELSE left(session_user || ': ' || why || ' (held: ' || c.reason || ')', 1000) END,
        payment_key = CASE WHEN is_paid THEN end_hold.payment_key ELSE c.payment_key END,
        receipt_url = CASE WHEN is_other THEN end_hold.receipt_url
                           ELSE coalesce(c.receipt_url, end_hold.receipt_url) END,
        card = CASE WHEN NOT is_other THEN c.card END,
        refunded_amount = CASE WHEN becomes = 'refunded' THEN end_hold.refunded
                               WHEN NOT is_other THEN c.refunded_amount END,
        paid_at = CASE WHEN is_paid THEN coalesce(end_hold.paid_at, clock) ELSE c.paid_at END
    WHERE c.charge_id = charge.charge_id;
    IF is_current THEN
        -- A new lease number: what an old worker still says of it is an opinion of the past.
        UPDATE billing.subscriptions AS s
        SET lease_no = s.lease_no + 1, lease_until = NULL, lease_owner = NULL, claims = 0,
            state = CASE WHEN is_paid AND s.state IN ('past_due', 'suspended')
                         THEN 'active' ELSE s.state END,
            period_index = s.period_index + (becomes <> 'open')::int,
            period_at = CASE WHEN becomes = 'open' THEN s.period_at ELSE charge.period_end END,
            open_charge_id = CASE WHEN becomes = 'open' THEN s.open_charge_id END,
            attempt_open = becomes = 'open' AND s.attempt_open,
            asked_at = CASE WHEN becomes = 'open' THEN clock ELSE s.asked_at END,
            next_charge_at = CASE
                WHEN becomes = 'open' THEN clock
                WHEN s.cancel_at <= charge.period_end THEN greatest(s.cancel_at, clock)
                WHEN s.state IN ('canceled', 'paused')
                    OR s.state = 'suspended' AND becomes = 'failed' THEN NULL
                ELSE charge.period_end END
        WHERE s.subscription_id = owner.subscription_id;
    END IF;
    INSERT INTO billing.events (type, subscription_id, charge_id, data)
    VALUES ('charge.' || CASE becomes WHEN 'open' THEN 'released' ELSE becomes END,
            owner.subscription_id, charge.charge_id, jsonb_strip_nulls(jsonb_build_object(
                'period_index', charge.period_index, 'amount', charge.amount, 'by', session_user,
                'why', why, 'held', charge.reason, 'payment_key', end_hold.payment_key,
                'refunded_amount', CASE WHEN becomes = 'refunded' THEN end_hold.refunded END)));
    PERFORM pg_notify('billing_due', '');
END
$$;
COMMENT ON FUNCTION billing.end_hold(bigint, text, text, text, text, timestamptz, text, bigint) IS
    'Ends the hold of a charge, after the provider was asked about every order id of it: open again, '
    'paid by the payment that is left, refunded if it was cancelled, or failed; held ends only an attempt too old to be sent. Notes who '
    'and why. Use billingd release and billingd fail, which ask.';

-- The pure rules of billingd decide whether a retry makes sense and say why not; what stands here
-- keeps it harmless whoever calls.
CREATE OR REPLACE FUNCTION billing.retry(subscription_id bigint, why text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    owner billing.subscriptions;
    charge billing.charges;
    clock timestamptz := billing.now();
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF why IS NULL OR why !~ '\S' THEN
        RAISE EXCEPTION 'why: say why; it goes into the ledger'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT s.* INTO owner FROM billing.subscriptions AS s
    WHERE s.subscription_id = retry.subscription_id FOR NO KEY UPDATE;
    PERFORM billing.require_subscription(subscription_id, FOUND);
    SELECT c.* INTO charge FROM billing.charges AS c WHERE c.charge_id = owner.open_charge_id;
    IF charge.state IS DISTINCT FROM 'open' OR owner.attempt_open OR owner.held_reason IS NOT NULL
        OR owner.state NOT IN ('active', 'past_due', 'suspended') OR charge.attempt_no = 0
        OR owner.lease_until > pg_catalog.now()
    THEN
        RAISE EXCEPTION 'subscription % has no open, declined charge that may be tried now',
            owner.subscription_id USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'billingd explain ' || owner.subscription_id || ' says what it waits for.';
    END IF;
    IF owner.next_charge_at <= clock THEN
        RETURN false;
    END IF;
    UPDATE billing.subscriptions AS s SET next_charge_at = clock, asked_at = clock
    WHERE s.subscription_id = owner.subscription_id;
    INSERT INTO billing.events (type, subscription_id, charge_id, data)
    VALUES ('charge.retried', owner.subscription_id, charge.charge_id,
            jsonb_strip_nulls(jsonb_build_object('period_index', charge.period_index,
                'amount', charge.amount, 'by', session_user, 'why', why,
                'was_due_at', owner.next_charge_at)));
    PERFORM pg_notify('billing_due', '');
    RETURN true;
END
$$;
COMMENT ON FUNCTION billing.retry(bigint, text) IS
    'An open, declined charge becomes due now, without waiting for its day; it counts as the next '
    'attempt. Notes who and why. False: it is due already. Use billingd retry, which explains.';

-- A rotation of the secret key: begun, it pauses the fleet; ended, the new key is bound. In between
-- anybody may die: beginning again goes on, keeping the old key takes it back.
CREATE OR REPLACE FUNCTION billing.begin_key_rotation(fingerprint text, why text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    now_bound billing.settings;
    sentence text := 'the secret key is being rotated by ' || session_user || ': ' || why;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF why IS NULL OR why !~ '\S' THEN
        RAISE EXCEPTION 'why: say why; it goes into the ledger'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF fingerprint IS NULL OR fingerprint !~ '^[0-9a-f]{16}$' THEN
        RAISE EXCEPTION 'fingerprint: 16 hex digits, not "%"', fingerprint
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO now_bound FROM billing.settings FOR NO KEY UPDATE;
    IF now_bound.secret_key_fingerprint IS NULL THEN
        RAISE EXCEPTION 'no secret key is bound yet: the first worker that starts binds its own'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF now_bound.secret_key_fingerprint = fingerprint THEN
        RAISE EXCEPTION 'the key with fingerprint % is bound already', fingerprint
            USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF now_bound.rotating_to <> fingerprint THEN
        RAISE EXCEPTION 'a rotation to the key with fingerprint % is under way',
            now_bound.rotating_to USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'billingd rotate-key --abort takes it back.';
    END IF;
    UPDATE billing.settings
    SET rotating_to = fingerprint, paused = true,
        rotation_pause = CASE WHEN now_bound.paused THEN now_bound.rotation_pause ELSE sentence END,
        paused_reason = CASE WHEN now_bound.paused THEN now_bound.paused_reason ELSE sentence END;
    IF now_bound.rotating_to IS NULL THEN
        INSERT INTO billing.events (type, data)
        VALUES ('secret_key.rotating', jsonb_build_object('by', session_user, 'why', why,
                'from', now_bound.secret_key_fingerprint, 'to', fingerprint));
    END IF;
END
$$;
COMMENT ON FUNCTION billing.begin_key_rotation(text, text) IS
    'Pauses the fleet for a new secret key of the same shop. Called again it goes on. Use billingd '
    'rotate-key, which asks the provider first.';

CREATE OR REPLACE FUNCTION billing.end_key_rotation(fingerprint text, why text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    now_bound billing.settings;
    unpauses boolean;
    leases bigint;
    unsent bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF why IS NULL OR why !~ '\S' THEN
        RAISE EXCEPTION 'why: say why; it goes into the ledger'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO now_bound FROM billing.settings FOR NO KEY UPDATE;
    IF now_bound.rotating_to IS DISTINCT FROM fingerprint THEN
        RAISE EXCEPTION 'no rotation to the key with fingerprint % is under way', fingerprint
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF NOT now_bound.paused THEN
        RAISE EXCEPTION 'somebody ended the pause of the rotation'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'billingd rotate-key, run again, pauses anew.';
    END IF;
    -- Claims that were permitted before the pause end, or wait until this is committed; what they
    -- then write under the old key is refused (billing.guard_new_attempt).
    LOCK TABLE billing.subscriptions IN EXCLUSIVE MODE;
    SELECT count(*) INTO leases FROM billing.subscriptions WHERE lease_until > clock_timestamp();
    IF leases > 0 THEN
        RETURN leases;
    END IF;
    -- What never left under the old key never will: its name ends, another one follows. What may have
    -- left stays open and is looked up.
    WITH ended AS (
        UPDATE billing.attempts AS a
        SET state = 'refused', finished_at = billing.now(), code = 'SECRET_KEY_ROTATED',
            message = 'it never left, and its secret key is gone'
        WHERE a.state = 'open' AND NOT a.in_doubt AND a.secret_key_fingerprint <> fingerprint
        RETURNING a.charge_id
    ), freed AS (
        UPDATE billing.subscriptions AS s SET lease_no = s.lease_no + 1, attempt_open = false
        FROM ended AS e WHERE s.open_charge_id = e.charge_id
    )
    SELECT count(*) INTO unsent FROM ended;
    unpauses := now_bound.rotation_pause IS NOT NULL
        AND now_bound.paused_reason IS NOT DISTINCT FROM now_bound.rotation_pause;
    UPDATE billing.settings
    SET secret_key_fingerprint = fingerprint, rotating_to = NULL, rotation_pause = NULL,
        paused = NOT unpauses, paused_reason = CASE WHEN NOT unpauses THEN paused_reason END;
    INSERT INTO billing.events (type, data)
    VALUES ('secret_key.rotated', jsonb_build_object('by', session_user, 'why', why,
            'from', now_bound.secret_key_fingerprint, 'to', fingerprint,
            'ended_unsent', unsent, 'open_attempts', (SELECT count(*) FROM billing.attempts AS a
                WHERE a.state = 'open' AND a.finished_at IS NULL
                  AND a.secret_key_fingerprint <> fingerprint)));
    RETURN 0;
END
$$;
COMMENT ON FUNCTION billing.end_key_rotation(text, text) IS
    'Binds the new secret key once no subscription is in a worker''s hand, and ends the pause that '
    'the rotation made. Returns how many still are; 0: bound. Use billingd rotate-key.';

CREATE OR REPLACE FUNCTION billing.keep_secret_key(why text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    now_bound billing.settings;
    unpauses boolean;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF why IS NULL OR why !~ '\S' THEN
        RAISE EXCEPTION 'why: say why; it goes into the ledger'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO now_bound FROM billing.settings FOR NO KEY UPDATE;
    IF now_bound.rotating_to IS NULL THEN
        RETURN NULL;
    END IF;
    unpauses := now_bound.rotation_pause IS NOT NULL
        AND now_bound.paused_reason IS NOT DISTINCT FROM now_bound.rotation_pause;
    UPDATE billing.settings
    SET rotating_to = NULL, rotation_pause = NULL, paused = paused AND NOT unpauses,
        paused_reason = CASE WHEN NOT unpauses THEN paused_reason END;
    INSERT INTO billing.events (type, data)
    VALUES ('secret_key.kept', jsonb_build_object('by', session_user, 'why', why,
            'from', now_bound.secret_key_fingerprint, 'to', now_bound.rotating_to));
    RETURN now_bound.rotating_to;
END
$$;
COMMENT ON FUNCTION billing.keep_secret_key(text) IS
    'Takes an unfinished rotation back: the old key stays bound, the pause that the rotation made '
    'ends. Returns the fingerprint that was not bound; null: no rotation was under way.';

-- Shadow mode: begun before the first charge, ended when the other system was stopped.
CREATE OR REPLACE FUNCTION billing.begin_shadow(why text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    is_shadow boolean;
    live_workers bigint;
    open_charges bigint;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF why IS NULL OR why !~ '\S' THEN
        RAISE EXCEPTION 'why: say why; it goes into the ledger'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT t.shadow INTO is_shadow FROM billing.settings AS t FOR NO KEY UPDATE;
    IF is_shadow THEN
        RAISE EXCEPTION 'this database is in shadow mode already'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- A claim that was permitted before could still open a charge, which nobody would follow.
    SELECT count(*) INTO live_workers FROM billing.workers AS w
    WHERE w.seen_at > clock_timestamp() - interval '20 seconds' AND w.state <> 'stopped';
    IF live_workers > 0 THEN
        RAISE EXCEPTION '% workers are running: stop them first', live_workers
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'One that was killed counts for 20 seconds.';
    END IF;
    LOCK TABLE billing.subscriptions IN EXCLUSIVE MODE;
    SELECT count(*) INTO open_charges FROM billing.subscriptions WHERE open_charge_id IS NOT NULL;
    IF open_charges > 0 THEN
        RAISE EXCEPTION '% charges are open here: nothing would follow them to their end',
            open_charges USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Shadow mode is for a database that does not charge yet.';
    END IF;
    UPDATE billing.settings SET shadow = true;
    INSERT INTO billing.events (type, data)
    VALUES ('shadow.begun', jsonb_build_object('by', session_user, 'why', why));
END
$$;
COMMENT ON FUNCTION billing.begin_shadow(text) IS
    'From now on nothing is charged here, and billingd run --shadow notes what would be. Notes who and '
    'why.';

CREATE OR REPLACE FUNCTION billing.end_shadow(why text, at_once bigint DEFAULT 0)
    RETURNS TABLE (moved bigint, charges_at_once bigint, won_at_once bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    is_shadow boolean;
    clock timestamptz := billing.now();
    behind bigint;
    ahead billing.other_payments;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF why IS NULL OR why !~ '\S' THEN
        RAISE EXCEPTION 'why: say why; it goes into the ledger'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF at_once IS NULL OR at_once < 0 THEN
        RAISE EXCEPTION 'at_once: how many charges may be made at once, 0 or more, not %', at_once
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT t.shadow INTO is_shadow FROM billing.settings AS t FOR NO KEY UPDATE;
    IF NOT is_shadow THEN
        RAISE EXCEPTION 'this database is not in shadow mode: it was ended, or never begun'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- Nobody fills in a payment, imports or cancels while the rows are moved. In this order, because
    -- whoever inserts a payment locks its subscription afterwards.
    LOCK TABLE billing.other_payments IN SHARE MODE;
    LOCK TABLE billing.subscriptions IN EXCLUSIVE MODE;
    SELECT count(*) INTO behind FROM billing.shadow_positions AS w
    WHERE w.is_due AND w.period_at < clock - interval '10 minutes';
    IF behind > 0 THEN
        RAISE EXCEPTION '% subscriptions have periods that began more than 10 minutes ago and are not '
            'noted', behind USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Is billingd run --shadow running? Wait until it has noted them.';
    END IF;
    SELECT o.* INTO ahead FROM billing.other_payments AS o
    WHERE o.paid_at > clock + interval '10 minutes' ORDER BY o.paid_at DESC LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'other_payments.paid_at: payment "%" at % lies ahead', ahead.payment_id,
            ahead.paid_at USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;

    WITH last AS (
        SELECT DISTINCT ON (o.subscription_id) o.subscription_id, o.paid_at, o.payment_id
        FROM billing.other_payments AS o WHERE o.subscription_id IS NOT NULL
        ORDER BY o.subscription_id, o.paid_at DESC
    ), paid AS (
        -- The last period that was paid there, noted or still to come.
        SELECT l.subscription_id, l.paid_at, l.payment_id, s.period_index AS was, r.*
        FROM last AS l
        JOIN billing.subscriptions AS s USING (subscription_id)
        JOIN billing.shadow_positions AS w USING (subscription_id)
        CROSS JOIN LATERAL (
            SELECT x.* FROM (
                SELECT c.period_index, c.period_start, c.period_end, c.anchor_at, c.anchor_index,
                       c.cycle
                FROM billing.shadow_charges AS c
                WHERE c.subscription_id = l.subscription_id AND c.period_index >= s.period_index
                UNION ALL
                SELECT g, billing.period_start(w.anchor_at, w.cycle, g - w.anchor_index, w.time_zone),
                       billing.period_start(w.anchor_at, w.cycle, g + 1 - w.anchor_index,
                                            w.time_zone),
                       w.anchor_at, w.anchor_index, w.cycle
                -- None, if the payment is too early for the next one.
                FROM generate_series(w.period_index, w.period_index - 1 + CASE
                    WHEN l.paid_at >= billing.payable_from(w.period_at, w.period_end) THEN
                        2 + ceil(greatest(0, extract(epoch FROM l.paid_at - w.period_at))
                            / (86400 * (extract(year FROM w.cycle) * 365
                               + extract(month FROM w.cycle) * 28 + extract(day FROM w.cycle))))::int
                    ELSE 0 END) AS g
            ) AS x
            WHERE billing.payable_from(x.period_start, x.period_end) <= l.paid_at
            ORDER BY x.period_index DESC LIMIT 1
        ) AS r
        WHERE s.state <> 'canceled'
    ), went AS (
        UPDATE billing.subscriptions AS s
        SET period_index = p.period_index + 1, period_at = p.period_end, anchor_at = p.anchor_at,
            anchor_index = p.anchor_index, cycle = p.cycle, lease_no = s.lease_no + 1, claims = 0,
            next_charge_at = CASE
                WHEN s.held_reason IS NOT NULL THEN NULL
                WHEN s.cancel_at <= p.period_end THEN s.cancel_at
                WHEN s.state IN ('active', 'past_due') THEN p.period_end END
        FROM paid AS p WHERE s.subscription_id = p.subscription_id
        RETURNING s.subscription_id
    )
    INSERT INTO billing.events (type, subscription_id, data)
    SELECT 'subscription.taken_over', p.subscription_id, jsonb_build_object(
        'by', session_user, 'why', why, 'from_period', p.was, 'to_period', p.period_index + 1,
        'next_period_at', p.period_end, 'payment_id', p.payment_id, 'paid_at', p.paid_at)
    FROM paid AS p JOIN went AS w USING (subscription_id);
    GET DIAGNOSTICS moved = ROW_COUNT;
    -- Nothing was missed while another system charged.
    UPDATE billing.subscriptions AS s SET next_charge_at = clock
    WHERE s.next_charge_at < clock AND s.held_reason IS NULL
      AND (s.cancel_at IS NULL OR s.cancel_at > s.period_at);
    SELECT count(*), coalesce(sum(f.amount), 0)::bigint INTO charges_at_once, won_at_once
    FROM billing.forecast(clock) AS f WHERE f.amount > 0;
    IF charges_at_once > at_once THEN
        RAISE EXCEPTION '% charges, % won, would be made at once: their periods have begun, and no '
            'payment there is filled in for them', charges_at_once, won_at_once
            USING ERRCODE = 'object_not_in_prerequisite_state',
            HINT = 'Fill in billing.other_payments to the last run of the other system; if they are '
                'really unpaid: billing.end_shadow(why, at_once => ' || charges_at_once || ').';
    END IF;
    UPDATE billing.settings SET shadow = false;
    INSERT INTO billing.events (type, data)
    VALUES ('shadow.ended', jsonb_build_object('by', session_user, 'why', why, 'moved', moved,
            'charges_at_once', charges_at_once, 'won_at_once', won_at_once));
    PERFORM pg_notify('billing_due', '');
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION billing.end_shadow(text, bigint) IS
    'Takes over: each subscription moves to the period after the last one that was paid in '
    'billing.other_payments, and charging begins. Refused if more than at_once charges would be made at '
    'once. Stop the other system before. Notes who and why.';

-- Reconciling: what it may write ---------------------------------------------------------------

CREATE OR REPLACE FUNCTION billing.record_refund(order_id text, payment_key text, refunded bigint)
    RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
#variable_conflict use_column
DECLARE
    attempt billing.attempts;
    charge billing.charges;
    clock timestamptz := billing.now();
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    -- The order of all locks: subscription, charge, attempt.
    PERFORM FROM billing.subscriptions AS s WHERE s.subscription_id = (
        SELECT c.subscription_id
        FROM billing.attempts AS a JOIN billing.charges AS c ON c.charge_id = a.charge_id
        WHERE a.order_id = record_refund.order_id)
    FOR NO KEY UPDATE;
    SELECT c.* INTO charge FROM billing.charges AS c WHERE c.charge_id = (
        SELECT a.charge_id FROM billing.attempts AS a WHERE a.order_id = record_refund.order_id)
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'order_id: there is no attempt "%"', order_id
            USING ERRCODE = 'no_data_found';
    END IF;
    SELECT a.* INTO attempt FROM billing.attempts AS a
    WHERE a.order_id = record_refund.order_id FOR NO KEY UPDATE;
    IF charge.payment_key IS DISTINCT FROM record_refund.payment_key
        OR attempt.state <> 'approved'
            AND attempt.contradiction IS DISTINCT FROM record_refund.payment_key
    THEN
        RAISE EXCEPTION 'payment_key: charge % was not paid by "%" under order id "%"',
            charge.charge_id, payment_key, order_id USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF charge.state NOT IN ('paid', 'refunded', 'held') THEN
        RAISE EXCEPTION 'charge % is %: nothing was paid that could go back', charge.charge_id,
            charge.state USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF refunded IS NULL OR refunded NOT BETWEEN 1 AND charge.amount THEN
        RAISE EXCEPTION 'refunded: 1 to the % won of charge %, not %', charge.amount,
            charge.charge_id, refunded USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF refunded < charge.refunded_amount THEN
        RAISE EXCEPTION 'refunded: charge % has % won refunded already, which cannot become %',
            charge.charge_id, charge.refunded_amount, refunded
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF refunded = charge.refunded_amount THEN
        RETURN 'repeated';
    END IF;
    -- A held charge stays held: its hold ends by a person's hand.
    UPDATE billing.charges AS c
    SET state = CASE WHEN c.state = 'paid' THEN 'refunded' ELSE c.state END,
        refunded_amount = record_refund.refunded, updated_at = clock
    WHERE c.charge_id = charge.charge_id;
    INSERT INTO billing.events (type, subscription_id, charge_id, data)
    VALUES ('charge.refunded', charge.subscription_id, charge.charge_id, jsonb_build_object(
        'period_index', charge.period_index, 'amount', charge.amount,
        'payment_key', charge.payment_key, 'refunded_amount', refunded,
        'refunded_before', coalesce(charge.refunded_amount, 0), 'recorded_by', session_user));
    RETURN 'recorded';
END
$$;
COMMENT ON FUNCTION billing.record_refund(text, text, bigint) IS
    'Records that the provider shows a cancel of a recorded payment: all won that went back so far. '
    'Says recorded, or repeated when the ledger said so already. Notes who.';

CREATE OR REPLACE FUNCTION billing.reserve_request() RETURNS double precision
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    per_minute double precision := (SELECT max_requests_per_minute FROM billing.settings);
    burst double precision := greatest(1, floor(per_minute / 10));
    rate double precision := greatest(per_minute - burst, 1) / 60;
    -- Half of the burst is left to charging, which must not wait for a comparison.
    floor_of_it double precision := greatest(1, burst / 2);
    there double precision;
BEGIN
    IF per_minute IS NULL THEN
        RETURN 0;
    END IF;
    UPDATE billing.request_budget
    SET requests = least(burst, requests
            + greatest(0, extract(epoch FROM clock_timestamp() - refilled_at)::float8) * rate),
        refilled_at = clock_timestamp()
    RETURNING requests INTO there;
    IF there < floor_of_it THEN
        RETURN (floor_of_it - there) / rate;
    END IF;
    UPDATE billing.request_budget SET requests = requests - 1;
    RETURN 0;
END
$$;
COMMENT ON FUNCTION billing.reserve_request() IS
    'Takes one request for comparing off the fleet''s budget (settings.max_requests_per_minute) and '
    'says 0, or the seconds to wait before asking again.';

-- Functions for the worker --------------------------------------------------------------------

CREATE OR REPLACE FUNCTION billing.key_declines(of_key bigint)
    RETURNS TABLE (used bigint, free_at timestamptz)
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
    SELECT count(*) FILTER (WHERE r.finished_at IS NULL
               OR r.finished_at > (SELECT billing.now()) - interval '720 hours'),
           CASE WHEN count(*) = 15
               THEN min(coalesce(r.finished_at, (SELECT billing.now()))) + interval '720 hours' END
    FROM (SELECT a.finished_at FROM billing.attempts AS a
          WHERE a.billing_key_id = of_key AND a.state IN ('open', 'declined')
          ORDER BY a.finished_at DESC LIMIT 15) AS r
    $$;
COMMENT ON FUNCTION billing.key_declines(bigint) IS
    'Declined attempts of a billing key in 30 days, open ones included, at most 15: no more are made '
    'before free_at.';

CREATE OR REPLACE FUNCTION billing.identity() RETURNS text
    -- Asked by each claim: 285 us as an SQL function, 10 with a plan that is kept.
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
BEGIN
    RETURN (SELECT system_identifier FROM pg_control_system()) || '/'
        || CASE WHEN pg_is_in_recovery() THEN 'standby'
                ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
        || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
        || '/' || 'billing.settings'::regclass::oid;
END
$$;
COMMENT ON FUNCTION billing.identity() IS
    'System identifier, timeline, database and table: a failover, clone or restore changes it. A '
    'restored snapshot of its volume or machine does not: set settings.paused before, and run '
    'billingd adopt-database --restored afterwards.';

CREATE OR REPLACE FUNCTION billing.bind_worker(fingerprint text) RETURNS void
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
    UPDATE billing.settings
    SET secret_key_fingerprint = coalesce(secret_key_fingerprint, fingerprint),
        database_identity = coalesce(database_identity, billing.identity())
    WHERE secret_key_fingerprint IS NULL OR database_identity IS NULL
    $$;
COMMENT ON FUNCTION billing.bind_worker(text) IS
    'The first worker binds its secret key and this database; later calls change nothing.';

CREATE OR REPLACE FUNCTION billing.adopt_database(reason text, lost interval DEFAULT '25 hours')
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$
DECLARE
    known text;
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    IF reason IS NULL OR reason !~ '\S' THEN
        RAISE EXCEPTION 'reason: say why this clone, restore or promoted standby may be charged'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF lost IS NULL OR lost < '0' OR lost > '14 days' THEN
        RAISE EXCEPTION 'lost: how much the database may have forgotten, up to 14 days, not %', lost
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT database_identity INTO known FROM billing.settings FOR NO KEY UPDATE;
    -- Attempts of the lost span come again under their old names as they fall due, which is at once.
    UPDATE billing.settings
    SET database_identity = billing.identity(), adopted_at = pg_catalog.now(),
        adopted_reason = session_user || ': ' || reason,
        look_first_until = pg_catalog.now() + late_bound + lost,
        -- What was forgotten was of a period that had begun by now, on the clock of the periods: this
        -- stays right when clock_offset moves. late_bound, for which nothing is claimed anyway, is
        -- what the lost server's clock may have been ahead.
        look_first_before = CASE WHEN lost = '0' THEN look_first_before
            ELSE greatest(look_first_before, billing.now() + late_bound) END;
    INSERT INTO billing.events (type, data)
    VALUES ('database.adopted', jsonb_strip_nulls(jsonb_build_object('by', session_user,
            'why', reason, 'from', known, 'to', billing.identity(), 'lost', lost::text)));
END
$$;
COMMENT ON FUNCTION billing.adopt_database(text, interval) IS
    'Vouches for a database whose identity changed; use billingd adopt-database, which explains. Only when no other copy is being charged. Claims '
    'wait late_bound; then, for as long as the database may have lost, and for the periods that had '
    'begun until they end, every name is looked up before it is sent.';

-- Roles ----------------------------------------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA billing
    FROM PUBLIC, billing_web, billing_worker, billing_report, billing_admin;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA billing FROM PUBLIC;
GRANT USAGE ON SCHEMA billing TO billing_web, billing_worker, billing_report, billing_admin;
GRANT EXECUTE ON FUNCTION billing.now(), billing.period_start(timestamptz, interval, integer, text),
    billing.next_day(timestamptz), billing.is_cycle(interval), billing.is_dunning(interval[]), billing.is_order_name(text),
    billing.is_won(bigint), billing.identity(), billing.require_subscription(bigint, boolean)
    TO billing_web, billing_worker, billing_report, billing_admin;
GRANT SELECT ON billing.settings TO billing_web, billing_worker, billing_report, billing_admin;

GRANT SELECT ON billing.plans, billing.customers, billing.subscriptions, billing.charges,
    billing.events TO billing_web;
GRANT SELECT (billing_key_id, customer_key, card_number, card_issuer, card_type, state, dead_code,
    created_at) ON billing.billing_keys TO billing_web, billing_report, billing_admin;
GRANT INSERT, UPDATE ON billing.plans, billing.customers TO billing_web;
GRANT INSERT (customer_key, billing_key, card_number, card_issuer, card_type),
    UPDATE (state) ON billing.billing_keys TO billing_web;
GRANT INSERT (customer_key, plan_id, amount, billing_key_id, state, anchor_at, period_index,
    cancel_at), UPDATE (plan_id, amount, billing_key_id, state, cancel_at, held_reason)
    ON billing.subscriptions TO billing_web;
GRANT EXECUTE ON FUNCTION billing.register_billing_key(text, text, text, text, text),
    billing.subscribe(text, text, timestamptz, bigint), billing.change_plan(bigint, text),
    billing.change_amount(bigint, bigint), billing.cancel(bigint, text), billing.pause(bigint),
    billing.resume(bigint), billing.retry_now(bigint), billing.forecast(timestamptz),
    billing.import_subscription(text, text, timestamptz, timestamptz, bigint)
    TO billing_web, billing_admin;
GRANT INSERT, DELETE, UPDATE (subscription_id, paid_at, amount) ON billing.other_payments
    TO billing_web, billing_admin;
GRANT SELECT ON billing.other_payments, billing.shadow_charges, billing.shadow_positions
    TO billing_web, billing_report, billing_admin;
GRANT EXECUTE ON FUNCTION billing.payable_from(timestamptz, timestamptz)
    TO billing_web, billing_worker, billing_report, billing_admin;

GRANT SELECT ON ALL TABLES IN SCHEMA billing TO billing_worker;
GRANT INSERT ON billing.charges, billing.attempts, billing.events, billing.workers
    TO billing_worker;
GRANT USAGE ON SEQUENCE billing.charges_charge_id_seq TO billing_worker;
GRANT UPDATE (state, reason, paid_at, payment_key, receipt_url, card, refunded_amount, attempt_no,
    declines, updated_at) ON billing.charges TO billing_worker;
GRANT UPDATE (state, code, message, http_status, trace_id, sent_at, finished_at, lookups, worker,
    unknown_since, in_doubt, absent, sends, not_founds, not_sents, quiet_until, contradiction)
    ON billing.attempts TO billing_worker;
GRANT UPDATE (state, anchor_at, period_index, next_charge_at, cycle, anchor_index, period_at,
    held_reason, open_charge_id, attempt_open, lease_no, lease_until, lease_owner, claims)
    ON billing.subscriptions TO billing_worker;
GRANT UPDATE (state, dead_code) ON billing.billing_keys TO billing_worker;
GRANT INSERT, UPDATE (decision, reason, billing_key_id, decided_at) ON billing.shadow_charges
    TO billing_worker;
GRANT UPDATE ON billing.workers TO billing_worker;
GRANT UPDATE (requests, refilled_at) ON billing.request_budget TO billing_worker;
GRANT UPDATE (slot) ON billing.key_locks TO billing_worker;
GRANT INSERT (day, next_at), UPDATE (next_at, worker, lease_until, started_at, compared_at,
    failures, error, payments, won, refunds, late, foreign_payments, findings)
    ON billing.reconciliations TO billing_worker;
GRANT EXECUTE ON FUNCTION billing.key_declines(bigint), billing.ladder_date(bigint)
    TO billing_worker, billing_report, billing_admin;
GRANT EXECUTE ON FUNCTION billing.bind_worker(text), billing.audit(),
    billing.forecast(timestamptz) TO billing_worker;
GRANT EXECUTE ON FUNCTION billing.reconcile_at(date, integer), billing.reconcile_days(),
    billing.reserve_request() TO billing_worker, billing_report, billing_admin;
-- Compare a day again.
GRANT UPDATE (next_at) ON billing.reconciliations TO billing_admin;
GRANT EXECUTE ON FUNCTION billing.record_refund(text, text, bigint)
    TO billing_worker, billing_admin;

GRANT SELECT ON billing.plans, billing.customers, billing.subscriptions, billing.charges,
    billing.attempts, billing.events, billing.workers, billing.reconciliations
    TO billing_report, billing_admin;
GRANT EXECUTE ON FUNCTION billing.forecast(timestamptz), billing.audit()
    TO billing_report, billing_admin;
GRANT UPDATE (mode, time_zone, paused, paused_reason, clock_offset, max_requests_per_minute,
    max_won_per_day, request_timeout, lease, late_bound, gap, last_send_age, hold_age,
    maximum_attempts) ON billing.settings TO billing_admin;
GRANT INSERT (customer_key, plan_id, amount, billing_key_id, state, anchor_at, period_index,
    cancel_at), UPDATE (plan_id, amount, billing_key_id, state, cancel_at, held_reason)
    ON billing.subscriptions TO billing_admin;
GRANT SELECT ON billing.request_budget TO billing_report, billing_admin;
GRANT EXECUTE ON FUNCTION billing.adopt_database(text, interval),
    billing.end_hold(bigint, text, text, text, text, timestamptz, text, bigint),
    billing.retry(bigint, text), billing.begin_key_rotation(text, text),
    billing.end_key_rotation(text, text), billing.keep_secret_key(text),
    billing.begin_shadow(text), billing.end_shadow(text, bigint) TO billing_admin;

COMMIT;
