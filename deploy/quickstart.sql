-- The sample of deploy/quickstart: customers and their cards, what a web app does to them day by
-- day, and the comparison of the ledger with the provider's books. Variables: subscriptions,
-- first_day, months. All of it is a function of these, so two runs tell the same story.

CREATE SCHEMA sample;
GRANT USAGE ON SCHEMA sample TO billing_web, billing_admin;

CREATE TABLE sample.story AS
SELECT :'first_day'::date AS first_day, (:'first_day'::date + (:'months' || ' months')::interval)::date
       - :'first_day'::date AS days;

-- Noon in Seoul, and a second more each day: what was put off by whole days at noon is then due.
CREATE FUNCTION sample.instant(day integer) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT ((first_day + day)::timestamp + interval '12 hours' + day * interval '2 seconds')
        AT TIME ZONE 'Asia/Seoul' FROM sample.story
$$;
CREATE FUNCTION sample.text(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(at AT TIME ZONE 'Asia/Seoul', 'YYYY-MM-DD"T"HH24:MI:SS"+09:00"')
$$;
CREATE FUNCTION sample.noon(day integer) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT sample.text(sample.instant(day))
$$;
CREATE FUNCTION sample.days() RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT days FROM sample.story
$$;
-- A number from 0 to below `below` that looks like chance and is none.
CREATE FUNCTION sample.dice(n integer, what text, below integer) RETURNS integer
    LANGUAGE sql IMMUTABLE AS $$
    SELECT abs(('x' || left(md5(n || what), 7))::bit(28)::integer) % below
$$;

INSERT INTO billing.plans (plan_id, name, amount, tax_free_amount, cycle, on_exhausted, catch_up)
VALUES
    ('basic', '베이직 구독', 9900, 0, '1 month', 'suspend', 'latest'),
    ('standard', '스탠다드 구독', 14900, 0, '1 month', 'suspend', 'latest'),
    ('premium', '프리미엄 구독', 29900, 0, '1 month', 'cancel', 'latest'),
    ('weekly', '주간 배송', 3300, 1000, '7 days', 'suspend', 'latest'),
    ('quarterly', '분기 구독', 39000, 0, '3 months', 'suspend', 'latest'),
    ('yearly', '연간 구독', 99000, 0, '1 year', 'suspend', 'latest'),
    ('starter', '무료 체험', 0, 0, '1 month', 'suspend', 'latest');

-- Who they are, when they come, and how their cards behave.
CREATE TABLE sample.members AS
SELECT n, 'customer-' || n AS customer_key,
    CASE
        WHEN kind < 7 THEN (ARRAY['basic', 'standard', 'premium'])[1 + sample.dice(n, 'plan', 3)]
        WHEN kind < 10 THEN 'standard'
        WHEN kind < 12 THEN 'weekly'
        WHEN kind < 14 THEN 'yearly'
        WHEN kind < 16 THEN 'quarterly'
        WHEN kind < 17 THEN 'starter'
        ELSE (ARRAY['basic', 'weekly', 'premium'])[1 + sample.dice(n, 'plan', 3)]
    END AS plan_id,
    -- Brought along from before: the 31st of August, the 29th of February of a leap year.
    CASE WHEN kind BETWEEN 7 AND 9 THEN timestamp '2027-08-31 00:00'
         WHEN kind BETWEEN 12 AND 13 THEN timestamp '2024-02-29 00:00' END
        AT TIME ZONE 'Asia/Seoul' AS anchor_at,
    CASE WHEN kind BETWEEN 7 AND 9 THEN 1 WHEN kind BETWEEN 12 AND 13 THEN 4 ELSE 0 END
        AS period_index,
    -- From the first day on, or signed up in the course of the story, and then charged at once.
    CASE WHEN kind >= 17 OR kind BETWEEN 10 AND 11
         THEN sample.dice(n, 'joins', (SELECT greatest(1, days - 20) FROM sample.story)) ELSE 0 END
        AS joins_on,
    sample.dice(n, 'card', 100) AS fate,
    sample.dice(n, 'fate', (SELECT days FROM sample.story)) AS fate_on,
    rtrim(translate(encode(sha256(('card of ' || n)::bytea), 'base64'), '+/', '-_'), '=') AS card,
    rtrim(translate(encode(sha256(('new card of ' || n)::bytea), 'base64'), '+/', '-_'), '=')
        AS new_card,
    NULL::bigint AS subscription_id
FROM (SELECT n, n % 20 AS kind FROM generate_series(1, :'subscriptions'::integer) AS n) AS s;
ALTER TABLE sample.members ADD PRIMARY KEY (n);
GRANT SELECT, UPDATE ON sample.members TO billing_web;
GRANT SELECT ON sample.members, sample.story TO billing_admin, billing_web;

-- The cards as the provider's stand-in is told of them: some are refused for three days now and
-- then, some die on a day, some have a limit that a higher price exceeds.
CREATE FUNCTION sample.cards() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_agg(c)::text FROM (
        SELECT json_strip_nulls(json_build_object(
            'customerKey', customer_key, 'billingKey', card,
            'windows', CASE WHEN fate < 25 THEN (
                SELECT json_agg(json_build_object(
                    'from', sample.text(sample.instant(d - 1)),
                    'to', sample.text(sample.instant(d + 2)), 'code', 'REJECT_CARD_PAYMENT'))
                FROM generate_series(sample.dice(n, 'poor', 31), sample.days(), 61) AS d) END,
            'deadFrom', CASE WHEN fate BETWEEN 25 AND 34
                THEN sample.text(sample.instant(fate_on)) END,
            'deadCode', CASE WHEN fate BETWEEN 25 AND 34 THEN (ARRAY['INVALID_STOPPED_CARD',
                'INVALID_CARD_EXPIRATION', 'INVALID_CARD_LOST_OR_STOLEN'])[1 + n % 3] END,
            'limit', CASE WHEN fate BETWEEN 35 AND 37 THEN 10000 END)) AS c
        FROM sample.members
        UNION ALL
        SELECT json_build_object('customerKey', customer_key, 'billingKey', new_card)
        FROM sample.members
    ) AS all_cards
$$;

-- What the shop's web app does on a day: plain SQL on the contract, in the web app's own role.
CREATE FUNCTION sample.web_app(day integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    month integer := (SELECT extract(year FROM age(first_day + day, first_day)) * 12
        + extract(month FROM age(first_day + day, first_day)) FROM sample.story);
    is_first boolean := (SELECT extract(day FROM first_day + day) = 1 FROM sample.story);
BEGIN
    -- Sign-ups: a card and a subscription; the first payment follows at once.
    PERFORM billing.register_billing_key(customer_key, card, '94100012****789*', '21', '신용')
    FROM sample.members WHERE joins_on = day;
    INSERT INTO billing.subscriptions (customer_key, plan_id, anchor_at, period_index)
    SELECT customer_key, plan_id, anchor_at, period_index
    FROM sample.members WHERE joins_on = day AND anchor_at IS NOT NULL;
    PERFORM billing.subscribe(customer_key, plan_id,
        CASE WHEN joins_on > 0 THEN billing.now()
             ELSE (SELECT first_day::timestamp AT TIME ZONE 'Asia/Seoul' FROM sample.story) END)
    FROM sample.members WHERE joins_on = day AND anchor_at IS NULL;
    UPDATE sample.members AS m SET subscription_id = s.subscription_id
    FROM billing.subscriptions AS s
    WHERE m.joins_on = day AND s.customer_key = m.customer_key;

    -- A dead card is replaced three days after the event, by nine customers in ten.
    PERFORM billing.register_billing_key(m.customer_key, m.new_card)
    FROM sample.members AS m
    WHERE sample.dice(m.n, 'loyal', 10) > 0
      AND NOT EXISTS (SELECT FROM billing.billing_keys AS k
                      WHERE k.customer_key = m.customer_key AND k.state = 'active')
      AND EXISTS (SELECT FROM billing.events AS e
                  WHERE e.type = 'billing_key.dead' AND e.subscription_id = m.subscription_id
                    AND e.occurred_at < billing.now() - interval '70 hours');

    -- The fourth month brings a new price.
    IF is_first AND month = 3 THEN
        UPDATE billing.plans SET amount = 10900 WHERE plan_id = 'basic';
    END IF;
    -- Some change plan or cycle, some get a price of their own.
    PERFORM billing.change_plan(subscription_id, 'premium') FROM sample.members
    WHERE day = 130 AND subscription_id IS NOT NULL AND plan_id = 'basic' AND n % 11 = 0;
    PERFORM billing.change_plan(subscription_id, 'quarterly') FROM sample.members
    WHERE day = 160 AND subscription_id IS NOT NULL AND plan_id = 'standard' AND n % 9 = 0;
    PERFORM billing.change_amount(subscription_id, 7900) FROM sample.members
    WHERE day = 100 AND subscription_id IS NOT NULL AND plan_id = 'basic' AND n % 10 = 1;
    -- Some cancel, most for the end of what they paid, a few at once.
    PERFORM billing.cancel(subscription_id, CASE WHEN n % 4 = 0 THEN 'now' ELSE 'period_end' END)
    FROM sample.members
    WHERE subscription_id IS NOT NULL AND day > joins_on + 20
      AND sample.dice(n, 'cancels', 1500) = day;
    -- Some take a break of forty days.
    PERFORM billing.pause(m.subscription_id)
    FROM sample.members AS m JOIN billing.subscriptions AS s USING (subscription_id)
    WHERE sample.dice(m.n, 'pauses', 2500) = day AND s.state <> 'canceled';
    PERFORM billing.resume(m.subscription_id)
    FROM sample.members AS m JOIN billing.subscriptions AS s USING (subscription_id)
    WHERE sample.dice(m.n, 'pauses', 2500) = day - 40 AND s.state = 'paused';
END
$$;

-- One day: the clock, the web app, and then waiting until nothing is due any more.
CREATE PROCEDURE sample.turn(day integer) LANGUAGE plpgsql AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '60 seconds';
    due bigint;
BEGIN
    UPDATE billing.settings SET clock_offset = sample.instant(day) - now();
    COMMIT;
    SET LOCAL ROLE billing_web;
    PERFORM sample.web_app(day);
    COMMIT;
    LOOP
        SELECT count(*) INTO due FROM billing.subscriptions
        WHERE next_charge_at <= (SELECT billing.now());
        COMMIT;
        EXIT WHEN due = 0;
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION '% subscriptions are still due after a minute', due;
        END IF;
        PERFORM pg_sleep(0.01);
        COMMIT;
    END LOOP;
END
$$;

-- Reports --------------------------------------------------------------------------------------

CREATE VIEW sample.months AS
SELECT coalesce(to_char(month, 'YYYY-MM'), 'all') AS month, count(*) AS due,
    count(*) FILTER (WHERE state = 'paid' AND amount > 0) AS paid,
    count(*) FILTER (WHERE state = 'paid' AND declines > 0) AS "declined, recovered",
    count(*) FILTER (WHERE state = 'failed') AS failed,
    count(*) FILTER (WHERE state = 'skipped') AS skipped,
    count(*) FILTER (WHERE state = 'paid' AND amount = 0) AS free,
    count(*) FILTER (WHERE state = 'open') AS "in dunning",
    count(*) FILTER (WHERE state = 'held') AS held,
    to_char(coalesce(sum(amount) FILTER (WHERE state = 'paid'), 0), 'FM999,999,999,990') AS "won collected"
FROM (SELECT *, date_trunc('month', period_start AT TIME ZONE 'Asia/Seoul') AS month
      FROM billing.charges) AS c
GROUP BY ROLLUP (month) ORDER BY month NULLS LAST;
GRANT SELECT ON sample.months TO billing_admin;

CREATE FUNCTION sample.progress(month text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT m.month || '  ' || lpad(m.paid::text, 6) || ' paid  '
        || repeat('█', (m.paid * 40 / greatest(1, (SELECT max(o.paid) FROM sample.months AS o
                                                   WHERE o.month <> 'all')))::integer)
    FROM sample.months AS m WHERE m.month = progress.month
$$;

-- The provider's books: every payment it took, whoever knows of it.
CREATE TABLE sample.books (
    payment_key text PRIMARY KEY, order_id text, customer_key text, amount bigint, status text,
    balance bigint, idempotency_key text, executed_at timestamptz, answered boolean
);

CREATE VIEW sample.ledger AS
SELECT c.payment_key, a.order_id, a.customer_key, c.amount, c.subscription_id, c.period_index
FROM billing.charges AS c
LEFT JOIN billing.attempts AS a ON a.charge_id = c.charge_id AND a.state = 'approved'
WHERE c.state IN ('paid', 'refunded') AND c.amount > 0;

-- A line for every row of either side that has not exactly one equal on the other.
CREATE VIEW sample.differences AS
SELECT 'charged twice: ' || count(*) || ' payments under ' || regexp_replace(order_id, '-[0-9]+$', '')
    AS finding
FROM sample.books GROUP BY regexp_replace(order_id, '-[0-9]+$', '') HAVING count(*) > 1
UNION ALL
SELECT 'missing: ' || l.payment_key || ' of subscription ' || l.subscription_id || ', period '
    || l.period_index || ' is paid in the ledger and not in the books'
FROM sample.ledger AS l
WHERE NOT EXISTS (SELECT FROM sample.books AS b
                  WHERE (b.payment_key, b.order_id, b.customer_key, b.amount, b.idempotency_key)
                      = (l.payment_key, l.order_id, l.customer_key, l.amount, l.order_id))
UNION ALL
SELECT 'unexplained: ' || b.payment_key || ', order ' || b.order_id || ', ' || b.amount
    || ' won is in the books and not in the ledger'
FROM sample.books AS b
WHERE NOT EXISTS (SELECT FROM sample.ledger AS l
                  WHERE (b.payment_key, b.order_id, b.customer_key, b.amount)
                      = (l.payment_key, l.order_id, l.customer_key, l.amount));

-- Sound: something was charged, nothing differs, nothing is left over.
CREATE FUNCTION sample.sound() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM sample.books) AND NOT EXISTS (SELECT FROM sample.differences)
       AND NOT EXISTS (SELECT FROM billing.audit())
       AND NOT EXISTS (SELECT FROM billing.charges WHERE state = 'held')
       AND NOT EXISTS (SELECT FROM billing.attempts WHERE state = 'open')
$$;

CREATE FUNCTION sample.verdict() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN sample.sound() THEN 'books agree: ' ELSE 'BOOKS DISAGREE: ' END
        || to_char(count(*), 'FM999,999,999') || ' payments, '
        || to_char(coalesce(sum(amount), 0), 'FM999,999,999,990') || ' won; '
        || (SELECT count(*) FROM sample.differences WHERE finding LIKE 'charged twice%')
        || ' charged twice, '
        || (SELECT count(*) FROM sample.differences WHERE finding LIKE 'missing%') || ' missing, '
        || (SELECT count(*) FROM sample.differences WHERE finding LIKE 'unexplained%')
        || ' unexplained'
    FROM sample.books
$$;
