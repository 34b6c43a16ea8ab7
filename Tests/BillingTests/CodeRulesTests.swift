import Billing
import Testing

private let code = Answer(code: "CODE", httpStatus: 400)

private func request(_ number: Int) -> AttemptRequest {
    AttemptRequest(
        number: number, orderID: OrderID(prefix: "p", period: 0, attempt: number), billingKeyID: 1,
        billingKey: BillingKey("k"), customerKey: CustomerKey("c"), amount: Won(1_000),
        taxFreeAmount: Won(0), orderName: "n")
}

private func work(_ number: Int, _ history: Work.History) -> Work {
    Work(
        subscription: SubscriptionID(1), lease: LeaseNumber(2), charge: ChargeID(3),
        task: .send(request(number), earlier: [], isRepeat: false, tries: 0), history: history)
}

/// Codes with a rule of their own: what the same code makes of the next attempts.
struct CodeRulesTests {
    private struct Case: Sendable, CustomStringConvertible {
        var kind: DeclineClass
        /// Earlier codes, the newest first.
        var before: [String]
        var killsKey: Bool
        var isHeld = false
        var next: Transition.Next
        var description: String { "\(kind) after \(before)" }
    }

    private static let ladder = Transition.Next.dunning(step: 1)
    private static let tomorrow = Transition.Next.nextDay(.seconds(7_200))
    private static let cases: [Case] = [
        Case(kind: .softOnce, before: [], killsKey: false, next: ladder),
        Case(kind: .softOnce, before: ["OTHER", "CODE"], killsKey: false, next: ladder),
        Case(kind: .softOnce, before: ["CODE"], killsKey: true, next: .after(.zero)),
        Case(kind: .softFew, before: [], killsKey: false, next: ladder),
        Case(kind: .softFew, before: ["CODE"], killsKey: false, next: ladder),
        Case(kind: .softFew, before: ["CODE", "OTHER"], killsKey: false, next: ladder),
        Case(kind: .softFew, before: ["CODE", "CODE"], killsKey: true, next: .after(.zero)),
        Case(kind: .softThenFault, before: [], killsKey: false, next: ladder),
        Case(kind: .softThenFault, before: ["CODE"], killsKey: false, isHeld: true, next: .never),
        Case(kind: .softNextDay, before: [], killsKey: false, next: tomorrow),
        Case(kind: .softNextDay, before: ["CODE", "CODE"], killsKey: false, next: tomorrow),
        Case(kind: .soft, before: ["CODE", "CODE"], killsKey: false, next: ladder),
        Case(kind: .hard, before: [], killsKey: true, next: .after(.zero)),
        Case(kind: .hardUnlessNew, before: [], killsKey: true, next: .after(.zero)),
    ]

    @Test(arguments: cases)
    private func theSameCodeAgain(_ one: Case) {
        let history = Work.History(
            declines: 1, lastCode: one.before.first, codeBefore: one.before.dropFirst().first)
        let transition = work(3, history).after(
            .declined(code, one.kind), of: request(3), isRepeat: false, tries: 0, jitter: 0.5)
        #expect(transition.attempt == .declined(number: 3, code, killsKey: one.killsKey))
        #expect(transition.next == one.next)
        if case .held = transition.chargeChange {
            #expect(one.isHeld)
        } else {
            #expect(!one.isHeld)
        }
    }

    @Test func aLimitOfTheDayUsesUpTheLadderToo() {
        let transition = work(1, Work.History(declines: 4, dunningSteps: 4)).after(
            .declined(code, .softNextDay), of: request(1), isRepeat: false, tries: 0, jitter: 0.5)
        #expect(transition.next == .sealAfterGap)
    }

    @Test(arguments: [(0.0, 3_600), (0.5, 7_200), (1.0, 10_800)])
    func theNextDayBeginsOneToThreeHoursAfterMidnight(jitter: Double, seconds: Int) {
        #expect(Backoff.nextDay(jitter: jitter) == .seconds(seconds))
    }

    /// A card that was registered just now has one more attempt, which is no dunning; any other
    /// has none, and neither has the second attempt.
    @Test(arguments: [(1, true, true), (1, false, false), (2, true, false)])
    func aBrandNewCardHasOneMoreAttempt(number: Int, isNew: Bool, isRefused: Bool) {
        let transition = work(number, Work.History(cardIsNew: isNew)).after(
            .declined(code, .hardUnlessNew), of: request(number), isRepeat: false, tries: 0,
            jitter: 1)
        if isRefused {
            #expect(transition.attempt == .refused(number: number, code))
            #expect(transition.next == .after(.seconds(60)))
            #expect(transition.standing == nil)
        } else {
            #expect(transition.attempt == .declined(number: number, code, killsKey: true))
        }
    }

    @Test func maintenanceIsWaitedForInHours() {
        let answer = Answer(code: "CODE", httpStatus: 400, trait: .lastsHours)
        for (number, hours) in [(1, 1), (2, 2), (3, 4), (4, 6), (9, 6)] {
            let transition = work(number, Work.History()).after(
                .refused(answer), of: request(number), isRepeat: false, tries: 0, jitter: 1)
            #expect(transition.next == .after(.seconds(hours * 3_600)))
        }
    }

    /// Which codes count: those of the same card's declines, the newest first; a refusal in between
    /// does not break the row.
    @Test func theHistoryIsTheDeclinesOfTheSameCard() {
        func row(
            _ state: DueSubscription.LastAttempt.State, _ code: String, card: Int64 = 1
        ) -> DueSubscription {
            let start = Instant(microseconds: 1_800_000_000_000_000)
            let terms = DueSubscription.Terms(
                amount: Won(1_000), taxFreeAmount: Won(0), orderName: "n")
            return DueSubscription(
                id: SubscriptionID(1), lease: LeaseNumber(1), now: start, periodStart: start,
                periodEnd: start + .seconds(9), orderPrefix: "p", customerKey: CustomerKey("c"),
                terms: terms,
                card: DueSubscription.Card(id: card, billingKey: BillingKey("k"), isNew: true),
                charge: DueSubscription.OpenCharge(
                    id: ChargeID(1), terms: terms, declines: 2,
                    attempt: DueSubscription.LastAttempt(
                        state: state, request: request(3), code: code, openedAt: start),
                    earlierCode: "B", earliestCode: "A"))
        }
        func codes(_ row: DueSubscription, opens: Bool) -> [String?] {
            let history = row.history(opensAttempt: opens, FleetNumbers())
            #expect(history.cardIsNew == opens)
            return [history.lastCode, history.codeBefore]
        }
        #expect(codes(row(.declined, "C"), opens: true) == ["C", "B"])
        #expect(codes(row(.refused, "R"), opens: true) == ["B", "A"])
        #expect(codes(row(.open, "R"), opens: false) == ["B", "A"])
        #expect(codes(row(.declined, "C", card: 2), opens: true) == [nil, nil])
    }
}
