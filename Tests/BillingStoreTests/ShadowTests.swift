import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

/// A shop in shadow mode: another system charges, this one notes.
struct ShadowStage {
    let stage: StoreStage
    let shadow: PostgresShadow

    /// Shadow mode on the day `clock`, a Korean time.
    init(_ clock: String) async throws {
        stage = try await StoreStage()
        shadow = PostgresShadow(stage.database.configuration(as: .worker))
        try await at(clock)
        try await begin()
    }

    func begin() async throws {
        try await stage.database.run("SELECT billing.begin_shadow('trying it out')", as: .admin)
    }

    /// Sets the business clock to a Korean time.
    func at(_ time: String) async throws {
        try await stage.database.run(
            "UPDATE billing.settings SET clock_offset = '\(time)+09'::timestamptz - now()",
            as: .admin)
    }

    /// A payer with a card, imported; the subscription.
    @discardableResult
    func payer(
        _ name: String = "payer", anchor: String = "2030-10-31 09:00", paidUntil: String,
        plan: String = "monthly", withCard: Bool = true
    ) async throws -> Int64 {
        try await stage.web("INSERT INTO billing.customers (customer_key) VALUES ('\(name)')")
        if withCard {
            try await stage.web("SELECT billing.register_billing_key('\(name)', 'key-of-\(name)')")
        }
        return try await stage.web(
            """
            SELECT billing.import_subscription(
                '\(name)', '\(plan)', '\(anchor)+09', '\(paidUntil)+09') AS id
            """)[0].int64("id")
    }

    @discardableResult
    func pass() async throws -> PostgresShadow.Pass { try #require(try await shadow.pass()) }

    /// What was noted of a subscription, such as `3 from 01-31 charge 14900`, a line a period.
    func noted(_ subscription: Int64 = 1) async throws -> [String] {
        try await stage.database.run(
            """
            SELECT concat_ws(' ', period_index, 'from',
                to_char(period_start AT TIME ZONE 'Asia/Seoul', 'MM-DD'), decision, reason,
                CASE WHEN decision = 'charge' THEN amount END) AS line
            FROM billing.shadow_charges WHERE subscription_id = \(subscription)
            ORDER BY period_index
            """, as: .report
        ).map { try $0.string("line") }
    }

    /// A payment there.
    func pay(
        _ subscription: Int64?, _ time: String, amount: Int = 14_900
    ) async throws {
        try await stage.web(
            """
            INSERT INTO billing.other_payments (payment_id, subscription_id, paid_at, amount)
            VALUES (gen_random_uuid(), \(subscription.map { "\($0)" } ?? "NULL"), '\(time)+09',
                \(amount))
            """)
    }

    /// What is the ledger's, as text.
    func ledger() async throws -> String? {
        try await stage.value(
            """
            SELECT (SELECT string_agg(s::text, ';' ORDER BY subscription_id)
                    FROM billing.subscriptions AS s)
            || (SELECT count(*) FROM billing.charges) || (SELECT count(*) FROM billing.attempts)
            """)
    }
}

extension StoreTests {
    @Suite struct ShadowTests {
        /// What a claim would have opened, with the dates of a claim, and the ledger knows nothing.
        @Test(arguments: [
            ("latest", ["3 from 01-31 skip missed", "4 from 02-28 skip missed"]),
            ("each", ["3 from 01-31 charge 14900", "4 from 02-28 charge 14900"]),
            (
                "hold",
                [
                    "3 from 01-31 hold missed: the period went by uncharged",
                    "4 from 02-28 hold missed: the period went by uncharged",
                ]
            ),
        ])
        func periodsAreNotedAndTheLedgerIsNotTouched(_ catchUp: String, _ missed: [String])
            async throws
        {
            let stage = try await ShadowStage("2031-03-31 08:59")
            try await stage.stage.web("UPDATE billing.plans SET catch_up = '\(catchUp)'")
            try await stage.payer(paidUntil: "2031-01-31 09:00")
            let ledger = try await stage.ledger()
            // The last second of February's: it has not gone by.
            try await stage.pass()
            #expect(
                try await stage.noted() == [missed[0], "4 from 02-28 charge 14900"])
            // The decision stands; another period has begun a minute later.
            try await stage.at("2031-03-31 09:00")
            let pass = try await stage.pass()
            #expect([pass.periods, pass.charges, Int(pass.won)] == [1, 1, 14_900])
            #expect(try await stage.noted().last == "5 from 03-31 charge 14900")
            #expect(try await stage.pass().periods == 0)
            #expect(try await stage.ledger() == ledger)
        }

        @Test func whatWentByIsCaughtUpAsThePlanSays() async throws {
            let stage = try await ShadowStage("2031-03-31 09:00")
            for (name, wanted) in [
                ("latest", ["3 from 01-31 skip missed", "4 from 02-28 skip missed"]),
                ("each", ["3 from 01-31 charge 14900", "4 from 02-28 charge 14900"]),
                (
                    "hold",
                    [
                        "3 from 01-31 hold missed: the period went by uncharged",
                        "4 from 02-28 hold missed: the period went by uncharged",
                    ]
                ),
            ] {
                try await stage.stage.web(
                    """
                    INSERT INTO billing.plans (plan_id, name, amount, cycle, catch_up)
                    VALUES ('\(name)', 'N', 14900, '1 month', '\(name)')
                    """)
                let id = try await stage.payer(name, paidUntil: "2031-01-31 09:00", plan: name)
                try await stage.pass()
                #expect(try await stage.noted(id) == wanted + ["5 from 03-31 charge 14900"])
            }
        }

        /// As in a claim: from the next period's start, and once.
        @Test func anotherCycleIsCountedFromTheNextStart() async throws {
            let stage = try await ShadowStage("2031-02-28 09:00")
            try await stage.payer(paidUntil: "2031-01-31 09:00")
            try await stage.pass()
            try await stage.stage.web("UPDATE billing.plans SET cycle = '10 days', amount = 5000")
            try await stage.at("2031-04-25 09:00")
            try await stage.pass()
            #expect(
                try await stage.noted() == [
                    "3 from 01-31 skip missed", "4 from 02-28 charge 14900",
                    "5 from 03-31 skip missed", "6 from 04-10 skip missed",
                    "7 from 04-20 charge 5000",
                ])
            try await stage.stage.web("UPDATE billing.plans SET cycle = '1 month'")
            try await stage.at("2031-06-01 09:00")
            try await stage.pass()
            #expect(
                try await stage.noted().suffix(2) == [
                    "8 from 04-30 skip missed", "9 from 05-30 charge 5000",
                ])
        }

        @Test func aCardThatComesBeforeThePeriodEndsIsCharged() async throws {
            let stage = try await ShadowStage("2031-01-31 09:00")
            try await stage.payer(paidUntil: "2031-01-31 09:00", withCard: false)
            #expect(try await stage.pass().withoutCard == 1)
            #expect(try await stage.noted() == ["3 from 01-31 no_card"])
            // The price is that of the day on which the charge would have been opened.
            try await stage.stage.web("UPDATE billing.plans SET amount = 99000")
            try await stage.at("2031-02-28 08:59")
            #expect(try await stage.pass().charges == 0)
            try await stage.stage.web("SELECT billing.register_billing_key('payer', 'key-late')")
            #expect(try await stage.pass().charges == 1)
            #expect(try await stage.noted() == ["3 from 01-31 charge 14900"])
            #expect(
                try await stage.stage.value("SELECT billing_key_id FROM billing.shadow_charges")
                    == "1")
        }

        @Test func aCardThatComesTooLateOrAfterACancelIsNot() async throws {
            let stage = try await ShadowStage("2031-01-31 09:00")
            try await stage.payer("late", paidUntil: "2031-01-31 09:00", withCard: false)
            let gone = try await stage.payer(
                "gone", anchor: "2031-01-31 09:00", paidUntil: "2031-01-31 09:00", withCard: false)
            try await stage.pass()
            try await stage.stage.web(
                """
                SELECT billing.cancel(\(gone), 'now');
                SELECT billing.register_billing_key('gone', 'key-of-gone')
                """)
            try await stage.pass()
            #expect(try await stage.noted(gone) == ["0 from 01-31 no_card"])
            try await stage.at("2031-02-28 09:00")
            try await stage.stage.web("SELECT billing.register_billing_key('late', 'key-of-late')")
            try await stage.pass()
            #expect(
                try await stage.noted() == ["3 from 01-31 no_card", "4 from 02-28 charge 14900"])
        }

        @Test func whoCancelsOrPausesIsNotNotedFromThenOn() async throws {
            let stage = try await ShadowStage("2031-01-31 09:00")
            let cancels = try await stage.payer("cancels", paidUntil: "2031-01-31 09:00")
            let pauses = try await stage.payer("pauses", paidUntil: "2031-01-31 09:00")
            try await stage.pass()
            try await stage.at("2031-02-10 09:00")
            try await stage.stage.web(
                "SELECT billing.cancel(\(cancels)); SELECT billing.pause(\(pauses))")
            // At the end of what is paid there, although the row has not moved.
            #expect(
                try await stage.stage.value(
                    """
                    SELECT cancel_at = '2031-02-28 09:00+09' FROM billing.subscriptions
                    WHERE subscription_id = \(cancels)
                    """) == "t")
            try await stage.at("2031-03-31 09:00")
            #expect(try await stage.pass().periods == 0)
            // Nor does anything wait to be noted, which would keep shadow mode from ending.
            #expect(
                try await stage.stage.value(
                    "SELECT count(*) FROM billing.shadow_positions WHERE is_due") == "0")
            try await stage.stage.web("SELECT billing.resume(\(pauses))")
            try await stage.at("2031-04-30 09:00")
            try await stage.pass()
            #expect(try await stage.noted(cancels) == ["3 from 01-31 charge 14900"])
            #expect(
                try await stage.noted(pauses) == [
                    "3 from 01-31 charge 14900", "4 from 02-28 skip paused",
                    "5 from 03-31 skip paused", "6 from 04-30 charge 14900",
                ])
        }

        /// The rows, dates, amounts and cards that a claim takes when shadow mode ends.
        @Test func whatIsNotedIsWhatAClaimThenDoes() async throws {
            let stage = try await ShadowStage("2031-03-31 09:00")
            try await stage.stage.web(
                """
                INSERT INTO billing.plans (plan_id, name, amount, cycle, catch_up) VALUES
                    ('each', '주간', 4900, '7 days', 'each'), ('free', '무료', 0, '1 month', 'each')
                """)
            let start = "2031-03-31 09:00"
            try await stage.payer("plain", paidUntil: start)
            try await stage.payer(
                "missed", anchor: "2030-12-10 00:00", paidUntil: "2031-01-10 00:00")
            try await stage.payer(
                "weekly", anchor: "2031-03-04 00:00", paidUntil: "2031-03-11 00:00", plan: "each")
            try await stage.payer("free", paidUntil: start, plan: "free")
            try await stage.payer("bare", paidUntil: start, withCard: false)
            let own = try await stage.payer("own", paidUntil: start)
            let paused = try await stage.payer("paused", paidUntil: "2031-02-28 09:00")
            try await stage.payer("later", paidUntil: "2031-04-30 09:00")
            try await stage.stage.web(
                """
                SELECT billing.change_amount(\(own), 7900);
                SELECT billing.register_billing_key('own', 'key-2-of-own');
                UPDATE billing.subscriptions SET billing_key_id = (
                    SELECT min(billing_key_id) FROM billing.billing_keys AS k
                    WHERE k.customer_key = 'own') WHERE subscription_id = \(own);
                SELECT billing.pause(\(paused)); SELECT billing.resume(\(paused))
                """)
            try await stage.pass()
            try await stage.stage.database.run(
                "SELECT billing.end_shadow('why', 99)", as: .admin)
            // One period a claim: until nothing is due but what waits for a card, or for tomorrow.
            for _ in 0..<6 {
                let claim = try await stage.stage.store.claim(limit: 100)
                for work in claim.work {
                    try await stage.stage.record(try work.approved("pay-\(work.charge.value)"))
                }
                for local in claim.local { try await stage.stage.record(local) }
            }
            let columns = """
                SELECT subscription_id, period_index, period_start, period_end, order_name,
                    CASE WHEN decision = 'skip' THEN 'skipped' WHEN decision = 'no_card' THEN 'open'
                         ELSE 'paid' END AS state, amount, reason, billing_key_id
                FROM billing.shadow_charges
                -- A plan that charges each goes on a day later.
                WHERE (subscription_id, period_index) NOT IN (SELECT subscription_id, 2 FROM
                    billing.subscriptions WHERE plan_id = 'each')
                AND (subscription_id, period_index) NOT IN (SELECT subscription_id, 3 FROM
                    billing.subscriptions WHERE plan_id = 'each')
                """
            let charged = """
                SELECT c.subscription_id, c.period_index, c.period_start, c.period_end, c.order_name,
                    c.state, c.amount, c.reason, a.billing_key_id
                FROM billing.charges AS c LEFT JOIN billing.attempts AS a USING (charge_id)
                """
            let different = try await stage.stage.database.run(
                """
                SELECT 'noted' AS who, n::text AS line FROM (\(columns) EXCEPT \(charged)) AS n
                UNION ALL
                SELECT 'charged', n::text FROM (\(charged) EXCEPT (\(columns))) AS n
                """
            ).map { try $0.string("who") + $0.string("line") }
            #expect(different == [])
            #expect(try await stage.stage.value("SELECT count(*) FROM billing.charges") == "10")
        }

        @Test func twoThatNoteNoteOnce() async throws {
            let stage = try await ShadowStage("2031-01-31 09:00")
            for number in 0..<20 {
                try await stage.payer("payer-\(number)", paidUntil: "2030-11-30 09:00")
            }
            let other = PostgresShadow(stage.stage.database.configuration(as: .worker))
            async let left = stage.shadow.pass()
            async let right = other.pass()
            let periods = try await [left, right].map { $0?.periods ?? 0 }
            #expect(periods.reduce(0, +) == 60)
            #expect(try await stage.pass().periods == 0)
            await other.close()
        }

        /// Neither by a claim, nor by one that was permitted a moment before.
        @Test func nothingIsChargedAndEverybodySaysWhy() async throws {
            let stage = try await ShadowStage("2031-01-31 09:00")
            try await stage.payer(paidUntil: "2031-01-31 09:00")
            let claim = try await stage.stage.store.claim(limit: 10)
            #expect(claim.work.isEmpty && claim.local.isEmpty)
            #expect(claim.pausedReason?.contains("billing.end_shadow") == true)
            let shop = Shop(
                database: stage.stage.database, owner: try await stage.stage.database.connect())
            try await shop.expectRefusal(
                of: """
                    UPDATE billing.settings SET secret_key_fingerprint = 'fingerprint';
                    INSERT INTO billing.charges (charge_id, subscription_id, period_index,
                        period_start, period_end, amount, order_name, attempt_no)
                    OVERRIDING SYSTEM VALUE
                    VALUES (7, 1, 3, '2031-01-31 09:00+09', '2031-02-28 09:00+09', 14900, 'N', 1);
                    \(shop.newAttempt(1, of: 7))
                    """, "23514", naming: "shadow mode")
            try await stage.at("2031-02-20 09:00")
            #expect(try await shop.run("SELECT * FROM billing.audit()").isEmpty)
            // Seen before: on a clock that was moved the first look does not tell.
            #expect(try await stage.stage.store.tellMissedRenewals(seen: [1]).told == [])
            let status = try await StatusReport.read(
                stage.stage.database.configuration(as: .report))
            #expect(status.paused && status.pausedReason?.contains("shadow mode") == true)
        }

        @Test func itBeginsOnlyWhereNothingIsOpenAndNotesNothingBefore() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(2)
            let shadow = PostgresShadow(stage.database.configuration(as: .worker))
            #expect(try await shadow.pass() == nil)
            let work = try await stage.store.claim(limit: 1).work[0]
            let shop = Shop(database: stage.database, owner: try await stage.database.connect())
            try await shop.expectRefusal(
                of: "SELECT billing.begin_shadow('why')", "55000", naming: "1 charges are open",
                as: .admin)
            try await stage.record(try work.approved())
            for reason in ["NULL", "''", "' '"] {
                try await shop.expectRefusal(
                    of: "SELECT billing.begin_shadow(\(reason))", "22023", naming: "why: ",
                    as: .admin)
            }
            try await shop.run(
                """
                INSERT INTO billing.workers (worker_id, host, pid, version, state)
                VALUES ('w', 'h', 1, '0', 'running')
                """)
            try await shop.expectRefusal(
                of: "SELECT billing.begin_shadow('why')", "55000", naming: "1 workers are running",
                as: .admin)
            try await shop.run("UPDATE billing.workers SET state = 'stopped'")
            try await shop.run("SELECT billing.begin_shadow('back to the cron')", as: .admin)
            try await shop.expectRefusal(
                of: "SELECT billing.begin_shadow('why')", "55000", naming: "already", as: .admin)
            // What was charged here is not noted; what was not is.
            #expect(try await shadow.pass()?.periods == 1)
            await shadow.close()
        }
    }
}
