import Billing
import Testing

private let start = Instant(microseconds: 1_800_000_000_000_000)
private let day: Duration = .seconds(86_400)
private let end = start + day * 30

/// A row whose charge's attempts end with `last`, at `now`.
private func row(
    now: Instant, last: DueSubscription.LastAttempt.State?, card: Int64 = 4,
    freeAt: Instant? = nil, askedAt: Instant? = nil, catchUp: DueSubscription.CatchUp = .latest,
    state: DueSubscription.State = .pastDue
) -> DueSubscription {
    let terms = DueSubscription.Terms(
        amount: Won(1_000), taxFreeAmount: Won(0), orderName: "Membership")
    let request = AttemptRequest(
        number: 1, orderID: OrderID(prefix: "p", period: 0, attempt: 1), billingKeyID: 4,
        billingKey: BillingKey("k"), customerKey: CustomerKey("c"), amount: Won(1_000),
        taxFreeAmount: Won(0), orderName: "Membership")
    let attempt = last.map {
        DueSubscription.LastAttempt(
            state: $0, request: request, openedAt: start, finishedAt: start,
            nextDay: start + day)
    }
    return DueSubscription(
        id: SubscriptionID(1), lease: LeaseNumber(1), state: state, now: now, askedAt: askedAt,
        periodStart: start, periodEnd: end, orderPrefix: "p", customerKey: CustomerKey("c"),
        terms: terms, catchUp: catchUp,
        card: DueSubscription.Card(id: card, billingKey: BillingKey("k"), freeAt: freeAt),
        charge: DueSubscription.OpenCharge(
            id: ChargeID(9), terms: terms, declines: last == .declined ? 1 : 0, attempt: attempt))
}

/// What the step does: an attempt's number, or how long it waits and why.
private enum Does: Hashable, Sendable {
    case sends(Int)
    case waits(Instant, Transition.WaitReason?)
    case ends(Transition.ChargeChange?)
    case looks

    init(_ step: Step) {
        switch step.action {
        case .ask(.send(let request, _, _, _), _): self = .sends(request.number)
        case .ask: self = .looks
        case .write(let decision):
            if case .waits(let reason) = decision.chargeChange, case .at(let date) = decision.next {
                self = .waits(date, reason)
            } else if decision.chargeChange == nil, case .at(let date) = decision.next {
                self = .waits(date, nil)
            } else {
                self = .ends(decision.chargeChange)
            }
        }
    }
}

struct BudgetTests {
    private static let oneADay: [(DueSubscription, Does)] = [
        // Due too early, whatever set the date: a day after the decline.
        (row(now: start + .seconds(3_600), last: .declined), .waits(start + day, nil)),
        (row(now: start + day, last: .declined), .sends(2)),
        // A person asked since; before it does not count.
        (row(now: start + .seconds(9), last: .declined, askedAt: start + .seconds(5)), .sends(2)),
        (
            row(now: start + .seconds(9), last: .declined, askedAt: start + .seconds(-5)),
            .waits(start + day, nil)
        ),
        // Another card.
        (row(now: start + .seconds(9), last: .declined, card: 5), .sends(2)),
        // A refusal is no decline.
        (row(now: start + .seconds(1_200), last: .refused), .sends(2)),
    ]

    @Test(arguments: oneADay)
    private func oneDeclineADay(_ row: DueSubscription, _ does: Does) {
        #expect(Does(Step.decide(row, FleetNumbers())) == does)
    }

    private static let perKey: [(DueSubscription, Does)] = [
        (
            row(now: start + day, last: .declined, freeAt: start + day * 3),
            .waits(start + day * 3, .keyDeclines)
        ),
        (row(now: start + day * 3, last: .declined, freeAt: start + day * 3), .sends(2)),
        // Not beyond the period's end, which ends the charge.
        (row(now: start + day, last: .declined, freeAt: end + day), .waits(end, .keyDeclines)),
        (row(now: end, last: .declined, freeAt: end + day), .looks),
        // Whoever asks: this one is absolute.
        (
            row(
                now: start + .seconds(9), last: .declined, freeAt: start + day,
                askedAt: start + .seconds(9)), .waits(start + day, .keyDeclines)
        ),
        (
            row(now: start + day, last: .refused, freeAt: start + day * 2),
            .waits(start + day * 2, .keyDeclines)
        ),
        // The first attempt of a period waits, too, and ends unpaid with it: not missed, not without
        // a card.
        (row(now: start, last: nil, freeAt: start + day), .waits(start + day, .keyDeclines)),
        (row(now: start + day, last: nil, freeAt: start + day), .sends(1)),
        (row(now: end, last: nil, freeAt: end + day), .ends(.failed(.superseded))),
        (row(now: end, last: nil, freeAt: end + day, state: .active), .ends(.failed(.superseded))),
        // One that catches up on every period waits beyond its end rather than for it again and again.
        (
            row(now: end, last: nil, freeAt: end + day, catchUp: .each),
            .waits(end + day, .keyDeclines)
        ),
    ]

    @Test(arguments: perKey)
    private func fifteenDeclinesAMonthAndCard(_ row: DueSubscription, _ does: Does) {
        #expect(Does(Step.decide(row, FleetNumbers())) == does)
    }
}
