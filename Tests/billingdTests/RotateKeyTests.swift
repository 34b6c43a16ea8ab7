import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// A new secret key, from the operator's hand to the last worker.
    @Suite struct RotateKeyTests {
        private func environment(
            _ stage: Stage, key: String, _ changes: [String: String] = [:]
        ) -> [String: String] {
            [
                "DATABASE_URL": stage.database.connectionString(as: .admin),
                "TOSS_SECRET_KEY": key,
            ].merging(changes) { $1 }
        }

        private func rotate(
            _ stage: Stage, _ options: [String] = [], key: String? = nil,
            _ changes: [String: String] = [:]
        ) async throws -> (status: Int32, output: String, errors: String) {
            try await stage.billingd(
                ["rotate-key", "--why", "the yearly rotation"] + options,
                environment(stage, key: key ?? stage.nextKey, changes))
        }

        /// A worker that holds the new key before it is bound: it is not waited for.
        private func early(_ stage: Stage) async throws -> ChildProcess {
            let worker = try await ChildProcess(
                Checkout.program("billingd"), ["run"],
                environment: stage.environment(["TOSS_SECRET_KEY": stage.nextKey]))
            try await eventually("it says that it waits") {
                worker.errors.contains("nothing is charged until billingd rotate-key binds it")
            }
            return worker
        }

        private func bound(_ stage: Stage) async throws -> String {
            try await stage.database.run(
                "SELECT secret_key_fingerprint AS f FROM billing.settings")[0].string("f")
        }

        private func revoke(_ stage: Stage, _ keys: [String]) throws {
            let list = keys.map { "\"\($0)\"" }.joined(separator: ",")
            try stage.sandbox.call("PUT", "revoked-keys", "[\(list)]")
        }

        /// Some paid, with the old key; the fleet's leases are short.
        private func opened(_ subscribers: Int = 1) async throws -> Stage {
            let stage = try await Stage()
            try await stage.scale(requestTimeout: "2 seconds", lease: "5 seconds")
            try await stage.subscribers(subscribers)
            #expect(try await stage.billingd(["once"]).status == 0)
            return stage
        }

        @Test func underLoadEverythingIsPaidOnceAndTheOldKeyGetsNothing() async throws {
            let stage = try await Stage(latencyMilliseconds: 200)
            let old = try await stage.worker(["--max-in-flight", "20"])
            try await stage.subscribers(300)
            try await eventually("charges are going") { try stage.sandbox.books().approvals > 40 }
            let new = try await early(stage)
            let rotated = try await rotate(stage)
            #expect(rotated.status == 0, "\(rotated.output) \(rotated.errors)")
            let charged = try stage.sandbox.books().approvals
            #expect(charged < 300, "it was rotated under load")
            // The provider takes the old key no more: whatever came of it would be an answer 401.
            try revoke(stage, [stage.secretKey])
            for words in [
                "takes the key", "it is this shop's: it finds payment", "paused; from now on",
                "bound: fingerprint", "the pause is over", "now restart the workers",
            ] {
                #expect(rotated.output.contains(words), "\(rotated.output)")
            }
            // By itself, without a restart.
            try await stage.paid(300)
            try await eventually("the old worker says why it gets nothing") {
                old.errors.contains("this database is bound to another secret key")
            }
            for worker in [old, new] {
                worker.kill(SIGTERM)
                #expect(await worker.ended() == 0)
            }
            try await stage.expectSound(payments: 300)
            // Each by one of the two, under one name, and none with the old key afterwards.
            #expect(try await stage.count("billing.attempts WHERE sends <> 1") == 0)
            #expect(try await stage.count("billing.attempts WHERE state = 'refused'") == 0)
            let after = try await stage.count(
                """
                billing.attempts AS a WHERE opened_at > (
                    SELECT occurred_at FROM billing.events WHERE type = 'secret_key.rotated')
                  AND a.secret_key_fingerprint <> (
                    SELECT secret_key_fingerprint FROM billing.settings)
                """)
            #expect(after == 0)
            #expect(
                try await stage.count(
                    """
                    billing.events WHERE type LIKE 'secret_key.rotat%'
                        AND data ->> 'by' = 'test_admin' AND data ->> 'why' = 'the yearly rotation'
                    """) == 2)

            let again = try await rotate(stage)
            #expect(again.status == 0)
            #expect(again.output.contains("is already bound"))
            #expect(try await stage.count("billing.settings WHERE NOT paused") == 1)
        }

        /// A stage with a lease of a dead worker, and a rotation that waited for it and was killed.
        private func killedWhileWaiting() async throws -> Stage {
            let stage = try await Stage(latencyMilliseconds: 60_000)
            try await stage.scale(requestTimeout: "2 seconds", lease: "6 seconds")
            let worker = try await stage.worker()
            try await stage.subscribers(3)
            try await eventually("requests are under way") {
                try stage.sandbox.books().unanswered == 3
            }
            worker.kill(SIGKILL)
            await worker.ended()
            try stage.sandbox.call("PUT", "latency", #"{"milliseconds":0}"#)
            let hand = try await ChildProcess(
                Checkout.program("billingd"), ["rotate-key", "--why", "the yearly rotation"],
                environment: stage.environment(environment(stage, key: stage.nextKey)))
            try await eventually("it waits for the dead worker's leases") {
                hand.output.contains("waiting for 3 subscriptions in workers' hands")
            }
            hand.kill(SIGKILL)
            #expect(await hand.ended() == 128 + SIGKILL)
            #expect(
                try await stage.count(
                    "billing.settings WHERE paused AND rotating_to IS NOT NULL") == 1)
            return stage
        }

        @Test func killedInTheMiddleASecondRunCompletes() async throws {
            let stage = try await killedWhileWaiting()
            let told = try await stage.billingd(
                ["explain", "1"],
                ["DATABASE_URL": stage.database.connectionString(as: .report)])
            #expect(told.output.contains("A rotation of the secret key"), "\(told.output)")
            let second = try await rotate(stage)
            #expect(second.status == 0, "\(second.errors)")
            #expect(second.output.contains("waiting for 3 subscriptions"), "\(second.output)")
            #expect(second.output.contains("3 attempts of unknown outcome"), "\(second.output)")
            #expect(second.output.contains("the pause is over"))
            #expect(
                try await stage.count("billing.events WHERE type LIKE 'secret_key.%'") == 2)
            try revoke(stage, [stage.secretKey])
            let worker = try await stage.worker([], ["TOSS_SECRET_KEY": stage.nextKey])
            try await stage.climb(paid: 3)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 3)
            // Found at the provider, by the new key, and not sent again.
            #expect(
                try await stage.count("billing.attempts WHERE code = 'LOOKED_UP' AND sends = 1")
                    == 3)
        }

        @Test func killedInTheMiddleItIsTakenBack() async throws {
            let stage = try await killedWhileWaiting()
            let before = try await bound(stage)
            let third = try await rotate(stage, key: "test_sk_" + Stage.random(24))
            #expect(third.status == 1, "the provider does not know that one")
            let back = try await rotate(stage, ["--abort"])
            #expect(back.status == 0, "\(back.errors)")
            #expect(back.output.contains("taken back"))
            #expect(try await bound(stage) == before)
            #expect(
                try await stage.count(
                    """
                    billing.settings WHERE NOT paused AND paused_reason IS NULL
                        AND rotating_to IS NULL
                    """) == 1)
            let worker = try await stage.worker()
            try await stage.climb(paid: 3)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 3)
            let again = try await rotate(stage, ["--abort"])
            #expect(again.status == 0)
            #expect(again.output.contains("no rotation is under way"))
        }

        @Test func aKeyThatCannotChargeHereIsNeverBound() async throws {
            let stage = try await opened()
            let before = try await bound(stage)
            func expectRefused(
                _ words: String, key: String, _ changes: [String: String] = [:]
            ) async throws {
                let refused = try await rotate(stage, key: key, changes)
                #expect(refused.status == 1, "\(refused.output)")
                #expect(refused.errors.contains(words), "\(refused.errors)")
                #expect(!(refused.errors + refused.output).contains(key))
                #expect(try await bound(stage) == before)
                #expect(
                    try await stage.count(
                        "billing.settings WHERE NOT paused AND rotating_to IS NULL")
                        == 1)
            }
            // Refused by the provider.
            try await expectRefused("UNAUTHORIZED_KEY", key: "test_sk_" + Stage.random(24))
            // Of another shop, which the provider takes.
            let key = "test_sk_" + Stage.random(24)
            let other = try await Sandbox(secretKey: key)
            try await expectRefused(
                "it is the key of another shop (mId)", key: key, ["TOSS_API_URL": other.address])
            // No word of the provider.
            try await expectRefused(
                "It was not bound", key: stage.nextKey, ["TOSS_API_URL": "http://127.0.0.1:9"])
            // Another mode, from a file as it must be.
            let file = FileManager.default.temporaryDirectory
                .appending(path: "billingd-key-\(UUID().uuidString)")
            defer { try? FileManager.default.removeItem(at: file) }
            try Data("live_sk_abcdefgh12345678".utf8).write(to: file)
            try await expectRefused(
                "settings.mode is test, but this is a live key", key: "live_sk_abcdefgh12345678",
                ["TOSS_SECRET_KEY": "", "TOSS_SECRET_KEY_FILE": file.path()])
            // A role that may not.
            try await expectRefused(
                "permission denied", key: stage.nextKey,
                ["DATABASE_URL": stage.database.connectionString(as: .worker)])
        }

        @Test func aPauseOfSomebodyElseStays() async throws {
            let stage = try await opened()
            try await stage.database.run(
                "UPDATE billing.settings SET paused = true, paused_reason = 'an incident'",
                as: .admin)
            let rotated = try await rotate(stage)
            #expect(rotated.status == 0, "\(rotated.errors)")
            #expect(rotated.output.contains("still paused, as it was before: an incident"))
            #expect(
                try await stage.count(
                    "billing.settings WHERE paused AND paused_reason = 'an incident'") == 1)
        }

        @Test func whatNeverLeftUnderTheOldKeyGetsANewName() async throws {
            let stage = try await opened()
            try await stage.subscribers(1)
            // Nobody listens there.
            _ = try await stage.billingd(["once"], ["TOSS_API_URL": "http://127.0.0.1:9"])
            try #require(
                try await stage.count("billing.attempts WHERE state = 'open' AND NOT in_doubt") == 1
            )
            #expect(try await rotate(stage).status == 0)
            #expect(
                try await stage.count("billing.attempts WHERE code = 'SECRET_KEY_ROTATED'") == 1)
            try await stage.database.run(
                "UPDATE billing.settings SET clock_offset = '21 minutes'", as: .admin)
            let new = ["TOSS_SECRET_KEY": stage.nextKey]
            #expect(try await stage.billingd(["once"], new).status == 0)
            try await stage.expectSound(payments: 2)
        }
    }
}
