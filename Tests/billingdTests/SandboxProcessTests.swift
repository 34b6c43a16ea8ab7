import Foundation
import Glibc
import TestSupport
import Testing

extension ProcessTests {
    /// The provider's stand-in as a program.
    @Suite struct SandboxProcessTests {
        @Test func itsHelpListsEveryFaultFieldAndSwitch() async throws {
            let help = try await ChildProcess.run(
                Checkout.program("toss-sandbox"), ["--help"], environment: ["COLUMNS": "1000"])
            #expect(help.status == 0, "\(help.errors)")
            for name in [
                "executeAndDrop", "otherPayment", "late", "double", "probability", "forgetsKey",
                "holdsKey", "lookupLagSeconds", "transactionMissingEvery", "webhooks",
                "/_sandbox/books/customers",
            ] {
                #expect(help.output.contains("  \(name) ") || help.output.contains(" \(name) "))
            }
        }

        /// Killed, it knows again what it executed, declined, answered and has still to execute.
        @Test func itsBooksSurviveAKill() async throws {
            let folder = FileManager.default.temporaryDirectory
                .appending(path: "toss-sandbox-books-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            let books = folder.appending(path: "books.jsonl").path()
            let secret = "test_sk_" + Stage.random(24)
            let first = try await Sandbox(secretKey: secret, books: books)
            let key = Stage.random(43)
            try first.call(
                "POST", "billing-keys",
                "{\"customerKey\":\"cust-1\",\"billingKey\":\"\(key)\",\"script\":[\"approve\"]}")
            try first.faults(
                #"{"action":"late","milliseconds":1000,"count":1,"farewell":"code"}"#)
            let approve = { (sandbox: Sandbox, order: String) async throws -> String in
                try await ChildProcess.run(
                    URL(filePath: "/usr/bin/curl"),
                    [
                        "-sS", "--noproxy", "*", "-u", "\(secret):", "-H",
                        "Content-Type: application/json", "-H", "Idempotency-Key: \(order)", "-d",
                        """
                        {"amount":14900,"customerKey":"cust-1","orderId":"\(order)",\
                        "orderName":"plan"}
                        """, "\(sandbox.address)/v1/billing/\(key)",
                    ]
                ).output
            }
            #expect(try await approve(first, "order-late").contains("FAILED_INTERNAL"))
            let answer = try await approve(first, "order-told")
            #expect(answer.contains("\"status\":\"DONE\""))
            first.process.kill(SIGKILL)
            #expect(await first.process.ended() == 128 + SIGKILL)

            let second = try await Sandbox(secretKey: secret, books: books)
            #expect(try await approve(second, "order-told") == answer, "replayed to the byte")
            try await eventually("the late request is executed") {
                try second.books().lateRequestsToCome == 0
            }
            let orders = try second.payments().map(\.orderID)
            #expect(Set(orders) == ["order-late", "order-told"] && orders.count == 2)
            #expect(try second.books().unanswered == 1)
        }
    }
}
