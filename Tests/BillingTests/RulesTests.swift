import Billing
import TestSupport
import Testing

private let poor = Answer(code: "POOR", httpStatus: 403)
private let request = AttemptRequest(
    number: 2, orderID: OrderID(prefix: "p", period: 0, attempt: 2), billingKeyID: 1,
    billingKey: BillingKey("k"), customerKey: CustomerKey("c"), amount: Won(1_000),
    taxFreeAmount: Won(0), orderName: "n")

private func work(_ history: Work.History = Work.History()) -> Work {
    Work(
        subscription: SubscriptionID(1), lease: LeaseNumber(2), charge: ChargeID(3),
        task: .send(request, earlier: [], isRepeat: false, tries: 0), history: history)
}

private func payment(_ change: (inout Payment) -> Void = { _ in }) -> Payment {
    var payment = Payment.of(request)
    change(&payment)
    return payment
}

/// What an outcome makes of the attempt, for a table.
private enum Kind: Hashable, Sendable {
    case approved, declined, refused, notSent, unknown, nothing, absent, unclear, earlierPaid, none

    init(_ change: Transition.AttemptChange?) {
        self =
            switch change {
            case .approved: .approved
            case .declined: .declined
            case .refused: .refused
            case .notSent: .notSent
            case .unknown: .unknown
            case .lookedUp(_, _, .nothing): .nothing
            case .lookedUp(_, _, .absent): .absent
            case .lookedUp(_, _, .unclear): .unclear
            case .earlierPaid: .earlierPaid
            case nil: .none
            }
    }
}

struct OutcomeRulesTests {
    private static let firstSends: [(Outcome, Kind, Transition.Next)] = [
        (.approved(payment(), traceID: nil), .approved, .advance),
        (.declined(poor, .soft), .declined, .dunning(step: 0)),
        (.declined(poor, .softOnce), .declined, .dunning(step: 0)),
        (.declined(poor, .hard), .declined, .after(.zero)),
        (.refused(poor), .refused, .after(.seconds(90))),
        (.faultOfRow(poor), .refused, .never),
        (.faultOfAll(poor), .refused, .after(.seconds(90))),
        (.duplicate(poor), .unknown, .after(.seconds(60))),
        (.notSent(poor), .notSent, .after(.milliseconds(3_750))),
        (.unknown(poor), .unknown, .after(.seconds(60))),
    ]

    @Test(arguments: firstSends)
    private func anOnlySend(_ outcome: Outcome, _ kind: Kind, _ next: Transition.Next) {
        let transition = work().after(outcome, of: request, isRepeat: false, tries: 0, jitter: 0.5)
        #expect(Kind(transition.attempt) == kind)
        #expect(transition.next == next)
        #expect(transition.lease == LeaseNumber(2))
        #expect(transition.charge == ChargeID(3))
    }

    @Test(arguments: firstSends.map(\.0))
    func aRepeatIsEndedByAnApprovalAlone(_ outcome: Outcome) {
        let transition = work().after(outcome, of: request, isRepeat: true, tries: 0, jitter: 0.5)
        if case .approved = outcome {
            #expect(transition.chargeChange == .paid(payment()))
        } else {
            #expect(Kind(transition.attempt) == .unknown)
            #expect(transition.chargeChange == nil)
            #expect(transition.standing == nil)
        }
    }

    @Test(arguments: [
        payment { $0.totalAmount = Won(999) }, payment { $0.currency = "USD" },
        payment { $0.isBilling = false }, payment { $0.paymentKey = "" },
        payment { $0.status = .canceled }, payment { $0.status = .other("WAITING") },
        payment { $0.orderID = OrderID(stored: "another") },
    ])
    func aPaymentThatIsNotOursIsUnknown(_ payment: Payment) {
        let transition = work().after(
            .approved(payment, traceID: "t"), of: request, isRepeat: false, tries: 0, jitter: 0)
        #expect(Kind(transition.attempt) == .unknown)
        #expect(transition.chargeChange == nil)
    }

    @Test(arguments: [
        (0, 2, Transition.Next.dunning(step: 0)), (1, 2, .dunning(step: 1)),
        (2, 2, .sealAfterGap), (0, 0, .sealAfterGap),
    ])
    func declinesClimbTheLadderToTheSeal(_ declines: Int, _ steps: Int, _ next: Transition.Next) {
        let history = Work.History(declines: declines, dunningSteps: steps)
        let transition = work(history).after(
            .declined(poor, .soft), of: request, isRepeat: false, tries: 0, jitter: 0)
        #expect(transition.next == next)
        #expect(transition.standing == .pastDue)
    }

    @Test(arguments: [
        (DeclineClass.soft, "POOR", false), (.softOnce, "OTHER", false), (.softOnce, "POOR", true),
        (.hard, "OTHER", true),
    ])
    func whatKillsAKey(_ kind: DeclineClass, _ last: String, _ kills: Bool) {
        let transition = work(Work.History(lastCode: last)).after(
            .declined(poor, kind), of: request, isRepeat: false, tries: 0, jitter: 0)
        #expect(transition.attempt == .declined(number: 2, poor, killsKey: kills))
    }
}

extension OutcomeRulesTests {
    @Test func theSecondTimeTheRowIsWrongAndTheCardIsNot() {
        let first = work().after(
            .declined(poor, .softThenFault), of: request, isRepeat: false, tries: 0, jitter: 0)
        #expect(first.next == .dunning(step: 0))
        let second = work(Work.History(lastCode: "POOR")).after(
            .declined(poor, .softThenFault), of: request, isRepeat: false, tries: 0, jitter: 0)
        #expect(second.attempt == .declined(number: 2, poor, killsKey: false))
        #expect(second.next == .never)
        #expect(second.chargeChange == .held("declined twice with POOR"))
    }
}

struct LookUpRulesTests {
    private static func givenBack(_ status: Payment.Status, left: Int64) -> Payment {
        payment { ($0.status, $0.balanceAmount) = (status, Won(left)) }
    }

    private static let cases: [(LookUp, Int, Bool, Kind)] = [
        (.found(payment()), 0, false, .approved),
        (.found(givenBack(.canceled, left: 0)), 0, false, .approved),
        (.found(givenBack(.partialCanceled, left: 400)), 0, false, .approved),
        // Cancelled, and nothing of it went back: the provider contradicts itself.
        (.found(payment { $0.status = .canceled }), 0, false, .none),
        (.found(payment { $0.status = .partialCanceled }), 0, false, .none),
        (.found(payment { $0.status = .aborted }), 0, false, .declined),
        (.found(payment { $0.status = .expired }), 0, false, .declined),
        (
            .found(
                payment {
                    $0.status = .aborted
                    $0.orderID = OrderID(stored: "another")
                }), 0, false, .none
        ),
        (.found(payment { $0.totalAmount = Won(1) }), 0, false, .none),
        (.found(payment { $0.status = .other("READY") }), 1, true, .unclear),
        (.found(payment { $0.status = .other("IN_PROGRESS") }), 0, false, .unclear),
        (
            .found(
                payment {
                    $0.status = .other("READY")
                    $0.orderID = OrderID(stored: "another")
                }), 0, false, .none
        ),
        (.notFound(poor), 0, false, .nothing), (.notFound(poor), 0, true, .nothing),
        (.notFound(poor), 1, false, .nothing), (.notFound(poor), 1, true, .absent),
        (.unclear(poor), 1, true, .unclear), (.faultOfAll(poor), 1, true, .unclear),
    ]

    @Test(arguments: cases)
    private func aLookUp(_ lookUp: LookUp, _ notFounds: Int, _ quietOver: Bool, _ kind: Kind) {
        let doubt = ProviderTask.Doubt(lookups: 2, notFounds: notFounds, quietOver: quietOver)
        let transition = work().after(lookUp, of: request, doubt, jitter: 0)
        #expect(Kind(transition.attempt) == kind)
        switch kind {
        case .none:
            guard case .held = transition.chargeChange else {
                Issue.record("a mismatch must be held")
                return
            }
        case .absent: #expect(transition.next == .after(.zero))
        case .nothing, .unclear: #expect(transition.next == .after(.seconds(1_800)))
        default: break
        }
    }

    @Test func moneyThatWentBackIsARefund() {
        let doubt = ProviderTask.Doubt(lookups: 0, notFounds: 0, quietOver: false)
        let canceled = Self.givenBack(.canceled, left: 0)
        let transition = work().after(.found(canceled), of: request, doubt, jitter: 0)
        #expect(transition.chargeChange == .refunded(canceled))
    }

    @Test(arguments: [
        (Outcome.declined(poor, .soft), Kind.declined), (.duplicate(poor), .unknown),
        (.refused(poor), .unknown),
    ])
    private func notFoundAfterARepeat(_ confirmed: Outcome, _ kind: Kind) {
        let doubt = ProviderTask.Doubt(lookups: 0, notFounds: 5, quietOver: true)
        let transition = work().after(
            .notFound(poor), of: request, doubt, confirms: confirmed, jitter: 0)
        #expect(Kind(transition.attempt) == kind)
    }

    private static func kept(_ trait: Answer.Trait = .none, trace: String? = "t2, t1") -> Answer {
        Answer(code: "KEPT", httpStatus: 400, traceID: trace, trait: trait)
    }

    /// With the traces that an earlier answer left in the ledger.
    private func repeated(_ outcome: Outcome, after trace: String?) -> (Bool, Transition) {
        let work = work(Work.History(trace: trace))
        let doubt = ProviderTask.Doubt(lookups: 0, notFounds: 0, quietOver: false)
        return (
            work.isKept(outcome),
            work.after(.notFound(poor), of: request, doubt, confirms: outcome, jitter: 0.5)
        )
    }

    /// An answer that the provider is proven to keep speaks for the whole name, as on a first send.
    @Test(
        arguments: [
            (Outcome.refused(kept()), nil), (.faultOfAll(kept()), nil),
            (.unknown(kept(.finalWord)), nil),
            (.faultOfRow(kept()), "refused by the provider: KEPT"),
            (.unknown(kept(.badInput)), "refused by the provider: KEPT, and not executed"),
        ] as [(Outcome, String?)])
    func aKeptAnswerEndsTheNameThatIsNotThere(_ outcome: Outcome, _ reason: String?) {
        for trace in ["t1", "t0, t1"] {
            let (isKept, transition) = repeated(outcome, after: trace)
            #expect(isKept)
            #expect(Kind(transition.attempt) == .refused)
            #expect(transition.chargeChange == reason.map { .held($0) })
            #expect(transition.standing == nil)
        }
    }

    /// One trace, other traces, none before, or words that never end a name: no proof.
    @Test(
        arguments: [
            (Outcome.unknown(kept(.finalWord, trace: "t1")), "t1"),
            (.unknown(kept(.finalWord, trace: "t2")), "t1"),
            (.unknown(kept(.finalWord, trace: nil)), "t1"),
            (.unknown(kept(.finalWord, trace: "t1, t1")), "t1"),
            (.unknown(kept(.finalWord, trace: "t3, t2, t1")), "t1"),
            (.unknown(kept(.finalWord)), "t7"), (.unknown(kept(.finalWord)), "t1, t7"),
            (.unknown(kept(.finalWord)), nil), (.unknown(kept(.finalWord)), ""),
            (.unknown(kept()), "t1"), (.duplicate(kept()), "t1"), (.notSent(kept()), "t1"),
            (.refused(kept(trace: "t2")), "t1"), (.faultOfRow(kept(trace: "t2")), "t1"),
        ] as [(Outcome, String?)])
    func whatIsNotProvenToBeKeptEndsNoName(_ outcome: Outcome, _ trace: String?) {
        let (isKept, transition) = repeated(outcome, after: trace)
        #expect(!isKept)
        #expect(Kind(transition.attempt) == .unknown)
        #expect(transition.chargeChange == nil)
    }

    /// Money that moved before the error was kept.
    @Test func aKeptAnswerWhoseNameIsPaidEndsAsPaid() {
        let doubt = ProviderTask.Doubt(lookups: 0, notFounds: 0, quietOver: false)
        func after(_ lookUp: LookUp) -> Transition {
            work(Work.History(trace: "t1")).after(
                lookUp, of: request, doubt, confirms: .unknown(Self.kept(.finalWord)), jitter: 0)
        }
        #expect(after(.found(payment())).chargeChange == .paid(payment()))
        #expect(Kind(after(.unclear(poor)).attempt) == .unclear)
    }
}

struct EarlierNamesRulesTests {
    private let first = OrderID(prefix: "p", period: 0, attempt: 1)
    private static func unfinished(_ word: String) -> LookUp {
        .found(
            payment {
                $0.orderID = OrderID(prefix: "p", period: 0, attempt: 1)
                $0.status = .other(word)
            })
    }

    private func earlier(_ change: (inout Payment) -> Void = { _ in }) -> LookUp {
        .found(
            payment {
                $0.orderID = first
                change(&$0)
            })
    }

    private func before(_ answer: LookUp, isRepeat: Bool) -> Transition? {
        work().afterEarlier(
            [(first, answer)], before: request, isRepeat: isRepeat, tries: 0, jitter: 0.5)
    }

    @Test(arguments: [false, true])
    func nothingPaidLeavesTheWayFree(_ isRepeat: Bool) {
        #expect(before(.notFound(poor), isRepeat: isRepeat) == nil)
        #expect(before(earlier { $0.status = .aborted }, isRepeat: isRepeat) == nil)
        #expect(before(earlier { $0.status = .expired }, isRepeat: isRepeat) == nil)
    }

    @Test func aPaidNameIsAdoptedBeforeAFirstSendAndHeldBeforeARepeat() {
        let adopted = before(earlier(), isRepeat: false)
        #expect(Kind(adopted?.attempt) == .earlierPaid)
        #expect(adopted?.next == .advance)
        let held = before(earlier(), isRepeat: true)
        #expect(held?.attempt == nil)
        #expect(held?.next == .never)
    }

    @Test(arguments: [false, true])
    func thePaymentOfItsOwnForgottenNameIsTheAttempts(_ isRepeat: Bool) {
        let transition = work().afterEarlier(
            [(first, .notFound(poor)), (request.orderID, .found(payment()))], before: request,
            isRepeat: isRepeat, tries: 0, jitter: 0)
        #expect(Kind(transition?.attempt) == .approved)
        #expect(transition?.chargeChange == .paid(payment()))
    }

    /// After a restore the database knows attempt 2, in doubt; the provider shows that 3 was paid.
    @Test(arguments: [false, true])
    func thePaymentOfALaterForgottenNameIsAdopted(_ isRepeat: Bool) {
        let later = OrderID(stored: request.orderID.value.dropLast() + "9")
        let transition = work().afterEarlier(
            [
                (first, .notFound(poor)), (request.orderID, .notFound(poor)),
                (later, .found(payment { $0.orderID = later })),
            ], before: request, isRepeat: isRepeat, tries: 0, jitter: 0)
        #expect(Kind(transition?.attempt) == .earlierPaid)
        #expect(transition?.next == .advance)
    }

    /// After a restore: the name in hand had ended without money, and a later one, forgotten as well,
    /// decides.
    @Test func aLaterNameDecidesWhenTheNameInHandHadEnded() {
        let later = OrderID(stored: request.orderID.value.dropLast() + "9")
        func decide(_ answer: LookUp) -> Kind? {
            let ended = payment { $0.status = .aborted }
            let transition = work().afterEarlier(
                [(first, .notFound(poor)), (request.orderID, .found(ended)), (later, answer)],
                before: request, isRepeat: false, tries: 0, jitter: 0)
            return Kind(transition?.attempt)
        }
        #expect(decide(.found(payment { $0.orderID = later })) == .earlierPaid)
        #expect(decide(.unclear(poor)) == .notSent)
        #expect(decide(.notFound(poor)) == .declined)
    }

    /// Taken and given back, in whole or in part: the charge has had its payment.
    @Test(arguments: [(Payment.Status.canceled, Int64(0)), (.partialCanceled, 400)])
    func anEarlierNameThatWasPaidAndCancelledRefundsIt(_ status: Payment.Status, _ left: Int64) {
        let back = earlier {
            $0.status = status
            $0.balanceAmount = Won(left)
        }
        let transition = before(back, isRepeat: false)
        guard case .refunded(let payment) = transition?.chargeChange else {
            Issue.record("\(String(describing: transition))")
            return
        }
        #expect(transition?.attempt == .earlierPaid(order: first, payment, unsent: 2))
        #expect(transition?.next == .advance)
        // The attempt in hand may have been paid, too: a person must look.
        #expect(before(back, isRepeat: true)?.next == .never)
        let seal = work().afterSeal(
            [(first, back)], amount: Won(1_000), ending: .failed(.exhausted))
        #expect(seal.chargeChange == .refunded(payment))
    }

    /// What a person cancelled because it was never ours does not hold the charge again and again.
    @Test func aWrongPaymentThatWasCancelledIsNone() {
        func wrong(_ change: (inout Payment) -> Void) -> LookUp {
            earlier {
                ($0.status, $0.totalAmount, $0.balanceAmount) = (.canceled, Won(5_000), Won(0))
                change(&$0)
            }
        }
        #expect(before(wrong { _ in }, isRepeat: false) == nil)
        #expect(before(wrong { _ in }, isRepeat: true) == nil)
        let seal = work().afterSeal(
            [(first, wrong { _ in })], amount: Won(1_000), ending: .failed(.exhausted))
        #expect(seal.chargeChange == .failed(.exhausted))
        // Not all of it is back, or nothing says so, or it is another order's.
        for still in [
            wrong { $0.balanceAmount = Won(1) }, wrong { $0.balanceAmount = $0.totalAmount },
            wrong { $0.status = .partialCanceled }, wrong { $0.orderID = OrderID(stored: "other") },
        ] {
            #expect(before(still, isRepeat: false)?.next == .never)
        }
    }

    /// The same under the name in hand: it ends only when the provider itself takes it no more. What was
    /// sent of it may yet be executed else, hours later, by a worker that stood still.
    @Test func aNameThatAWrongPaymentUsedUpEndsWhenTheProviderSaysSo() {
        let wrong = payment {
            ($0.status, $0.totalAmount, $0.balanceAmount) = (.canceled, Won(5_000), Won(0))
        }
        func after(_ outcome: Outcome?, notFounds: Int = 0) -> Transition {
            let doubt = ProviderTask.Doubt(lookups: 0, notFounds: notFounds, quietOver: true)
            return work().after(
                .found(wrong), of: request, doubt, confirms: outcome, jitter: 0.5)
        }
        #expect(
            after(.duplicate(poor)).attempt
                == .refused(number: 2, Answer(code: "NAME_USED_UP", httpStatus: 200)))
        #expect(after(.duplicate(poor)).chargeChange == nil)
        #expect(Kind(after(nil).attempt) == .nothing)
        #expect(Kind(after(nil, notFounds: 1).attempt) == .absent)
        #expect(Kind(after(.declined(poor, .soft)).attempt) == .declined)
        #expect(Kind(after(.unknown(poor)).attempt) == .unknown)
        // The provider keeps that payment as its answer, and would tell it to whoever sends the name.
        #expect(after(.approved(wrong, traceID: nil)) == after(.duplicate(poor)))
        var another = wrong
        another.paymentKey = "another"
        #expect(Kind(after(.approved(another, traceID: nil)).attempt) == .unknown)
        for isRepeat in [false, true] {
            let own = work().afterEarlier(
                [(request.orderID, .found(wrong))], before: request, isRepeat: isRepeat, tries: 0,
                jitter: 0.5)
            #expect(own == nil)
        }
    }

    @Test func anAbortedPaymentOfAnotherOrderFreesNoWay() {
        let transition = before(
            earlier {
                $0.status = .aborted
                $0.orderID = OrderID(stored: "another")
            }, isRepeat: false)
        #expect(transition?.next == .never)
    }

    @Test func aForeignPaymentUnderAnEarlierNameIsHeld() {
        let transition = before(earlier { $0.totalAmount = Won(5) }, isRepeat: false)
        #expect(transition?.attempt == nil)
        #expect(transition?.next == .never)
    }

    @Test(arguments: [
        LookUp.unclear(poor), .faultOfAll(poor), unfinished("READY"), unfinished("IN_PROGRESS"),
        unfinished("A_NEW_WORD"),
    ])
    func doubtStopsTheSend(_ answer: LookUp) {
        #expect(Kind(before(answer, isRepeat: false)?.attempt) == .notSent)
        #expect(Kind(before(answer, isRepeat: true)?.attempt) == .unknown)
        let seal = work().afterSeal(
            [(first, answer)], amount: Won(1_000), ending: .failed(.exhausted))
        #expect(seal.chargeChange == .waits(.unclear))
        #expect(seal.next == .after(.seconds(300)))
    }

    /// Told once; from then on the ladder, never above two hours, and a person after two weeks.
    @Test(arguments: [
        (0, false, Int64(300)), (1, false, 300), (2, false, 1_800), (3, false, 7_200),
        (9, false, 7_200), (9, true, 0),
    ])
    func aSealThatStaysUnclearClimbsTheLadder(_ rung: Int, _ isOverdue: Bool, _ wait: Int64) {
        let work = work(Work.History(unclearRung: rung, isOverdue: isOverdue))
        func seal(_ ending: UnpaidEnding) -> Transition {
            work.afterSeal([(first, .unclear(poor))], amount: Won(1_000), ending: ending)
        }
        let failed = seal(.failed(.exhausted))
        #expect(failed.next == (isOverdue ? .never : .after(.seconds(wait))))
        #expect(
            failed.chargeChange
                == (isOverdue
                    ? .held("unresolved: nothing says clearly whether \(first) was paid") : nil))
        // Nothing waits for the look of a pause, or for a card.
        for ending in [UnpaidEnding.paused, .waitsForCard] {
            #expect(seal(ending).next == .after(.seconds(7_200)))
            #expect(seal(ending).chargeChange == nil)
        }
    }

    @Test func theLookOfAPauseChangesNothingUnlessSomethingIsPaid() {
        let none = work().afterSeal(
            [(first, .notFound(poor))], amount: Won(1_000), ending: .paused)
        #expect(none.chargeChange == nil && none.standing == nil && none.attempt == nil)
        #expect(none.next == .periodEnd)
        let paid = work().afterSeal([(first, earlier())], amount: Won(1_000), ending: .paused)
        #expect(Kind(paid.attempt) == .earlierPaid)
    }

    @Test(
        arguments: [
            (FailReason.exhausted, .exhausted), (.noCard, .exhausted), (.canceled, .canceled),
            (.superseded, .pastDue),
        ] as [(FailReason, Transition.Standing?)])
    func aSealThatFindsNothingFails(_ reason: FailReason, _ standing: Transition.Standing?) {
        let transition = work().afterSeal(
            [(first, .notFound(poor))], amount: Won(1_000), ending: .failed(reason))
        #expect(transition.chargeChange == .failed(reason))
        #expect(transition.standing == standing)
        #expect(transition.next == .advance)
    }

    @Test(arguments: [Transition.SkipReason.missed, .paused])
    func aLookThatFindsNothingSkips(_ reason: Transition.SkipReason) {
        let transition = work().afterSeal(
            [(first, .notFound(poor))], amount: Won(1_000), ending: .skipped(reason))
        #expect(transition.chargeChange == .skipped(reason))
        #expect(transition.standing == nil)
        #expect(transition.next == .advance)
    }

    @Test func aLookThatFindsNothingFreesOrWaitsForACard() {
        let free = work().afterSeal([(first, .notFound(poor))], amount: Won(0), ending: .free)
        #expect(free.chargeChange == .free)
        #expect(free.standing == .good)
        #expect(free.next == .advance)
        let waits = work().afterSeal(
            [(first, .notFound(poor))], amount: Won(1_000), ending: .waitsForCard)
        #expect(waits.chargeChange == nil)
        #expect(waits.standing == .suspended)
        #expect(waits.next == .periodEnd)
    }

    /// It was charged before it was made free: taken for free it would never be looked for again.
    @Test func aPaymentOfAPeriodThatIsFreeByNowIsHeld() {
        let transition = work().afterSeal([(first, earlier())], amount: Won(0), ending: .free)
        #expect(transition.chargeChange != .free)
        #expect(transition.next == .never)
    }

    @Test func aSealInDoubtWaitsAndOneThatFindsMoneyPays() {
        let doubt = work().afterSeal(
            [(first, .unclear(poor))], amount: Won(1_000), ending: .failed(.exhausted))
        #expect(doubt.chargeChange == .waits(.unclear))
        #expect(doubt.next == .after(.seconds(300)))
        let paid = work().afterSeal(
            [(first, earlier())], amount: Won(1_000), ending: .failed(.canceled))
        #expect(Kind(paid.attempt) == .earlierPaid)
    }
}
