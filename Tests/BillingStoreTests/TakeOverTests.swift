import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// The end of shadow mode, and the import before it.
    @Suite struct TakeOverTests {
        private func shop(_ stage: ShadowStage) async throws -> Shop {
            Shop(database: stage.stage.database, owner: try await stage.stage.database.connect())
        }

        private func end(_ stage: ShadowStage, atOnce: Int = 0) async throws -> [Int64] {
            let row = try await stage.stage.database.run(
                "SELECT * FROM billing.end_shadow('the cron is stopped', \(atOnce))", as: .admin)[0]
            return try ["moved", "charges_at_once", "won_at_once"].map { try row.int64($0) }
        }

        /// `index from date` of the period that a subscription is charged for next, and when.
        private func next(_ stage: ShadowStage, _ id: Int64) async throws -> String? {
            try await stage.stage.value(
                """
                SELECT concat_ws(' ', period_index, 'from',
                    to_char(period_at AT TIME ZONE 'Asia/Seoul', 'MM-DD HH24:MI'),
                    CASE WHEN next_charge_at IS NULL THEN 'never'
                         WHEN next_charge_at <= billing.now() THEN 'due' END)
                FROM billing.subscriptions WHERE subscription_id = \(id)
                """)
        }

        /// A payment there moves its subscription behind the last period for which it is not too
        /// early: a day before the start at most. Periods begin at nine.
        @Test(arguments: [
            ([], "3 from 01-31 09:00 due", 1),
            // Paid before anything was noted: of a period that the import knew to be paid.
            (["2030-12-31 00:05"], "3 from 01-31 09:00 due", 1),
            (["2031-01-30 08:59"], "3 from 01-31 09:00 due", 1),
            (["2031-01-30 09:00"], "4 from 02-28 09:00 due", 1),
            (["2031-01-31 00:05"], "4 from 02-28 09:00 due", 1),
            (["2031-01-31 00:05", "2031-02-27 08:59"], "4 from 02-28 09:00 due", 1),
            (["2031-01-31 00:05", "2031-02-28 00:05"], "5 from 03-31 09:00", 0),
            // January was never paid there, and is not charged here either.
            (["2031-02-28 00:05"], "5 from 03-31 09:00", 0),
            // Twice: nobody pays a third time for it.
            (["2031-02-28 00:05", "2031-03-01 00:05"], "5 from 03-31 09:00", 0),
            // For a period that has not begun, because the cron comes at midnight.
            (["2031-03-30 09:00"], "6 from 04-30 09:00", 0),
        ])
        func theRowGoesBehindWhatWasPaid(_ paid: [String], _ wanted: String, _ atOnce: Int)
            async throws
        {
            let stage = try await ShadowStage("2031-03-31 08:50")
            let id = try await stage.payer(paidUntil: "2031-01-31 09:00")
            let other = try await stage.payer("other", paidUntil: "2031-06-30 09:00")
            try await stage.pass()
            for time in paid { try await stage.pay(id, time) }
            let before = try await next(stage, other)
            let result = try await end(stage, atOnce: atOnce)
            #expect(
                result == [wanted.hasPrefix("3") ? 0 : 1, Int64(atOnce), 14_900 * Int64(atOnce)])
            #expect(try await next(stage, id) == wanted)
            #expect(try await next(stage, other) == before)
            // It was not missed: another system was to charge it.
            #expect(try await stage.stage.store.tellMissedRenewals(seen: [id]).told == [])
            // And that is what a worker claims.
            let claim = try await stage.stage.store.claim(limit: 10)
            #expect(claim.work.count + claim.local.count == atOnce)
            #expect(
                try await stage.stage.value(
                    "SELECT string_agg(type, ' ' ORDER BY event_id) FROM billing.events")
                    == (result[0] == 1
                        ? "shadow.begun subscription.taken_over shadow.ended"
                        : "shadow.begun shadow.ended"))
        }

        /// The anchor stays that of the 31st, or of the cycle that was counted when it was paid.
        @Test func theCalendarGoesOnAsItWasNoted() async throws {
            let stage = try await ShadowStage("2031-02-28 09:00")
            let id = try await stage.payer(paidUntil: "2031-01-31 09:00")
            try await stage.pass()
            try await stage.stage.web("UPDATE billing.plans SET cycle = '10 days'")
            try await stage.at("2031-04-11 09:00")
            try await stage.pass()
            try await stage.pay(id, "2031-04-10 00:05")
            _ = try await end(stage)
            #expect(try await next(stage, id) == "7 from 04-20 09:00")
            #expect(
                try await stage.stage.value(
                    """
                    SELECT concat_ws(' ', anchor_index, cycle,
                        anchor_at = '2031-03-31 09:00+09') FROM billing.subscriptions
                    """) == "5 10 days t")
        }

        /// Also of a period that was paid early and is not noted yet.
        @Test func aPeriodStillToComeIsCountedInThePlansNewCycle() async throws {
            let stage = try await ShadowStage("2031-03-31 08:50")
            let id = try await stage.payer(paidUntil: "2031-02-28 09:00")
            try await stage.pass()
            try await stage.stage.web("UPDATE billing.plans SET cycle = '10 days'")
            try await stage.pay(id, "2031-03-31 00:05")
            _ = try await end(stage)
            #expect(try await next(stage, id) == "6 from 04-10 09:00")
        }

        @Test func cancelledPausedAndSetAsideRowsStayWhatTheyAre() async throws {
            let stage = try await ShadowStage("2031-01-31 09:00")
            let cancels = try await stage.payer("cancels", paidUntil: "2031-01-31 09:00")
            let pauses = try await stage.payer("pauses", paidUntil: "2031-01-31 09:00")
            let aside = try await stage.payer("aside", paidUntil: "2031-01-31 09:00")
            let left = try await stage.payer("left", paidUntil: "2031-01-31 09:00")
            try await stage.pass()
            for id in [cancels, pauses, aside] { try await stage.pay(id, "2031-01-31 00:05") }
            try await stage.stage.web(
                """
                SELECT billing.cancel(\(cancels)); SELECT billing.pause(\(pauses));
                SELECT billing.cancel(\(left), 'now')
                """)
            try await stage.stage.database.run(
                """
                UPDATE billing.subscriptions SET held_reason = 'x', next_charge_at = NULL
                WHERE subscription_id = \(aside)
                """)
            #expect(try await end(stage) == [3, 0, 0])
            for id in [pauses, aside] {
                #expect(try await next(stage, id) == "4 from 02-28 09:00 never")
            }
            #expect(try await next(stage, cancels) == "4 from 02-28 09:00")
            // The one who left is ended, the one who cancelled at the end of what is paid is not yet.
            #expect(try await stage.stage.local().subscription.value == left)
            try await stage.at("2031-02-28 09:00")
            let claim = try await stage.stage.store.claim(limit: 10)
            #expect(claim.work.isEmpty)
            #expect(claim.local.map(\.subscription.value) == [cancels])
            #expect(claim.local.map(\.standing) == [.canceled])
        }

        @Test func itIsRefusedAsLongAsItMayBeTooEarly() async throws {
            let stage = try await ShadowStage("2031-01-31 09:11")
            let shop = try await shop(stage)
            let id = try await stage.payer(paidUntil: "2031-01-31 09:00")
            for (script, state, words) in [
                ("NULL", "22023", "why: "), ("' '", "22023", "why: "),
                ("'why', -1", "22023", "at_once: "), ("'why', NULL", "22023", "at_once: "),
                ("'why', 9", "55000", "1 subscriptions have periods"),
            ] {
                try await shop.expectRefusal(
                    of: "SELECT billing.end_shadow(\(script))", state, naming: words, as: .admin)
            }
            try await stage.pass()
            let ledger = try await stage.ledger()
            try await shop.expectRefusal(
                of: "SELECT billing.end_shadow('why')", "55000",
                naming: "1 charges, 14900 won, would be made at once", as: .admin)
            try await stage.pay(id, "2031-02-01 00:05")
            try await shop.expectRefusal(
                of: "SELECT billing.end_shadow('why', 1)", "55000", naming: "lies ahead", as: .admin
            )
            #expect(try await stage.ledger() == ledger)
            try await stage.stage.web(
                "UPDATE billing.other_payments SET paid_at = '2031-01-31 00:05+09'")
            #expect(try await end(stage) == [1, 0, 0])
            // A second time there is nothing to end, and nothing moves.
            let after = try await stage.ledger()
            try await shop.expectRefusal(
                of: "SELECT billing.end_shadow('why', 9)", "55000", naming: "not in shadow mode",
                as: .admin)
            #expect(try await stage.ledger() == after)
            #expect(try await stage.shadow.pass() == nil)
        }

        /// Whoever changes a row at that moment waits, and changes what was moved.
        @Test func aCancelDuringTheMoveWaits() async throws {
            let stage = try await ShadowStage("2031-01-31 09:00")
            let id = try await stage.payer(paidUntil: "2031-01-31 09:00")
            try await stage.pass()
            try await stage.pay(id, "2031-01-31 00:05")
            let admin = try await stage.stage.database.connect(as: .admin)
            try await admin.execute(script: "BEGIN; SELECT billing.end_shadow('why')")
            async let cancelled = stage.stage.web("SELECT billing.cancel(\(id))")
            try await eventually("the cancel waits") {
                try await stage.stage.value(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted") != "0"
            }
            // So does whoever has a payment or a payer to add: it would be overlooked.
            let shop = try await shop(stage)
            for late in [
                """
                INSERT INTO billing.other_payments (payment_id, paid_at, amount)
                VALUES ('late', now(), 100)
                """, "SELECT billing.subscribe('payer', 'monthly')",
            ] {
                try await shop.expectRefusal(
                    of: "SET lock_timeout = '50ms'; \(late)", "55P03", as: .web)
            }
            try await admin.execute(script: "COMMIT")
            _ = try await cancelled
            await admin.close()
            #expect(
                try await stage.stage.value(
                    "SELECT cancel_at = '2031-02-28 09:00+09' FROM billing.subscriptions") == "t")
            #expect(try await next(stage, id) == "4 from 02-28 09:00")
        }

        // MARK: The import

        /// The first period that starts when what is paid ends, counted from the first day there.
        @Test(arguments: [
            ("2030-10-31 09:00", "1 month", "2031-02-28 09:00", "4 from 02-28 09:00"),
            ("2030-10-31 09:00", "1 month", "2031-02-28 09:01", "5 from 03-31 09:00"),
            ("2030-10-31 09:00", "1 month", "2031-03-31 00:00", "5 from 03-31 09:00"),
            ("2028-02-29 00:00", "1 year", "2032-02-29 00:00", "4 from 02-29 00:00"),
            ("2028-02-29 00:00", "1 year", "2031-02-28 00:00", "3 from 02-28 00:00"),
            ("2028-02-29 00:00", "1 year 2 mons", "2031-01-01 00:00", "3 from 08-29 00:00"),
            ("2030-01-01 00:00", "7 days", "2031-01-01 00:00", "53 from 01-07 00:00"),
            ("1990-01-31 00:00", "1 month", "2031-01-31 00:00", "492 from 01-31 00:00"),
            ("1990-01-01 00:00", "1 day", "2031-01-31 00:00", "15005 from 01-31 00:00"),
            // Nothing is paid yet: it begins there and here.
            ("2031-05-31 09:00", "1 month", "2031-01-01 00:00", "0 from 05-31 09:00"),
            ("2031-05-31 09:00", "1 month", "2031-05-31 09:00", "0 from 05-31 09:00"),
        ])
        func anImportedPayerKeepsTheDay(
            _ anchor: String, _ cycle: String, _ paidUntil: String, _ wanted: String
        ) async throws {
            let stage = try await ShadowStage("2031-01-01 00:00")
            try await stage.stage.web("UPDATE billing.plans SET cycle = '\(cycle)'")
            let id = try await stage.payer(anchor: anchor, paidUntil: paidUntil)
            let found = try await next(stage, id)
            #expect(found?.hasPrefix(wanted) == true, "\(found ?? "")")
        }

        @Test func manyAreImportedByOneStatementAndEachErrorNamesItsField() async throws {
            let stage = try await ShadowStage("2031-01-01 00:00")
            let shop = try await shop(stage)
            try await stage.stage.web(
                """
                INSERT INTO billing.customers (customer_key)
                SELECT 'many-' || n FROM generate_series(1, 3000) AS n;
                SELECT billing.import_subscription('many-' || n, 'monthly',
                    timestamptz '2030-01-01 00:00+09' + n * interval '1 day',
                    timestamptz '2031-01-01 00:00+09', CASE WHEN n > 2999 THEN 7900 END)
                FROM generate_series(1, 3000) AS n
                """)
            #expect(
                try await shop.value(
                    """
                    SELECT count(*) FROM billing.subscriptions
                    WHERE next_charge_at >= '2031-01-01 00:00+09'
                      AND (anchor_at > '2031-01-01 00:00+09'
                           OR next_charge_at < '2031-02-01 00:00+09')
                    """) == "3000")
            #expect(
                try await shop.value("SELECT count(amount) FROM billing.subscriptions") == "1")
            let now = "billing.now()"
            for (values, state, words) in [
                ("'many-1', 'monthly', NULL, \(now)", "22023", "anchor_at: "),
                ("'many-1', 'monthly', 'infinity', \(now)", "22023", "anchor_at: "),
                ("'many-1', 'monthly', \(now), NULL", "22023", "paid_until: "),
                ("'many-1', 'monthly', \(now), '-infinity'", "22023", "paid_until: "),
                (
                    "'many-1', 'monthly', '0001-01-01', '200000-01-01'", "22023",
                    "paid_until: at most 100,000 periods"
                ),
                ("'many-1', 'none', \(now), \(now)", "23503", "plan_id: there is no plan \"none\""),
                ("'nobody', 'monthly', \(now), \(now)", "23503", "customer_key: there is no"),
                ("'many-1', 'monthly', \(now), \(now), 50", "23514", "amount: null, 0, or 100"),
            ] {
                try await shop.expectRefusal(
                    of: "SELECT billing.import_subscription(\(values))", state, naming: words,
                    as: .web)
            }
        }

        // MARK: The payments there

        @Test(arguments: [
            ("'', 1, now(), 100", "payment_id: "), ("'p', 1, 'infinity', 100", "paid_at: "),
            ("'p', 1, now(), 0", "amount: "), ("'known', 1, now(), 100", "other_payments_pkey"),
            ("'p', 99, now(), 100", "other_payments_subscription_id_fkey"),
        ])
        func aPaymentThatMakesNoSenseIsRefused(_ values: String, _ words: String) async throws {
            let stage = try await ShadowStage("2031-01-01 00:00")
            try await stage.payer(paidUntil: "2031-01-31 09:00")
            let insert = """
                INSERT INTO billing.other_payments (payment_id, subscription_id, paid_at, amount)
                """
            try await stage.stage.web("\(insert) VALUES ('known', NULL, now(), 1)")
            let shop = try await shop(stage)
            let error = try await shop.refusal(of: "\(insert) VALUES (\(values))", as: .web)
            #expect(error?.description.contains(words) == true, "\(error as Any)")
        }

        /// A day before the start; of periods shorter than four days a quarter of one.
        @Test(arguments: [
            ("31 days", 86_400), ("4 days", 86_400), ("3 days", 64_800), ("1 day", 21_600),
        ])
        func aPaymentMayBeEarlyByADayAtMost(_ length: String, _ seconds: Int) async throws {
            let database = try await TemporaryPostgres.shared.database()
            let row = try await database.run(
                """
                SELECT extract(epoch FROM at - billing.payable_from(at, at + '\(length)'))::int
                    AS early
                FROM (VALUES (timestamptz '2031-03-30 00:00+09')) AS v (at)
                """, as: .web)[0]
            #expect(try row.int("early") == seconds)
        }

        /// The report by the table, and by the same rule as the end of shadow mode.
        @Test func theReportComparesThePaymentsOfTheTable() async throws {
            let stage = try await ShadowStage("2031-02-10 09:00")
            let paid = try await stage.payer("paid", paidUntil: "2031-01-31 09:00")
            let unpaid = try await stage.payer("unpaid", paidUntil: "2031-01-31 09:00")
            let young = try await stage.payer(
                "young", anchor: "2031-02-09 10:00", paidUntil: "2031-02-09 10:00")
            try await stage.pass()
            try await stage.pay(paid, "2031-01-31 00:05")
            try await stage.pay(paid, "2030-12-31 00:05")
            try await stage.pay(nil, "2031-02-01 00:05")
            let books = ShadowBooks(stage.stage.database.configuration(as: .report))
            let whole = Instant(microseconds: .min)..<Instant(microseconds: .max)
            let report = try await books.report(range: whole).report
            #expect(
                [report.agree, Int(report.won), report.before, report.waiting]
                    == [1, 14_900, 1, 1])
            #expect(report.isOn && report.behind == 0)
            #expect(
                report.findings.map { "\($0.kind.rawValue) \($0.subscription?.value ?? 0)" }
                    == ["not_charged_there \(unpaid)", "unknown_payer 0"])
            _ = young
        }
    }
}
