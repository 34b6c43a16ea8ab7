import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// `billingd run --shadow` beside another system, `billingd shadow-report`, and the day on which
    /// billingd takes over.
    @Suite struct ShadowCommandTests {
        private struct Report: Decodable {
            struct Finding: Decodable {
                var kind, at, detail, advice: String
                var subscriptionId, periodIndex, wonHere: Int?
                var payments: [String]
                var wonThere: Int
            }
            var shadow, agrees: Bool
            var agree, won, neither, waiting, early, before, behind, findingsCount: Int
            var findings: [Finding]
            var kinds: [String] {
                findings.map { "\($0.kind) \($0.subscriptionId ?? 0)/\($0.periodIndex ?? 0)" }
            }
        }

        private func begin(_ stage: Stage) async throws {
            try await stage.database.run("SELECT billing.begin_shadow('a try')", as: .admin)
        }

        /// `run --shadow`, which has noted whatever is due.
        private func shadow(
            _ stage: Stage, _ changes: [String: String?] = [:]
        ) async throws -> ChildProcess {
            let process = try await ChildProcess(
                Checkout.program("billingd"), ["run", "--shadow", "--poll-interval", "0.1"],
                environment: stage.environment(
                    ["TOSS_SECRET_KEY": nil].merging(changes) { $1 }))
            try await eventually("shadow mode has started") {
                guard process.isRunning else {
                    throw ChildProcess.Failure("it ended: \(process.errors)")
                }
                return process.errors.contains("started in shadow mode")
                    || process.output.contains("started in shadow mode")
            }
            return process
        }

        private func noted(_ stage: Stage) async throws {
            try await eventually("all that began is noted") {
                try await stage.count("billing.shadow_positions WHERE is_due") == 0
            }
        }

        private func report(
            _ stage: Stage, _ status: Int32, _ options: [String] = [],
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws -> Report {
            let result = try await stage.billingd(
                ["shadow-report", "--json"] + options,
                ["DATABASE_URL": stage.database.connectionString(as: .report)])
            #expect(
                result.status == status, "\(result.output)\(result.errors)",
                sourceLocation: sourceLocation)
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            return try decoder.decode(Report.self, from: Data(result.output.utf8))
        }

        /// Imports payers whose paid time ends on 31 January 2031; the first day was the 31st, too.
        private func payers(_ stage: Stage, _ count: Int) async throws {
            for customer in try await stage.customers(count) {
                try await stage.database.run(
                    """
                    SELECT billing.import_subscription('\(customer.customerKey)', 'monthly',
                        '2030-08-31 09:00+09', '2031-01-31 09:00+09')
                    """, as: .web)
            }
        }

        /// The other system's run: charges `payers` at midnight of the day.
        private func cron(_ stage: Stage, _ day: String, _ payers: [Int]) async throws {
            for payer in payers {
                try await stage.database.run(
                    """
                    INSERT INTO billing.other_payments (payment_id, subscription_id, paid_at, amount)
                    VALUES ('cron-\(day)-\(payer)', \(payer), '\(day) 00:05+09', 14900)
                    """, as: .web)
            }
        }

        /// Three renewals of eight payers: every period is paid once, by whichever system.
        @Test func theTakeoverLeavesNoGapAndNoOverlap() async throws {
            let stage = try await Stage()
            try await stage.setClock("2031-01-31 00:10+09")
            try await payers(stage, 8)
            try await begin(stage)
            let process = try await shadow(stage)
            try await cron(stage, "2031-01-31", Array(1...8))
            try await stage.setClock("2031-01-31 09:00:01+09")
            try await noted(stage)
            #expect(try await report(stage, 0).agree == 8)

            // In February the other system forgets two, and takes one twice.
            try await cron(stage, "2031-02-28", Array(1...6))
            try await stage.database.run(
                """
                INSERT INTO billing.other_payments VALUES ('again', 1, '2031-03-01 00:05+09', 14900)
                """, as: .web)
            try await stage.setClock("2031-03-01 09:00:01+09")
            try await noted(stage)
            let february = try await report(stage, 2)
            #expect(
                february.kinds == [
                    "charged_twice_there 1/6", "not_charged_there 7/6", "not_charged_there 8/6",
                ])
            #expect(february.agree == 13 && february.won == 13 * 14_900)
            #expect(try await report(stage, 0, ["--to", "2031-02-27"]).agree == 8)
            // Nothing was sent, and the ledger is as it was.
            #expect(try stage.sandbox.books().requests["approve"] ?? 0 == 0)
            #expect(try await stage.count("billing.charges") == 0)

            // A worker that is started too early waits, and one that asks once is told.
            let once = try await stage.billingd(["once"])
            #expect(once.status == 1 && once.output.contains("shadow mode"), "\(once)")
            let check = try await stage.billingd(["check"])
            #expect(check.output.contains("nothing is charged: shadow mode"), "\(check.output)")

            // The cron has done March; it is stopped on the morning of the 31st.
            try await cron(stage, "2031-03-31", [1, 2, 3, 4, 5])
            try await stage.setClock("2031-03-31 08:00+09")
            try await stage.database.run(
                "SELECT billing.end_shadow('the cron is off', at_once => 2)", as: .admin)
            #expect(await process.ended() == 0, "\(process.errors)")
            #expect(try await report(stage, 2).shadow == false)

            #expect(try await stage.billingd(["once"]).status == 0)
            // February of the two that were forgotten.
            #expect(try await stage.count("billing.charges WHERE state = 'paid'") == 2)
            try await stage.setClock("2031-03-31 09:00:01+09")
            #expect(try await stage.billingd(["once"]).status == 0)
            try await stage.setClock("2031-04-30 09:00:01+09")
            #expect(try await stage.billingd(["once"]).status == 0)
            // The two of February, March of the three whom the cron did not reach, April of all.
            try await stage.expectSound(payments: 2 + 3 + 8)
            let wrong = try await stage.database.run(
                """
                SELECT s.subscription_id, p.n FROM billing.subscriptions AS s
                CROSS JOIN generate_series(5, 8) AS p (n)
                LEFT JOIN billing.shadow_charges AS h
                    ON h.subscription_id = s.subscription_id AND h.period_index = p.n
                WHERE (SELECT count(*) FROM billing.charges AS c
                       WHERE c.subscription_id = s.subscription_id AND c.period_index = p.n
                         AND c.state = 'paid')
                    + (SELECT count(*) FROM billing.other_payments AS o
                       WHERE o.subscription_id = s.subscription_id AND o.payment_id <> 'again'
                         AND o.paid_at BETWEEN billing.payable_from(
                                 billing.period_start('2030-08-31 09:00+09', '1 month', p.n),
                                 billing.period_start('2030-08-31 09:00+09', '1 month', p.n + 1))
                             AND billing.period_start('2030-08-31 09:00+09', '1 month', p.n)) <> 1
                """)
            let names = try wrong.map { "\(try $0.int64(0))/\(try $0.int("n"))" }
            #expect(names.isEmpty, "\(names)")
        }

        /// Without a secret key, at once at a signal, and through a restart of the database.
        @Test func itIsADaemonThatCannotCharge() async throws {
            let stage = try await Stage()
            try await stage.setClock("2031-01-31 09:00:01+09")
            try await payers(stage, 1)
            let refused = try await stage.billingd(["run", "--shadow"], ["TOSS_SECRET_KEY": nil])
            #expect(refused.status == 1)
            #expect(refused.errors.contains("SELECT billing.begin_shadow('why')"), "\(refused)")
            let heard = try await stage.billingd(
                ["run", "--shadow"], ["BILLINGD_LISTEN": "127.0.0.1:0"])
            #expect(heard.status == 64 && heard.errors.contains("listen: "), "\(heard)")
            try await begin(stage)
            // By the environment, as a unit does it.
            let process = try await shadow(stage, ["BILLINGD_SHADOW": "true"])
            try await noted(stage)
            try await stage.database.run(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE application_name = 'billingd shadow' AND datname = current_database()
                """)
            try await stage.setClock("2031-02-28 09:00:01+09")
            try await noted(stage)
            #expect(try await stage.count("billing.shadow_charges") == 2)
            #expect(try await stage.count("billing.workers") == 0)
            process.kill(SIGTERM)
            #expect(await process.ended() == 0)
            #expect(try stage.sandbox.books().requests.isEmpty)
        }

        @Test func aFileIsReadInPlaceOfTheTable() async throws {
            let stage = try await Stage()
            try await stage.setClock("2031-02-10 09:00+09")
            try await payers(stage, 2)
            try await begin(stage)
            // Nothing is noted: to find no difference would be no news.
            let early = try await report(stage, 1)
            #expect(early.behind == 2 && !early.agrees && early.findings.isEmpty)
            let process = try await shadow(stage)
            process.kill(SIGTERM)
            _ = await process.ended()
            let file = FileManager.default.temporaryDirectory
                .appending(path: "payments-\(UUID().uuidString).csv")
            defer { try? FileManager.default.removeItem(at: file) }
            func write(_ text: String) throws { try Data(text.utf8).write(to: file) }
            // As a spreadsheet writes it: a mark of its encoding, CRLF, quotes, another column.
            try write(
                "\u{FEFF}Paid_at,Name,payment_id,amount,subscription_id\r\n"
                    + "2031-01-31 00:05:00+09,\"Kim, \"\"J\"\"\",pay-1,14900,1\r\n\r\n"
                    + "2031-01-31T00:05:00+09:00, Lee ,\"pay-2\", 9900 ,2\r\n"
                    + "2031-01-31 00:05:00+09,,pay-3,100,\r\n2031-01-31 00:05:00+09,,pay-4,100,99")
            let found = try await report(stage, 2, ["--csv", file.path()])
            #expect(found.agree == 1)
            #expect(
                found.kinds == ["amount_differs 2/5", "unknown_payer 0/0", "unknown_payer 0/0"])
            #expect(found.findings.map(\.payments) == [["pay-2"], ["pay-4"], ["pay-3"]])
            let plain = try await stage.billingd(["shadow-report", "--csv", file.path()])
            #expect(
                plain.output.contains(
                    """
                    FINDING     amount_differs: the amounts differ
                                subscription 2; period 5 from 2031-01-31 09:00:00 +09:00; \
                    14900 won here; 9900 won there; payment pay-2
                    """), "\(plain.output)")

            let header = "subscription_id,paid_at,amount,payment_id\n"
            for (text, words) in [
                ("", "csv: the file is empty"), ("subscription_id,amount\n", "paid_at nowhere"),
                ("amount,amount,subscription_id,paid_at,payment_id\n", "amount 2 times"),
                (header + "x,2031-01-31 00:00:00+09,1,p", "line 2, subscription_id: "),
                (header + "1,2031-01-31 00:00:00,1,p", "line 2, paid_at: a time with its zone"),
                (header + "1,2031-01-31 00:00:00+09,1.5,p", "line 2, amount: whole won"),
                (header + "1,2031-01-31 00:00:00+09,0,p", "line 2, amount: whole won"),
                (header + "1,2031-01-31 00:00:00+09,1,", "line 2, payment_id: 1 to 200"),
                (header + "1,2031-01-31 00:00:00+09,1", "line 2 has 3 columns"),
                (header + "1,\"2031-01-31 00:00:00+09,1,p", "line 2: a quotation mark"),
                (
                    header + "1,2031-01-31 00:00:00+09,1,p\n1,2031-01-31 00:00:00+09,1,p",
                    "line 3, payment_id: \"p\" stands on line 2"
                ), (header + String(repeating: "1", count: 5_000), "line 2 is longer than 4096"),
            ] {
                try write(text)
                let wrong = try await stage.billingd(["shadow-report", "--csv", file.path()])
                #expect(wrong.status == 1 && wrong.errors.contains(words), "\(words): \(wrong)")
            }
            for bad in [["--from", "2031-02-30"], ["--from", "2031-02-02", "--to", "2031-02-01"]] {
                #expect(try await stage.billingd(["shadow-report"] + bad).status == 64)
            }
            #expect(
                try await stage.billingd(["shadow-report", "--csv", "/no/such/file"]).status == 1)
        }
    }
}
