import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// The installer's question, which must not change anything.
    @Suite struct CheckTests {
        /// All that a worker could have written, with the versions of the rows.
        private func ledger(_ database: TestDatabase) async throws -> String {
            try await database.run(
                """
                SELECT concat_ws(' | ',
                    (SELECT string_agg(concat_ws(',', s.ctid, s.xmin, s::text), ';')
                     FROM billing.settings AS s),
                    (SELECT string_agg(concat_ws(',', s.ctid, s.xmin), ';')
                     FROM billing.subscriptions AS s),
                    (SELECT string_agg(concat_ws(',', k.ctid, k.xmin), ';')
                     FROM billing.billing_keys AS k),
                    (SELECT count(*) FROM billing.charges),
                    (SELECT count(*) FROM billing.attempts),
                    (SELECT count(*) FROM billing.events),
                    (SELECT count(*) FROM billing.workers)) AS text
                """)[0].string("text")
        }

        private func check(
            _ stage: Stage, _ changes: [String: String?] = [:], options: [String] = []
        ) async throws -> (status: Int32, output: String, errors: String) {
            let before = try await ledger(stage.database)
            let result = try await stage.billingd(["check"] + options, changes)
            #expect(try await ledger(stage.database) == before)
            #expect(try stage.sandbox.books().approvals == 0)
            #expect(!(result.output + result.errors).contains(stage.secretKey))
            return result
        }

        @Test func allIsWell() async throws {
            let stage = try await Stage()
            try await stage.subscribers(2)
            let checked = try await check(stage)
            #expect(checked.status == 0)
            let lines = checked.output.split(separator: "\n")
            #expect(lines.last == "billingd would charge.")
            #expect(lines.dropLast().allSatisfy { $0.hasPrefix("ok  ") }, "\(checked.output)")
            for subject in [
                "options", "listen", "secret key", "database", "schema", "mode", "role", "provider",
            ] {
                #expect(checked.output.contains("ok   \(subject): "), "\(checked.output)")
            }
            #expect(
                try await stage.count("billing.settings WHERE secret_key_fingerprint IS NULL") == 1)
        }

        @Test func aPauseIsSaidAndIsNoFault() async throws {
            let stage = try await Stage()
            try await stage.database.run(
                "UPDATE billing.settings SET paused = true, paused_reason = 'month end'",
                as: .admin)
            let checked = try await check(stage)
            #expect(checked.status == 0)
            #expect(checked.output.contains("paused: nothing is charged: month end"))
        }

        @Test func eachProblemIsNamedWithItsMend() async throws {
            let stage = try await Stage()
            try await stage.database.run("UPDATE billing.settings SET schema_version = 7")
            let checked = try await check(
                stage,
                [
                    "DATABASE_URL": stage.database.connectionString(as: .web),
                    "TOSS_SECRET_KEY": "test_sk_" + Stage.random(24),
                ], options: ["--max-in-flight", "0", "--listen", "0.0.0.0:1"])
            #expect(checked.status == 1)
            for line in [
                "FAIL options: max-in-flight: 1 to 10,000, not 0",
                "FAIL listen: listen: 0.0.0.0:1 can be reached from elsewhere",
                "FAIL schema: version 7",
                "mend: newer than this program: install the matching billingd",
                "FAIL role: test_web may not select billing.billing_keys: too little",
                "mend: GRANT billing_worker TO test_web",
                "FAIL provider: \(stage.sandbox.address) answers 401 UNAUTHORIZED_KEY",
                "mend: compare the secret key",
                "billingd would not charge.",
            ] {
                #expect(checked.output.contains(line), "\(checked.output)")
            }
        }

        @Test func whoHasTheAddressIsSaid() async throws {
            let stage = try await Stage()
            let worker = try await stage.worker([], ["BILLINGD_LISTEN": "127.0.0.1:0"])
            let looker = try await Looker(worker)
            let id = try await stage.database.run("SELECT worker_id FROM billing.workers")[0]
                .string("worker_id")
            let own = "127.0.0.1:\(looker.port)"
            // The settings of an instance that runs are no fault, and those of a second one are told.
            let shared = try await stage.billingd(["check", "--listen", own])
            #expect(shared.status == 0)
            let words =
                "ok   listen: \(own) is in use by billingd \(id), which may be this instance"
            #expect(shared.output.contains(words), "\(shared.output)")
            #expect(shared.output.contains("in /etc/billingd/billingd@1.env"))
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            let free = try await stage.billingd(["check"], ["BILLINGD_LISTEN": own])
            #expect(free.output.contains("ok   listen: \(own) is free"), "\(free.output)")
            let other = "127.0.0.1:\(stage.sandbox.port)"
            let taken = try await stage.billingd(["check"], ["BILLINGD_LISTEN": other])
            #expect(taken.status == 1)
            #expect(taken.output.contains("FAIL listen: \(other) is in use by another program"))
            #expect(taken.output.contains("mend: set BILLINGD_LISTEN to a free port"))
        }

        @Test func aProviderThatIsNotThere() async throws {
            let stage = try await Stage()
            stage.sandbox.process.kill(9)
            await stage.sandbox.process.ended()
            let checked = try await stage.billingd(["check"])
            #expect(checked.status == 1)
            #expect(checked.output.contains("FAIL provider: \(stage.sandbox.address)"))
            #expect(checked.output.contains("mend: is the address right"))
        }

        @Test(arguments: [
            (["DATABASE_URL": "host=/no/such/folder"], "mend: is PostgreSQL up"),
            (["TOSS_SECRET_KEY": nil], "FAIL configuration: there is no secret key"),
            (["TOSS_API_URL": "http://192.0.2.1"], "plain http is for a sandbox"),
        ])
        func whatIsMissing(changes: [String: String?], words: String) async throws {
            let checked = try await check(Stage(), changes)
            #expect(checked.status == 1)
            #expect(checked.output.contains(words), "\(checked.output)")
            #expect(checked.output.hasSuffix("billingd would not charge.\n"))
        }
    }
}
