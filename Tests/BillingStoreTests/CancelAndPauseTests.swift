import TestSupport
import Testing

/// Cancelling, pausing and their undoing, by the functions and by plain UPDATE.
@Suite(.serialized, .timeLimit(.minutes(2))) struct CancelAndPauseTests {
    /// A subscription whose first period was paid just now.
    private func paidUp() async throws -> (Shop, Int64) {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.pay(try await shop.openCharge(of: subscription))
        return (shop, subscription)
    }

    // MARK: cancel

    @Test(arguments: ["SELECT billing.cancel(%)", "SELECT billing.cancel(%, 'period_end')"])
    func aPaidPeriodIsEnjoyedToItsEnd(_ call: String) async throws {
        let (shop, subscription) = try await paidUp()
        try await shop.run(call.replacing("%", with: "\(subscription)"), as: .web)
        #expect(
            try await shop.holds(
                """
                state = 'active' AND cancel_at = period_at AND next_charge_at = period_at
                AND period_at > billing.now() + interval '27 days'
                """))
        #expect(try await forecast(shop) == "0")
    }

    @Test func cancelledNowTheWorkerEndsItAtOnce() async throws {
        let (shop, subscription) = try await paidUp()
        try await shop.run("SELECT billing.cancel(\(subscription), 'now')", as: .web)
        #expect(
            try await shop.holds(
                """
                state = 'active' AND cancel_at <= billing.now() AND next_charge_at = cancel_at
                AND cancel_at > billing.now() - interval '1 minute'
                """))
        #expect(try await forecast(shop) == "0")
    }

    /// A cancel that commits before the claim wins.
    @Test(arguments: ["now", "period_end"])
    func aPeriodThatIsDueButNotChargedIsNotCharged(_ at: String) async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe(from: "billing.now() - interval '1 hour'")
        try await shop.run("SELECT billing.cancel(\(subscription), '\(at)')", as: .web)
        #expect(
            try await shop.holds("cancel_at <= period_at AND next_charge_at <= billing.now()"))
        #expect(try await forecast(shop) == "0")
    }

    @Test func cancelledNowDunningEnds() async throws {
        let shop = try await Shop.open()
        let (subscription, charge) = try await shop.pastDue()
        try await shop.run("SELECT billing.cancel(\(subscription), 'now')", as: .web)
        #expect(
            try await shop.holds(
                """
                cancel_at <= billing.now() AND next_charge_at <= billing.now()
                AND open_charge_id = \(charge)
                """))
        #expect(try await forecast(shop) == "0")
    }

    @Test func cancelledAtThePeriodsEndDunningGoesOn() async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        let next = try await shop.value("SELECT next_charge_at FROM billing.subscriptions")
        try await shop.run("SELECT billing.cancel(\(subscription))", as: .web)
        #expect(try await shop.holds("cancel_at = (SELECT period_end FROM billing.charges)"))
        #expect(try await shop.value("SELECT next_charge_at FROM billing.subscriptions") == next)
        #expect(try await forecast(shop) == "1")
    }

    /// If money moved, it must be found: its due time stays.
    @Test(arguments: ["now", "period_end"])
    func anOpenAttemptIsResolvedAllTheSame(_ at: String) async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.openCharge(of: subscription)
        try await shop.work(subscription, "next_charge_at = billing.now() + interval '5 minutes'")
        let next = try await shop.value("SELECT next_charge_at FROM billing.subscriptions")
        try await shop.run("SELECT billing.cancel(\(subscription), '\(at)')", as: .web)
        #expect(try await shop.value("SELECT next_charge_at FROM billing.subscriptions") == next)
        try await shop.run("SELECT billing.pause(\(subscription))", as: .web)
        #expect(try await shop.value("SELECT next_charge_at FROM billing.subscriptions") == next)
        #expect(try await shop.holds("attempt_open AND cancel_at IS NOT NULL AND state = 'paused'"))
    }

    @Test func aLaterDateIsPlainSQL() async throws {
        let (shop, _) = try await paidUp()
        try await shop.run(
            "UPDATE billing.subscriptions SET cancel_at = period_at + interval '45 days'", as: .web)
        #expect(try await shop.holds("next_charge_at = period_at"))
        #expect(try await forecast(shop) == "2")
    }

    @Test(arguments: ["now", "period_end"])
    func aCancelThatHasNotHappenedIsTakenBack(_ at: String) async throws {
        let (shop, subscription) = try await paidUp()
        try await shop.run("SELECT billing.cancel(\(subscription), '\(at)')", as: .web)
        try await shop.run("UPDATE billing.subscriptions SET cancel_at = NULL", as: .web)
        #expect(
            try await shop.holds("cancel_at IS NULL AND next_charge_at = period_at"))
    }

    /// Dunning goes on where it was, not at once.
    @Test(arguments: ["now", "period_end"])
    func aCancelThatIsTakenBackInDunningLeavesItsDate(_ at: String) async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        // The record of the decline had set it.
        try await shop.work(
            subscription,
            "next_charge_at = (SELECT finished_at FROM billing.attempts) + interval '1 day'")
        let next = try await shop.value("SELECT next_charge_at FROM billing.subscriptions")
        try await shop.run("SELECT billing.cancel(\(subscription), '\(at)')", as: .web)
        try await shop.run("UPDATE billing.subscriptions SET cancel_at = NULL", as: .web)
        #expect(try await shop.value("SELECT next_charge_at FROM billing.subscriptions") == next)
        #expect(try await shop.holds("state = 'past_due'"))
    }

    @Test func cancellingTwiceIsCancellingOnce() async throws {
        let (shop, subscription) = try await paidUp()
        try await shop.run("SELECT billing.cancel(\(subscription))", as: .web)
        let first = try await shop.value("SELECT to_jsonb(s) FROM billing.subscriptions AS s")
        try await shop.run("SELECT billing.cancel(\(subscription))", as: .web)
        #expect(try await shop.value("SELECT to_jsonb(s) FROM billing.subscriptions AS s") == first)
    }

    // MARK: pause and resume

    private static let pauses = [
        "SELECT billing.pause(subscription_id) FROM billing.subscriptions",
        "UPDATE billing.subscriptions SET state = 'paused'",
    ]
    private static let resumes = [
        "SELECT billing.resume(subscription_id) FROM billing.subscriptions",
        "UPDATE billing.subscriptions SET state = 'active'",
    ]

    @Test(arguments: zip(pauses, resumes))
    func aPausedSubscriptionIsNotDueAndComesBack(_ pause: String, _ resume: String) async throws {
        let (shop, _) = try await paidUp()
        try await shop.run(pause, as: .web)
        #expect(try await shop.holds("state = 'paused' AND next_charge_at IS NULL"))
        #expect(try await forecast(shop) == "0")
        try await shop.run("UPDATE billing.settings SET clock_offset = '3 months'")
        try await shop.run(resume, as: .web)
        // Which periods are skipped is decided by the worker, from resumed_at.
        #expect(
            try await shop.holds(
                """
                state = 'active' AND next_charge_at = period_at AND period_index = 1
                AND resumed_at BETWEEN billing.now() - interval '1 minute' AND billing.now()
                """))
    }

    @Test(arguments: zip(pauses, resumes))
    func aDeclinedChargeWaitsInAPauseAndIsTriedAfterIt(
        _ pause: String, _ resume: String
    ) async throws {
        let shop = try await Shop.open()
        let (_, charge) = try await shop.pastDue()
        try await shop.run(pause, as: .web)
        // It is looked up once more: a copy of the request may have been executed all the same.
        #expect(
            try await shop.holds(
                "state = 'paused' AND next_charge_at = (SELECT finished_at + interval '1 hour' "
                    + "FROM billing.attempts)"))
        try await shop.run(resume, as: .web)
        #expect(
            try await shop.holds(
                """
                state = 'past_due' AND next_charge_at <= billing.now()
                AND open_charge_id = \(charge)
                """))
    }

    @Test(arguments: resumes)
    func aSuspensionIsEndedByHand(_ resume: String) async throws {
        let (shop, subscription) = try await paidUp()
        try await shop.work(subscription, "state = 'suspended', next_charge_at = NULL")
        try await shop.run(resume, as: .web)
        #expect(
            try await shop.holds(
                "state = 'active' AND next_charge_at = period_at AND resumed_at IS NOT NULL"))
    }

    @Test func resumingWhatRunsChangesNothing() async throws {
        let (shop, subscription) = try await paidUp()
        let before = try await shop.value("SELECT to_jsonb(s) FROM billing.subscriptions AS s")
        try await shop.run("SELECT billing.resume(\(subscription))", as: .web)
        #expect(
            try await shop.value("SELECT to_jsonb(s) FROM billing.subscriptions AS s") == before)
    }

    @Test func aRowSetAsideIsTriedAgain() async throws {
        let (shop, subscription) = try await paidUp()
        try await shop.run(
            "UPDATE billing.subscriptions SET held_reason = 'nonsense', next_charge_at = NULL")
        try await shop.run("SELECT billing.resume(\(subscription))", as: .web)
        #expect(try await shop.holds("held_reason IS NULL AND next_charge_at <= billing.now()"))
    }

    /// The end of what is paid comes, paused or not; and resumed it is still cancelled.
    @Test(arguments: pauses)
    func aPauseDoesNotUndoACancel(_ pause: String) async throws {
        let (shop, subscription) = try await paidUp()
        try await shop.run("SELECT billing.cancel(\(subscription))", as: .web)
        try await shop.run(pause, as: .web)
        #expect(try await shop.holds("next_charge_at = cancel_at AND state = 'paused'"))
        try await shop.run("SELECT billing.resume(\(subscription))", as: .web)
        #expect(try await shop.holds("next_charge_at = cancel_at AND state = 'active'"))
        #expect(try await forecast(shop) == "0")
    }

    @Test(arguments: ["now", "period_end"])
    func aPausedSubscriptionIsCancelled(_ at: String) async throws {
        let (shop, subscription) = try await paidUp()
        try await shop.run("SELECT billing.pause(\(subscription))", as: .web)
        try await shop.run("SELECT billing.cancel(\(subscription), '\(at)')", as: .web)
        #expect(
            try await shop.holds(
                "next_charge_at = cancel_at AND cancel_at <= period_at AND state = 'paused'"))
    }

    /// Charges that are still to come in the next eighty days.
    private func forecast(_ shop: Shop) async throws -> String? {
        try await shop.value(
            "SELECT count(*) FROM billing.forecast(billing.now() + interval '80 days')")
    }
}
