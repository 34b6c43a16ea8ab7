import Foundation
import Glibc
import TestSupport
import Testing

extension ProcessTests {
    /// What the commands tell that charge nothing.
    @Suite struct StatusTests {
        private struct Report: Decodable {
            struct Decline: Decodable, Equatable { var code: String, times: Int }
            struct Member: Decodable {
                var worker, version, state: String
                var reason: String?
                var inFlight: Int
            }
            var mode: String
            var paused: Bool
            var pausedReason: String?
            var rotatingTo: String?
            var due, inFlight, openAttempts, unknown, held, setAside, pastDue, suspended: Int
            var paidLastHour, wonLastHour: Int
            var oldestDueSeconds: Double
            var declinedLastHour: [Decline]
            var nextDue: String?
            var workers: [Member]
        }

        private func report(_ stage: Stage) async throws -> Report {
            let status = try await stage.billingd(["status", "--json"])
            try #require(status.status == 0, "\(status.errors)")
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            return try decoder.decode(Report.self, from: Data(status.output.utf8))
        }

        @Test func theNumbersAreThoseOfTheLedger() async throws {
            let stage = try await Stage()
            let empty = try await report(stage)
            #expect(empty.due == 0 && empty.paidLastHour == 0 && empty.nextDue == nil)
            #expect(empty.workers.isEmpty)

            try await stage.subscribers(7)
            try await stage.subscribers(3, script: ["REJECT_CARD_PAYMENT"])
            try await stage.subscribers(2, script: ["EXCEED_MAX_ONE_DAY_AMOUNT"])
            try await stage.subscribers(1, script: ["INVALID_STOPPED_CARD"])
            try await stage.subscribers(1, script: ["FDS_ERROR"])
            try stage.sandbox.faults("[{\"action\":\"executeAndDrop\",\"count\":1}]")
            let worker = try await stage.worker()
            try await eventually("all have been tried") {
                try await stage.count(
                    "billing.subscriptions WHERE next_charge_at <= billing.now()") == 0
            }
            try await stage.database.run(
                """
                UPDATE billing.settings SET paused = true, paused_reason = 'a look around'
                """, as: .admin)
            // Due, and left alone by the paused worker; backdated like after an outage.
            try await stage.database.run(
                """
                SELECT billing.subscribe(customer_key, 'monthly', now() - interval '90 seconds')
                FROM billing.customers LIMIT 5
                """, as: .web)
            try await stage.database.run(
                """
                UPDATE billing.subscriptions
                SET held_reason = 'a test says so', next_charge_at = NULL, lease_until = NULL
                WHERE subscription_id = (SELECT max(subscription_id) FROM billing.subscriptions)
                """)

            try await eventually("the worker has told that it runs") {
                try await stage.count("billing.workers WHERE state = 'running'") == 1
            }
            let full = try await report(stage)
            #expect(full.mode == "test")
            #expect(full.paused && full.pausedReason == "a look around")
            #expect(full.due == 4 && full.inFlight == 0)
            #expect((80...600).contains(full.oldestDueSeconds), "\(full.oldestDueSeconds)")
            // One answer was lost; whose it was is chance, so that one of these is one short.
            #expect(full.openAttempts == 1 && full.unknown == 1)
            #expect(full.held + full.pastDue + full.suspended + full.paidLastHour == 13)
            #expect((0...1).contains(full.held) && (4...5).contains(full.pastDue))
            #expect((0...1).contains(full.suspended) && full.setAside == 1)
            #expect(full.wonLastHour == full.paidLastHour * 14_900)
            #expect(full.nextDue != nil)
            #expect(full.declinedLastHour.first?.code == "REJECT_CARD_PAYMENT")
            #expect((4...6).contains(full.declinedLastHour.map(\.times).reduce(0, +)))
            #expect(full.workers.map(\.state) == ["running"])

            let text = try await stage.billingd(["status"])
            #expect(text.status == 0)
            for line in [
                "mode        test, PAUSED: a look around", "due         4, oldest for ",
                "open        1 attempts, 1 of them of unknown outcome",
                "held        \(full.held) charges, 1 rows set aside",
                "dunning     \(full.pastDue) past due, \(full.suspended) suspended",
                "last hour   \(full.paidLastHour) paid, \(full.wonLastHour) won",
                "declined with REJECT_CARD_PAYMENT", "running, 0 in flight",
            ] {
                #expect(text.output.contains(line), "\(text.output)")
            }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            #expect(try await report(stage).workers.isEmpty)
        }

        /// A key that the provider does not take, a pause, a rotation: each worker says why it waits.
        @Test func whyAWorkerDoesNotClaimIsTold() async throws {
            let stage = try await Stage()
            try await stage.subscribers(3)
            let worker = try await stage.worker()
            try await eventually("all are paid") {
                try await stage.count("billing.charges WHERE state = 'paid'") == 3
            }
            #expect(try await report(stage).workers.map(\.reason) == [nil])
            try stage.sandbox.faults(
                #"[{"action":"refuse","code":"UNAUTHORIZED_KEY"}]"#)
            try await stage.subscribers(1)
            try await eventually("it says why") {
                try await report(stage).workers.first?.reason == "faulted: UNAUTHORIZED_KEY"
            }
            #expect(try await report(stage).workers.map(\.state) == ["faulted"])
            let text = try await stage.billingd(["status"]).output
            #expect(text.contains("\n            it does not claim: faulted: UNAUTHORIZED_KEY"))
            let explained = try await stage.billingd(["explain", "4"]).output
            #expect(explained.contains("They say: faulted: UNAUTHORIZED_KEY."), "\(explained)")
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func aRotationUnderWayIsTold() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            _ = try await stage.billingd(["once"])
            #expect(try await report(stage).rotatingTo == nil)
            let to = String(repeating: "c", count: 16)
            try await stage.database.run(
                "SELECT billing.begin_key_rotation('\(to)', 'a test')", as: .admin)
            let full = try await report(stage)
            #expect(full.paused && full.rotatingTo == to)
            let text = try await stage.billingd(["status"]).output
            #expect(
                text.contains("a rotation of the secret key, to fingerprint \(to), is under way"))
        }

        @Test func whatIsUnderWayIsInFlight() async throws {
            let stage = try await Stage(latencyMilliseconds: 3_000)
            try await stage.subscribers(5)
            let worker = try await stage.worker()
            try await eventually("five are under way") {
                try stage.sandbox.books().unanswered == 5
            }
            let busy = try await report(stage)
            #expect(busy.due == 5 && busy.inFlight == 5)
            #expect(busy.openAttempts == 5 && busy.unknown == 0)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func noDatabaseIsSaid() async throws {
            let stage = try await Stage()
            let status = try await stage.billingd(
                ["status"], ["DATABASE_URL": "host=/no/such/folder"])
            #expect(status.status != 0)
            #expect(status.errors.contains("the database does not answer"))
        }
    }
}
