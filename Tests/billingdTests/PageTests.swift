import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// The page of a daemon at work.
    @Suite struct PageTests {
        private let open = ["BILLINGD_LISTEN": "127.0.0.1:0"]

        /// Text between the tags of an element with that id.
        private func value(_ id: String, _ html: String) -> String? {
            html.split(separator: "id=\"\(id)\">").dropFirst().first
                .map { String($0.prefix { $0 != "<" }) }
        }

        /// Cells of the table of a section.
        private func rows(_ section: String, _ html: String) -> [[String]] {
            guard let start = html.range(of: "<section id=\"\(section)\">"),
                let end = html.range(of: "</section>", range: start.upperBound..<html.endIndex)
            else { return [] }
            return html[start.upperBound..<end.lowerBound].split(separator: "<tr>").dropFirst(2)
                .map { row in
                    // Nothing stands before the first cell.
                    row.split(separator: "<td>").map {
                        String($0.prefix { $0 != "<" }).replacing(",", with: "")
                    }
                }
        }

        @Test func itsNumbersAreThoseOfTheLedger() async throws {
            let stage = try await Stage()
            let customers = try await stage.subscribers(6)
            try await stage.subscribers(3, script: ["REJECT_CARD_PAYMENT", "approve"])
            try await stage.subscribers(2, script: ["EXCEED_MAX_ONE_DAY_AMOUNT"])
            try await stage.subscribers(1, script: ["FDS_ERROR"])
            #expect(try await stage.billingd(["once"]).status == 0)
            // Three recover after one decline, on a later day.
            try await stage.pass("25 hours")
            #expect(try await stage.billingd(["once"]).status == 0)
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            let html = try looker.get("/").body
            let facts = try await stage.database.run(
                """
                SELECT (SELECT count(*) FROM billing.charges WHERE state = 'held') AS held,
                    (SELECT count(*) FROM billing.subscriptions WHERE state = 'past_due') AS past_due,
                    (SELECT sum(amount)::bigint FROM billing.charges WHERE state = 'paid') AS won,
                    (SELECT count(*) FROM billing.events WHERE type = 'charge.paid'
                     AND (occurred_at AT TIME ZONE 'Asia/Seoul')::date
                         = (billing.now() AT TIME ZONE 'Asia/Seoul')::date) AS paid_today
                """)[0]
            #expect(value("held", html) == (try? facts.string("held")), "\(html)")
            #expect(value("past-due", html) == (try? facts.string("past_due")))
            #expect(value("workers", html) == "1" && value("due", html) == "0")
            let today = rows("hours", html).compactMap { Int64($0[1]) }.reduce(0, +)
            #expect(today == (try? facts.int64("paid_today")))
            #expect(
                rows("months", html).compactMap { Int64($0[2]) }.reduce(0, +)
                    == (try? facts.int64("won")))

            let codes = try await stage.database.run(
                """
                SELECT row_number() OVER (ORDER BY count(*) DESC, data ->> 'code')
                       || ' ' || (data ->> 'code') AS code, count(*)::text AS times
                FROM billing.events WHERE type = 'charge.declined'
                GROUP BY data ->> 'code' ORDER BY count(*) DESC, data ->> 'code'
                """
            ).map { [try $0.string("code"), try $0.string("times")] }
            #expect(codes.count == 2 && rows("codes", html) == codes)
            let recovery = try await stage.database.run(
                """
                SELECT declines::text AS d,
                    count(*) FILTER (WHERE state = 'paid')::text AS r,
                    count(*) FILTER (WHERE state = 'failed')::text AS f,
                    count(*) FILTER (WHERE state = 'open')::text AS w
                FROM billing.charges WHERE declines > 0 GROUP BY 1 ORDER BY 1
                """
            ).map {
                [try $0.string("d"), try $0.string("r"), try $0.string("f"), try $0.string("w")]
            }
            #expect(rows("recovery", html) == recovery)
            #expect(recovery.contains { $0[1] == "3" }, "three recovered: \(recovery)")

            let forecast = try await stage.billingd(["forecast", "--csv"])
            let days = forecast.output.split(separator: "\n").dropFirst().map {
                $0.split(separator: ",").map { String($0) }
            }
            #expect(days.count == 30 && rows("forecast", html) == days)

            let waiting = try await stage.database.run(
                "SELECT subscription_id FROM billing.charges WHERE state IN ('open', 'held')")
            #expect(!waiting.isEmpty)
            for row in waiting {
                let id = try row.int64("subscription_id")
                #expect(html.contains("<code>billingd explain \(id)</code>"))
                #expect(
                    try await stage.billingd(
                        ["explain", "\(id)"],
                        [
                            "DATABASE_URL":
                                stage.database.connectionString(as: .report)
                        ]
                    ).status == 0)
            }
            #expect(html.contains("FDS_ERROR"))
            for customer in customers {
                #expect(!html.contains(customer.billingKey) && !html.contains(customer.customerKey))
            }
            #expect(!html.contains(stage.secretKey))
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func itSpeaksTwoLanguagesWithoutAScript() async throws {
            let stage = try await Stage()
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            let english = try looker.get("/").body
            #expect(
                english.contains("<html lang=\"en\">") && english.contains("Open and held charges"))
            let korean = try looker.get("/", fields: ["Accept-Language: ko-KR,ko;q=0.9"])
            #expect(korean.body.contains("<html lang=\"ko\">") && korean.body.contains("월별 매출"))
            #expect(korean.head.contains("text/html; charset=utf-8"))
            for html in [english, korean.body] {
                #expect(!html.lowercased().contains("<script"))
                #expect(html.contains("http-equiv=\"refresh\" content=\"30\""))
                #expect(html.contains("width=device-width"))
                #expect(!html.contains("{{") && !html.contains("}}"))
            }
            let style = try looker.get("/style.css")
            #expect(style.head.contains("text/css"))
            #expect(style.body.contains("prefers-color-scheme: dark"))
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        /// What an operator or a web app wrote is text, whatever it looks like.
        @Test func foreignTextStaysText() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try await stage.database.run(
                """
                UPDATE billing.settings SET paused = true, paused_reason = '<script>alert(1)</script>'
                """, as: .admin)
            try await stage.database.run(
                """
                UPDATE billing.subscriptions SET held_reason = '<img src=x onerror=y> {{state}}',
                    next_charge_at = NULL
                """)
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            var html = ""
            try await eventually("it says that it waits") {
                html = try looker.get("/").body
                return html.contains("not charging: paused")
            }
            #expect(html.contains("&lt;script&gt;alert(1)") && !html.contains("<script"))
            #expect(
                html.contains("&lt;img src=x onerror=y&gt; {{state}}") && !html.contains("<img"))
            #expect(html.contains("<code>billingd explain 1</code>"))
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func aRenewalThatIsAnHourLateIsTold() async throws {
            let stage = try await Stage()
            try await stage.database.run("UPDATE billing.settings SET paused = true", as: .admin)
            let customers = try await stage.customers(2)
            for (customer, age) in zip(customers, ["90 minutes", "30 minutes"]) {
                try await stage.database.run(
                    """
                    SELECT billing.subscribe(
                        '\(customer.customerKey)', 'monthly', now() - interval '\(age)')
                    """, as: .web)
            }
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            try await eventually("it is told") {
                try await stage.count("billing.events WHERE type = 'renewal.missed'") == 1
            }
            #expect(
                worker.errors.contains("renewals should have been charged more than an hour ago"))
            #expect(try looker.metrics()["billingd_renewals_missed"] == 1)
            #expect(value("missed", try looker.get("/").body) == "1")
            try await stage.database.run("UPDATE billing.settings SET paused = false", as: .admin)
            try await stage.paid(2)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }
    }
}
