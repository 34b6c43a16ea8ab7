import TestSupport
import Testing

extension ProcessTests {
    /// How a person tries a declined charge, and how one vouches for a database.
    @Suite struct RetryCommandTests {
        private func hand(
            _ stage: Stage, _ arguments: [String], _ changes: [String: String] = [:],
            as role: TemporaryPostgres.Role = .admin
        ) async throws -> (status: Int32, output: String, errors: String) {
            let database = ["DATABASE_URL": stage.database.connectionString(as: role)]
            return try await stage.billingd(
                arguments, database.merging(changes) { _, given in given })
        }

        @Test func aDeclinedChargeIsTriedAtOnceAndNoted() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1, script: ["REJECT_CARD_PAYMENT", "approve"])
            #expect(try await stage.billingd(["once"]).status == 0)
            let retried = try await hand(stage, ["retry", "1", "--why", "asked by phone"])
            #expect(retried.status == 0, "\(retried.errors)")
            #expect(retried.output.contains("subscription 1 is due now"))
            #expect(
                retried.output.contains("As soon as a worker may, attempt 2 charges 14,900 won"))
            let again = try await hand(stage, ["retry", "1"])
            #expect(again.status == 0)
            #expect(again.output.contains("is due already; nothing was changed"))
            #expect(
                try await stage.count(
                    """
                    billing.events WHERE type = 'charge.retried' AND subscription_id = 1
                        AND data ->> 'by' = 'test_admin' AND data ->> 'why' = 'asked by phone'
                    """) == 1)
            #expect(try await stage.count("billing.events WHERE type = 'charge.retried'") == 1)
            #expect(try await stage.billingd(["once"]).status == 0)
            try await stage.expectSound(payments: 1)
            let told = try await stage.billingd(
                ["explain", "1"],
                ["DATABASE_URL": stage.database.connectionString(as: .report)])
            #expect(
                told.output.contains("test_admin made it due at once: asked by phone."),
                "\(told.output)")
            let late = try await hand(stage, ["retry", "1"])
            #expect(late.status == 1)
            #expect(late.errors.contains("it has no open charge"))
        }

        @Test func whatCannotBeTriedIsRefusedWithTheWayOut() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1, script: ["INVALID_STOPPED_CARD"])
            try await stage.subscribers(1, script: ["FDS_ERROR"])
            try await stage.subscribers(1)
            #expect(try await stage.billingd(["once"]).status == 0)
            for (id, words) in [
                (1, "there is no card to try"), (2, "billingd release 2 --why"),
                (3, "it has no open charge"), (9, "there is no subscription 9"),
            ] {
                let result = try await hand(stage, ["retry", "\(id)"])
                #expect(result.status == 1)
                #expect(result.errors.contains(words), "\(result.errors)")
                #expect(result.errors.contains("Nothing was changed."))
            }
            let worker = try await hand(stage, ["retry", "1"], as: .worker)
            #expect(worker.status == 1)
            #expect(try await stage.count("billing.events WHERE type = 'charge.retried'") == 0)
        }

        @Test func aBlankReasonIsNone() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1, script: ["REJECT_CARD_PAYMENT"])
            #expect(try await stage.billingd(["once"]).status == 0)
            let blank = try await hand(stage, ["retry", "1", "--why", " "])
            #expect(blank.status == 1)
            #expect(blank.errors.contains("why: say why"), "\(blank.errors)")
        }

        @Test func aSnapshotThatLooksLikeTheOldDatabaseIsAdoptedAllTheSame() async throws {
            let stage = try await Stage()
            #expect(try await stage.billingd(["once"]).status == 0)
            let done = try await hand(
                stage, ["adopt-database", "--why", "the disk was restored", "--restored", "--yes"])
            #expect(done.status == 0, "\(done.errors)")
            #expect(done.output.contains("Workers wait 10 minutes"), "\(done.output)")
            #expect(
                try await stage.count("billing.settings WHERE look_first_until > now() + '1 day'")
                    == 1)
        }

        @Test func aCloneIsAdoptedOnlyWhenConfirmed() async throws {
            let stage = try await Stage()
            let none = try await hand(stage, ["adopt-database", "--why", "w"])
            #expect(none.errors.contains("no worker ever started on this database"))
            #expect(try await stage.billingd(["once"]).status == 0)
            let home = try await hand(stage, ["adopt-database", "--why", "w"])
            #expect(home.status == 0)
            #expect(home.output.contains("nothing to adopt"), "\(home.errors)")

            let clone = try await TemporaryPostgres.shared.clone(of: stage.database)
            let there = ["DATABASE_URL": clone.connectionString(as: .admin)]
            let asked = try await hand(
                stage, ["adopt-database", "--why", "the old one was shut down"], there)
            #expect(asked.status == 1)
            #expect(asked.output.contains("database OID was"), "\(asked.output)")
            #expect(asked.errors.contains("no terminal to ask on: --yes"))
            let vague = try await hand(
                stage, ["adopt-database", "--why", "w", "--lost", "some days", "--yes"], there)
            #expect(vague.status == 1)
            #expect(vague.errors.contains("lost: \"some days\""), "\(vague.errors)")
            let long = try await hand(
                stage, ["adopt-database", "--why", "w", "--lost", "15 days", "--yes"], there)
            #expect(long.errors.contains("up to 14 days"), "\(long.errors)")
            #expect(
                try await clone.run(
                    """
                    SELECT FROM billing.settings WHERE database_identity = billing.identity()
                    """
                ).isEmpty)
            let done = try await hand(
                stage,
                [
                    "adopt-database", "--why", "the old one was shut down", "--lost", "2 hours",
                    "--yes",
                ], there)
            #expect(done.status == 0, "\(done.errors)")
            #expect(done.output.contains("Workers wait 10 minutes"), "\(done.output)")
            #expect(
                try await clone.run(
                    """
                    SELECT FROM billing.events WHERE type = 'database.adopted'
                        AND data ->> 'by' = 'test_admin'
                        AND data ->> 'why' = 'the old one was shut down'
                    """
                ).count == 1)
            let early = try await stage.billingd(
                ["once"], ["DATABASE_URL": clone.connectionString(as: .worker)])
            #expect(early.output.contains("this database was adopted at"))
        }
    }
}
