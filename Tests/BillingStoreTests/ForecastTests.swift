import Postgres
import TestSupport
import Testing

/// `billing.forecast` against what was counted out by hand. The clock stands at 15 January 2030,
/// 9:00 in Seoul, unless a test moves it.
@Suite(.serialized, .timeLimit(.minutes(2))) struct ForecastTests {
    private func open(at time: String = "2030-01-15 09:00+09") async throws -> Shop {
        let shop = try await Shop.open()
        try await move(shop, to: time)
        try await shop.run(
            """
            INSERT INTO billing.plans (plan_id, name, amount, cycle)
            VALUES ('weekly', 'Weekly', 3000, '7 days'), ('yearly', 'Yearly', 99000, '1 year')
            """)
        return shop
    }

    private func move(_ shop: Shop, to time: String) async throws {
        try await shop.run(
            "UPDATE billing.settings SET clock_offset = timestamptz '\(time)' - now()")
    }

    /// Rows as "period due amount", due in Seoul's time to the minute.
    private func forecast(_ shop: Shop, until: String) async throws -> [String] {
        try await shop.run(
            """
            SELECT period_index || ' '
                   || to_char(due_at AT TIME ZONE 'Asia/Seoul', 'YYYY-MM-DD HH24:MI') || ' '
                   || amount AS line
            FROM billing.forecast('\(until)') ORDER BY subscription_id, due_at, period_index
            """, as: .web
        ).map { try $0.string("line") }
    }

    /// A subscription whose first period, from 10 January, is under way and paid.
    private func paidSubscription(_ shop: Shop) async throws -> Int64 {
        let subscription = try await shop.subscribe(from: "'2030-01-10 09:00+09'")
        try await shop.pay(try await shop.openCharge(of: subscription))
        return subscription
    }

    /// One whose first charge was declined; the next try is on 17 January.
    private func declinedSubscription(
        _ shop: Shop, state: String = "past_due", next: String = "'2030-01-17 12:00+09'"
    ) async throws -> Int64 {
        let subscription = try await shop.subscribe(from: "'2030-01-10 09:00+09'")
        let charge = try await shop.openCharge(of: subscription)
        try await shop.decline(charge, ago: "2 days", leaves: state, next: next)
        return subscription
    }

    // MARK: Sound subscriptions

    @Test func monthsAreClampedToTheirEnd() async throws {
        let shop = try await open()
        try await shop.subscribe(from: "'2030-01-31 09:00+09'")
        #expect(
            try await forecast(shop, until: "2030-05-31 09:00+09") == [
                "0 2030-01-31 09:00 9900", "1 2030-02-28 09:00 9900", "2 2030-03-31 09:00 9900",
                "3 2030-04-30 09:00 9900",
            ])
    }

    @Test func thePlanSaysWhichCalendar() async throws {
        let shop = try await open()
        try await shop.run(
            "UPDATE billing.plans SET time_zone = 'America/New_York' WHERE plan_id = 'weekly'")
        try await shop.subscribe("weekly", from: "'2030-03-04 09:00-05'")
        // Summer time begins on 10 March: 9:00 in New York is an hour earlier in Seoul.
        #expect(
            try await forecast(shop, until: "2030-03-19 00:00+09") == [
                "0 2030-03-04 23:00 3000", "1 2030-03-11 22:00 3000", "2 2030-03-18 22:00 3000",
            ])
    }

    @Test func aPaidPeriodIsNotChargedAgain() async throws {
        let shop = try await open()
        _ = try await paidSubscription(shop)
        #expect(
            try await forecast(shop, until: "2030-04-01 00:00+09") == [
                "1 2030-02-10 09:00 9900", "2 2030-03-10 09:00 9900",
            ])
    }

    @Test func itEndsBeforeTheDayGivenAndMayBeEmpty() async throws {
        let shop = try await open()
        _ = try await paidSubscription(shop)
        #expect(try await forecast(shop, until: "2030-02-10 09:00+09") == [])
        #expect(
            try await forecast(shop, until: "2030-02-10 09:00:01+09") == ["1 2030-02-10 09:00 9900"]
        )
        #expect(try await forecast(shop, until: "2020-01-01 00:00+09") == [])
    }

    @Test func aLongForecastCountsEveryWeek() async throws {
        let shop = try await open()
        try await shop.subscribe("weekly", from: "'2030-01-21 09:00+09'")
        let lines = try await forecast(shop, until: "2040-01-21 09:00+09")
        // 3,652 days are 521 whole weeks and five days.
        #expect(lines.count == 522)
        #expect(lines.last == "521 2040-01-16 09:00 3000")
    }

    // MARK: Changes

    @Test func nothingIsChargedFromTheCancellationOn() async throws {
        let shop = try await open()
        _ = try await paidSubscription(shop)
        try await shop.run(
            "UPDATE billing.subscriptions SET cancel_at = '2030-04-10 09:00+09'", as: .web)
        #expect(
            try await forecast(shop, until: "2031-01-01 00:00+09") == [
                "1 2030-02-10 09:00 9900", "2 2030-03-10 09:00 9900",
            ])
    }

    @Test func aChangeOfPriceHoldsFromTheNextCharge() async throws {
        let shop = try await open()
        let subscription = try await paidSubscription(shop)
        try await shop.run("UPDATE billing.plans SET amount = 12000 WHERE plan_id = 'monthly'")
        #expect(
            try await forecast(shop, until: "2030-03-01 00:00+09") == ["1 2030-02-10 09:00 12000"])
        try await shop.run("SELECT billing.change_amount(\(subscription), 5000)", as: .web)
        #expect(
            try await forecast(shop, until: "2030-03-01 00:00+09") == ["1 2030-02-10 09:00 5000"])
    }

    @Test func aChangeOfCycleCountsFromTheNextPeriod() async throws {
        let shop = try await open()
        let subscription = try await paidSubscription(shop)
        try await shop.run("SELECT billing.change_plan(\(subscription), 'weekly')", as: .web)
        #expect(
            try await forecast(shop, until: "2030-03-01 00:00+09") == [
                "1 2030-02-10 09:00 3000", "2 2030-02-17 09:00 3000", "3 2030-02-24 09:00 3000",
            ])
        try await shop.run("SELECT billing.change_plan(\(subscription), 'yearly')", as: .web)
        #expect(
            try await forecast(shop, until: "2032-03-01 00:00+09") == [
                "1 2030-02-10 09:00 99000", "2 2031-02-10 09:00 99000", "3 2032-02-10 09:00 99000",
            ])
    }

    // MARK: Declined

    @Test func aDeclinedChargeComesFirstAtItsOwnPrice() async throws {
        let shop = try await open()
        _ = try await declinedSubscription(shop)
        try await shop.run("UPDATE billing.plans SET amount = 12000 WHERE plan_id = 'monthly'")
        #expect(
            try await forecast(shop, until: "2030-03-11 00:00+09") == [
                "0 2030-01-17 12:00 9900", "1 2030-02-10 09:00 12000", "2 2030-03-10 09:00 12000",
            ])
    }

    @Test func aChangeOfCycleWaitsForTheDeclinedPeriodToEnd() async throws {
        let shop = try await open()
        let subscription = try await declinedSubscription(shop)
        try await shop.run("SELECT billing.change_plan(\(subscription), 'weekly')", as: .web)
        #expect(
            try await forecast(shop, until: "2030-02-20 00:00+09") == [
                "0 2030-01-17 12:00 9900", "1 2030-02-10 09:00 3000", "2 2030-02-17 09:00 3000",
            ])
    }

    /// Dunning ends when the next period is due: nothing is tried then for the old one.
    @Test func aChargeThatIsSupersededIsNotCharged() async throws {
        let shop = try await open()
        _ = try await declinedSubscription(shop, next: "'2030-02-10 09:00+09'")
        #expect(
            try await forecast(shop, until: "2030-03-01 00:00+09") == ["1 2030-02-10 09:00 9900"])
    }

    @Test func aCancelledDunningIsOver() async throws {
        let shop = try await open()
        let subscription = try await declinedSubscription(shop)
        try await shop.run("SELECT billing.cancel(\(subscription), 'now')", as: .web)
        #expect(try await forecast(shop, until: "2031-01-01 00:00+09") == [])
    }

    @Test func dunningGoesOnToTheEndOfACancelledPeriod() async throws {
        let shop = try await open()
        let subscription = try await declinedSubscription(shop)
        try await shop.run("SELECT billing.cancel(\(subscription), 'period_end')", as: .web)
        #expect(
            try await forecast(shop, until: "2031-01-01 00:00+09") == ["0 2030-01-17 12:00 9900"])
    }

    @Test func aSuspendedSubscriptionIsChargedOnlyWithANewCard() async throws {
        let shop = try await open()
        // It waits for a card until its period ends.
        _ = try await declinedSubscription(
            shop, state: "suspended", next: "'2030-02-10 09:00+09'")
        #expect(try await forecast(shop, until: "2030-03-01 00:00+09") == [])
        try await shop.run(
            "SELECT billing.register_billing_key('customer-1', 'billing-key-2')", as: .web)
        #expect(
            try await forecast(shop, until: "2030-03-01 00:00+09") == [
                "0 2030-01-15 09:00 9900", "1 2030-02-10 09:00 9900",
            ])
    }

    // MARK: Not charged at all

    @Test(arguments: [
        "state = 'paused', next_charge_at = NULL", "state = 'canceled', next_charge_at = NULL",
        "state = 'suspended', next_charge_at = NULL",
        "held_reason = 'nonsense', next_charge_at = NULL",
    ])
    func whatRestsIsNotForecast(_ assignments: String) async throws {
        let shop = try await open()
        try await shop.work(try await paidSubscription(shop), assignments)
        #expect(try await forecast(shop, until: "2031-01-01 00:00+09") == [])
    }

    @Test func aHeldChargeIsNotForecast() async throws {
        let shop = try await open()
        let subscription = try await declinedSubscription(shop)
        try await shop.run("UPDATE billing.charges SET state = 'held', reason = 'r'")
        try await shop.work(subscription, "next_charge_at = NULL")
        #expect(try await forecast(shop, until: "2031-01-01 00:00+09") == [])
    }

    @Test func periodsThatBeganInAPauseAreSkipped() async throws {
        let shop = try await open()
        let subscription = try await paidSubscription(shop)
        try await shop.run("SELECT billing.pause(\(subscription))", as: .web)
        try await move(shop, to: "2030-04-15 09:00+09")
        try await shop.run("SELECT billing.resume(\(subscription))", as: .web)
        #expect(
            try await forecast(shop, until: "2030-07-01 00:00+09") == [
                "4 2030-05-10 09:00 9900", "5 2030-06-10 09:00 9900",
            ])
    }

    /// Nobody charged since October.
    @Test(arguments: [
        ("latest", ["2 2029-12-20 09:00 9900", "3 2030-01-20 09:00 9900"]),
        (
            "each",
            [
                "0 2029-10-20 09:00 9900", "1 2029-11-20 09:00 9900", "2 2029-12-20 09:00 9900",
                "3 2030-01-20 09:00 9900",
            ]
        ),
        ("hold", []),
    ])
    func missedPeriodsAreAsThePlanCatchesUp(_ catchUp: String, _ lines: [String]) async throws {
        let shop = try await open()
        try await shop.run("UPDATE billing.plans SET catch_up = '\(catchUp)'")
        try await shop.subscribe(from: "'2029-10-20 09:00+09'")
        #expect(try await forecast(shop, until: "2030-02-01 00:00+09") == lines)
    }
}
