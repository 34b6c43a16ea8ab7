import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

/// Wishes of the web app that come at an awkward time, and hands that reach too far.
@Suite(.serialized, .timeLimit(.minutes(2))) struct WishTests {
    /// A suspended subscription whose charge ended unpaid: it waits for resume().
    private func suspended() async throws -> (Shop, Int64) {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.work(subscription, "state = 'suspended', next_charge_at = NULL")
        return (shop, subscription)
    }

    /// A cancel that waits for a claim sees the charge which that claim opens.
    @Test func aCancelDuringAClaimTakesEffectAtThePeriodsEnd() async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.run("BEGIN")
        try await shop.openCharge(of: subscription)
        async let canceled = shop.run("SELECT billing.cancel(\(subscription))", as: .web)
        let other = try await shop.database.connect()
        try await eventually("the cancel waits") {
            let waiting = try await other.execute(
                script: """
                    SELECT count(*) AS waiting FROM pg_stat_activity
                    WHERE wait_event_type = 'Lock' AND datname = current_database()
                    """)
            return try waiting[0].int64("waiting") == 1
        }
        await other.close()
        try await shop.run("COMMIT")
        _ = try await canceled
        #expect(try await shop.holds("cancel_at = (SELECT period_end FROM billing.charges)"))
    }

    @Test(arguments: ["NULL", "period_at + interval '1 year'"])
    func aSuspendedOneWhoseCancelIsTakenBackIsNotCharged(_ instead: String) async throws {
        let (shop, subscription) = try await suspended()
        try await shop.run("SELECT billing.cancel(\(subscription))", as: .web)
        #expect(try await shop.holds("next_charge_at = period_at"))
        try await shop.run("UPDATE billing.subscriptions SET cancel_at = \(instead)", as: .web)
        #expect(try await shop.holds("state = 'suspended' AND next_charge_at IS NULL"))
    }

    @Test(arguments: ["NULL", "period_at + interval '1 year'"])
    func anActiveOneWhoseCancelIsTakenBackGoesOn(_ instead: String) async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe(from: "billing.now() + interval '3 days'")
        try await shop.run("SELECT billing.cancel(\(subscription), 'now')", as: .web)
        #expect(try await shop.holds("next_charge_at <= billing.now()"))
        try await shop.run("UPDATE billing.subscriptions SET cancel_at = \(instead)", as: .web)
        #expect(try await shop.holds("next_charge_at = period_at AND period_at > billing.now()"))
    }

    /// `catch_up = 'each'` spreads missed periods over days; a far cancel does not undo that.
    @Test func aCancelInTheFutureMovesNoDate() async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe(from: "billing.now() - interval '40 days'")
        try await shop.work(subscription, "next_charge_at = billing.now() + interval '1 day'")
        try await shop.run(
            "UPDATE billing.subscriptions SET cancel_at = billing.now() + interval '1 year'",
            as: .web)
        #expect(try await shop.holds("next_charge_at > billing.now() + interval '23 hours'"))
    }

    @Test(arguments: ["past_due", "paused", "suspended"])
    func aResumedRowThatWasSetAsideIsResolved(_ state: String) async throws {
        let shop = try await Shop.open()
        let subscription = try await shop.subscribe()
        try await shop.openCharge(of: subscription)
        try await shop.work(subscription, "state = '\(state)'")
        try await shop.run(
            "UPDATE billing.subscriptions SET held_reason = 'broken', next_charge_at = NULL")
        try await shop.run("SELECT billing.resume(\(subscription))", as: .web)
        #expect(
            try await shop.holds(
                "held_reason IS NULL AND attempt_open AND next_charge_at <= billing.now()"))
    }

    @Test func aPauseOfACanceledChargeInDunningKeepsItsEnd() async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        try await shop.run("SELECT billing.cancel(\(subscription))", as: .web)
        try await shop.run("SELECT billing.pause(\(subscription))", as: .web)
        // What was tried is looked up first; the worker then writes the end's date.
        #expect(
            try await shop.holds(
                "state = 'paused' AND next_charge_at < cancel_at AND next_charge_at = "
                    + "(SELECT finished_at + interval '1 hour' FROM billing.attempts)"))
    }

    @Test func aPauseWhenTheEndComesFirstKeepsIt() async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        try await shop.run(
            "UPDATE billing.subscriptions SET cancel_at = billing.now() + interval '5 minutes'",
            as: .web)
        try await shop.run("SELECT billing.pause(\(subscription))", as: .web)
        #expect(try await shop.holds("state = 'paused' AND next_charge_at = cancel_at"))
    }

    /// The look at what was tried is due when the gap is over; a held charge has none.
    @Test func aPauseInDunningHasOneLookToCome() async throws {
        let shop = try await Shop.open()
        let (subscription, _) = try await shop.pastDue()
        try await shop.run("UPDATE billing.settings SET clock_offset = '2 hours'")
        try await shop.run("SELECT billing.pause(\(subscription))", as: .web)
        #expect(
            try await shop.holds(
                "state = 'paused' AND next_charge_at BETWEEN billing.now() - interval '1 minute' "
                    + "AND billing.now()"))
        try await shop.run("SELECT billing.resume(\(subscription))", as: .web)
        try await shop.run("UPDATE billing.charges SET state = 'held', reason = 'test'")
        try await shop.run("SELECT billing.pause(\(subscription))", as: .web)
        #expect(try await shop.holds("state = 'paused' AND next_charge_at IS NULL"))
    }

    @Test func onlyADueRowIsSetAside() async throws {
        let (shop, _) = try await suspended()
        try await shop.expectRefusal(
            of: "UPDATE billing.subscriptions SET held_reason = 'mine'", "23514",
            naming: "the worker sets it", as: .web)
    }

    /// Neither the client nor the server's log is shown a key.
    @Test(arguments: [
        ("'bkey_SECRET_02', '4330121234567890'", "23514", "card_number: masked"),
        ("'SECRET!', NULL", "23514", "billing_key: 8 to 200"),
        ("'billing-key-1', NULL", "23505", "stored already"),
    ])
    func aRefusedCardIsNotShown(_ row: String, _ state: String, _ words: String) async throws {
        let shop = try await Shop.open()
        let script = """
            INSERT INTO billing.billing_keys (customer_key, billing_key, card_number)
            VALUES ('customer-1', \(row))
            """
        let error = try #require(try await shop.refusal(of: script, as: .web))
        #expect(error.sqlState == state)
        #expect(error.description.contains(words), "\(error)")
        let all = String(reflecting: error)
        #expect(!all.contains("SECRET") && !all.contains("433012") && !all.contains("key-1"))
    }

    @Test func theSameCardTwiceIsOneRow() async throws {
        let shop = try await Shop.open()
        let call = "SELECT billing.register_billing_key('customer-1', 'billing-key-9') AS id"
        let first = try await shop.run(call, as: .web)[0].int64("id")
        #expect(try await shop.run(call, as: .web)[0].int64("id") == first)
        #expect(try await shop.value("SELECT count(*) FROM billing.billing_keys") == "2")
    }

    /// A role that may make operators cannot make a plan of 50 won with them.
    @Test func checksUseTheirOwnOperators() async throws {
        let shop = try await Shop.open()
        try await shop.run(
            """
            CREATE SCHEMA mine;
            GRANT USAGE ON SCHEMA mine TO billing_web;
            CREATE FUNCTION mine.yes(bigint, integer) RETURNS boolean
                LANGUAGE sql IMMUTABLE AS 'SELECT true';
            CREATE OPERATOR mine.= (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = mine.yes);
            CREATE FUNCTION mine.yes(interval, interval) RETURNS boolean
                LANGUAGE sql IMMUTABLE AS 'SELECT true';
            CREATE OPERATOR mine.>= (LEFTARG = interval, RIGHTARG = interval, FUNCTION = mine.yes);
            """)
        for (columns, values) in [
            ("amount", "50"), ("amount, dunning", "1000, '{1 minute}'::interval[]"),
        ] {
            try await shop.expectRefusal(
                of: """
                    SET search_path = mine, pg_catalog;
                    INSERT INTO billing.plans (plan_id, name, cycle, \(columns))
                    VALUES ('p', 'Plan', '1 month', \(values))
                    """, "23514", as: .web)
        }
    }
}

extension StoreTests {
    /// A cancel ends the charge of a paused subscription, whenever it comes.
    @Suite struct PausedAndCanceledTests {
        /// Declined an hour ago and more, or just now; then paused and cancelled.
        private func pausedAndCanceled(_ at: String) async throws -> StoreStage {
            let stage = try await StoreStage()
            let id = try await stage.subscribe()[0]
            try await stage.record(try await stage.work().declined())
            try await stage.web(
                "SELECT billing.pause(\(id)); SELECT billing.cancel(\(id), '\(at)')")
            return stage
        }

        @Test func nowEndsItAfterTheGap() async throws {
            let stage = try await pausedAndCanceled("now")
            try await stage.record(try await stage.local())
            #expect(try await stage.story().hasPrefix("paused 0, in 60 min"))
            try await stage.pass("61 minutes")
            try await seal(stage)
        }

        @Test func atThePeriodsEndItEndsThen() async throws {
            let stage = try await pausedAndCanceled("period_end")
            try await stage.expectNothing()
            try await stage.pass("32 days")
            try await seal(stage)
        }

        private func seal(_ stage: StoreStage) async throws {
            // The provider says nothing at first: asked again.
            let claim = try await stage.store.claim(limit: 1)
            let work = try #require(claim.work.first)
            guard case .seal(let orders, let amount, let ending) = work.task else {
                Issue.record("no seal: \(work.task)")
                return
            }
            #expect(ending == .failed(.canceled))
            try await stage.record(
                work.afterSeal(
                    orders.map { ($0, .unclear(.timeout)) }, amount: amount, ending: ending))
            #expect(try await stage.story().hasPrefix("paused 0, in 5 min"))
            try await stage.pass("6 minutes")
            let again = try #require(try await stage.store.claim(limit: 1).work.first)
            try await stage.record(
                again.afterSeal(
                    orders.map { ($0, .notFound(.absent)) }, amount: amount, ending: ending))
            #expect(try await stage.story().hasPrefix("canceled 1, never; failed canceled"))
            try await stage.expectSound()
        }
    }
}
