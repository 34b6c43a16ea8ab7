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

        /// The period was paid in the span that is lost, and is to end without an attempt: missed,
        /// begun in a pause, or cancelled where the paid period seemed to end.
        @Test(arguments: [
            ("SELECT 1", "40 days", "skipped missed", "active 1, due"),
            (
                "SELECT billing.pause(1); SELECT billing.resume(1)", "1 minute", "skipped paused",
                "active 1, at the period's end"
            ),
            ("SELECT billing.cancel(1)", "1 minute", "failed canceled", "canceled 1, never"),
            (
                "UPDATE billing.billing_keys SET state = 'deleted'", "1 minute", "open",
                "suspended 0, at the period's end"
            ),
        ])
        func aForgottenPeriodIsAskedForBeforeItEndsUnpaid(
            _ wish: String, _ time: String, _ unpaid: String, _ standing: String
        ) async throws {
            for isPaid in [true, false] {
                let stage = try await StoreStage()
                try await stage.subscribe()
                try await Self.adopt(stage)
                try await stage.pass("1 second")
                try await stage.web(wish)
                try await stage.pass(time)
                var work = try await stage.work()
                guard case .seal(let orders, let amount, let ending) = work.task else {
                    Issue.record("no seal: \(work.task)")
                    return
                }
                #expect(orders.count == 20)
                // No answer, and then a claim that is lost: asked again, for the same end.
                try await stage.record(
                    work.afterSeal(
                        orders.map { ($0, .unclear(.timeout)) }, amount: amount, ending: ending))
                // Nothing waits for the look of a charge that waits for a card.
                try await stage.pass(ending == .waitsForCard ? "2 hours" : "6 minutes")
                #expect(try await stage.work().task == work.task)
                try await stage.expire()
                work = try await stage.work()
                #expect(work.task == .seal(orders, amount: amount, ending: ending))
                let payment = Payment(
                    paymentKey: "pay-1", orderID: orders[1], status: .done, totalAmount: amount)
                let answers: [(OrderID, LookUp)] = orders.map {
                    ($0, isPaid && $0 == orders[1] ? .found(payment) : .notFound(.absent))
                }
                try await stage.record(
                    work.afterSeal(answers, amount: amount, ending: ending))
                let story = try await stage.story()
                #expect(story.contains(isPaid ? "; paid pay-1" : "; \(unpaid)"))
                if !isPaid { #expect(story.hasPrefix(standing)) }
                // Days after its begin the next period is due, and nobody has acted on it.
                if ending != .skipped(.missed) { try await stage.expectSound() }
            }
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
