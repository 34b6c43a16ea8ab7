import Foundation
import Glibc
import TestSupport
import Testing

extension ProcessTests {
    /// Whatever happens, no key leaves the process but to the provider.
    @Suite struct SecretTests {
        @Test func noKeyIsEverPrinted() async throws {
            let stage = try await Stage()
            try await stage.scale(requestTimeout: "1 second", lease: "3 seconds")
            var customers: [Stage.Customer] = []
            customers += try await stage.subscribers(20)
            for code in [
                "REJECT_CARD_PAYMENT", "INVALID_STOPPED_CARD", "FDS_ERROR", "INVALID_REQUEST",
                "INVALID_BILL_KEY_REQUEST", "NOT_MATCHES_CUSTOMER_KEY", "COMMON_ERROR",
            ] {
                customers += try await stage.subscribers(2, script: [code])
            }
            customers += try await unlikelyRows(stage)
            try stage.sandbox.faults(
                """
                [{"action":"executeAndDrop","every":5,"count":4},
                 {"action":"garbage","every":6,"count":3},
                 {"action":"refuse","code":"FAILED_INTERNAL_SYSTEM_PROCESSING","every":7,"count":3},
                 {"action":"otherOrder","every":8,"count":2},
                 {"action":"cut","every":9,"count":2}]
                """)
            let trace = ["LOG_LEVEL": "trace"]
            let worker = try await stage.worker([], trace)
            try await eventually("all have been tried") {
                try await stage.count(
                    "billing.subscriptions WHERE next_charge_at <= billing.now()") == 0
            }
            // Look-ups and repeats; then the database goes away under it; then a wrong key.
            try await stage.database.run(
                "UPDATE billing.settings SET clock_offset = '10 minutes'", as: .admin)
            try await eventually("look-ups were made") {
                try await stage.count("billing.attempts WHERE lookups > 0") >= 3
            }
            try await stage.database.run(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND usename = 'test_worker'
                """)
            let before = try await stage.count("billing.charges WHERE state = 'paid'")
            customers += try await stage.subscribers(3)
            try await eventually("it goes on") {
                try await stage.count("billing.charges WHERE state = 'paid'") > before
            }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)

            var texts = [worker.output, worker.errors]
            let wrong = "test_sk_" + Stage.random(24)
            for (arguments, changes) in [
                (["once"], trace), (["check"], [:]), (["status"], [:]),
                (["status", "--json"], [:]),
                (["once"], trace.merging(["TOSS_SECRET_KEY": wrong]) { $1 }),
                (["check"], ["TOSS_SECRET_KEY": wrong]),
                (["once"], ["TOSS_SECRET_KEY": wrong + " \(stage.secretKey)"]),
                (["once"], trace.merging(["LOG_FORMAT": "text"]) { $1 }),
            ] as [([String], [String: String])] {
                let result = try await stage.billingd(arguments, changes)
                texts += [result.output, result.errors]
            }
            #expect(texts.contains { $0.contains("unknown: it will be looked up") })
            #expect(texts.contains { $0.contains("set aside") })

            var secrets = [stage.secretKey, wrong]
            secrets += secrets.map { Data(($0 + ":").utf8).base64EncodedString() }
            secrets += customers.flatMap { [$0.customerKey, $0.billingKey] }
            for text in texts {
                // The parts that are left when a program shortens what it prints.
                for secret in secrets where text.contains(secret.dropFirst(8).prefix(12)) {
                    let line = text.split(separator: "\n").first { $0.contains(secret) }
                    Issue.record("\(secret) is in \(line ?? "the output")")
                }
            }
        }

        /// Rows whose keys no longer make sense: their problems are told without the keys.
        private func unlikelyRows(_ stage: Stage) async throws -> [Stage.Customer] {
            let customers = try await stage.subscribers(3)
            try await stage.database.run(
                """
                INSERT INTO billing.plans (plan_id, name, amount, cycle)
                VALUES ('broken', 'broken', 9900, '1 month');
                SET session_replication_role = replica;
                ALTER TABLE billing.billing_keys
                    DROP CONSTRAINT "billing_key: 8 to 200 of A-Z a-z 0-9 _ = -";
                ALTER TABLE billing.plans
                    DROP CONSTRAINT "name: 1 to 100 characters, no control characters";
                UPDATE billing.billing_keys SET billing_key = billing_key || E'/..\\n%2f'
                WHERE customer_key = '\(customers[0].customerKey)';
                UPDATE billing.plans SET name = E'line\\nbreak' WHERE plan_id = 'broken';
                UPDATE billing.subscriptions SET plan_id = 'broken'
                WHERE customer_key = '\(customers[1].customerKey)';
                -- No plan at all breaks the claim.
                UPDATE billing.subscriptions SET plan_id = 'gone'
                WHERE customer_key = '\(customers[2].customerKey)'
                """)
            return customers
        }
    }
}
