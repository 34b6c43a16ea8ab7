import TestSupport
import Testing

extension ProcessTests {
    /// How a person ends a hold.
    @Suite struct HoldTests {
        /// A shop with one charge that is held because the provider wants a person to look.
        private func held(_ script: [String]) async throws -> Stage {
            let stage = try await Stage()
            try await stage.subscribers(1, script: script)
            #expect(try await stage.billingd(["once"]).status == 0)
            try #require(try await stage.count("billing.charges WHERE state = 'held'") == 1)
            return stage
        }

        private func hand(
            _ stage: Stage, _ arguments: [String], _ changes: [String: String] = [:],
            as role: TemporaryPostgres.Role = .admin
        ) async throws -> (status: Int32, output: String, errors: String) {
            let database = ["DATABASE_URL": stage.database.connectionString(as: role)]
            return try await stage.billingd(
                arguments, changes.merging(database) { given, _ in given })
        }

        private func pass(_ stage: Stage, _ time: String) async throws {
            try await stage.database.run(
                "UPDATE billing.settings SET clock_offset = clock_offset + '\(time)'", as: .admin)
        }

        @Test func releasedItIsTriedAgainUnderTheNextName() async throws {
            let stage = try await held(["FDS_ERROR", "approve"])
            let result = try await hand(stage, ["release", "1", "--why", "the customer confirmed"])
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.output.contains("released: it is due now"))
            try await pass(stage, "21 minutes")
            #expect(try await stage.billingd(["once"]).status == 0)
            try await stage.expectSound(payments: 1)
            #expect(
                try await stage.count(
                    """
                    billing.events WHERE type = 'charge.released'
                        AND data ->> 'by' = 'test_admin' AND data ->> 'why' = 'the customer confirmed'
                    """) == 1)
        }

        @Test func failedItEndsAfterTheGapAndTheNextPeriodIsCharged() async throws {
            let stage = try await held(["FDS_ERROR", "approve"])
            let early = try await hand(stage, ["fail", "1", "--why", "given up"])
            #expect(early.status == 1)
            #expect(early.errors.contains("before its seal"))
            #expect(early.errors.contains("Nothing was changed."))
            try await pass(stage, "2 hours")
            #expect(try await hand(stage, ["fail", "1", "--why", "given up"]).status == 0)
            #expect(
                try await stage.count(
                    "billing.charges WHERE state = 'failed' AND reason LIKE 'test_admin: given up%'"
                )
                    == 1)
            try await pass(stage, "32 days")
            #expect(try await stage.billingd(["once"]).status == 0)
            try await stage.expectSound(payments: 1)
        }

        @Test(arguments: ["release", "fail"])
        func whatTurnsOutToBePaidIsPaid(_ command: String) async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try stage.sandbox.faults(#"[{"action":"executeAndDrop"}]"#)
            _ = try await stage.billingd(["once"])
            try await stage.database.run(
                """
                UPDATE billing.charges SET state = 'held', reason = 'by hand';
                UPDATE billing.subscriptions SET next_charge_at = NULL
                """)
            let result = try await hand(stage, [command, "1", "--why", "looked"])
            #expect(result.status == 0, "\(result.errors)")
            #expect(result.output.contains("paid: the provider shows payment"))
            try await stage.expectSound(payments: 1)
            // And no second time.
            let again = try await hand(stage, [command, "1", "--why", "looked"])
            #expect(again.status == 1)
            #expect(again.errors.contains("charge 1 is paid, not held"))
        }

        /// A failover that lost rows: the provider has a payment under a name of which the ledger knows
        /// nothing. To release or fail the charge would take the money twice, or call it unpaid.
        @Test func whatWasPaidUnderALostNameEndsNothing() async throws {
            let stage = try await held(["FDS_ERROR", "approve"])
            #expect(try await hand(stage, ["release", "1", "--why", "w"]).status == 0)
            try await pass(stage, "21 minutes")
            #expect(try await stage.billingd(["once"]).status == 0)
            try #require(try await stage.count("billing.charges WHERE state = 'paid'") == 1)
            try await stage.database.run(
                """
                SET session_replication_role = replica;
                DELETE FROM billing.attempts WHERE attempt_no = 2;
                UPDATE billing.charges SET state = 'held', reason = 'by hand', payment_key = NULL,
                    paid_at = NULL, attempt_no = 1;
                UPDATE billing.subscriptions
                SET period_index = 0, open_charge_id = 1, next_charge_at = NULL
                """)
            try await pass(stage, "2 hours")
            for command in ["release", "fail"] {
                let result = try await hand(stage, [command, "1", "--why", "w"])
                #expect(result.status == 1)
                #expect(result.errors.contains("which the ledger has lost"), "\(result.errors)")
                #expect(result.errors.contains("Nothing was changed."))
            }
            #expect(try await stage.count("billing.charges WHERE state = 'held'") == 1)
        }

        /// The provider shows a payment under the charge's name that is not what was asked for. Somebody
        /// cancels it in the console and releases the charge: it is not held for it again.
        @Test func aWrongPaymentThatWasCancelledHoldsNothingAgain() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try stage.sandbox.faults(#"[{"action":"executeAndDrop"}]"#)
            _ = try await stage.billingd(["once"])
            try await stage.database.run(
                """
                SET session_replication_role = replica;
                UPDATE billing.charges SET amount = amount + 1000;
                UPDATE billing.attempts SET amount = amount + 1000
                """)
            try await pass(stage, "2 minutes")
            #expect(try await stage.billingd(["once"]).status == 0)
            try #require(try await stage.count("billing.charges WHERE state = 'held'") == 1)
            let early = try await hand(stage, ["release", "1", "--why", "w"])
            #expect(early.errors.contains("cancel it in the provider's console"))
            let wrong = try #require(try stage.sandbox.payments().first)
            try stage.sandbox.call("POST", "cancel/\(wrong.paymentKey)")
            try stage.sandbox.faults("[]")
            let result = try await hand(
                stage, ["release", "1", "--why", "the wrong one is cancelled"])
            #expect(result.status == 0, "\(result.errors)")
            // It counts as none: the name is sent again, and the provider's answer ends it.
            for _ in 1...3 {
                try await stage.database.run(
                    "UPDATE billing.attempts SET quiet_until = now() WHERE state = 'open'")
                try await pass(stage, "3 hours")
                #expect(try await stage.billingd(["once"]).status == 0)
            }
            #expect(
                try await stage.count(
                    "billing.attempts WHERE state = 'refused' AND code = 'NAME_USED_UP'") == 1)
            try await pass(stage, "2 hours")
            #expect(try await stage.billingd(["once"]).status == 0)
            #expect(
                try await stage.count("billing.charges WHERE state = 'paid' AND attempt_no = 2")
                    == 1)
        }

        /// An error that the provider keeps under the key of the first send ends that name within hours:
        /// the sandbox's replays carry the traces that prove it.
        @Test func anErrorThatTheProviderKeepsHoldsNothing() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try stage.sandbox.call("PUT", "switches", #"{"storesAllErrors":true}"#)
            try stage.sandbox.faults(
                #"[{"action":"refuse","code":"FAILED_INTERNAL_SYSTEM_PROCESSING"}]"#)
            #expect(try await stage.billingd(["once"]).status == 0)
            try stage.sandbox.faults("[]")
            for _ in 1...3 {
                try await stage.database.run(
                    "UPDATE billing.attempts SET quiet_until = now() WHERE state = 'open'")
                try await pass(stage, "3 hours")
                #expect(try await stage.billingd(["once"]).status == 0)
            }
            #expect(
                try await stage.count(
                    "billing.attempts WHERE state = 'refused' AND trace_id LIKE '%, %' "
                        + "AND code = 'FAILED_INTERNAL_SYSTEM_PROCESSING'") == 1)
            try await pass(stage, "2 hours")
            #expect(try await stage.billingd(["once"]).status == 0)
            #expect(
                try await stage.count("billing.charges WHERE state = 'paid' AND attempt_no = 2")
                    == 1)
            #expect(try stage.sandbox.payments().count == 1)
        }

        @Test func anAttemptTooOldToBeSentEndsFirst() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try stage.sandbox.faults(#"[{"action":"dropBefore"}]"#)
            _ = try await stage.billingd(["once"])
            try await pass(stage, "15 days")
            _ = try await stage.billingd(["once"])
            let first = try await hand(stage, ["fail", "1", "--why", "nowhere to be found"])
            #expect(first.status == 0, "\(first.errors)")
            #expect(first.output.contains("run this again"))
            try await pass(stage, "2 hours")
            let second = try await hand(stage, ["fail", "1", "--why", "nowhere to be found"])
            #expect(second.status == 0, "\(second.errors)")
            #expect(
                try await stage.count("billing.attempts WHERE state = 'refused'") == 1)
            try await stage.expectSound(payments: 0)
        }

        @Test func withoutTheProvidersWordOrTheRightNothingChanges() async throws {
            let stage = try await held(["FDS_ERROR"])
            try await pass(stage, "2 hours")
            let wrong = try await hand(
                stage, ["fail", "1", "--why", "w"],
                ["TOSS_SECRET_KEY": "test_sk_" + Stage.random(24)])
            #expect(wrong.status == 1)
            #expect(wrong.errors.contains("the provider does not say (UNAUTHORIZED_KEY)"))
            let worker = try await hand(stage, ["fail", "1", "--why", "w"], as: .worker)
            #expect(worker.status == 1)
            let blank = try await hand(stage, ["release", "1", "--why", " "])
            #expect(blank.status == 1)
            #expect(blank.errors.contains("say why"))
            let none = try await hand(stage, ["release", "7", "--why", "w"])
            #expect(none.errors.contains("there is no charge 7"))
            #expect(try await stage.count("billing.charges WHERE state = 'held'") == 1)
        }
    }
}
