import Billing
import BillingStore
import Logging
import Postgres
import TestSupport
import Testing

/// What the operator's limits let a claim take.
@Suite(.timeLimit(.minutes(2))) struct LimitTests {
    private static func store(_ shop: Shop, worker: String = "w") async throws -> PostgresStore {
        let store = PostgresStore(
            shop.database.configuration(as: .worker),
            identity: PostgresStore.Identity(
                worker: worker, host: "h", pid: 1, version: "0", mode: "test", fingerprint: "f"),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        try await store.bind()
        return store
    }

    private static func subscribe(_ shop: Shop, times: Int) async throws {
        try await shop.run(
            """
            SELECT billing.subscribe('customer-1', 'monthly') FROM generate_series(1, \(times))
            """)
    }

    @Test func theDaysWonAreACapForTheFleet() async throws {
        let shop = try await Shop.open()
        try await Self.subscribe(shop, times: 5)
        try await shop.run("UPDATE billing.settings SET max_won_per_day = 2 * 9900 + 9899")
        let first = try await Self.store(shop)
        let second = try await Self.store(shop, worker: "x")
        let claim = try await first.claim(limit: 10)
        #expect(claim.work.count == 2)
        #expect(claim.pausedReason?.contains("max_won_per_day") == true)
        let other = try await second.claim(limit: 10)
        #expect(other.work.isEmpty)
        #expect(other.pausedReason?.contains("max_won_per_day") == true)
        // Nothing was written for what did not fit, and tomorrow is another day.
        #expect(try await shop.value("SELECT count(*) FROM billing.charges") == "2")
        try await shop.run("UPDATE billing.settings SET clock_offset = '1 day'")
        #expect(try await second.claim(limit: 10).work.count == 2)
        await first.close()
        await second.close()
    }

    @Test func refusedAttemptsDoNotCountAndOpenOnesAreFollowedWhateverTheCap() async throws {
        let shop = try await Shop.open()
        try await Self.subscribe(shop, times: 1)
        try await shop.run("UPDATE billing.settings SET max_won_per_day = 9900")
        let store = try await Self.store(shop)
        let work = try #require(try await store.claim(limit: 10).work.first)
        let answer = Answer(code: "MAINTAINED_METHOD", httpStatus: 400)
        let (request, _) = try #require(work.sent)
        let refused = work.after(
            .refused(answer), of: request, isRepeat: false, tries: 0, jitter: 0)
        #expect(try await store.record([refused]) == [.applied])
        try await shop.run("UPDATE billing.settings SET clock_offset = '22 minutes'")
        let again = try #require(try await store.claim(limit: 10).work.first)
        let (second, _) = try #require(again.sent)
        #expect(second.number == 2)
        let unknown = again.after(
            .unknown(answer), of: second, isRepeat: false, tries: 0, jitter: 0)
        #expect(try await store.record([unknown]) == [.applied])
        try await shop.run(
            "UPDATE billing.settings SET clock_offset = '30 minutes', max_won_per_day = 0")
        let resolve = try await store.claim(limit: 10)
        #expect(try #require(resolve.work.first).isResolve)
        await store.close()
    }

    @Test func openAttemptsDoNotWaitBehindRowsThatWaitForTomorrow() async throws {
        let shop = try await Shop.open()
        try await Self.subscribe(shop, times: 1)
        let store = try await Self.store(shop)
        let work = try #require(try await store.claim(limit: 1).work.first)
        let (request, _) = try #require(work.sent)
        let unknown = work.after(
            .unknown(Answer(code: "TIMEOUT")), of: request, isRepeat: false, tries: 0, jitter: 0)
        #expect(try await store.record([unknown]) == [.applied])
        // Older than the open attempt, and more than is left of the day.
        try await Self.subscribe(shop, times: 3)
        try await shop.run(
            """
            UPDATE billing.settings SET max_won_per_day = 9900 + 5000, clock_offset = '30 minutes';
            UPDATE billing.subscriptions SET next_charge_at = billing.now() - interval '1 day'
            WHERE NOT attempt_open
            """)
        let claim = try await store.claim(limit: 2)
        #expect(claim.work.map(\.subscription) == [work.subscription])
        #expect(claim.work.first?.isResolve == true)
        #expect(claim.pausedReason?.contains("max_won_per_day") == true)
        await store.close()
    }

    /// A charge whose period is over ends, and a cancelled one, however many wait for tomorrow.
    @Test(arguments: [
        "UPDATE billing.settings SET clock_offset = '32 days'",
        "SELECT billing.cancel(1, 'now'); UPDATE billing.settings SET clock_offset = '2 hours'",
    ])
    func whatTakesNoMoneyDoesNotWaitForTomorrow(_ change: String) async throws {
        let shop = try await Shop.open()
        let (subscription, charge) = try await shop.pastDue()
        let store = try await Self.store(shop)
        try await shop.run(change)
        try await Self.subscribe(shop, times: 3)
        try await shop.run(
            """
            UPDATE billing.settings SET max_won_per_day = 9900 + 5000;
            UPDATE billing.subscriptions SET next_charge_at = billing.now() - interval '1 day'
            WHERE subscription_id <> \(subscription);
            UPDATE billing.subscriptions SET next_charge_at = billing.now() - interval '1 minute'
            WHERE subscription_id = \(subscription)
            """)
        let claim = try await store.claim(limit: 2)
        #expect(claim.work.contains { $0.charge == ChargeID(charge) })
        #expect(claim.pausedReason?.contains("max_won_per_day") == true)
        await store.close()
    }

    /// A row that is claimed alone is not the oldest, and the oldest waits for tomorrow.
    @Test func whatIsClaimedAloneDoesNotWaitForTomorrow() async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.openCharge(of: subscription)
        let store = try await Self.store(shop)
        try await Self.subscribe(shop, times: 1)
        try await shop.run(
            """
            UPDATE billing.settings SET max_won_per_day = 9900 + 5000;
            UPDATE billing.subscriptions SET next_charge_at = billing.now() - interval '1 day'
            WHERE subscription_id <> \(subscription);
            UPDATE billing.subscriptions
            SET next_charge_at = billing.now() - interval '1 minute', claims = 3
            WHERE subscription_id = \(subscription)
            """)
        let claim = try await store.claim(limit: 10)
        #expect(claim.work.map(\.subscription) == [SubscriptionID(subscription)])
        await store.close()
    }

    @Test func requestsOfAMinuteAreABudgetForTheFleet() async throws {
        let shop = try await Shop.open()
        try await Self.subscribe(shop, times: 30)
        // A burst of six, and then 54 a minute.
        try await shop.run("UPDATE billing.settings SET max_requests_per_minute = 60")
        let first = try await Self.store(shop)
        let second = try await Self.store(shop, worker: "x")
        let claim = try await first.claim(limit: 100)
        #expect(claim.work.count == 6)
        let other = try await second.claim(limit: 100)
        #expect(other.work.count <= 1)
        let wake = try #require(other.wake)
        #expect(wake > .zero && wake <= .seconds(2))
        // Nine seconds later there is room for eight: the burst bounds it to six.
        try await shop.run(
            "UPDATE billing.request_budget SET refilled_at = refilled_at - interval '9 seconds'")
        #expect(try await second.claim(limit: 100).work.count == 6)
        await first.close()
        await second.close()
    }

    @Test func anAdoptedDatabaseWaitsAndThenLooksFirst() async throws {
        let shop = try await Shop.open()
        try await Self.subscribe(shop, times: 1)
        let store = try await Self.store(shop)
        try await shop.run("UPDATE billing.settings SET database_identity = 'another'")
        await #expect(throws: StoreError.self) { _ = try await store.claim(limit: 1) }
        try await shop.run("SELECT billing.adopt_database('promoted after a crash')", as: .admin)
        let waiting = try await store.claim(limit: 1)
        #expect(waiting.work.isEmpty)
        #expect(waiting.pausedReason?.contains("adopted") == true)
        try await shop.run(
            "UPDATE billing.settings SET adopted_at = adopted_at - late_bound - interval '1 second'"
        )
        let work = try #require(try await store.claim(limit: 1).work.first)
        let (request, earlier) = try #require(work.sent)
        #expect(earlier.count == 20)
        #expect(earlier.first == request.orderID)
        // What the database had forgotten is found under the same name.
        let payment = Payment(
            paymentKey: "p", orderID: request.orderID, status: .done, totalAmount: request.amount)
        let found = try #require(
            work.afterEarlier(
                [(request.orderID, .found(payment))], before: request, isRepeat: false, tries: 0,
                jitter: 0))
        #expect(try await store.record([found]) == [.applied])
        #expect(try await shop.holds("state = 'paid' AND payment_key = 'p'", in: "charges"))
        await store.close()
    }
}

extension Work {
    /// What it sends, and what it looks up before.
    fileprivate var sent: (AttemptRequest, [OrderID])? {
        if case .send(let request, let earlier, _, _) = task { (request, earlier) } else { nil }
    }
}
