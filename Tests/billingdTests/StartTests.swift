import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// What keeps billingd from starting, and the words that tell how to mend it.
    @Suite struct StartTests {
        /// Every command that charges refuses in the same words, sends nothing and writes nothing.
        private func expectRefusal(
            _ stage: Stage, _ words: [String], _ changes: [String: String?] = [:],
            options: [String] = [], sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            for command in ["run", "once"] {
                let refused = try await stage.billingd([command] + options, changes)
                let text = refused.errors + refused.output
                #expect(refused.status != 0, sourceLocation: sourceLocation)
                #expect(refused.status < 128, "a crash", sourceLocation: sourceLocation)
                for word in words {
                    #expect(text.contains(word), "\(command)", sourceLocation: sourceLocation)
                }
                #expect(!text.contains(stage.secretKey), sourceLocation: sourceLocation)
                #expect(!text.contains("live_sk_ab"), sourceLocation: sourceLocation)
            }
            #expect(try stage.sandbox.books().approvals == 0, sourceLocation: sourceLocation)
        }

        private func keyFile(_ key: String) throws -> URL {
            let file = FileManager.default.temporaryDirectory
                .appending(path: "billingd-test-key-\(UUID().uuidString)")
            try Data(key.utf8).write(to: file)
            return file
        }

        @Test func aLiveKeyInTheEnvironment() async throws {
            let stage = try await Stage()
            try await expectRefusal(
                stage, ["live key", "in a file (mode 0600)", "TOSS_SECRET_KEY_FILE"],
                ["TOSS_SECRET_KEY": "live_sk_abcdefgh", "TOSS_API_URL": nil])
        }

        @Test func aLiveKeyForATestDatabase() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            let file = try keyFile("live_sk_abcdefgh\n")
            defer { try? FileManager.default.removeItem(at: file) }
            let variables = ["TOSS_SECRET_KEY": nil, "TOSS_SECRET_KEY_FILE": file.path()]
            // To the provider's own host, which is not reached: the mode is looked at before.
            try await expectRefusal(
                stage,
                [
                    "settings.mode is test, the secret key is for live",
                    "mend: use a test_sk_ key",
                ],
                variables.merging(["TOSS_API_URL": nil]) { $1 })
            // To anything else it does not speak at all.
            try await expectRefusal(
                stage, ["a live key speaks to https://api.tosspayments.com only"], variables)
            #expect(try await stage.count("billing.attempts") == 0)
        }

        @Test func noKey() async throws {
            let stage = try await Stage()
            try await expectRefusal(
                stage, ["there is no secret key", "TOSS_SECRET_KEY_FILE"],
                ["TOSS_SECRET_KEY": nil])
            try await expectRefusal(
                stage, ["there is no secret key"], ["TOSS_SECRET_KEY": ""])
            // The unit's stand-in for a credential that nobody put there.
            let folder = FileManager.default.temporaryDirectory
                .appending(path: "billingd-test-credentials-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            try Data().write(to: folder.appending(path: "toss-secret-key"))
            try await expectRefusal(
                stage, ["there is no secret key", "/etc/billingd/toss-secret-key"],
                ["TOSS_SECRET_KEY": nil, "CREDENTIALS_DIRECTORY": folder.path()])
            try await expectRefusal(
                stage, ["/no/such/file cannot be read"],
                ["TOSS_SECRET_KEY": nil, "TOSS_SECRET_KEY_FILE": "/no/such/file"])
        }

        @Test(arguments: [
            ("test_ck_abcdefgh", "client key"), ("test_gsk_abcdefgh", "widget key"),
            ("abcdefghij", "does not begin with"), ("te st", "white space inside"),
        ])
        func somethingElseForAKey(key: String, words: String) async throws {
            let stage = try await Stage()
            let refused = try await stage.billingd(["once"], ["TOSS_SECRET_KEY": key])
            #expect(refused.status != 0)
            #expect(refused.errors.contains(words))
            #expect(!refused.errors.contains(key))
        }

        @Test func noSchema() async throws {
            let stage = try await Stage()
            let empty = try await TemporaryPostgres.shared.emptyDatabase()
            try await expectRefusal(
                stage, ["there is no billing.settings", "mend: psql", "-f schema.sql"],
                ["DATABASE_URL": empty.connectionString(as: .worker)])
        }

        @Test(arguments: [
            (0, "older than this program: apply its schema.sql"),
            (2, "newer than this program: install the matching billingd"),
        ])
        func anotherSchema(version: Int, mend: String) async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try await stage.database.run(
                "UPDATE billing.settings SET schema_version = \(version)")
            try await expectRefusal(stage, ["schema: version \(version)", "mend: \(mend)"])
        }

        @Test(arguments: [
            (
                TemporaryPostgres.Role.owner, "is superuser: too much",
                "connect with a login role that is a member of billing_worker and no more"
            ),
            (
                .web, "may not select billing.billing_keys: too little",
                "GRANT billing_worker TO test_web"
            ),
            (.web, "may insert billing.plans: too much", "billing_worker and no more"),
            (
                .report, "may not insert billing.charges: too little",
                "GRANT billing_worker TO test_report"
            ),
            (
                .admin, "may change subscriptions.amount: too much",
                "billing_worker and no more"
            ),
        ])
        func theWrongRole(
            role: TemporaryPostgres.Role, finding: String, mend: String
        ) async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try await expectRefusal(
                stage, ["role: \(role.rawValue) \(finding)", mend],
                ["DATABASE_URL": stage.database.connectionString(as: role)])
        }

        @Test func noDatabase() async throws {
            let stage = try await Stage()
            let refused = try await stage.billingd(
                ["once"], ["DATABASE_URL": "host=/no/such/folder user=test_worker"])
            #expect(refused.status != 0)
            #expect(refused.errors.contains("mend: is PostgreSQL up, and DATABASE_URL"))
        }

        @Test(arguments: [
            (["--max-in-flight", "0"], "max-in-flight: 1 to 10,000, not 0"),
            (["--max-in-flight", "10001"], "max-in-flight: 1 to 10,000"),
            (["--poll-interval", "x"], "poll-interval"),
            (["--poll-interval", "0"], "poll-interval: 0.05 to 3,600 seconds"),
            (["--log-level", "loud"], "log-level: loud is none"),
            (["--log-format", "xml"], "log-format: text or json"),
            (["--no-such-option"], "no-such-option"),
        ])
        func badOptions(options: [String], words: String) async throws {
            try await expectRefusal(Stage(), [words], options: options)
        }

        @Test(arguments: [
            ("BILLINGD_MAX_IN_FLIGHT", "many", "BILLINGD_MAX_IN_FLIGHT: \"many\""),
            ("BILLINGD_MAX_IN_FLIGHT", "-1", "max-in-flight: 1 to 10,000"),
            ("BILLINGD_POLL_INTERVAL", "nan", "BILLINGD_POLL_INTERVAL: \"nan\""),
            ("BILLINGD_POOLED", "perhaps", "BILLINGD_POOLED: true or false"),
            ("LOG_LEVEL", "loud", "log-level: loud is none"),
        ])
        func badVariables(name: String, value: String, words: String) async throws {
            try await expectRefusal(Stage(), [words], [name: value])
        }

        @Test(arguments: [
            ("http://192.0.2.1:8080", "plain http is for a sandbox on this machine only"),
            ("http://127.0.0.1.example.com", "plain http is for a sandbox"),
            ("ftp://127.0.0.1", "its scheme is ftp"),
            ("127.0.0.1:8080", "TOSS_API_URL cannot be used"),
            ("http://user:word@127.0.0.1", "scheme, host and port only"),
        ])
        func anAddressThatIsNoProvider(address: String, words: String) async throws {
            try await expectRefusal(Stage(), [words], ["TOSS_API_URL": address])
        }

        @Test func anotherShopsKey() async throws {
            let stage = try await Stage()
            #expect(try await stage.billingd(["once"]).status == 0)
            try await stage.subscribers(1)
            let other = ["TOSS_SECRET_KEY": "test_sk_" + Stage.random(24)]
            let refused = try await stage.billingd(["once"], other)
            #expect(refused.status == 1)
            for words in ["this database is bound to", "mend: use the key of this shop"] {
                #expect(refused.errors.contains(words), "\(refused.errors)")
            }
            // The daemon waits, in case it is a new key of this shop, and says for what.
            let waiting = try await ChildProcess(
                Checkout.program("billingd"), ["run"], environment: stage.environment(other))
            try await eventually("it says what it waits for") {
                waiting.errors.contains("nothing is charged until billingd rotate-key binds it")
            }
            waiting.kill(SIGTERM)
            await waiting.ended()
            #expect(try await stage.count("billing.attempts") == 0)
            // And its own goes on.
            #expect(try await stage.billingd(["once"]).status == 0)
            try await stage.expectSound(payments: 1)
        }

        @Test func aCloneThatNobodyVouchedFor() async throws {
            let stage = try await Stage()
            #expect(try await stage.billingd(["once"]).status == 0)
            try await stage.subscribers(1)
            let clone = try await TemporaryPostgres.shared.clone(of: stage.database)
            let variables = ["DATABASE_URL": clone.connectionString(as: .worker)]
            try await expectRefusal(
                stage,
                [
                    "this is a clone", "mend: when no other copy is being charged",
                    "billing.adopt_database(",
                ], variables)
            #expect(try await clone.run("SELECT FROM billing.attempts").isEmpty)
            try await clone.run("SELECT billing.adopt_database('a test says so')", as: .admin)
            // What was sent for the other copy may still act: it waits that out, and says so.
            let early = try await stage.billingd(["once"], variables)
            #expect(early.status == 1)
            #expect(early.output.contains("this database was adopted at"))
            try await clone.run("UPDATE billing.settings SET adopted_at = now() - late_bound")
            #expect(try await stage.billingd(["once"], variables).status == 0)
            #expect(try await clone.run("SELECT FROM billing.attempts").count == 1)
        }
    }
}
