import Billing
import BillingStore
import Logging
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// Who may not claim, and what may not be claimed.
    @Suite struct StoreRefusalTests {
        /// The claim is refused with these words, and nothing is written.
        private func expectRefusal(
            _ stage: StoreStage, _ store: PostgresStore, _ words: String,
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let error = await #expect(throws: StoreError.self, sourceLocation: sourceLocation) {
                try await store.claim(limit: 10)
            }
            guard case .refused(let reason) = error else {
                Issue.record("\(String(describing: error))", sourceLocation: sourceLocation)
                return
            }
            #expect(reason.contains(words), "\(reason)", sourceLocation: sourceLocation)
            #expect(
                try await stage.story() == "active 0, due", sourceLocation: sourceLocation)
        }

        private func subscribed() async throws -> StoreStage {
            let stage = try await StoreStage()
            try await stage.subscribe()
            return stage
        }

        @Test func aPauseStopsTheNextClaim() async throws {
            let stage = try await subscribed()
            try await stage.database.run(
                "UPDATE billing.settings SET paused = true, paused_reason = 'month end'",
                as: .admin)
            let claim = try await stage.store.claim(limit: 10)
            #expect(claim.pausedReason == "month end")
            #expect(claim.work.isEmpty && claim.local.isEmpty)
            #expect(try await stage.story() == "active 0, due")
            try await stage.database.run("UPDATE billing.settings SET paused = false", as: .admin)
            #expect(try await stage.work().request.number == 1)
        }

        @Test func aPauseLetsWhatIsUnderWayBeRecorded() async throws {
            let stage = try await subscribed()
            let work = try await stage.work()
            try await stage.database.run("UPDATE billing.settings SET paused = true", as: .admin)
            try await stage.record(work.approved())
            #expect(try await stage.store.claim(limit: 1).pausedReason == "settings.paused is true")
        }

        @Test func theOtherMode() async throws {
            let stage = try await subscribed()
            try await expectRefusal(
                stage, StoreStage.store(stage.database, mode: "live"),
                "settings.mode is test but the secret key is for live")
        }

        @Test func anotherShopsKey() async throws {
            let stage = try await subscribed()
            let other = StoreStage.store(stage.database, fingerprint: "ffffffffffffffff")
            // Binding again changes nothing.
            try await other.bind()
            try await expectRefusal(stage, other, "bound to another secret key")
            #expect(try await stage.work().request.number == 1)
        }

        @Test(arguments: [0, 2])
        func anotherSchema(version: Int) async throws {
            let stage = try await subscribed()
            try await stage.database.run(
                "UPDATE billing.settings SET schema_version = \(version)")
            try await expectRefusal(
                stage, stage.store, "the database has schema version \(version)")
        }

        @Test func anotherDatabase() async throws {
            let stage = try await subscribed()
            try await stage.database.run(
                "UPDATE billing.settings SET database_identity = 'as it was before the restore'")
            try await expectRefusal(stage, stage.store, "clone, a restore or a promoted standby")
            try await stage.database.run(
                "SELECT billing.adopt_database('a test says so')", as: .admin)
            try await stage.expectNothing()
            try await stage.database.run(
                "UPDATE billing.settings SET adopted_at = now() - late_bound")
            #expect(try await stage.work().request.number == 1)
        }

        @Test func noSettings() async throws {
            let stage = try await subscribed()
            try await stage.database.run("DELETE FROM billing.settings")
            await #expect(throws: StoreError.refused("billing.settings is empty: apply schema.sql"))
            {
                try await stage.store.claim(limit: 10)
            }
        }

        @Test func aDatabaseThatIsNotThere() async throws {
            let stage = try await subscribed()
            let gone = PostgresStore(
                .init(connectionString: "host=/no/such/folder"),
                identity: .init(
                    worker: "w", host: "h", pid: 1, version: "0", mode: "test", fingerprint: "f"),
                log: .init(label: "test"))
            await #expect {
                try await gone.claim(limit: 1)
            } throws: { error in
                guard case .unavailable(_, mayHaveCommitted: false) = error as? StoreError else {
                    return false
                }
                return true
            }
            // Thrown out in the middle, it connects again.
            _ = try await stage.work()
            try await stage.database.run(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND usename = 'test_worker'
                """)
            await #expect(throws: StoreError.self) { try await stage.store.claim(limit: 1) }
            try await stage.expectNothing()
        }

        @Test func anAttemptUnderAnotherSecretKeyIsOnlyLookedUp() async throws {
            let stage = try await subscribed()
            try await stage.record(stage.work().unknown())
            try await stage.database.run(
                "UPDATE billing.settings SET secret_key_fingerprint = 'eeeeeeeeeeeeeeee'")
            let rotated = StoreStage.store(stage.database, fingerprint: "eeeeeeeeeeeeeeee")
            for _ in 1...4 {
                try await stage.expire()
                try await stage.pass("1 day")
                let work = try #require(try await rotated.claim(limit: 1).work.first)
                #expect(work.isResolve)
                try await stage.record(work.after(.notFound(.absent)))
            }
            #expect(try await stage.value("SELECT sends FROM billing.attempts") == "1")
        }

        @Test func anOldAttemptIsOnlyLookedUpAndThenHeld() async throws {
            let stage = try await subscribed()
            try await stage.record(stage.work().unknown())
            try await stage.expire()
            try await stage.pass("13 days")
            for _ in 1...3 {
                let work = try await stage.work()
                #expect(work.isResolve)
                try await stage.record(work.after(.notFound(.absent)))
                try await stage.expire()
                try await stage.pass("6 hours")
            }
            #expect(try await stage.value("SELECT sends FROM billing.attempts") == "1")
            try await stage.pass("1 day")
            try await stage.record(try await stage.local())
            #expect(
                try await stage.story().hasPrefix(
                    "active 0, never; held unresolved: the provider gave no answer"))
        }
    }
}
