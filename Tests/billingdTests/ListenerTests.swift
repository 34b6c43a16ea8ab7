import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// Health and metrics of a daemon at work.
    @Suite struct ListenerTests {
        private let open = ["BILLINGD_LISTEN": "127.0.0.1:0"]

        @Test func theMetricsAreTheNumbersOfTheLedger() async throws {
            let stage = try await Stage()
            try await stage.subscribers(7)
            try await stage.subscribers(3, script: ["REJECT_CARD_PAYMENT"])
            try await stage.subscribers(1, script: ["FDS_ERROR"])
            try stage.sandbox.faults("[{\"action\":\"executeAndDrop\",\"count\":1}]")
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            try await eventually("all have been tried") {
                try await stage.count(
                    "billing.subscriptions WHERE next_charge_at <= billing.now()") == 0
            }
            let ledger = try await stage.database.run(
                """
                SELECT (SELECT count(*) FROM billing.charges WHERE state = 'paid') AS paid,
                    (SELECT count(*) FROM billing.attempts WHERE state = 'declined'
                     AND code = 'REJECT_CARD_PAYMENT') AS rejected,
                    (SELECT count(*) FROM billing.charges WHERE state = 'held') AS held,
                    (SELECT count(*) FROM billing.attempts WHERE state = 'open'
                     AND unknown_since IS NOT NULL) AS unknown
                """)[0]
            // The figures of the database may be 10 s old.
            try await eventually("the figures are new") {
                try looker.metrics()["billingd_unknown"] == Double(ledger.int("unknown"))
            }
            let metrics = try looker.metrics()
            func outcomes(_ kind: String, _ code: String = "") -> Double? {
                metrics["billingd_outcomes_total{class=\"\(kind)\",code=\"\(code)\"}"]
            }
            #expect(outcomes("approved") == Double(try ledger.int("paid")))
            #expect(
                outcomes("declined", "REJECT_CARD_PAYMENT") ?? 0
                    == Double(try ledger.int("rejected")))
            #expect(metrics["billingd_holds_total"] == Double(try ledger.int("held")))
            #expect(metrics["billingd_held"] == Double(try ledger.int("held")))
            #expect(metrics["billingd_unknown_oldest_seconds"] ?? 0 > 0)
            #expect(outcomes("unknown", "CONNECTION_LOST") == 1)
            let calls = "billingd_request_duration_seconds_count{call=\"charge\"}"
            #expect(metrics[calls] == 11)
            let largest = "billingd_request_duration_seconds_bucket{call=\"charge\",le=\"+Inf\"}"
            #expect(metrics[largest] == 11)
            #expect(metrics["billingd_breaker_state{state=\"closed\"}"] == 1)
            #expect(metrics["billingd_live"] == 1 && metrics["billingd_ready"] == 1)
            #expect(metrics["billingd_workers"] == 1 && metrics["billingd_due"] == 0)
            #expect(abs(metrics["billingd_clock_skew_seconds"] ?? 99) < 1)
            #expect(metrics["billingd_database_figures_up"] == 1)
            #expect(metrics["billingd_claims_total"] ?? 0 > 0)
            #expect(
                metrics["billingd_database_duration_seconds_count{call=\"record\"}"] ?? 0 > 0)
            #expect(metrics.keys.contains { $0.hasPrefix("billingd_build_info{version=\"") })
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func readyMeansThatItWouldChargeNow() async throws {
            let stage = try await Stage()
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            try await eventually("it is ready") { try looker.get("/readyz").status == 200 }
            #expect(try looker.get("/livez").status == 200)
            try await stage.database.run(
                "UPDATE billing.settings SET paused = true, paused_reason = 'a look around'",
                as: .admin)
            try await eventually("it says that it waits") {
                try looker.get("/readyz").status == 503
            }
            let paused = try looker.get("/readyz")
            #expect(
                paused.body.contains("\"reason\":\"paused: settings.paused: a look around\"")
                    || paused.body.contains("a look around"), "\(paused.body)")
            #expect(paused.head.contains("application/json"))
            #expect(try looker.get("/livez").status == 200, "by order, it is no fault")
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func aDatabaseThatIsAwayIsTold() async throws {
            let stage = try await Stage()
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            try await eventually("it is ready") { try looker.get("/readyz").status == 200 }
            let name = try await stage.database.run("SELECT current_database() AS name")[0]
                .string("name")
            let elsewhere = try await TemporaryPostgres.shared.database()
            try await elsewhere.run("ALTER DATABASE \(name) ALLOW_CONNECTIONS false")
            try await elsewhere.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '\(name)'")
            try await eventually("it is not ready") { try looker.get("/readyz").status == 503 }
            #expect(try looker.get("/readyz").body.contains("cannot claim: "))
            #expect(try looker.get("/livez").status == 200, "it tries, and no restart mends that")
            // A scrape answers all the same, with what was known before.
            try await eventually("the figures are old") {
                try looker.metrics()["billingd_database_figures_up"] == 0
            }
            #expect(
                try looker.metrics()["billingd_database_failures_total{call=\"claim\"}"] ?? 0 > 0)
            try await elsewhere.run("ALTER DATABASE \(name) ALLOW_CONNECTIONS true")
            try await stage.subscribers(1)
            try await stage.paid(1)
            try await eventually("it is ready again") { try looker.get("/readyz").status == 200 }
            try await eventually("the figures are new") {
                let metrics = try looker.metrics()
                return metrics["billingd_database_figures_up"] == 1
                    && metrics["billingd_database_reconnects_total"] ?? 0 > 0
            }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        private func start(
            _ stage: Stage, _ changes: [String: String] = [:]
        ) async throws -> ChildProcess {
            try await ChildProcess(
                Checkout.program("billingd"), ["run"],
                environment: stage.environment(open.merging(changes) { $1 }))
        }

        /// Not ready and alive, for a reason that has these words.
        private func expectStarting(_ looker: Looker, _ words: String) throws {
            let ready = try looker.get("/readyz")
            #expect(ready.status == 503 && ready.head.contains("application/json"))
            #expect(
                ready.body.contains("\"reason\":\"starting: waits for \(words)"), "\(ready.body)")
            #expect(ready.body.contains("\"state\":\"starting\""))
            #expect(try looker.get("/livez").status == 200)
            let metrics = try looker.metrics()
            #expect(metrics["billingd_live"] == 1 && metrics["billingd_ready"] == 0)
            #expect(try looker.get("/").body.contains("not charging: starting: waits for \(words)"))
        }

        @Test func itAnswersWhileTheStartWaitsForTheDatabase() async throws {
            let stage = try await Stage()
            let elsewhere = try await TemporaryPostgres.shared.database()
            let name = stage.database.name
            try await elsewhere.run("ALTER DATABASE \(name) ALLOW_CONNECTIONS false")
            let worker = try await start(stage)
            let looker = try await Looker(worker)
            try await eventually("it waits") { worker.errors.contains("trying again") }
            try expectStarting(looker, "the database: ")
            try await elsewhere.run("ALTER DATABASE \(name) ALLOW_CONNECTIONS true")
            try await eventually("it is ready") { try looker.get("/readyz").status == 200 }
            try await stage.subscribers(1)
            try await stage.paid(1)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func itAnswersWhileTheStartWaitsForAKey() async throws {
            let stage = try await Stage()
            #expect(try await stage.billingd(["once"]).status == 0)
            let worker = try await start(stage, ["TOSS_SECRET_KEY": stage.nextKey])
            let looker = try await Looker(worker)
            try await eventually("it waits") {
                worker.errors.contains("nothing is charged until billingd rotate-key binds it")
            }
            try expectStarting(looker, "billingd rotate-key: ")
            let rotated = try await stage.billingd(
                ["rotate-key", "--why", "a test"],
                [
                    "DATABASE_URL": stage.database.connectionString(as: .admin),
                    "TOSS_SECRET_KEY": stage.nextKey,
                ])
            #expect(rotated.status == 0, "\(rotated.errors)")
            try await eventually("it is ready") { try looker.get("/readyz").status == 200 }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func whatIsNotAllowedIsRefused() async throws {
            let stage = try await Stage()
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            #expect(try looker.get("/livez", method: "POST").status == 405)
            #expect(try looker.get("/livez", method: "HEAD").body == "")
            #expect(try looker.get("/nothing").status == 404)
            // A page elsewhere whose name leads here.
            #expect(try looker.get("/livez", host: "shop.example").status == 421)
            #expect(try looker.get("/livez", host: "127.0.0.1:\(looker.port)").status == 200)
            let long = "X-Long: " + String(repeating: "a", count: 20_000)
            #expect(throws: ChildProcess.Failure.self) {
                let answer = try looker.get("/livez", fields: [long])
                if answer.status == 400 { throw ChildProcess.Failure("refused") }
            }
            let many = (0..<200).map { "X-\($0): 1" }
            #expect(throws: ChildProcess.Failure.self) {
                let answer = try looker.get("/livez", fields: many)
                if answer.status == 400 { throw ChildProcess.Failure("refused") }
            }
            let answer = try looker.get("/metrics")
            #expect(answer.head.contains("connection: close"))
            #expect(answer.head.contains("default-src 'none'"))
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func connectionsThatSayNothingAreEnded() async throws {
            let stage = try await Stage()
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            let silent = try (0..<40).map { _ in try SilentClient(port: looker.port) }
            // All places are taken: this waits for one, and 15 s is the longest that takes.
            let start = ContinuousClock.now
            #expect(try looker.get("/livez").status == 200)
            let took = ContinuousClock.now - start
            #expect(took > .seconds(5) && took < .seconds(40), "\(took)")
            try await stage.subscribers(3)
            try await stage.paid(3)
            withExtendedLifetime(silent) {}
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        /// An alert over a name that is not there never fires, and a panel stays empty.
        @Test func whatAlertsAndPanelsAskForIsThere() async throws {
            let stage = try await Stage()
            try await stage.database.run(
                "UPDATE billing.settings SET max_requests_per_minute = 60000", as: .admin)
            try await stage.subscribers(1)
            let worker = try await stage.worker([], open)
            let looker = try await Looker(worker)
            try await stage.paid(1)
            var names: Set<String> = []
            try await eventually("the figures are there") {
                names = Set(try looker.metrics().keys.map { String($0.prefix { $0 != "{" }) })
                return names.contains("billingd_due")
            }
            for file in ["deploy/prometheus/billingd.rules.yml", "deploy/grafana/billingd.json"] {
                let asked = try Checkout.text(file).matches(of: /\bbillingd_[a-z_]+/).map {
                    String($0.output)
                }
                #expect(asked.count > 5)
                for name in asked { #expect(names.contains(name), "\(file): \(name)") }
            }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        // MARK: The address

        @Test func anAddressThatWasGivenAndIsTakenStopsTheStart() async throws {
            let stage = try await Stage()
            let taken = "127.0.0.1:\(stage.sandbox.port)"
            for (options, changes) in [
                (["--listen", taken], [:]), ([], ["BILLINGD_LISTEN": taken]),
            ] {
                let refused = try await stage.billingd(["run"] + options, changes)
                #expect(refused.status == 1)
                #expect(refused.errors.contains("--listen, BILLINGD_LISTEN"), "\(refused.errors)")
                #expect(refused.errors.contains(taken))
                #expect(refused.errors.contains("is in use, by another instance"))
                #expect(refused.errors.contains("in /etc/billingd/billingd@1.env"))
            }
            #expect(try await stage.count("billing.workers") == 0)
        }

        @Test func theDefaultThatIsTakenStopsNothing() async throws {
            let stage = try await Stage()
            // Whoever has it already serves as well.
            let holder = try? PortHolder(port: 9_464)
            try await stage.subscribers(3)
            let worker = try await stage.worker([], ["BILLINGD_LISTEN": nil])
            try await stage.paid(3)
            try await eventually("it is told") {
                worker.errors.contains("give this worker an address of its own with --listen")
            }
            withExtendedLifetime(holder) {}
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test(arguments: [
            ("9464", "an address and a port"), ("0.0.0.0:0", "BILLINGD_TOKEN_FILE"),
            ("[::]:0", "BILLINGD_TOKEN_FILE"),
        ])
        func anAddressThatIsNotToBeHadIsRefused(address: String, words: String) async throws {
            let stage = try await Stage()
            let refused = try await stage.billingd(["run", "--listen", address])
            #expect(refused.status == 64)
            #expect(refused.errors.contains("listen: ") && refused.errors.contains(words))
        }

        @Test func anOpenAddressAsksForTheToken() async throws {
            let stage = try await Stage()
            let token = Stage.random(32)
            let file = FileManager.default.temporaryDirectory
                .appending(path: "billingd-test-token-\(UUID().uuidString)")
            defer { try? FileManager.default.removeItem(at: file) }
            try Data("\(token.prefix(8))\n".utf8).write(to: file)
            let short = try await stage.billingd(
                ["run", "--listen", "0.0.0.0:0", "--token-file", file.path()])
            #expect(short.status == 64 && short.errors.contains("16 to 512 visible characters"))
            #expect(!short.errors.contains(token.prefix(8)))
            try Data("\(token)\n".utf8).write(to: file)
            let worker = try await stage.worker(
                ["--listen", "0.0.0.0:0"], ["BILLINGD_TOKEN_FILE": file.path()])
            let looker = try await Looker(worker)
            for path in ["/livez", "/readyz", "/metrics", "/", "/nothing"] {
                #expect(try looker.get(path).status == 401, "\(path)")
            }
            let wrong = "Authorization: Bearer " + String(token.reversed())
            #expect(try looker.get("/metrics", fields: [wrong]).status == 401)
            let right = "Authorization: Bearer \(token)"
            let answer = try looker.get("/metrics", host: "shop.example", fields: [right])
            #expect(answer.status == 200 && !answer.body.contains(token))
            #expect(!worker.errors.contains(token))
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }
    }
}
