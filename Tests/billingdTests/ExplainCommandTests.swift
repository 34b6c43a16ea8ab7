import Foundation
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// What an accountant and an operator are told.
    @Suite struct ExplainCommandTests {
        private func explain(
            _ stage: Stage, _ arguments: [String], as role: TemporaryPostgres.Role = .report
        ) async throws -> (status: Int32, output: String, errors: String) {
            let database = ["DATABASE_URL": stage.database.connectionString(as: role)]
            return try await stage.billingd(["explain"] + arguments, database)
        }

        private func pass(_ stage: Stage, _ time: String) async throws {
            try await stage.database.run(
                "UPDATE billing.settings SET clock_offset = clock_offset + '\(time)'", as: .admin)
        }

        private func value(_ stage: Stage, _ query: String) async throws -> String {
            try await stage.database.run("SELECT (\(query))::text AS v")[0].string("v")
        }

        private func requests(_ stage: Stage) throws -> [String: Int] {
            struct Counts: Decodable { var requests: [String: Int] }
            return try JSONDecoder().decode(
                Counts.self, from: Data(stage.sandbox.call("GET", "books").utf8)
            ).requests
        }

        @Test func aPeriodIsToldAttemptByAttemptAndByAnyOfItsNames() async throws {
            let stage = try await Stage()
            let customer = try await stage.subscribers(
                1, script: ["REJECT_CARD_PAYMENT", "approve"])[0]
            #expect(try await stage.billingd(["once"]).status == 0)
            let before = try requests(stage)

            let declined = try await explain(stage, ["1"])
            #expect(declined.status == 0, "\(declined.errors)")
            for words in [
                "Subscription 1, plan monthly (월 구독): 14,900 won every 1 month, past due.",
                "Attempt 1, order id ", "REJECT_CARD_PAYMENT, the card's limit or balance does not",
                "(HTTP 403). Trace id ",
                "waits for step 1 of 4 of the plan's dunning", "No worker is alive",
                ", attempt 2 charges 14,900 won to card ",
                "The ledger knows of no payment for this period.", "The provider was not asked",
            ] {
                #expect(declined.output.contains(words), "\(words)\n\(declined.output)")
            }
            try await pass(stage, "25 hours")
            #expect(try await stage.billingd(["once"]).status == 0)
            let order = try await value(
                stage, "SELECT order_id FROM billing.attempts WHERE state = 'approved'")
            let payment = try await value(stage, "SELECT payment_key FROM billing.charges")

            let byOrder = try await explain(stage, ["--order", order])
            #expect(
                byOrder.output.hasPrefix(
                    """
                    Order id \(order) is attempt 2 of period 0 of subscription 1. The ledger knows of \
                    exactly one payment for this period: \(payment).
                    """), "\(byOrder.output)")
            let byPayment = try await explain(stage, ["--payment", payment])
            #expect(
                byPayment.output.hasPrefix(
                    "Payment \(payment) is of period 0 of subscription 1. The ledger knows of exactly"
                ), "\(byPayment.output)")
            // Nothing of it asked the provider but the second claim.
            var after = try requests(stage)
            for (name, count) in before { after[name, default: 0] -= count }
            #expect(after.values.reduce(0, +) == 2, "\(after)")
            let asked = try await explain(stage, ["1", "--ask"])
            #expect(asked.status == 0)
            #expect(
                asked.output.contains(
                    "The provider shows exactly one payment for period 0, and the ledger agrees."))
            for output in [declined.output, byOrder.output, byPayment.output, asked.output] {
                #expect(!output.contains(customer.billingKey))
                #expect(!output.contains(customer.customerKey))
                #expect(!output.contains(stage.secretKey))
            }

            try stage.sandbox.call("POST", "cancel/\(payment)", "{}")
            let refunded = try await explain(stage, ["1", "--ask"])
            #expect(refunded.status == 2)
            #expect(refunded.output.contains("the ledger does not know of the refund"))
        }

        @Test func anOpenAttemptIsToldAndAskedAboutOnlyWhenWished() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try stage.sandbox.faults(#"[{"action":"executeAndDrop"}]"#)
            _ = try await stage.billingd(["once"])
            let told = try await explain(stage, ["1"])
            #expect(told.status == 0)
            #expect(told.output.contains("its outcome is unknown since"), "\(told.output)")
            #expect(told.output.contains("may have been executed: the provider is asked again at"))
            #expect(told.output.contains("one request's outcome is not known"))
            let asked = try await explain(stage, ["1", "--ask"])
            #expect(asked.status == 2)
            #expect(asked.output.contains("its next look-up will record it"), "\(asked.output)")
            // Telling changed nothing.
            #expect(try await stage.count("billing.attempts WHERE lookups = 0") == 1)
        }

        @Test func machinesGetOneObject() async throws {
            struct Document: Decodable {
                struct Explanation: Decodable {
                    struct Period: Decodable { var state: String, paymentKeys: [String] }
                    struct Reason: Decodable { var code: String, sentence: String }
                    struct Step: Decodable { var at: String, sentence: String }
                    var subscriptionId: Int
                    var olderPeriods: Int
                    var periods: [Period]
                    var obstacles: [Reason]
                    var next: [Step]
                }
                struct Agreement: Decodable { var agrees: Bool, payments: Int }
                var explanation: Explanation
                var provider: Agreement?
            }
            let stage = try await Stage()
            try await stage.subscribers(1)
            for _ in 0..<14 {
                #expect(try await stage.billingd(["once"]).status == 0)
                try await pass(stage, "31 days")
            }
            try await stage.database.run(
                "UPDATE billing.settings SET paused = true, paused_reason = 'audit'", as: .admin)
            func document(_ options: [String]) async throws -> Document {
                let result = try await explain(stage, ["1", "--json"] + options)
                #expect(result.status == 0, "\(result.errors)")
                let decoder = JSONDecoder()
                decoder.keyDecodingStrategy = .convertFromSnakeCase
                return try decoder.decode(Document.self, from: Data(result.output.utf8))
            }
            let newest = try await document([])
            #expect(newest.provider == nil)
            #expect(newest.explanation.periods.count == 12)
            let older = newest.explanation.olderPeriods
            #expect(older >= 1)
            #expect(newest.explanation.periods.allSatisfy { $0.state == "paid" })
            #expect(newest.explanation.obstacles.map(\.code) == ["fleet_paused", "no_worker"])
            #expect(newest.explanation.next.count == 1)
            let whole = try await document(["--all", "--ask"])
            #expect(whole.explanation.periods.count == 12 + older)
            #expect(whole.provider?.agrees == true && whole.provider?.payments == 1)
        }

        @Test func badInputIsNamed() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            for (arguments, status, words) in [
                ([], 64, "name one of SUBSCRIPTION, --order and --payment"),
                (["1", "--order", "x"], 64, "name one of"),
                (["one"], 64, "one"),
                (["--order", ""], 64, "order: 1 to 200 characters"),
                (["2"], 1, "there is no subscription 2"),
                (["--order", "no-such-order"], 1, "no attempt of this ledger has the order id"),
                (["--payment", "nothing"], 1, "no charge of this ledger has the payment key"),
            ] as [([String], Int32, String)] {
                let result = try await explain(stage, arguments)
                #expect(result.status == status, "\(arguments) \(result.errors)")
                #expect(result.errors.contains(words), "\(result.errors)")
            }
            let web = try await explain(stage, ["1"], as: .web)
            #expect(web.status == 1)
            #expect(web.errors.contains("permission denied"))
        }
    }
}
