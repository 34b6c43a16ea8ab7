import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

/// Reconciling on a real PostgreSQL: whose turn which day is, what is read, what may be written.
@Suite(.serialized, .timeLimit(.minutes(2))) struct BooksTests {
    private static func books(
        _ shop: Shop, worker: String? = "worker-1", as role: TemporaryPostgres.Role = .worker,
        fingerprint: String = "fingerprint", mode: String = "test"
    ) -> PostgresBooks {
        PostgresBooks(
            shop.database.configuration(as: role),
            identity: .init(worker: worker, mode: mode, fingerprint: fingerprint))
    }

    /// A shop whose first charge, paid, was at 09:30 of 15 July 2027 in Korea; the clock goes on.
    private static func shop() async throws -> Shop {
        let shop = try await Shop.open()
        try await shop.run("SELECT billing.bind_worker('fingerprint')", as: .worker)
        try await Self.clock(shop, "2027-07-15 09:30")
        try await shop.pay(try await shop.openCharge(of: shop.subscribe()))
        return shop
    }

    private static func clock(_ shop: Shop, _ korean: String) async throws {
        try await shop.run(
            """
            UPDATE billing.settings SET clock_offset = timestamptz '\(korean)+09' - now()
            """)
    }

    // MARK: Whose turn

    @Test func aDayIsDueTwoHoursAfterItsEndAndOneWorkerHasIt() async throws {
        let shop = try await Self.shop()
        let (one, other) = (Self.books(shop), Self.books(shop, worker: "worker-2"))
        #expect(try await one.claimDay() == nil)
        try await Self.clock(shop, "2027-07-16 01:58")
        #expect(try await one.claimDay() == nil)
        try await Self.clock(shop, "2027-07-16 02:00")
        let day = try #require(try await one.claimDay())
        #expect(day.day == "2027-07-15" && day.next == "2027-07-16")
        #expect(!day.isProvisional && day.isClaimed && day.recent.hasPrefix("2027-07-16T01:00"))
        #expect(try await other.claimDay() == nil)
        #expect(try await one.admit(day) == .zero)
        // It dies; another takes over, and what the dead one still says is not heard.
        try await shop.run(
            "UPDATE billing.reconciliations SET lease_until = now() - interval '1 s'")
        #expect(try await other.claimDay() == day)
        for _ in 0..<2 {
            await #expect(throws: StoreError.refused("another worker compares 2027-07-15")) {
                _ = try await one.admit(day)
            }
            await #expect(throws: StoreError.refused("another worker compares 2027-07-15")) {
                try await one.finish(day, DayReport(day: day))
            }
        }
        try await other.finish(day, DayReport(day: day))
        #expect(try await other.claimDay() == nil)
    }

    @Test func aDayIsComparedAgainOnThreeDaysAndThenRests() async throws {
        let shop = try await Self.shop()
        let books = Self.books(shop)
        for morning in ["16", "17", "18", "19"] {
            try await Self.clock(shop, "2027-07-\(morning) 02:00")
            var days: [String] = []
            while let day = try await books.claimDay() {
                days.append(day.day)
                try await books.finish(day, DayReport(day: day))
                #expect(days.count < 9)
            }
            #expect(days.first == "2027-07-\((Int(morning) ?? 0) - 1)")
            #expect(days.last == "2027-07-15" && days.count == (Int(morning) ?? 0) - 15)
        }
        try await Self.clock(shop, "2027-07-20 02:00")
        #expect(try await books.claimDay()?.day == "2027-07-19")
        #expect(
            try await shop.value(
                "SELECT next_at IS NULL FROM billing.reconciliations WHERE day = '2027-07-15'")
                == "true")
    }

    @Test func aGapIsCaughtUpAndOldDaysOnce() async throws {
        let shop = try await Self.shop()
        let books = Self.books(shop)
        try await Self.clock(shop, "2027-07-22 12:00")
        var days: [String] = []
        while let day = try await books.claimDay() {
            days.append(day.day)
            try await books.finish(day, DayReport(day: day))
        }
        #expect(days == (15...21).reversed().map { "2027-07-\($0)" })
        #expect(
            try await shop.value(
                "SELECT count(*) FROM billing.reconciliations WHERE next_at IS NOT NULL") == "3")
        // A year later: a month is caught up, no more.
        try await Self.clock(shop, "2028-07-22 12:00")
        _ = try await books.claimDay()
        #expect(
            try await shop.value(
                "SELECT count(*) || ' ' || min(day) FROM billing.reconciliations WHERE day > '2028-01-01'"
            )
                == "31 2028-06-21")
    }

    @Test func beforeTheFirstChargeThereIsNothingToCompare() async throws {
        let shop = try await Shop.open()
        try await shop.run("SELECT billing.bind_worker('fingerprint')", as: .worker)
        try await Self.clock(shop, "2027-07-16 12:00")
        #expect(try await Self.books(shop).claimDay() == nil)
        #expect(try await shop.value("SELECT count(*) FROM billing.reconciliations") == "0")
    }

    @Test func aFailureIsTriedAgainAtGrowingDistancesAndIsSeen() async throws {
        let shop = try await Self.shop()
        let books = Self.books(shop)
        try await Self.clock(shop, "2027-07-16 02:00")
        for (minutes, next) in [(5, "02:06"), (15, "02:22"), (60, "03:23")] {
            let day = try #require(try await books.claimDay())
            var report = DayReport(day: day)
            report.trouble = "the list failed"
            try await books.finish(day, report)
            #expect(try await books.claimDay() == nil)
            #expect(
                try await shop.value(
                    "SELECT round(extract(epoch FROM next_at - billing.now()) / 60) FROM billing.reconciliations"
                )
                    == "\(minutes)")
            try await Self.clock(shop, "2027-07-16 \(next)")
        }
        let status = try await StatusReport.read(shop.database.configuration(as: .report))
        #expect(status.books.error == "2027-07-15: the list failed")
        #expect(status.books.lastDay == nil && status.books.overdueDays == 0)
        try await Self.clock(shop, "2027-07-16 14:01")
        let later = try await StatusReport.read(shop.database.configuration(as: .report))
        #expect(later.books.overdueDays == 1)
        let day = try #require(try await books.claimDay())
        try await books.finish(day, DayReport(day: day))
        let end = try await StatusReport.read(shop.database.configuration(as: .report))
        #expect(end.books.error == nil && end.books.lastDay == "2027-07-15")
        #expect(end.books.overdueDays == 0 && end.books.findings == 0)
    }

    @Test func eachFindingIsToldOnceAndComparedForAMonth() async throws {
        let shop = try await Self.shop()
        let books = Self.books(shop)
        try await Self.clock(shop, "2027-07-16 02:00")
        func finding(_ payment: String, _ amount: Int64) -> Finding {
            Finding(
                .doublePayment, subscription: SubscriptionID(1), charge: ChargeID(1), period: 0,
                orderID: OrderID(stored: "order-1-1"), paymentKey: payment, amount: Won(amount),
                at: "2027-07-15T09:30:00+09:00", detail: "d\"'\\")
        }
        let first = try #require(try await books.claimDay())
        var report = DayReport(day: first)
        report.findings = [finding("pay-2", 9_900)]
        try await books.finish(first, report)
        try await Self.clock(shop, "2027-07-25 02:00")
        var seen = false
        while let day = try await books.claimDay() {
            var report = DayReport(day: day)
            if day.day == "2027-07-15" {
                seen = true
                report.findings = [finding("pay-2", 9_800), finding("pay-3", 9_900)]
            }
            try await books.finish(day, report)
        }
        #expect(seen)
        #expect(
            try await shop.run(
                """
                SELECT data ->> 'payment_key' AS payment, data ->> 'kind' AS kind,
                       data ->> 'amount' AS amount, subscription_id, charge_id
                FROM billing.events WHERE type = 'reconcile.finding' ORDER BY event_id
                """
            ).map {
                try "\($0.string("payment")) \($0.string("kind")) \($0.string("amount")) "
                    + "\($0.string("subscription_id")) \($0.string("charge_id"))"
            } == ["pay-2 double_payment 9900 1 1", "pay-3 double_payment 9900 1 1"])
        #expect(try await shop.run("SELECT * FROM billing.audit()", as: .report).count == 1)
        let status = try await StatusReport.read(shop.database.configuration(as: .report))
        #expect(status.books.findings == 2 && status.books.findingDays == ["2027-07-15"])
    }

    @Test func anotherShopsBooksAreNotCompared() async throws {
        let shop = try await Self.shop()
        try await Self.clock(shop, "2027-07-16 02:00")
        for books in [
            Self.books(shop, fingerprint: "other"), Self.books(shop, mode: "live"),
        ] {
            await #expect(throws: StoreError.self) { _ = try await books.claimDay() }
            await #expect(throws: StoreError.self) { _ = try await books.day("2027-07-15") }
        }
        #expect(try await Self.books(shop, worker: nil).claimDay() == nil)
        let person = Self.books(shop, worker: nil, as: .report)
        #expect(try await person.day("2027-07-15")?.isClaimed == false)
        #expect(try await person.day("2027-07-16")?.isProvisional == true)
        #expect(try await person.day("2027-07-17") == nil)
        try await Self.clock(shop, "2027-07-16 00:59")
        #expect(try await person.day("2027-07-15")?.isProvisional == true)
        try await Self.clock(shop, "2027-07-16 01:00")
        #expect(try await person.day("2027-07-15")?.isProvisional == false)
    }

    // MARK: What is read

    @Test func anOrderIdIsKnownByItsAttemptOrItsSubscription() async throws {
        let shop = try await Self.shop()
        let prefix = try #require(
            try await shop.value("SELECT order_prefix FROM billing.subscriptions"))
        let entries = try await Self.books(shop, as: .report).entries([
            OrderID(stored: "order-1-1"), OrderID(stored: "\(prefix)-0-7"),
            OrderID(stored: "\(prefix)-5-1"), OrderID(stored: "nobody-0-1"),
            OrderID(stored: "\(prefix)-9999999999-1"), OrderID(stored: "한글 \"'\\{},NULL"),
        ])
        let charge = LedgerEntry.Charge(
            id: ChargeID(1), state: "paid", amount: Won(9_900), paymentKey: "payment-1")
        #expect(
            entries == [
                LedgerEntry(
                    subscription: SubscriptionID(1), period: 0, charge: charge,
                    attempt: .init(
                        state: "approved", amount: Won(9_900),
                        customerKey: CustomerKey("customer-1"))),
                LedgerEntry(
                    subscription: SubscriptionID(1), period: 0, charge: charge, attempt: nil),
                LedgerEntry(
                    subscription: SubscriptionID(1), period: 5, charge: nil, attempt: nil),
                nil, nil, nil,
            ])
    }

    @Test func theDaysPaymentsComeInPagesAndOnlyThose() async throws {
        let shop = try await Self.shop()
        try await shop.run(
            """
            SET session_replication_role = replica;
            INSERT INTO billing.charges (subscription_id, period_index, period_start, period_end,
                amount, order_name, state, paid_at, payment_key)
            SELECT 1, n, now(), now() + interval '1 day', 9900, 'Monthly', 'paid',
                   timestamptz '2027-07-20 00:00+09' + n / 2 * interval '1 second', 'many-' || n
            FROM generate_series(1, 2100) AS n;
            INSERT INTO billing.charges (subscription_id, period_index, period_start, period_end,
                amount, order_name, state, paid_at, payment_key)
            SELECT 1, 3000 + row_number() OVER (), now(), now() + interval '1 day', 9900, 'Monthly',
                   'paid', t, 'edge-' || t
            FROM unnest(ARRAY['2027-07-19 23:59:59.999999+09', '2027-07-20 23:59:59.999999+09',
                              '2027-07-21 00:00+09']::timestamptz[]) AS t;
            SET session_replication_role = DEFAULT
            """)
        try await Self.clock(shop, "2027-07-22 02:00")
        let books = Self.books(shop, worker: nil, as: .report)
        let day = try #require(try await books.day("2027-07-20"))
        var all: [LedgerPayment] = []
        while true {
            let page = try await books.payments(of: day, after: all.last)
            if page.isEmpty { break }
            #expect(page.count <= 1_000)
            all += page
        }
        #expect(Set(all.map(\.charge.id)).count == 2_101 && all.count == 2_101)
        #expect(all.last?.at == "2027-07-20T23:59:59+09:00" && all.last?.orderID == nil)
        let first = try #require(try await books.day("2027-07-15"))
        let paid = try await books.payments(of: first, after: nil)
        #expect(paid.map(\.orderID) == [OrderID(stored: "order-1-1")])
        #expect(paid.first?.charge.paymentKey == "payment-1")
    }

    // MARK: What may be written

    private static func refund(
        _ amount: Int64, order: String = "order-1-1", payment: String = "payment-1"
    ) -> Refund {
        Refund(
            charge: ChargeID(1), orderID: OrderID(stored: order), paymentKey: payment,
            amount: Won(amount))
    }

    private static func story(_ shop: Shop) async throws -> String {
        try #require(
            try await shop.value(
                """
                SELECT c.state || ' ' || coalesce(c.refunded_amount::text, 'none') || ' '
                    || (SELECT count(*) FROM billing.events WHERE type = 'charge.refunded')
                FROM billing.charges AS c
                """))
    }

    @Test func aRefundIsRecordedOnceAndGrows() async throws {
        let shop = try await Self.shop()
        let (worker, admin) = (Self.books(shop), Self.books(shop, worker: nil, as: .admin))
        #expect(try await worker.record(Self.refund(900)) == .recorded)
        #expect(try await Self.story(shop) == "refunded 900 1")
        #expect(try await admin.record(Self.refund(900)) == .repeated)
        #expect(try await Self.story(shop) == "refunded 900 1")
        #expect(try await admin.record(Self.refund(9_900)) == .recorded)
        #expect(try await Self.story(shop) == "refunded 9900 2")
        #expect(
            try await shop.value(
                """
                SELECT string_agg(concat_ws(' ', data ->> 'recorded_by', data ->> 'refunded_amount',
                    data ->> 'refunded_before', data ->> 'payment_key'), '; ' ORDER BY event_id)
                FROM billing.events WHERE type = 'charge.refunded'
                """) == "test_worker 900 0 payment-1; test_admin 9900 900 payment-1")
        #expect(try await shop.run("SELECT * FROM billing.audit()", as: .report).isEmpty)
        // The next period is charged as ever, this one never again.
        #expect(
            try await shop.holds("period_index = 1 AND open_charge_id IS NULL AND state = 'active'")
        )
    }

    @Test func aWrongRefundIsRefused() async throws {
        let shop = try await Self.shop()
        let books = Self.books(shop)
        #expect(try await books.record(Self.refund(900)) == .recorded)
        for (refund, words) in [
            (Self.refund(800), "900 won refunded already, which cannot become 800"),
            (Self.refund(9_901), "1 to the 9900 won"), (Self.refund(0), "1 to the 9900 won"),
            (Self.refund(-1), "1 to the 9900 won"),
            (Self.refund(900, payment: "payment-2"), "was not paid by \"payment-2\""),
            (Self.refund(900, order: "order-9-9"), "there is no attempt \"order-9-9\""),
        ] {
            guard case .refused(let why) = try await books.record(refund) else {
                Issue.record("taken: \(refund)")
                continue
            }
            #expect(why.contains(words), "\(why)")
        }
        #expect(
            try await Self.books(shop, worker: nil, as: .report).record(Self.refund(9_900))
                == .refused("this database role may not record refunds"))
        for role in [TemporaryPostgres.Role.report, .web] {
            try await shop.expectRefusal(
                of: "SELECT billing.record_refund('order-1-1', 'payment-1', 9900)", "42501",
                as: role)
        }
        #expect(try await Self.story(shop) == "refunded 900 1")
    }

    @Test func whatWasNeverPaidCannotGoBackAndAHeldChargeStaysHeld() async throws {
        let shop = try await Self.shop()
        let open = try await shop.openCharge(of: shop.subscribe())
        try await shop.expectRefusal(
            of: "SELECT billing.record_refund('order-\(open)-1', NULL, 100)", "55000",
            naming: "nothing was paid")
        try await shop.run(
            "UPDATE billing.charges SET state = 'held', reason = 'twice' WHERE charge_id = 1")
        #expect(try await Self.books(shop).record(Self.refund(9_900)) == .recorded)
        #expect(
            try await shop.value(
                "SELECT state || refunded_amount FROM billing.charges WHERE charge_id = 1")
                == "held9900")
    }

    @Test func requestsComeOffTheFleetsBudgetAndHalfOfItIsLeft() async throws {
        let shop = try await Self.shop()
        let books = Self.books(shop, worker: nil, as: .report)
        let day = try #require(try await books.day("2027-07-15"))
        for _ in 0..<50 { #expect(try await books.admit(day) == .zero) }
        // A burst of twelve, of which charging keeps half; then 108 a minute.
        try await shop.run("UPDATE billing.settings SET max_requests_per_minute = 120")
        try await shop.run("UPDATE billing.request_budget SET requests = 0, refilled_at = now()")
        let wait = try await books.admit(day)
        #expect(wait > .seconds(3) && wait <= .milliseconds(3_334), "\(wait)")
        try await shop.run("UPDATE billing.request_budget SET requests = 12, refilled_at = now()")
        var taken = 0
        while try await books.admit(day) == .zero { taken += 1 }
        #expect((7...15).contains(taken), "\(taken)")
        let left = try #require(try await shop.value("SELECT requests FROM billing.request_budget"))
        #expect((5...6).contains(Double(left) ?? 0), "\(left)")
        // Some limits have no burst to halve.
        try await shop.run("UPDATE billing.settings SET max_requests_per_minute = 1")
        try await shop.run(
            "UPDATE billing.request_budget SET refilled_at = now() - interval '1 hour'")
        #expect(try await books.admit(day) == .zero)
        let next = try await books.admit(day)
        #expect(next > .seconds(50) && next <= .seconds(60), "\(next)")
    }
}
