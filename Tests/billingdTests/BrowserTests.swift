import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// The page as a person sees it: drawn by a real browser. With BILLINGD_PICTURES=FOLDER each view's
    /// picture is left there.
    @Suite(
        .enabled(
            if: Chromium.isInstalled,
            "there is no \(Chromium.program.path()): apt-get install chromium"))
    struct BrowserTests {
        private static let axe = Checkout.file(".build/axe/axe.min.js")

        private static let views = ["en-US,en;q=0.9", "ko-KR,ko;q=0.9,en;q=0.5"].flatMap {
            language in
            [(true, 360), (false, 360), (true, 1_280), (false, 1_280)].map {
                Chromium.View(language: language, isDark: $0.0, width: $0.1)
            }
        }

        /// A daemon whose ledger has something for every part of the page, at `address`.
        private struct Scene {
            let stage: Stage
            let worker: ChildProcess
            let address: String

            func end() async {
                worker.kill(SIGTERM)
                #expect(await worker.ended() == 0)
            }
        }

        private func scene() async throws -> Scene {
            let stage = try await Stage()
            try await stage.scale(requestTimeout: "2 seconds", lease: "5 seconds")
            // Noon in Seoul, so that no day ends while somebody looks.
            let tomorrow = Date.now.addingTimeInterval(86_400).ISO8601Format().prefix(10)
            try await stage.setClock("\(tomorrow)T03:00:00Z")
            try await stage.subscribers(9)
            try await stage.subscribers(3, script: ["REJECT_CARD_PAYMENT", "approve"])
            try await stage.subscribers(2, script: ["EXCEED_MAX_ONE_DAY_AMOUNT"])
            #expect(try await stage.billingd(["once"]).status == 0)
            // Those who were declined try again; then into another month, for renewals.
            for time in ["25 hours", "31 days"] {
                try await stage.pass(time)
                #expect(try await stage.billingd(["once"]).status == 0)
            }
            try await stage.subscribers(1, script: ["FDS_ERROR"])
            #expect(try await stage.billingd(["once"]).status == 0)
            // One of unknown outcome.
            try stage.sandbox.faults("[{\"action\":\"executeAndDrop\",\"count\":1}]")
            try await stage.subscribers(1)
            let worker = try await stage.worker([], ["BILLINGD_LISTEN": "127.0.0.1:0"])
            let looker = try await Looker(worker)
            try await eventually("one is unknown") {
                try await stage.count(
                    "billing.attempts WHERE state = 'open' AND unknown_since IS NOT NULL") == 1
            }
            // Nothing moves while the page is compared with the ledger.
            try await stage.database.run(
                "UPDATE billing.settings SET paused = true, paused_reason = '월말 정산'", as: .admin)
            try await eventually("the page knows", within: .seconds(45)) {
                let html = try looker.get("/").body
                return html.contains("월말 정산") && html.contains("outcome unknown</b>")
                    && html.contains("id=\"unknown\">1<")
            }
            return Scene(
                stage: stage, worker: worker, address: "http://127.0.0.1:\(looker.port)/")
        }

        // MARK: What is wrong with a page

        /// What a person would see to be wrong, one sentence each.
        private func faults(
            _ browser: Chromium, _ view: Chromium.View
        ) async throws -> [String] {
            var faults = browser.complaints.map { "console: \($0.prefix(300))" }
            faults += try await browser.value(
                """
                (() => {
                    const faults = []
                    const all = selector => [...document.querySelectorAll(selector)]
                    const box = element => element.getBoundingClientRect()
                    for (const part of all("details")) part.open = true
                    const page = document.documentElement
                    if (page.scrollWidth > page.clientWidth)
                        faults.push(`scroll: ${page.scrollWidth} of ${page.clientWidth} px`)
                    for (const svg of all("svg")) {
                        const name = svg.closest("section").id
                        if (box(svg).width < 250 || box(svg).height < 60)
                            faults.push(`size: ${name}, ${box(svg).width} x ${box(svg).height}`)
                        const bars = [...svg.querySelectorAll("rect:not(.hit)")]
                        if (!bars.some(bar => box(bar).height > 0.5 && box(bar).width > 1))
                            faults.push(`size: ${name} has no bar`)
                        const labels = [...svg.querySelectorAll(".label")].map(box)
                        labels.forEach((label, place) => {
                            if (place > 0 && label.left < labels[place - 1].right + 2)
                                faults.push(`overlap: labels ${place - 1} and ${place} of ${name}`)
                            if (label.left < -1 || label.right > page.clientWidth + 1)
                                faults.push(`overlap: label ${place} of ${name} is cut off`)
                        })
                    }
                    const ids = all("[id]").map(element => element.id)
                    for (const id of ids.filter((id, place) => ids.indexOf(id) != place))
                        faults.push(`id: ${id} twice`)
                    for (const head of all("th"))
                        if (!head.scope) faults.push(`scope: a head "${head.innerText}" of nothing`)
                    const ground = getComputedStyle(document.body).backgroundColor
                    const light = ground.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 765
                    if ((light < 0.5) != \(view.isDark)) faults.push(`scheme: ${ground}`)
                    if (page.lang != "\(view.language.prefix(2))") faults.push(`lang: ${page.lang}`)
                    return faults
                })()
                """, as: [String].self)
            return faults
        }

        /// The rules of axe that the page breaks, each with the first place.
        private func violations(
            _ browser: Chromium, without rules: [String] = []
        ) async throws -> [String] {
            try await browser.run(String(contentsOf: Self.axe, encoding: .utf8))
            let without = rules.map { "\"\($0)\": {enabled: false}" }.joined(separator: ", ")
            // Its own look at style sheets is a request that the page's policy forbids.
            return try await browser.value(
                """
                axe.run({preload: false, rules: {\(without)}}).then(found => found.violations.map(
                    rule => `${rule.id}: ${rule.nodes[0].html}, ${rule.nodes[0].failureSummary}`))
                """, as: [String].self)
        }

        // MARK: Tests

        @Test func itIsDrawnInEveryView() async throws {
            let scene = try await scene()
            let browser = try await Chromium()
            for view in Self.views {
                try await browser.open(scene.address, as: view)
                let faults = try await faults(browser, view)
                #expect(faults.isEmpty, "\(view): \(faults)")
                if let folder = ProcessInfo.processInfo.environment["BILLINGD_PICTURES"] {
                    let name = "\(view.language.prefix(2))-\(view.isDark)-\(view.width).png"
                    try await browser.picture()
                        .write(to: URL(filePath: folder).appending(path: name))
                }
            }
            // The links are good, and a subscription's story stands behind each charge that waits.
            try await browser.open(scene.address, as: Self.views[0])
            let links = try await browser.value(
                "[...document.links].map(link => link.href)", as: [String].self)
            #expect(links.count == 5, "\(links)")
            for link in links {
                try await browser.open(link, as: Self.views[0])
                let text = try await browser.value("document.body.innerText", as: String.self)
                if link.contains("/explain/") {
                    let id = link.split(separator: "/").last ?? ""
                    #expect(text.hasPrefix("Subscription \(id), plan monthly"), "\(text)")
                    #expect(text.contains("\nNow:\n") && !text.contains("Receipt:"))
                } else {
                    #expect(link.hasSuffix("/?refresh=off") && text.contains("does not refresh"))
                }
            }
            await scene.end()
        }

        /// What stands on the screen, against the ledger asked in other words.
        @Test func whatIsSeenIsWhatTheLedgerHolds() async throws {
            let scene = try await scene()
            let browser = try await Chromium()
            try await browser.open(scene.address + "?refresh=off", as: Self.views[0])
            let tiles = try await browser.value(
                """
                Object.fromEntries([...document.querySelectorAll(".tile b")].map(
                    value => [value.id, value.innerText.replace(/[₩,]/g, "")]))
                """, as: [String: String].self)
            let ledger = try await scene.stage.database.run(
                """
                SELECT jsonb_build_object(
                    'due', (SELECT count(*) FROM billing.subscriptions
                        WHERE next_charge_at <= billing.now())::text,
                    'in-flight', (SELECT count(*) FROM billing.subscriptions
                        WHERE lease_until > now())::text,
                    'workers', '1', 'limit', 'no limit', 'breaker', 'closed', 'missed', '0',
                    'books', '0',
                    'rate', (SELECT count(*) FROM billing.charges
                        WHERE paid_at > billing.now() - interval '1 hour')::text,
                    'won', (SELECT coalesce(sum(amount), 0) FROM billing.charges
                        WHERE paid_at > billing.now() - interval '1 hour')::text,
                    'unknown', (SELECT count(*) FROM billing.attempts
                        WHERE state = 'open' AND unknown_since IS NOT NULL)::text,
                    'held', (SELECT count(*) FROM billing.charges WHERE state = 'held')::text,
                    'past-due', (SELECT count(*) FROM billing.subscriptions
                        WHERE state = 'past_due')::text,
                    'suspended', (SELECT count(*) FROM billing.subscriptions
                        WHERE state = 'suspended')::text)::text AS tiles
                """)[0].string("tiles")
            #expect(
                try tiles == JSONDecoder().decode([String: String].self, from: Data(ledger.utf8)))

            for (chart, query) in Self.charts {
                let wanted = try await scene.stage.database.run(query).map {
                    try $0.string("parts").split(separator: ",").compactMap { Double($0) }
                }
                let bars = try await browser.value(
                    """
                    [...document.querySelectorAll("#\(chart) svg g")].map(column =>
                        ["one", "two", "three"].map(part =>
                            column.querySelector("rect." + part)?.getBBox().height ?? 0))
                    """, as: [[Double]].self)
                #expect(bars.count == wanted.count && wanted.count > 0, "\(chart)")
                // The tallest takes all the room, and the others their share; the least is a line.
                let most = wanted.map { $0.reduce(0, +) }.max() ?? 0
                #expect(most > 0, "\(chart)")
                for (bar, parts) in zip(bars, wanted) {
                    for (tall, part) in zip(bar, parts) {
                        #expect(abs(tall - part / most * 132) < 1, "\(chart): \(bar), \(parts)")
                    }
                }
            }
            await scene.end()
        }

        /// The parts of each column of each chart, `one,two,three`, in order.
        private static let charts = [
            "hours": """
            SELECT concat_ws(',', count(type) FILTER (WHERE type = 'charge.paid'),
                count(type) FILTER (WHERE type = 'charge.declined'),
                count(type) FILTER (WHERE type = 'charge.held')) AS parts
            FROM generate_series(0, 23) AS hour LEFT JOIN billing.events
                ON (occurred_at AT TIME ZONE 'Asia/Seoul')::date
                    = (billing.now() AT TIME ZONE 'Asia/Seoul')::date
                AND extract(hour FROM occurred_at AT TIME ZONE 'Asia/Seoul') = hour
            GROUP BY hour ORDER BY hour
            """,
            "codes": """
            SELECT concat_ws(',', 0, count(*), 0) AS parts
            FROM billing.attempts WHERE state = 'declined' AND finished_at > now() - interval '1 day'
              AND EXISTS (SELECT FROM billing.events AS e WHERE e.type = 'charge.declined'
                AND e.charge_id = attempts.charge_id AND e.data ->> 'code' = attempts.code
                AND e.occurred_at > billing.now() - interval '30 days')
            GROUP BY code ORDER BY count(*) DESC, code
            """,
            "recovery": """
            SELECT concat_ws(',', count(*) FILTER (WHERE state = 'paid'),
                count(*) FILTER (WHERE state = 'failed'),
                count(*) FILTER (WHERE state IN ('open', 'held'))) AS parts
            FROM billing.charges WHERE declines > 0 GROUP BY declines ORDER BY declines
            """,
            "forecast": """
            SELECT concat_ws(',', coalesce(sum(amount), 0), 0, 0) AS parts
            FROM generate_series(0, 29) AS day
            LEFT JOIN billing.forecast(billing.now() + interval '40 days') AS f
                ON (f.due_at AT TIME ZONE 'Asia/Seoul')::date
                    = (billing.now() AT TIME ZONE 'Asia/Seoul')::date + day
            GROUP BY day ORDER BY day
            """,
            "months": """
            SELECT concat_ws(',', coalesce(sum(amount), 0), 0, 0) AS parts
            FROM generate_series(11, 0, -1) AS back LEFT JOIN billing.charges
                ON state = 'paid' AND to_char(paid_at AT TIME ZONE 'Asia/Seoul', 'YYYY-MM')
                    = to_char((billing.now() AT TIME ZONE 'Asia/Seoul')
                        - back * interval '1 month', 'YYYY-MM')
            GROUP BY back ORDER BY back DESC
            """,
        ]

        @Test(
            .enabled(
                if: FileManager.default.fileExists(atPath: axe.path()),
                "there is no \(axe.path()): deploy/test puts it there"))
        func everybodyCanReadIt() async throws {
            let scene = try await scene()
            let browser = try await Chromium()
            // Colours and words do not depend on the width.
            for view in Self.views where view.width == 360 {
                try await browser.open(scene.address + "?refresh=off", as: view)
                _ = try await faults(browser, view)
                let broken = try await violations(browser)
                #expect(broken.isEmpty, "\(view): \(broken)")
            }
            // Who reads slowly can turn the refresh off, as the rule wants it: but it sees no link.
            try await browser.open(scene.address, as: Self.views[0])
            #expect(try await violations(browser).map { $0.prefix(12) } == ["meta-refresh"])
            #expect(try await violations(browser, without: ["meta-refresh"]).isEmpty)
            // And it has eyes.
            for (rule, damage) in Self.barriers {
                try await browser.open(scene.address + "?refresh=off", as: Self.views[1])
                try await browser.run(damage)
                let broken = try await violations(browser)
                #expect(broken.contains { $0.hasPrefix(rule + ":") }, "\(rule): \(broken)")
            }
            await scene.end()
        }

        /// A rule of axe, and a script that breaks it.
        private static let barriers = [
            ("color-contrast", "document.querySelector('h2').style.color = '#e0e0e0'"),
            ("svg-img-alt", "document.querySelector('svg').removeAttribute('aria-label')"),
            ("html-has-lang", "document.documentElement.removeAttribute('lang')"),
            ("document-title", "document.title = ''"),
            (
                "landmark-one-main",
                "document.querySelector('main').replaceWith(...document.querySelector('main').children)"
            ),
            ("heading-order", "document.querySelector('h2').outerHTML = '<h5>skipped</h5>'"),
        ]

        /// A check that sees nothing would pass for ever.
        @Test func theChecksSeeWhatIsBroken() async throws {
            let scene = try await scene()
            let browser = try await Chromium()
            for (kind, damage) in Self.damages {
                try await browser.open(scene.address + "?refresh=off", as: Self.views[0])
                try await browser.run(damage)
                // What is written on the console comes a little later.
                var found: [String] = []
                try await eventually("\(kind) is found") {
                    found = try await faults(browser, Self.views[0])
                    return found.contains { $0.hasPrefix(kind) }
                }
            }
            await scene.end()
        }

        private static let damages = [
            ("console", "console.error('a test')"), ("console", "setTimeout(() => { throw 1 })"),
            (
                "console",
                "document.body.append(Object.assign(document.createElement('img'), {src: '/x'}))"
            ),
            ("scroll", "document.querySelector('h2').style.width = '500px'"),
            ("size: hours", "document.querySelector('#hours svg').style.width = '40px'"),
            (
                "size: months has no bar",
                "document.querySelectorAll('#months rect:not(.hit)').forEach(bar => bar.remove())"
            ),
            (
                "overlap: labels 0 and 1 of months",
                "document.querySelectorAll('#months .label').forEach(l => l.textContent += ' 00:00')"
            ),
            ("id: due twice", "document.querySelector('#held').id = 'due'"),
            ("scope", "document.querySelector('th').removeAttribute('scope')"),
            ("scheme", "document.body.style.backgroundColor = 'white'"),
            ("lang", "document.documentElement.lang = 'xx'"),
        ]
    }
}
