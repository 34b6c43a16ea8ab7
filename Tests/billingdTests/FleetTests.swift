import Glibc
import TestSupport
import Testing

extension ProcessTests {
    /// Several workers, dead workers, a database that throws them out.
    @Suite struct FleetTests {
        @Test func twoWorkersChargeEachRowOnce() async throws {
            let stage = try await Stage(latencyMilliseconds: 50)
            let one = try await stage.worker(["--max-in-flight", "20"])
            let other = try await stage.worker(["--max-in-flight", "20"])
            try await stage.subscribers(300)
            try await stage.paid(300)
            for worker in [one, other] {
                worker.kill(SIGTERM)
                #expect(await worker.ended() == 0)
            }
            try await stage.expectSound(payments: 300)
            #expect(
                try await stage.count(
                    "(SELECT worker FROM billing.attempts GROUP BY 1 HAVING count(*) > 20) AS w")
                    == 2, "both took part")
            #expect(try await stage.count("billing.attempts WHERE sends <> 1") == 0)
        }

        /// Claims, records, reports, and the one that waits for hints.
        @Test func aWorkerHasFourConnections() async throws {
            let stage = try await Stage()
            let worker = try await stage.worker(["--listen", "127.0.0.1:0"])
            try await stage.subscribers(50)
            try await stage.paid(50)
            let ofWorker = """
                pg_stat_activity
                WHERE usename = 'test_worker' AND datname = current_database()
                """
            try await eventually("the hints have one, too") { try await stage.count(ofWorker) == 4 }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        @Test func whatAKilledWorkerLeftIsFinishedByAnother() async throws {
            let stage = try await Stage(latencyMilliseconds: 1_000)
            try await stage.scale(requestTimeout: "2 seconds", lease: "5 seconds")
            try await stage.subscribers(150)
            let first = try await stage.worker(["--max-in-flight", "50"])
            // In the middle: some recorded, some answered, some under way.
            try await eventually("the second fifty are under way") {
                try stage.sandbox.books().approvals > 60
            }
            first.kill(SIGKILL)
            #expect(await first.ended() == 128 + SIGKILL)
            let left = try await stage.count("billing.attempts WHERE state = 'open'")
            #expect(left > 0)

            let second = try await stage.worker(["--max-in-flight", "50"])
            try await stage.climb(paid: 150)
            second.kill(SIGTERM)
            #expect(await second.ended() == 0)
            try await stage.expectSound(payments: 150)
            // Found at the provider, not sent again.
            #expect(try await stage.count("billing.attempts WHERE code = 'LOOKED_UP'") > 0)
        }

        @Test func aWorkerGoesOnWhenTheDatabaseThrowsItOut() async throws {
            let stage = try await Stage(latencyMilliseconds: 100)
            try await stage.scale(requestTimeout: "2 seconds", lease: "5 seconds")
            try await stage.subscribers(400)
            let worker = try await stage.worker(["--max-in-flight", "25"])
            for wanted in [30, 100, 170, 240, 310] {
                try await eventually("\(wanted) executions") {
                    try stage.sandbox.books().approvals >= wanted
                }
                let thrownOut = try await stage.database.run(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND usename = 'test_worker'
                    """)
                #expect(thrownOut.count >= 1)
            }
            try await stage.climb(paid: 400)
            #expect(worker.isRunning)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 400)
        }
    }
}
