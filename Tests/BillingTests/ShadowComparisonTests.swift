import Billing
import Testing

/// Shadow mode against another system, without a database.
@Suite struct ShadowComparisonTests {
    private static let day: Int64 = 86_400_000_000

    private func at(_ days: Double) -> Instant {
        Instant(microseconds: Int64(days * Double(Self.day)))
    }

    /// Periods of 30 days from day 30 on, each payable from a day before.
    private func line(
        _ decisions: [(ShadowDecision.Kind, String?)], stopped: String? = nil
    ) -> ShadowLine {
        func start(_ index: Int) -> Double { 30 + 30 * Double(index) }
        return ShadowLine(
            subscription: SubscriptionID(7),
            periods: decisions.enumerated().map { index, decision in
                ShadowLine.Period(
                    index: index, start: at(start(index)), payableFrom: at(start(index) - 1),
                    decision: decision.0, reason: decision.1, amount: Won(9_900))
            },
            next: ShadowLine.Next(
                index: decisions.count, start: at(start(decisions.count)),
                payableFrom: at(start(decisions.count) - 1), stopped: stopped))
    }

    private func compare(
        _ line: ShadowLine, _ paid: [(Double, Int64)], now: Double = 80,
        range: Range<Double> = 0..<1_000
    ) -> ShadowReport {
        var report = ShadowReport(
            now: at(now), range: at(range.lowerBound)..<at(range.upperBound))
        report.add(
            line,
            paid.enumerated().map { index, payment in
                OtherPayment(id: "p\(index)", at: at(payment.0), amount: Won(payment.1))
            })
        return report
    }

    private func words(_ report: ShadowReport) -> [String] {
        report.findings.map {
            "\($0.kind.rawValue) \($0.period ?? -1) \($0.payments.joined(separator: "+")) "
                + "\($0.there) \($0.here.map { "\($0)" } ?? "-")"
        }
    }

    @Test func bothChargeOnce() {
        let report = compare(
            line([(.charge, nil), (.charge, nil)]), [(30, 9_900), (59, 9_900)])
        #expect(report.agrees && report.agree == 2 && report.won == 19_800)
    }

    /// A day early is for the period that begins; a moment earlier is late for the one before.
    @Test func aPaymentIsOfTheLastPeriodForWhichItIsNotTooEarly() {
        let two = line([(.charge, nil), (.charge, nil)])
        #expect(
            words(compare(two, [(29, 9_900), (58.9, 9_900)], now: 60.5)) == [
                "charged_twice_there 0 p0+p1 19800 9900"
            ])
        #expect(compare(two, [(28.9, 9_900)], now: 30.5).before == 1)
        #expect(compare(two, [(29, 9_900), (59, 9_900)]).agrees)
    }

    @Test(arguments: [
        (ShadowDecision.Kind.noCard, nil, "no card"), (.free, nil, "nothing"),
        (.skip, "paused", "paused"), (.skip, "missed", "went by"), (.hold, "why so", "why so"),
    ])
    func chargedThereThoughNotHere(
        _ decision: ShadowDecision.Kind, _ reason: String?, _ words: String
    ) {
        let one = line([(decision, reason)])
        #expect(compare(one, []).agrees && compare(one, []).neither == 1)
        let report = compare(one, [(30, 9_900)])
        #expect(self.words(report) == ["charged_there_only 0 p0 9900 -"])
        #expect(report.findings[0].detail.contains(words))
    }

    @Test func notChargedThereOnceADayIsOver() {
        let one = line([(.charge, nil)])
        let young = compare(one, [], now: 30.99)
        #expect(young.agrees && young.waiting == 1)
        #expect(words(compare(one, [], now: 31)) == ["not_charged_there 0  0 9900"])
    }

    @Test func otherAmountsAndTwice() {
        let one = line([(.charge, nil)])
        #expect(words(compare(one, [(30, 8_900)])) == ["amount_differs 0 p0 8900 9900"])
        #expect(
            words(compare(one, [(30, 9_900), (31, 9_900)]))
                == ["charged_twice_there 0 p0+p1 19800 9900"])
    }

    @Test func paymentsForThePeriodThatComesNext() {
        #expect(compare(line([(.charge, nil)]), [(30, 9_900), (59.5, 9_900)]).early == 1)
        #expect(
            words(compare(line([(.charge, nil)]), [(30, 9_900), (59.5, 9_900), (61, 9_900)]))
                == ["charged_twice_there 1 p1+p2 19800 -"])
        let cancelled = compare(
            line([(.charge, nil)], stopped: "it is canceled"), [(30, 9_900), (59.5, 9_900)])
        #expect(words(cancelled) == ["charged_there_only 1 p1 9900 -"])
        #expect(cancelled.findings[0].detail.contains("it is canceled"))
    }

    @Test func onlyTheRangeIsTold() {
        let two = line([(.charge, nil), (.charge, nil)])
        let report = compare(two, [(0, 9_900)], range: 30..<60)
        #expect(words(report) == ["not_charged_there 0  0 9900"])
        #expect(report.before == 0)
        var strange = report
        strange.addStranger(OtherPayment(id: "s", at: at(70), amount: Won(5)), detail: "")
        #expect(strange.findings.count == 1)
        strange.addStranger(OtherPayment(id: "s", at: at(31), amount: Won(5)), detail: "")
        #expect(words(strange).last == "unknown_payer -1 s 5 -")
    }

    @Test func furtherFindingsAreCounted() {
        var report = ShadowReport(now: at(0), range: at(0)..<at(9))
        for number in 0..<1_003 {
            report.addStranger(
                OtherPayment(id: "\(number)", at: at(1), amount: Won(5)), detail: "")
        }
        #expect(report.findings.count == 1_000 && report.findingsCount == 1_003)
    }
}
