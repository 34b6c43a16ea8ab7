import Billing
import Testing

/// What two books that do not agree come to, as a table.
@Suite struct DayComparisonTests {
    private static let day = BooksDay(
        day: "2026-07-15", next: "2026-07-16", isProvisional: false,
        recent: "2026-07-16T01:00:00")
    private static let prefix = "0123456789abcdef01234567"
    private static let name = OrderID(prefix: prefix, period: 3, attempt: 1)

    private static func row(
        _ order: OrderID = name, _ payment: String = "pay-1", kind: BooksRow.Kind = .approval,
        customer: String? = "customer-1", currency: String = "KRW", amount: Int64? = 14_900,
        at: String = "2026-07-15T09:30:04+09:00"
    ) -> BooksRow {
        BooksRow(
            transactionKey: "t-\(payment)-\(at)", paymentKey: payment, orderID: order, kind: kind,
            customerKey: customer.map { CustomerKey($0) }, currency: currency,
            amount: amount.map { Won($0) }, at: at)
    }

    /// Of subscription 7, period 3, charge 19; `attempt`: its state, nil: there is none.
    private static func entry(
        charge: String? = "paid", payment: String? = "pay-1", refunded: Int64 = 0,
        amount: Int64 = 14_900, attempt: String? = "approved", sent: Int64 = 14_900
    ) -> LedgerEntry {
        LedgerEntry(
            subscription: SubscriptionID(7), period: 3,
            charge: charge.map {
                .init(
                    id: ChargeID(19), state: $0, amount: Won(amount), paymentKey: payment,
                    refunded: Won(refunded))
            },
            attempt: attempt.map {
                .init(state: $0, amount: Won(sent), customerKey: CustomerKey("customer-1"))
            })
    }

    private static func payment(
        _ key: String = "pay-1", _ order: OrderID = name, status: Payment.Status = .done,
        total: Int64 = 14_900, balance: Int64? = nil, currency: String = "KRW"
    ) -> Payment {
        Payment(
            paymentKey: key, orderID: order, status: status, currency: currency,
            totalAmount: Won(total), balanceAmount: balance.map { Won($0) })
    }

    /// One row of the list, what the ledger knows of it, what a look-up says, and what must come of it.
    struct Case: Sendable, CustomTestStringConvertible {
        var testDescription: String
        var row: BooksRow
        var entry: LedgerEntry?
        /// Nil: nothing may be asked. Otherwise what the provider says; `.some(nil)`: no payment.
        var answer: Payment??
        var finding: Finding.Kind?
        var refund: Int64?
        /// `agree`, `undone`, `late`, `under way` or `foreign`; nil: none of them.
        var counted: String?
    }

    private static let cases: [Case] = [
        Case(
            testDescription: "the same in both books", row: row(), entry: entry(),
            counted: "agree"),
        Case(
            testDescription: "held by a person's leave, and paid", row: row(),
            entry: entry(charge: "held"), counted: "agree"),
        Case(
            testDescription: "a list that names no customer", row: row(customer: nil),
            entry: entry(), counted: "agree"),
        Case(
            testDescription: "adopted from a name that had ended", row: row(),
            entry: entry(attempt: "declined"), counted: "agree"),
        Case(
            testDescription: "of another day", row: row(at: "2026-07-16T00:00:00+09:00"),
            entry: nil),
        Case(
            testDescription: "of no money", row: row(kind: .other), entry: entry(payment: nil)),
        Case(
            testDescription: "another system's", row: row(OrderID(stored: "shop-order-1")),
            entry: nil, counted: "foreign"),
        Case(
            testDescription: "another system's cancel",
            row: row(OrderID(stored: "shop-order-1"), kind: .cancel), entry: nil),
        Case(
            testDescription: "a name as ours, of nobody", row: row(), entry: nil,
            answer: payment(), finding: .unknownSubscription),
        Case(
            testDescription: "a name as ours, of nobody, and gone back", row: row(), entry: nil,
            answer: payment(status: .canceled, balance: 0), counted: "undone"),
        Case(
            testDescription: "declined here", row: row(),
            entry: entry(charge: "failed", payment: nil, attempt: "declined"), answer: payment(),
            finding: .unrecordedPayment),
        Case(
            testDescription: "refused here", row: row(),
            entry: entry(charge: "open", payment: nil, attempt: "refused"), answer: payment(),
            finding: .unrecordedPayment),
        Case(
            testDescription: "never tried here", row: row(),
            entry: entry(charge: "skipped", payment: nil, attempt: nil), answer: payment(),
            finding: .unrecordedPayment),
        Case(
            testDescription: "of a period without a charge", row: row(),
            entry: entry(charge: nil, attempt: nil), answer: payment(),
            finding: .unrecordedPayment),
        Case(
            testDescription: "open here for long", row: row(),
            entry: entry(charge: "open", payment: nil, attempt: "open"), answer: payment(),
            finding: .unrecordedPayment),
        Case(
            testDescription: "open here, a moment ago",
            row: row(at: "2026-07-15T23:59:59+09:00"),
            entry: entry(charge: "open", payment: nil, attempt: "open"), counted: "under way"),
        Case(
            testDescription: "declined here, a moment ago",
            row: row(at: "2026-07-15T23:59:59+09:00"),
            entry: entry(charge: "open", payment: nil, attempt: "declined"), answer: payment(),
            finding: .unrecordedPayment),
        Case(
            testDescription: "unknown here, and gone back in full", row: row(),
            entry: entry(charge: "failed", payment: nil, attempt: "declined"),
            answer: payment(status: .canceled, balance: 0), counted: "undone"),
        Case(
            testDescription: "unknown here, and gone back in part", row: row(),
            entry: entry(charge: "failed", payment: nil, attempt: "declined"),
            answer: payment(status: .partialCanceled, balance: 1), finding: .unrecordedPayment),
        Case(
            testDescription: "unknown here, and in no look-up", row: row(),
            entry: entry(charge: "failed", payment: nil, attempt: "declined"), answer: .some(nil),
            finding: .unrecordedPayment),
        Case(
            testDescription: "a second payment of the period", row: row(name, "pay-2"),
            entry: entry(attempt: "declined"), answer: payment("pay-2"), finding: .doublePayment),
        Case(
            testDescription: "a second payment of the period, gone back", row: row(name, "pay-2"),
            entry: entry(attempt: "declined"),
            answer: payment("pay-2", status: .canceled, balance: 0), counted: "undone"),
        Case(
            testDescription: "a second payment of the name, and the look-up shows the first",
            row: row(name, "pay-2"), entry: entry(),
            answer: payment("pay-1", status: .canceled, balance: 0), finding: .doublePayment),
        Case(
            testDescription: "another amount there", row: row(amount: 14_901), entry: entry(),
            finding: .amountDiffers),
        Case(
            testDescription: "no whole amount", row: row(currency: "USD", amount: nil),
            entry: entry(), finding: .amountDiffers),
        Case(
            testDescription: "another currency", row: row(currency: "JPY"), entry: entry(),
            finding: .amountDiffers),
        Case(
            testDescription: "another amount sent than the charge's", row: row(),
            entry: entry(amount: 9_900), finding: .amountDiffers),
        Case(
            testDescription: "another customer", row: row(customer: "customer-2"), entry: entry(),
            finding: .customerDiffers),
        Case(
            testDescription: "cancelled in full", row: row(kind: .cancel, amount: -14_900),
            entry: entry(), answer: payment(status: .canceled, balance: 0), refund: 14_900),
        Case(
            testDescription: "cancelled in part", row: row(kind: .cancel, amount: 4_900),
            entry: entry(), answer: payment(status: .partialCanceled, balance: 10_000),
            refund: 4_900),
        Case(
            testDescription: "cancelled further", row: row(kind: .cancel, amount: 100),
            entry: entry(charge: "refunded", refunded: 4_900),
            answer: payment(status: .partialCanceled, balance: 9_900), refund: 5_000),
        Case(
            testDescription: "cancelled in part, and recorded", row: row(kind: .cancel),
            entry: entry(charge: "refunded", refunded: 4_900),
            answer: payment(status: .partialCanceled, balance: 10_000)),
        Case(
            testDescription: "cancelled in full, and recorded", row: row(kind: .cancel),
            entry: entry(charge: "refunded", refunded: 14_900)),
        Case(
            testDescription: "less went back than the ledger says", row: row(kind: .cancel),
            entry: entry(charge: "refunded", refunded: 5_000),
            answer: payment(status: .partialCanceled, balance: 10_000), finding: .refundDiffers),
        Case(
            testDescription: "a cancel that the look-up does not show", row: row(kind: .cancel),
            entry: entry(), answer: payment(), finding: .refundDiffers),
        Case(
            testDescription: "a cancel of a moment ago that the look-up does not show yet",
            row: row(kind: .cancel, at: "2026-07-15T23:59:59+09:00"), entry: entry(),
            answer: payment(), counted: "late"),
        Case(
            testDescription: "a cancel of what is not there", row: row(kind: .cancel),
            entry: entry(), answer: .some(nil), finding: .refundDiffers),
        Case(
            testDescription: "a balance beyond the total", row: row(kind: .cancel), entry: entry(),
            answer: payment(status: .partialCanceled, balance: .max), finding: .amountDiffers),
        Case(
            testDescription: "a balance below nothing", row: row(kind: .cancel), entry: entry(),
            answer: payment(status: .partialCanceled, balance: .min), finding: .amountDiffers),
        Case(
            testDescription: "a cancelled payment of another amount", row: row(kind: .cancel),
            entry: entry(), answer: payment(status: .canceled, total: .min, balance: 0),
            finding: .amountDiffers),
    ]

    /// The day of the cases about moments: it is not over.
    private static let today = BooksDay(
        day: "2026-07-15", next: "2026-07-16", isProvisional: true,
        recent: "2026-07-15T23:00:00")

    @Test(arguments: cases)
    func oneRow(_ the: Case) throws {
        var comparison = DayComparison(the.row.at > "2026-07-15T23" ? Self.today : Self.day)
        let questions = comparison.compare([(the.row, the.entry)])
        var refund: Refund?
        if let answer = the.answer {
            let question = try #require(questions.first)
            #expect(questions.count == 1 && question.about == .payment(the.row.paymentKey))
            refund = comparison.answer(question, answer)
        } else {
            #expect(questions.isEmpty)
        }
        #expect(refund?.amount.value == the.refund)
        let report = comparison.report
        #expect(report.findings.map(\.kind) == (the.finding.map { [$0] } ?? []))
        #expect(report.payments == (the.counted == "agree" ? 1 : 0))
        #expect(report.won == (the.counted == "agree" ? 14_900 : 0))
        #expect(report.undone == (the.counted == "undone" ? 1 : 0))
        #expect(report.late == (the.counted == "late" ? 1 : 0))
        #expect(report.underWay == (the.counted == "under way" ? 1 : 0))
        #expect(report.foreign == (the.counted == "foreign" ? 1 : 0))
        if let finding = report.findings.first, finding.kind != .unknownSubscription {
            #expect(finding.subscription == SubscriptionID(7) && finding.period == 3)
            #expect(finding.charge == (the.entry?.charge == nil ? nil : ChargeID(19)))
            #expect(finding.orderID == Self.name && finding.at == the.row.at)
        }
    }

    // MARK: Payments of the ledger

    private static func recorded(
        at: String = "2026-07-15T09:30:04+09:00", order: OrderID? = name, refunded: Int64 = 0
    ) -> LedgerPayment {
        LedgerPayment(
            subscription: SubscriptionID(7), period: 3,
            charge: entry(refunded: refunded).charge
                ?? .init(
                    id: ChargeID(0), state: "", amount: Won(0), paymentKey: nil),
            orderID: order, at: at, paidAt: Instant(microseconds: 0))
    }

    private static let missing: [(String, Payment?, Finding.Kind?, refund: Int64?)] = [
        ("only late", payment(), nil, nil),
        ("nowhere", nil, .missingPayment, nil),
        ("ended without money", payment(status: .aborted), .missingPayment, nil),
        ("another payment", payment("pay-2"), .paymentDiffers, nil),
        ("another amount", payment(total: 100), .amountDiffers, nil),
        ("another currency", payment(currency: "USD"), .amountDiffers, nil),
        ("late, and cancelled since", payment(status: .canceled, balance: 0), nil, 14_900),
    ]

    @Test(arguments: missing)
    func aPaymentThatTheListDoesNotShow(
        _ what: String, _ answer: Payment?, _ kind: Finding.Kind?, _ refund: Int64?
    ) throws {
        var comparison = DayComparison(Self.day)
        let asked = comparison.compare([Self.recorded()])
        let question = try #require(asked.first)
        #expect(question.about == .order(Self.name))
        #expect(comparison.answer(question, answer)?.amount.value == refund)
        #expect(comparison.report.findings.map(\.kind) == (kind.map { [$0] } ?? []), "\(what)")
        #expect(comparison.report.late == (kind == nil ? 1 : 0))
    }

    @Test func whatTheListShowsIsNotAskedAbout() {
        var comparison = DayComparison(Self.day)
        _ = comparison.compare([(Self.row(), Self.entry())])
        #expect(comparison.compare([Self.recorded()]).isEmpty)
    }

    @Test func whatIsYoungIsLateAndNotAskedAbout() {
        var comparison = DayComparison(Self.today)
        #expect(comparison.compare([Self.recorded(at: "2026-07-15T23:00:01+09:00")]).isEmpty)
        #expect(comparison.report.late == 1 && comparison.report.agrees)
        #expect(comparison.compare([Self.recorded(at: "2026-07-15T23:00:00+09:00")]).count == 1)
    }

    @Test func withoutANameTheProvidersOwnIsAsked() {
        var comparison = DayComparison(Self.day)
        #expect(
            comparison.compare([Self.recorded(order: nil)]).first?.about == .payment("pay-1"))
    }

    // MARK: Several rows

    @Test func twoPaymentsOfAPeriodThatTheLedgerDoesNotHave() throws {
        var comparison = DayComparison(Self.day)
        let other = OrderID(prefix: Self.prefix, period: 3, attempt: 2)
        let entry = Self.entry(charge: "failed", payment: nil, attempt: "declined")
        // On different pages.
        let first = comparison.compare([(Self.row(), entry)])
        let second = comparison.compare([(Self.row(other, "pay-2"), entry)])
        _ = comparison.answer(try #require(first.first), Self.payment())
        _ = comparison.answer(try #require(second.first), Self.payment("pay-2", other))
        #expect(comparison.report.findings.map(\.kind) == [.unrecordedPayment, .doublePayment])
        #expect(comparison.report.findings[1].detail.contains("pay-1"))
    }

    @Test func anApprovalAndItsCancelsAreOneQuestion() {
        var comparison = DayComparison(Self.day)
        let entry = Self.entry(charge: "failed", payment: nil, attempt: "declined")
        let cancel = Self.row(kind: .cancel, at: "2026-07-15T10:00:00+09:00")
        #expect(comparison.compare([(Self.row(), entry), (cancel, entry)]).count == 1)
        #expect(comparison.compare([(cancel, entry)]).isEmpty)
    }

    @Test func aRefundThatIsNotRecordedIsAFinding() throws {
        for verdict in [RefundVerdict.recorded, .repeated, .refused("no right")] {
            var comparison = DayComparison(Self.day)
            let asked = comparison.compare([(Self.row(kind: .cancel), Self.entry())])
            let question = try #require(asked.first)
            let answered = comparison.answer(
                question, Self.payment(status: .canceled, balance: 0))
            let refund = try #require(answered)
            #expect(
                refund
                    == Refund(
                        charge: ChargeID(19), orderID: Self.name, paymentKey: "pay-1",
                        amount: Won(14_900)))
            comparison.recorded(refund, question, verdict)
            #expect(comparison.report.refunds == (verdict == .recorded ? 1 : 0))
            let kinds = comparison.report.findings.map(\.kind)
            #expect(kinds == (verdict == .refused("no right") ? [.unrecordedRefund] : []))
            #expect(comparison.report.findings.first?.detail.contains("no right") ?? true)
        }
    }

    @Test func listsAreBoundedAndCountedToTheEnd() {
        var comparison = DayComparison(Self.day)
        let rows = (0..<1_200).map { number in
            (Self.row(OrderID(stored: "shop-\(number)"), "p-\(number)"), LedgerEntry?.none)
        }
        _ = comparison.compare(rows)
        #expect(comparison.report.foreign == 1_200)
        #expect(comparison.report.foreignRows.count == DayReport.mostForeign)
        _ = comparison.compare(
            (0..<1_200).map { (Self.row(Self.name, "pay-1", amount: Int64($0)), Self.entry()) })
        #expect(comparison.report.findings.count == DayReport.mostFindings)
        #expect(comparison.report.findingsCount == 1_200 && !comparison.report.agrees)
    }

    // MARK: Words and names

    @Test func everyKindHasAWordAndAdvice() {
        var words: Set<String> = []
        for kind in Finding.Kind.allCases {
            let finding = Finding(
                kind, orderID: nil, paymentKey: "pay-1", amount: nil, at: "", detail: "")
            #expect(finding.advice.hasSuffix(".") && finding.advice.count > 40)
            #expect(finding.key.hasPrefix(kind.rawValue))
            words.insert(kind.rawValue)
        }
        #expect(words.count == 9 && words.allSatisfy { !$0.contains("-") })
    }

    @Test(arguments: [
        ("0123456789abcdef01234567-3-1", "0123456789abcdef01234567", 3, 1, true),
        ("my-shop-prefix-12-20", "my-shop-prefix", 12, 20, false),
        ("0123456789ABCDEF01234567-3-1", "0123456789ABCDEF01234567", 3, 1, false),
    ])
    func aNameTellsItsParts(
        _ text: String, _ prefix: String, _ period: Int, _ attempt: Int, _ isMadeHere: Bool
    ) throws {
        let order = OrderID(stored: text)
        let parts = try #require(order.parts)
        #expect(parts == (prefix, period, attempt))
        #expect(order.isMadeHere == isMadeHere)
    }

    @Test(arguments: [
        "", "-", "a-1", "order", "shop-order-x-1", "prefix-1-", "prefix--1", "prefix-1-123",
        "prefix-12345678901-1", "prefix-１-1", "prefix-+1-1",
    ])
    func otherNamesAreNobodys(_ text: String) {
        #expect(OrderID(stored: text).parts == nil)
        #expect(!OrderID(stored: text).isMadeHere)
    }

    @Test func aDayThatFailsIsTriedAgainAtGrowingDistances() {
        #expect(
            (0...7).map { Backoff.reconcile(after: $0) / .seconds(60) }
                == [5, 5, 15, 60, 180, 360, 360, 360])
    }
}
