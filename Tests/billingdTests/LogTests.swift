import Foundation
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// What an operator greps.
    @Suite struct LogTests {
        private func lines(_ text: String) throws -> [[String: String]] {
            try text.split(separator: "\n").map {
                try JSONDecoder().decode([String: String].self, from: Data($0.utf8))
            }
        }

        @Test func oneEventIsOneLineWithItsFields() async throws {
            let stage = try await Stage()
            try await stage.subscribers(3)
            try await stage.subscribers(1, script: ["REJECT_CARD_PAYMENT"])
            try await stage.subscribers(1, script: ["FDS_ERROR"])
            let once = try await stage.billingd(["once"])
            let lines = try lines(once.errors)
            // Of what goes well nobody reads.
            #expect(lines.count == 2, "\(once.errors)")
            let attempts = try await stage.database.run(
                """
                SELECT c.subscription_id::text AS s, c.charge_id::text AS c, a.attempt_no::text AS a,
                    a.order_id AS o, a.code, a.trace_id AS t
                FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
                WHERE a.state <> 'approved'
                """)
            #expect(attempts.count == 2)
            for attempt in attempts {
                let line = try #require(
                    lines.first { $0["order_id"] == (try? attempt.string("o")) })
                #expect(line["subscription"] == (try? attempt.string("s")))
                #expect(line["charge"] == (try? attempt.string("c")))
                #expect(line["attempt"] == (try? attempt.string("a")))
                #expect(line["code"] == (try? attempt.string("code")))
                #expect(line["trace_id"] == (try? attempt.string("t")))
                #expect(line["trace_id"] != nil && line["time"] != nil)
                #expect(Int(line["duration_ms"] ?? "") != nil, "\(line)")
                let isHeld = line["code"] == "FDS_ERROR"
                #expect(line["level"] == (isHeld ? "error" : "info"))
                #expect((line["action"] != nil) == isHeld)
            }
        }

        /// By which journalctl -p chooses; only where it is the journal that reads.
        @Test(arguments: [("$(stat -Lc %d:%i /dev/stderr)", "<3>{"), ("1:1", "{"), ("", "{")])
        func theJournalIsToldThePriority(stream: String, start: String) async throws {
            let stage = try await Stage()
            try await stage.subscribers(1, script: ["FDS_ERROR"])
            let once = try await ChildProcess.run(
                URL(filePath: "/bin/sh"),
                [
                    "-c", "JOURNAL_STREAM=\(stream) exec \"$0\" once",
                    Checkout.program("billingd").path(),
                ], environment: stage.environment())
            #expect(once.errors.hasPrefix(start), "\(once.errors)")
            #expect(once.errors.contains("held: a person must look at the charge"))
        }
    }
}
