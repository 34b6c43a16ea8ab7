import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// The functions of the operator's hand, each alone.
    @Suite struct RotationTests {
        private static let old = "0123456789abcdef"
        private static let new = "fedcba9876543210"

        private func admin(_ stage: StoreStage, _ call: String) async throws -> String? {
            let rows = try await stage.database.run("SELECT billing.\(call) AS v", as: .admin)
            return try rows[0].stringOrNil("v")
        }

        private func begin(_ stage: StoreStage, to key: String = new) async throws {
            _ = try await admin(stage, "begin_key_rotation('\(key)', 'why')")
        }

        private func end(_ stage: StoreStage, to key: String = new) async throws -> String? {
            try await admin(stage, "end_key_rotation('\(key)', 'why')")
        }

        private func expectRefusal(
            _ words: String, sourceLocation: SourceLocation = #_sourceLocation,
            _ body: () async throws -> Void
        ) async throws {
            do {
                try await body()
                Issue.record("it was taken", sourceLocation: sourceLocation)
            } catch let error as PostgresError {
                #expect(
                    error.message.contains(words), "\(error.message)",
                    sourceLocation: sourceLocation)
            }
        }

        @Test func itIsBegunOnceAndGoesOn() async throws {
            let stage = try await StoreStage()
            try await begin(stage)
            try await begin(stage)
            #expect(
                try await stage.value("SELECT count(*)::text AS n FROM billing.events") == "1")
            try await expectRefusal("to the key with fingerprint \(Self.new) is under way") {
                try await begin(stage, to: "aaaaaaaaaaaaaaaa")
            }
            try await expectRefusal("fingerprint: 16 hex digits") {
                try await begin(stage, to: "a key")
            }
            try await expectRefusal("is bound already") { try await begin(stage, to: Self.old) }
            #expect(try await end(stage) == "0")
            #expect(
                try await stage.value("SELECT secret_key_fingerprint FROM billing.settings")
                    == Self.new)
            try await expectRefusal("no rotation to the key") { _ = try await end(stage) }
        }

        @Test func withoutItsPauseItDoesNotEnd() async throws {
            let stage = try await StoreStage()
            try await begin(stage)
            try await stage.database.run("UPDATE billing.settings SET paused = false", as: .admin)
            try await expectRefusal("somebody ended the pause") { _ = try await end(stage) }
            try await begin(stage)
            #expect(try await end(stage) == "0")
            #expect(
                try await stage.value("SELECT paused::text AS p FROM billing.settings") == "false")
        }

        @Test func aPauseThatBeganMeanwhileStays() async throws {
            let stage = try await StoreStage()
            for call in ["end_key_rotation('\(Self.new)', 'why')", "keep_secret_key('why')"] {
                try await stage.database.run(
                    """
                    UPDATE billing.settings SET paused = false, paused_reason = NULL,
                        secret_key_fingerprint = '\(Self.old)'
                    """)
                try await begin(stage)
                try await stage.database.run(
                    "UPDATE billing.settings SET paused_reason = 'an incident'", as: .admin)
                _ = try await admin(stage, call)
                #expect(
                    try await stage.value("SELECT paused_reason FROM billing.settings")
                        == "an incident", "\(call)")
                #expect(
                    try await stage.value("SELECT paused::text AS p FROM billing.settings")
                        == "true", "\(call)")
            }
        }

        @Test func aLeaseKeepsTheOldKey() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let work = try await stage.work()
            try await begin(stage)
            #expect(try await end(stage) == "1")
            #expect(
                try await stage.value("SELECT secret_key_fingerprint FROM billing.settings")
                    == Self.old)
            try await stage.record(try work.approved())
            #expect(try await end(stage) == "0")
            try await stage.expectSound()
        }

        /// Permitted before the pause, it writes its leases after it: the binding waits for it.
        @Test func aClaimThatIsUnderWayIsWaitedFor() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let claim = try await stage.database.connect(as: .worker)
            try await claim.execute(
                script: "BEGIN; SELECT FROM billing.subscriptions FOR NO KEY UPDATE")
            try await begin(stage)
            let hand = try await stage.database.connect(as: .admin)
            let call = "SELECT billing.end_key_rotation('\(Self.new)', 'why') AS v"
            try await hand.execute(script: "SET lock_timeout = '100ms'")
            await #expect { try await hand.execute(script: call) } throws: { error in
                (error as? PostgresError)?.sqlState == "55P03"
            }
            try await claim.execute(
                script: """
                    UPDATE billing.subscriptions SET lease_no = lease_no + 1, lease_owner = 'w',
                        lease_until = now() + interval '1 minute';
                    COMMIT
                    """)
            #expect(try await hand.execute(script: call)[0].string("v") == "1")
        }

        /// It slept through the rotation between its permission and its first write.
        @Test func aClaimOfTheOldKeyThatWritesLateIsRefused() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let work = try await stage.work()
            try await stage.record(try work.declined())
            try await begin(stage)
            #expect(try await end(stage) == "0")
            for (key, isTaken) in [(Self.old, false), (Self.new, true)] {
                let insert = """
                    BEGIN;
                    INSERT INTO billing.attempts (charge_id, attempt_no, order_id, idempotency_key,
                        billing_key_id, amount, tax_free_amount, customer_key, order_name,
                        secret_key_fingerprint)
                    SELECT charge_id, 2, order_id || 'x', order_id || 'x', billing_key_id, amount,
                           tax_free_amount, customer_key, order_name, '\(key)'
                    FROM billing.attempts;
                    ROLLBACK
                    """
                guard !isTaken else {
                    try await stage.database.run(insert, as: .worker)
                    continue
                }
                try await expectRefusal("this database is bound to another secret key") {
                    try await stage.database.run(insert, as: .worker)
                }
            }
        }

        @Test func onlyWhatNeverLeftEndsWithItsKey() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(2)
            let claim = try await stage.store.claim(limit: 10)
            try #require(claim.work.count == 2)
            try await stage.record(try claim.work[0].unknown())
            try await stage.record(
                try claim.work[1].after(.notSent(Answer(code: "NOT_CONNECTED"))))
            try await begin(stage)
            #expect(try await end(stage) == "0")
            let states = try await stage.database.run(
                "SELECT charge_id, state, code FROM billing.attempts ORDER BY charge_id")
            let ended = try states.filter { try $0.string("state") == "refused" }
            #expect(try ended.map { try $0.int64("charge_id") } == [claim.work[1].charge.value])
            #expect(try ended.first?.string("code") == "SECRET_KEY_ROTATED")
            #expect(
                try await stage.value(
                    """
                    SELECT data ->> 'open_attempts' || ' ' || (data ->> 'ended_unsent')
                    FROM billing.events WHERE type = 'secret_key.rotated'
                    """) == "1 1")
            // With the new key: the one is looked up and never sent, the other has a new name.
            let fresh = StoreStage.store(stage.database, worker: "worker-2", fingerprint: Self.new)
            try await stage.pass("21 minutes")
            try await stage.expire()
            let next = try await fresh.claim(limit: 10).work
            #expect(next.filter(\.isResolve).map(\.charge) == [claim.work[0].charge])
            #expect(try next.filter { !$0.isResolve }.map { try $0.request.number } == [2])
            try await stage.expectSound()
        }

        @Test func aRetryIsGuardedWhoeverCalls() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            func refused() async throws {
                try await expectRefusal("no open, declined charge that may be tried now") {
                    _ = try await admin(stage, "retry(1, 'why')")
                }
            }
            try await refused()
            let work = try await stage.work()
            try await refused()
            // No longer in hand, and yet perhaps executed.
            try await stage.record(try work.unknown())
            try await refused()
            try await stage.pass("2 minutes")
            let look = try await stage.work()
            try await stage.record(
                try look.after(.found(try look.payment("pay-1", status: .aborted))))
            #expect(try await admin(stage, "retry(1, 'why')") == "t")
            #expect(try await admin(stage, "retry(1, 'why')") == "f")
            #expect(
                try await stage.value(
                    "SELECT count(*)::text AS n FROM billing.events WHERE type = 'charge.retried'")
                    == "1")
            try await stage.web("SELECT billing.pause(1)")
            try await refused()
            try await expectRefusal("there is no subscription 9") {
                _ = try await admin(stage, "retry(9, 'why')")
            }
            try await expectRefusal("why: say why") {
                _ = try await admin(stage, "retry(1, ' ')")
            }
        }
    }
}
