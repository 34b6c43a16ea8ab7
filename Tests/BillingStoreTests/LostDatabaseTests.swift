import Billing
import BillingStore
import Logging
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// A database that goes away at the wrong moment.
    @Suite struct LostDatabaseTests {
        @Test func aKeyIsBoundThoughTheConnectionIsLostMeanwhile() async throws {
            let database = try await TemporaryPostgres.shared.database()
            let proxy = try CuttingProxy(database.server)
            let store = PostgresStore(
                PostgresConfiguration(
                    connectionString: proxy.connectionString(to: database, as: .worker)),
                identity: PostgresStore.Identity(
                    worker: "w", host: "host", pid: 1, version: "0", mode: "test",
                    fingerprint: "0123456789abcdef"),
                log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            proxy.arm(.cutAnswer(bytes: 100))
            try await store.bind()
            await store.close()
            #expect(proxy.cuts.count == 1)
            let bound = try await database.run(
                "SELECT secret_key_fingerprint AS f FROM billing.settings")
            #expect(try bound[0].string("f") == "0123456789abcdef")
        }

        /// Attempt 2 was refused, which the provider does not remember, and attempt 3 paid: both by
        /// somebody's wish, in the span that is lost.
        @Test func whatWasForgottenOfAPeriodIsLookedUpForAsLongAsItIsOpen() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.record(try await stage.work().declined())
            try await Self.adopt(stage)
            // The look-ups by the clock are long over when the ladder comes to its next rung.
            try await stage.pass("3 days")
            let work = try await stage.work()
            let request = try work.request
            #expect(request.number == 2)
            #expect(work.earlier.count == 20)
            let third = OrderID(stored: request.orderID.value.dropLast() + "3")
            #expect(work.earlier[2] == third)
            let payment = Payment(
                paymentKey: "pay-3", orderID: third, status: .done, totalAmount: request.amount)
            let answers: [(OrderID, LookUp)] = work.earlier.map {
                ($0, $0 == third ? .found(payment) : .notFound(.absent))
            }
            let found = try #require(
                work.afterEarlier(answers, before: request, isRepeat: false, tries: 0, jitter: 0))
            try await stage.record(found)
            #expect(try await stage.story().contains("paid pay-3"))
            // Nothing of the next period can have been forgotten.
            try await stage.pass("31 days")
            #expect(try await stage.work().earlier.isEmpty)
            try await stage.expectSound()
        }

        @Test func aClockThatMovesChangesNothingForThePeriodsThatHadBegun() async throws {
            let stage = try await StoreStage()
            try await stage.pass("400 days")
            try await stage.subscribe()
            try await stage.record(try await stage.work().declined())
            try await Self.adopt(stage)
            // Another adoption with the clock set back takes nothing back.
            try await stage.pass("-300 days")
            try await Self.adopt(stage)
            try await stage.pass("303 days")
            #expect(try await stage.work().earlier.count == 20)
        }

        /// Nothing was forgotten.
        @Test func afterASynchronousStandbyNoPeriodIsLookedUpFirst() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.record(try await stage.work().declined())
            try await Self.adopt(stage, lost: "0")
            try await stage.pass("3 days")
            #expect(try await stage.work().earlier.count == 1)
        }

        /// Adopts the database; what waits or looks first by the real clock is over at once.
        private static func adopt(_ stage: StoreStage, lost: String = "25 hours") async throws {
            try await stage.database.run(
                "SELECT billing.adopt_database('a restore', '\(lost)')", as: .admin)
            try await stage.database.run(
                "UPDATE billing.settings SET adopted_at = now() - interval '3 days', "
                    + "look_first_until = now() - interval '1 second'")
        }
    }
}
