import Billing
import Testing

private let day: Duration = .seconds(86_400)
private let start = Instant(microseconds: 1_800_000_000_000_000)
private let numbers = FleetNumbers()

private func row(_ change: (inout DueSubscription) -> Void = { _ in }) -> DueSubscription {
    var row = DueSubscription(
        id: SubscriptionID(1), lease: LeaseNumber(1), now: start, periodStart: start,
        periodEnd: start + .seconds(30 * 86_400), orderPrefix: "p",
        customerKey: CustomerKey("c"),
        terms: DueSubscription.Terms(
            amount: Won(1_000), taxFreeAmount: Won(0), orderName: "Membership"),
        card: DueSubscription.Card(id: 4, billingKey: BillingKey("k")))
    change(&row)
    return row
}

private func attempt(
    _ state: DueSubscription.LastAttempt.State, number: Int = 1,
    _ change: (inout DueSubscription.LastAttempt) -> Void = { _ in }
) -> DueSubscription.LastAttempt {
    let request = AttemptRequest(
        number: number, orderID: OrderID(prefix: "p", period: 0, attempt: number),
        billingKeyID: 4, billingKey: BillingKey("k"), customerKey: CustomerKey("c"),
        amount: Won(1_000), taxFreeAmount: Won(0), orderName: "Membership")
    var attempt = DueSubscription.LastAttempt(
        state: state, request: request, openedAt: start,
        finishedAt: state == .open ? nil : start)
    change(&attempt)
    return attempt
}

extension DueSubscription {
    fileprivate func with(
        _ last: LastAttempt?, declines: Int = 0, amount: Int64 = 1_000,
        _ change: (inout DueSubscription) -> Void = { _ in }
    ) -> DueSubscription {
        var row = self
        var terms = terms
        terms.amount = Won(amount)
        row.charge = OpenCharge(id: ChargeID(9), terms: terms, declines: declines, attempt: last)
        change(&row)
        return row
    }
}

/// A step in one word and its next instant.
private enum Verb: Hashable, Sendable {
    case send(Int, isRepeat: Bool, earlier: Int, opensAttempt: Bool)
    case resolve
    case seal(FailReason)
    case look(UnpaidEnding, names: Int)
    case hold
    /// The attempt ends as refused, unsent; the seal or a rest follows.
    case end
    case write(Transition.ChargeChange?, Transition.Standing?, Transition.Next)

    init(_ step: Step) {
        switch step.action {
        case .ask(.send(let request, let earlier, let isRepeat, _), let opens):
            self = .send(
                request.number, isRepeat: isRepeat, earlier: earlier.count, opensAttempt: opens)
        case .ask(.resolve, _): self = .resolve
        case .ask(.seal(let names, _, let ending), _):
            if case .failed(let reason) = ending, names.count < 20 {
                self = .seal(reason)
            } else {
                self = .look(ending, names: names.count)
            }
        case .write(let decision):
            if case .held = decision.chargeChange {
                self = .hold
            } else if case .refused = decision.attempt, decision.next == .sealAfterGap {
                self = .end
            } else {
                self = .write(decision.chargeChange, decision.standing, decision.next)
            }
        }
    }
}

struct StepTests {
    private static let newPeriods: [(DueSubscription, Verb, Bool)] = [
        (row(), .send(1, isRepeat: false, earlier: 0, opensAttempt: true), true),
        (row { $0.cancelAt = start }, .write(nil, .canceled, .never), false),
        (
            row {
                $0.cancelAt = start
                $0.now = Instant(microseconds: 5)
            }, .write(nil, nil, .at(start)), false
        ),
        (row { $0.state = .paused }, .write(nil, nil, .never), false),
        (
            row { $0.now = Instant(microseconds: 0) }, .write(nil, nil, .at(start)), false
        ),
        (row { $0.problem = "plan gone" }, .hold, true),
        (row { $0.resumedAt = start + day }, .write(.skipped(.paused), nil, .advance), true),
        (
            row { $0.now = $0.periodEnd }, .write(.skipped(.missed), nil, .advance), true
        ),
        (
            row {
                $0.now = $0.periodEnd
                $0.catchUp = .hold
            }, .hold, true
        ),
        (
            row {
                $0.now = $0.periodEnd
                $0.catchUp = .each
            }, .send(1, isRepeat: false, earlier: 0, opensAttempt: true), true
        ),
        (row { $0.terms.amount = Won(0) }, .write(.free, .good, .advance), true),
        (row { $0.card = nil }, .write(nil, .suspended, .periodEnd), true),
        (
            row { $0.cancelAt = start + day },
            .send(1, isRepeat: false, earlier: 0, opensAttempt: true), true
        ),
    ]

    /// Ends that need no answer, but for a database that may have forgotten attempts.
    private static let forgottenPeriods: [(DueSubscription, Verb, Bool)] = [
        (row { $0.cancelAt = start }, .look(.failed(.canceled), names: 20), true),
        // It has not begun: nothing of it can be forgotten.
        (
            row {
                $0.cancelAt = start + day * -1
                $0.now = start + day * -1
            }, .write(nil, .canceled, .never), false
        ),
        (row { $0.resumedAt = start + day }, .look(.skipped(.paused), names: 20), true),
        (row { $0.now = $0.periodEnd }, .look(.skipped(.missed), names: 20), true),
        (row { $0.terms.amount = Won(0) }, .look(.free, names: 20), true),
        (row { $0.card = nil }, .look(.waitsForCard, names: 20), true),
        (row().with(nil) { $0.card = nil }, .look(.waitsForCard, names: 20), false),
        (row().with(nil) { $0.cancelAt = start }, .look(.failed(.canceled), names: 20), false),
        (
            row().with(nil) { $0.now = $0.periodEnd }, .look(.skipped(.missed), names: 20), false
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.state = .suspended
            }, .look(.failed(.superseded), names: 20), false
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.state = .suspended
                $0.card = nil
            }, .look(.failed(.noCard), names: 20), false
        ),
        // Opened to ask about a period of a pause, and not answered.
        (
            row().with(nil) {
                ($0.resumedAt, $0.askedAt) = (start + day, start + day)
                $0.charge?.openedAt = start + day
            }, .look(.skipped(.paused), names: 20), false
        ),
        // Opened, but for want of a card: resumed since, or released.
        (
            row().with(nil) {
                ($0.resumedAt, $0.askedAt) = (start + day, start + day)
                $0.charge?.openedAt = start
            }, .send(1, isRepeat: false, earlier: 20, opensAttempt: true), false
        ),
        (
            row().with(nil) {
                ($0.resumedAt, $0.askedAt) = (start + day, start + day * 3)
                $0.charge?.openedAt = start + day * 2
            }, .send(1, isRepeat: false, earlier: 20, opensAttempt: true), false
        ),
        (row().with(nil) { $0.state = .paused }, .write(nil, nil, .periodEnd), false),
        (row().with(nil) { $0.charge?.isHeld = true }, .write(nil, nil, .never), false),
    ]

    @Test(arguments: forgottenPeriods)
    private func whereAttemptsMayBeForgottenTheProviderIsAskedFirst(
        _ row: DueSubscription, _ verb: Verb, _ opens: Bool
    ) {
        var row = row
        row.looksFirst = true
        let step = Step.decide(row, numbers)
        #expect(Verb(step) == verb)
        #expect(step.opensCharge == opens)
        row.looksFirst = false
        if case .look = Verb(Step.decide(row, numbers)) { Issue.record("it asks all the same") }
    }

    /// The charge of a row that makes no sense carries no amount: a payment found is for a person.
    @Test func aPaymentForgottenByARowThatMakesNoSenseIsHeld() {
        let due = row {
            ($0.cancelAt, $0.looksFirst, $0.problem) = (start, true, "plan gone")
        }
        guard case .ask(.seal(_, let amount, _), _) = Step.decide(due, numbers).action else {
            Issue.record("no seal")
            return
        }
        #expect(amount == Won(0))
    }

    private static let firstAttempts: [(DueSubscription, Verb)] = [
        (row().with(nil), .send(1, isRepeat: false, earlier: 0, opensAttempt: true)),
        (row().with(nil) { $0.silentClaims = 6 }, .hold),
        (
            row().with(nil) { $0.silentClaims = 5 },
            .send(1, isRepeat: false, earlier: 0, opensAttempt: true)
        ),
        (row().with(nil) { $0.state = .canceled }, .write(.failed(.canceled), .canceled, .never)),
        (row().with(nil) { $0.cancelAt = start }, .write(.failed(.canceled), .canceled, .never)),
        (row().with(nil) { $0.state = .paused }, .write(nil, nil, .periodEnd)),
        (row().with(nil) { $0.problem = "plan gone" }, .hold),
        (
            row().with(nil) { $0.now = $0.periodEnd },
            .write(.skipped(.missed), nil, .advance)
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.state = .suspended
            }, .write(.failed(.superseded), .pastDue, .advance)
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.state = .suspended
                $0.card = nil
            }, .write(.failed(.noCard), .exhausted, .advance)
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.catchUp = .hold
            }, .send(1, isRepeat: false, earlier: 0, opensAttempt: true)
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.catchUp = .hold
                $0.state = .pastDue
            }, .send(1, isRepeat: false, earlier: 0, opensAttempt: true)
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.catchUp = .hold
                $0.silentClaims = 2
            }, .hold
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.catchUp = .hold
                $0.state = .suspended
            }, .write(.failed(.superseded), .pastDue, .advance)
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.catchUp = .hold
                $0.state = .pastDue
                $0.card = nil
            }, .write(.failed(.noCard), .exhausted, .advance)
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.catchUp = .each
            }, .send(1, isRepeat: false, earlier: 0, opensAttempt: true)
        ),
        (
            row().with(nil) {
                $0.now = $0.periodEnd
                $0.catchUp = .each
                $0.card = nil
                $0.state = .suspended
            }, .write(.failed(.noCard), .exhausted, .advance)
        ),
        (
            row().with(nil) { $0.looksFirst = true },
            .send(1, isRepeat: false, earlier: 20, opensAttempt: true)
        ),
        (row().with(nil) { $0.charge?.isHeld = true }, .write(nil, nil, .never)),
        (row().with(nil, amount: 0), .write(.free, .good, .advance)),
        (row().with(nil) { $0.card = nil }, .write(nil, .suspended, .periodEnd)),
    ]

    private static let openAttempts: [(DueSubscription, Verb)] = [
        (row().with(attempt(.open)), .resolve),
        (
            row().with(attempt(.open) { $0.inDoubt = false }),
            .send(1, isRepeat: false, earlier: 0, opensAttempt: false)
        ),
        (
            row().with(attempt(.open) { $0.absent = true }),
            .send(1, isRepeat: true, earlier: 0, opensAttempt: false)
        ),
        (
            row().with(attempt(.open, number: 3) { $0.absent = true }),
            .send(3, isRepeat: true, earlier: 2, opensAttempt: false)
        ),
        (
            row().with(attempt(.open) { $0.absent = true }) { $0.now = start + day * 13 }, .resolve
        ),
        (
            row().with(attempt(.open) { $0.inDoubt = false }) { $0.now = start + day * 13 },
            .resolve
        ),
        // Under another secret key the name protects nothing: it is only looked up.
        (row().with(attempt(.open) { ($0.absent, $0.sameKey) = (true, false) }), .resolve),
        (row().with(attempt(.open) { ($0.inDoubt, $0.sameKey) = (false, false) }), .resolve),
        (
            row().with(attempt(.open, number: 2) { $0.inDoubt = false }) { $0.looksFirst = true },
            .send(2, isRepeat: false, earlier: 20, opensAttempt: false)
        ),
        (row().with(attempt(.open)) { $0.charge?.isHeld = true }, .write(nil, nil, .never)),
        (row().with(attempt(.open)) { $0.now = start + day * 14 }, .hold),
        (row().with(attempt(.open)) { $0.silentClaims = 6 }, .hold),
        // Money may have moved: neither cancelling nor pausing leaves it unresolved.
        (row().with(attempt(.open)) { $0.state = .canceled }, .resolve),
        (row().with(attempt(.open)) { $0.state = .paused }, .resolve),
        (row().with(attempt(.open) { $0.notFounds = 1 }) { $0.cancelAt = start }, .resolve),
        // Nothing of it ever left, and nobody wants it any more: it is not sent.
        (row().with(attempt(.open) { $0.inDoubt = false }) { $0.cancelAt = start }, .end),
        // Absent is no proof: it is followed to its end.
        (
            row().with(attempt(.open) { $0.absent = true }) { $0.cancelAt = start },
            .send(1, isRepeat: true, earlier: 0, opensAttempt: false)
        ),
        (
            row().with(attempt(.open) { $0.inDoubt = false }) { $0.state = .paused },
            .send(1, isRepeat: false, earlier: 0, opensAttempt: false)
        ),
        (
            row().with(attempt(.open) { $0.inDoubt = false }) { $0.cancelAt = start + day },
            .send(1, isRepeat: false, earlier: 0, opensAttempt: false)
        ),
    ]

    private static let gap = numbers.gap
    private static let next = Verb.send(2, isRepeat: false, earlier: 1, opensAttempt: true)
    private static let endedAttempts: [(DueSubscription, Verb)] = [
        (row().with(attempt(.declined), declines: 1) { $0.now = start + day }, next),
        (row().with(attempt(.refused)), .write(nil, nil, .at(start + numbers.lateBound * 2))),
        (row().with(attempt(.refused)) { $0.now = start + numbers.lateBound * 2 }, next),
        (row().with(attempt(.declined)) { $0.charge?.isHeld = true }, .write(nil, nil, .never)),
        (
            row().with(attempt(.declined), declines: 1) {
                $0.now = start + day
                $0.looksFirst = true
            },
            .send(2, isRepeat: false, earlier: 20, opensAttempt: true)
        ),
        (row().with(attempt(.declined)) { $0.silentClaims = 6 }, .hold),
        // Nothing is sent in a pause, but what was sent before may have been executed.
        (row().with(attempt(.declined)) { $0.state = .paused }, .write(nil, nil, .at(start + gap))),
        (
            row().with(attempt(.declined)) {
                $0.state = .paused
                $0.now = start + gap
            }, .look(.paused, names: 1)
        ),
        (
            row().with(attempt(.declined)) {
                $0.state = .paused
                $0.now = $0.periodEnd
            }, .look(.paused, names: 1)
        ),
        (
            row().with(attempt(.declined)) {
                ($0.state, $0.cancelAt) = (.paused, start)
                $0.now = start + gap
            }, .seal(.canceled)
        ),
        (
            row().with(attempt(.declined)) { $0.state = .canceled },
            .write(nil, nil, .at(start + gap))
        ),
        (
            row().with(attempt(.declined)) {
                $0.state = .canceled
                $0.now = start + gap
            }, .seal(.canceled)
        ),
        (row().with(attempt(.declined)) { $0.now = $0.periodEnd }, .seal(.superseded)),
        (
            row().with(attempt(.declined)) {
                $0.now = $0.periodEnd
                $0.card = nil
            }, .seal(.noCard)
        ),
        (
            row().with(attempt(.declined), declines: 5) { $0.now = start + gap },
            .seal(.exhausted)
        ),
        (row().with(attempt(.declined), declines: 4) { $0.now = start + day }, next),
        (
            row().with(attempt(.refused), declines: 5) { $0.now = start + numbers.lateBound * 2 },
            next
        ),
        (row().with(attempt(.declined)) { $0.card = nil }, .write(nil, .suspended, .periodEnd)),
        (row().with(attempt(.declined)) { $0.problem = "bad name" }, .hold),
        (row().with(attempt(.declined, number: 20)), .hold),
        (
            row().with(attempt(.declined) { $0.everUnknown = true }),
            .write(nil, nil, .at(start + gap))
        ),
        (
            row().with(attempt(.declined) { $0.everUnknown = true }) {
                $0.now = start + gap
                $0.askedAt = start
            }, next
        ),
    ]

    @Test(arguments: newPeriods)
    private func noChargeIsOpen(_ row: DueSubscription, _ verb: Verb, _ opens: Bool) {
        let step = Step.decide(row, numbers)
        #expect(Verb(step) == verb)
        #expect(step.opensCharge == opens)
    }

    @Test(arguments: firstAttempts + openAttempts + endedAttempts)
    private func aChargeIsOpen(_ row: DueSubscription, _ verb: Verb) {
        let step = Step.decide(row, numbers)
        #expect(Verb(step) == verb)
        #expect(!step.opensCharge)
    }

    @Test(arguments: [
        (1, 0, 0, 0), (1, 3, 0, 3), (1, 9, 0, 3), (2, 0, 0, 1), (3, 1, 0, 3), (40, 0, 0, 3),
        // The name is sent no more: down to one look a day.
        (1, 9, 13, 9), (40, 0, 13, 39),
    ])
    func eachRepeatIsAskedAfterMoreSlowly(
        _ sends: Int, _ lookups: Int, _ days: Int, _ rung: Int
    ) {
        let due = row().with(attempt(.open) { ($0.sends, $0.lookups) = (sends, lookups) }) {
            $0.now = start + day * days
        }
        guard case .ask(.resolve(_, let doubt), false) = Step.decide(due, numbers).action else {
            Issue.record("not looked up")
            return
        }
        #expect(doubt.lookups == rung)
    }

    /// From when its last look was first in vain, or from a later date that ends it.
    @Test func aChargeThatWaitsForItsLastLookKnowsForHowLong() {
        func history(
            _ hours: Int?, _ change: (inout DueSubscription) -> Void = { _ in }
        ) -> Work.History {
            let due = row().with(attempt(.declined)) {
                $0.now = start + day * 20
                $0.charge?.unclearSince = hours.map { start + day * 20 + .seconds(-3_600 * $0) }
                change(&$0)
            }
            return due.history(opensAttempt: false, numbers)
        }
        #expect(history(nil).unclearRung == nil && !history(nil).isOverdue)
        #expect([0, 1, 3, 40, 400].map { history($0).unclearRung } == [0, 3, 4, 6, 6])
        #expect([335, 336].map { history($0).isOverdue } == [false, true])
        #expect(!history(400) { $0.cancelAt = start + day * 19 }.isOverdue)
        #expect(history(400) { $0.cancelAt = start + day * 21 }.isOverdue)
        #expect(!history(400) { $0.periodEnd = start + day * 20 }.isOverdue)
        #expect(!history(400) { $0.resumedAt = start + day * 19 }.isOverdue)
    }

    @Test func onlyTheOpenAttemptsTraceIsKnown() {
        let due = row().with(attempt(.open) { $0.traceID = "t1" })
        #expect(due.history(opensAttempt: false, numbers).trace == "t1")
        #expect(due.history(opensAttempt: true, numbers).trace == nil)
    }

    @Test func aNewAttemptPinsTodaysCardAndTheFrozenTerms() {
        let due = row().with(attempt(.declined)) {
            $0.card = DueSubscription.Card(id: 8, billingKey: BillingKey("new"))
            $0.terms.amount = Won(5_000)
        }
        guard case .ask(.send(let request, let earlier, _, _), _) = Step.decide(due, numbers).action
        else {
            Issue.record("no send")
            return
        }
        #expect(request.billingKeyID == 8)
        #expect(request.billingKey == BillingKey("new"))
        #expect(request.amount == Won(1_000))
        #expect(earlier == [OrderID(prefix: "p", period: 0, attempt: 1)])
    }

    @Test func aRepeatSendsWhatWasPinned() {
        let last = attempt(.open) { $0.absent = true }
        let due = row().with(last) {
            $0.card = DueSubscription.Card(id: 8, billingKey: BillingKey("new"))
        }
        guard case .ask(.send(let request, _, true, _), _) = Step.decide(due, numbers).action else {
            Issue.record("no repeat")
            return
        }
        #expect(request == last.request)
    }

    @Test func aLimitThatWasLoweredLeavesNoNameOut() {
        var lowered = FleetNumbers()
        lowered.maximumAttempts = 3
        let late = row().with(attempt(.declined, number: 5), declines: 5) {
            ($0.looksFirst, $0.now) = (true, start + day * 30)
        }
        guard case .ask(.seal(let names, _, _), _) = Step.decide(late, lowered).action else {
            Issue.record("no seal")
            return
        }
        #expect(names == (1...5).map { OrderID(prefix: "p", period: 0, attempt: $0) })
    }
}
