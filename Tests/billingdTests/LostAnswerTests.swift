import Glibc
import TestSupport
import Testing

extension ProcessTests {
    /// Answers that never come, and the ladder of look-ups that finds what became of them.
    @Suite struct LostAnswerTests {
        @Test(arguments: ["executeAndDrop", "dropBefore", "hang", "cut", "garbage", "otherAmount"])
        func everyThirdAnswerIsLost(action: String) async throws {
            let stage = try await Stage()
            try await stage.scale(requestTimeout: "1 second", lease: "3 seconds")
            try stage.sandbox.faults("[{\"action\":\"\(action)\",\"every\":3,\"count\":30}]")
            let worker = try await stage.worker()
            try await stage.subscribers(60)
            try await eventually("all were sent") {
                try await stage.count("billing.attempts") == 60
            }
            try await stage.climb(paid: 60)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 60)
            #expect(try await stage.count("billing.attempts WHERE unknown_since IS NOT NULL") >= 20)
            #expect(try await stage.count("billing.attempts WHERE attempt_no > 1") == 0)
        }

        @Test func refusalsGetANewNameAndNoDunning() async throws {
            let stage = try await Stage()
            try await stage.scale(requestTimeout: "1 second", lease: "3 seconds")
            try stage.sandbox.faults(
                """
                [{"action":"refuse","code":"MAINTAINED_METHOD","every":3,"count":8},
                 {"action":"executeAndFail","every":4,"count":8}]
                """)
            let worker = try await stage.worker()
            try await stage.subscribers(40)
            try await eventually("all were sent") {
                try await stage.count("billing.attempts WHERE attempt_no = 1") == 40
            }
            try await stage.climb(paid: 40)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 40)
            #expect(try await stage.count("billing.charges WHERE declines > 0") == 0)
        }
    }
}
