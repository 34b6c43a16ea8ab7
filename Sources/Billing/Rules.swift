/// From what was learnt to what to write: the table "Outcomes, and what each writes" of the
/// protocol. Pure; `jitter` (0 ..< 1) is handed in.
extension Work {
    /// After the only request of `request` in this claim was answered, or not.
    ///
    /// `isRepeat`: an earlier send of the same name went unanswered. Then only an approval speaks
    /// for the whole name; every other answer speaks for its own request, and the attempt stays
    /// open until a look-up confirms it.
    package func after(
        _ outcome: Outcome, of request: AttemptRequest, isRepeat: Bool, tries: Int, jitter: Double
    ) -> Transition {
        let number = request.number
        switch outcome {
        case .approved(let payment, let traceID):
            let answer = Answer(code: "DONE", httpStatus: 200, traceID: traceID)
            guard payment.answers(request), payment.status == .done else {
                return unknown(
                    number, Answer(code: "MISMATCHED_PAYMENT", httpStatus: 200, traceID: traceID))
            }
            return paid(.approved(number: number, payment, answer), .paid(payment))
        case .notSent(let answer):
            // An earlier send may be under way all the same: that doubt is not taken back.
            if isRepeat { return unknown(number, answer) }
            return change(
                .notSent(number: number, answer),
                next: .after(Backoff.notSent(tries: tries, jitter: jitter)))
        case .unknown(let answer), .duplicate(let answer):
            return unknown(number, answer)
        case .declined(let answer, let kind):
            if isRepeat { return unknown(number, answer) }
            return declined(number, answer, kind, jitter)
        case .refused(let answer):
            if isRepeat { return unknown(number, answer) }
            let wait =
                answer.trait == .lastsHours
                ? Backoff.maintained(number: number, jitter: jitter)
                : Backoff.refused(number: number, jitter: jitter)
            return change(.refused(number: number, answer), next: .after(wait))
        case .faultOfAll(let answer):
            if isRepeat { return unknown(number, answer) }
            // The worker stops claiming and probes one row at a time (Worker); the row waits as after
            // any refusal, so that probes do not use up the attempts of one charge.
            return change(
                .refused(number: number, answer),
                next: .after(Backoff.refused(number: number, jitter: jitter)))
        case .faultOfRow(let answer):
            if isRepeat { return unknown(number, answer) }
            return held(
                .refused(number: number, answer), "refused by the provider: \(answer.code)")
        }
    }

    /// Whether `outcome`, of a repeat, is proven to be what the provider answered to an earlier send, and
    /// keeps. Then nothing of this name will be executed any more, whoever sends it: the answer speaks
    /// for all of it, as on a first send, but for money that moved before it was given, for which the
    /// look-ups speak. Without that proof it speaks for one request, and the name may yet be executed.
    package func isKept(_ outcome: Outcome) -> Bool {
        switch outcome {
        case .refused(let answer), .faultOfRow(let answer), .faultOfAll(let answer):
            answer.isReplay(of: history.trace)
        case .unknown(let answer):
            (answer.trait == .finalWord || answer.trait == .badInput)
                && answer.isReplay(of: history.trace)
        case .approved, .declined, .duplicate, .notSent: false
        }
    }

    /// After a look-up of the open attempt `request`. `confirms`: what the provider answered to a
    /// repeat in this very claim; not found now, it ends the attempt.
    package func after(
        _ lookUp: LookUp, of request: AttemptRequest, _ doubt: ProviderTask.Doubt,
        confirms outcome: Outcome? = nil, jitter: Double
    ) -> Transition {
        let number = request.number
        switch lookUp.settled(of: request.orderID) {
        case .found(let payment) where payment.isVoid(as: request.orderID, request.amount):
            // Not ours, and all of it went back: the provider takes the name no more if it says so
            // itself, or keeps this very payment as its answer. If not, what was sent may yet be
            // executed, and the name is sent again.
            switch outcome {
            case .duplicate: return found(payment, request, jitter)
            case .approved(let kept, _) where kept.paymentKey == payment.paymentKey:
                return found(payment, request, jitter)
            default: break
            }
            let answer = Answer(code: "WRONG_PAYMENT_CANCELED", httpStatus: 200)
            return absent(answer, request, doubt, confirms: outcome, jitter)
        case .found(let payment):
            return found(payment, request, jitter)
        case .notFound(let answer):
            return absent(answer, request, doubt, confirms: outcome, jitter)
        case .unclear(let answer), .faultOfAll(let answer):
            return change(
                .lookedUp(number: number, answer, found: .unclear),
                next: .after(Backoff.lookUp(after: doubt.lookups)))
        }
    }

    /// After the look-ups of earlier names, before the send of `request`: a transition if the send
    /// must not happen, nil if the way is free.
    package func afterEarlier(
        _ answers: [(OrderID, LookUp)], before request: AttemptRequest, isRepeat: Bool, tries: Int,
        jitter: Double
    ) -> Transition? {
        var dead: Payment?
        for (order, answer) in answers {
            switch answer.settled(of: order) {
            case .notFound: continue
            case .found(let payment):
                // Its own name, of which the database knew nothing any more. Ended without money it may
                // have been followed by a later one, which is forgotten as well.
                if order == request.orderID {
                    guard payment.isOver(as: order, request.amount) else {
                        return found(payment, request, jitter)
                    }
                    if payment.isDead(as: order) { dead = payment }
                }
                if payment.isOver(as: order, request.amount) { continue }
                // The name in hand may have been sent before: two payments are possible, a person
                // must look. Not if this is a later name, which the database forgot: it was only
                // opened because the one in hand, asked first, had ended without money.
                let isLater = answers.contains { $0.0 == request.orderID }
                if isRepeat, !isLater { return held(nil, "paid under earlier order id \(order)") }
                return adopted(payment, order, request.amount, unsent: request.number)
            case .unclear(let answer), .faultOfAll(let answer):
                return isRepeat
                    ? unknown(request.number, answer)
                    : change(
                        .notSent(number: request.number, answer),
                        next: .after(Backoff.notSent(tries: tries + 3, jitter: jitter)))
            }
        }
        return dead.map { found($0, request, jitter) }
    }

    /// After the last look at every name of a charge that is to end unpaid.
    package func afterSeal(
        _ answers: [(OrderID, LookUp)], amount: Won, ending: UnpaidEnding
    ) -> Transition {
        for (order, answer) in answers {
            switch answer.settled(of: order) {
            case .notFound: continue
            case .found(let payment):
                if payment.isOver(as: order, amount) { continue }
                return adopted(payment, order, amount, unsent: nil)
            case .unclear, .faultOfAll: return unsealed(order, ending)
            }
        }
        return Transition(
            subscription: subscription, lease: lease, charge: charge,
            chargeChange: ending.change, standing: ending.standing,
            next: ending.ends ? .advance : .periodEnd)
    }

    // MARK: Pieces

    /// The last look says nothing clear of `order`: asked again on the ladder, and held when an open
    /// attempt would be. Never less often than a name that may be sent again: of many names one answer
    /// may fail each time, and the next period waits for all of them.
    private func unsealed(_ order: OrderID, _ ending: UnpaidEnding) -> Transition {
        // Nothing waits for the look of a pause.
        let last = Backoff.lookUp(after: Backoff.lastRungOfSends)
        guard ending.ends else { return change(nil, next: .after(last)) }
        if history.isOverdue {
            return held(nil, "unresolved: nothing says clearly whether \(order) was paid")
        }
        let rung = min(max(1, history.unclearRung ?? 0), Backoff.lastRungOfSends)
        var transition = change(nil, next: .after(Backoff.lookUp(after: rung)))
        if history.unclearRung == nil { transition.chargeChange = .waits(.unclear) }
        return transition
    }

    /// The payment of `request` is not there.
    private func absent(
        _ answer: Answer, _ request: AttemptRequest, _ doubt: ProviderTask.Doubt,
        confirms outcome: Outcome?, _ jitter: Double
    ) -> Transition {
        if let outcome {
            return confirmed(outcome, of: request, jitter) ?? unknown(request.number, answer)
        }
        // Twice, the last time after the quiet time: only then may the name be sent again.
        let isAbsent = doubt.notFounds >= 1 && doubt.quietOver
        return change(
            .lookedUp(number: request.number, answer, found: isAbsent ? .absent : .nothing),
            next: .after(isAbsent ? .zero : Backoff.lookUp(after: doubt.lookups)))
    }

    /// The answer to a repeat whose payment is not there; nil: it does not end the attempt.
    private func confirmed(
        _ outcome: Outcome, of request: AttemptRequest, _ jitter: Double
    ) -> Transition? {
        if case .declined(let answer, let kind) = outcome {
            return declined(request.number, answer, kind, jitter)
        }
        guard isKept(outcome) else { return nil }
        guard case .unknown(let answer) = outcome else {
            return after(outcome, of: request, isRepeat: false, tries: 0, jitter: jitter)
        }
        let ended = Transition.AttemptChange.refused(number: request.number, answer)
        if answer.trait == .badInput {
            return held(ended, "refused by the provider: \(answer.code), and not executed")
        }
        return change(
            ended, next: .after(Backoff.refused(number: request.number, jitter: jitter)))
    }

    private func found(
        _ payment: Payment, _ request: AttemptRequest, _ jitter: Double
    ) -> Transition {
        let answer = Answer(code: "LOOKED_UP", httpStatus: 200)
        if payment.isDead(as: request.orderID) {
            let failure = payment.failure ?? Answer(code: "ABORTED", httpStatus: 200)
            return declined(request.number, failure, payment.failureClass, jitter)
        }
        if payment.isVoid(as: request.orderID, request.amount) {
            // Whatever took this name, the provider takes it no more, as it says: another one follows.
            return change(
                .refused(
                    number: request.number, Answer(code: "NAME_USED_UP", httpStatus: 200)),
                next: .after(Backoff.refused(number: request.number, jitter: jitter)))
        }
        switch payment.status {
        case .done where payment.answers(request):
            return paid(.approved(number: request.number, payment, answer), .paid(payment))
        case .canceled where payment.answers(request) && payment.isGivenBack,
            .partialCanceled where payment.answers(request) && payment.isGivenBack:
            return paid(.approved(number: request.number, payment, answer), .refunded(payment))
        case .done, .canceled, .partialCanceled, .aborted, .expired, .other:
            return held(nil, "the provider shows a payment that is not ours under this order id")
        }
    }

    private func adopted(
        _ payment: Payment, _ order: OrderID, _ amount: Won, unsent: Int?
    ) -> Transition {
        let change: Transition.AttemptChange = .earlierPaid(order: order, payment, unsent: unsent)
        switch payment.status {
        case .done where payment.answers(order, amount): return paid(change, .paid(payment))
        case .canceled where payment.answers(order, amount) && payment.isGivenBack,
            .partialCanceled where payment.answers(order, amount) && payment.isGivenBack:
            // Taken and given back, by whatever hand: not to be taken again unasked.
            return paid(change, .refunded(payment))
        case .done, .canceled, .partialCanceled, .aborted, .expired, .other:
            return held(nil, "the provider shows a payment under ended order id \(order)")
        }
    }

    private func declined(
        _ number: Int, _ answer: Answer, _ kind: DeclineClass, _ jitter: Double
    ) -> Transition {
        let before = history.timesInARow(answer.code)
        if kind == .hardUnlessNew, number == 1, history.cardIsNew {
            return change(
                .refused(number: number, answer),
                next: .after(Backoff.refused(number: number, jitter: jitter)))
        }
        if kind == .softThenFault, before >= 1 {
            return held(
                .declined(number: number, answer, killsKey: false),
                "declined twice with \(answer.code)")
        }
        let isHard =
            switch kind {
            case .hard, .hardUnlessNew: true
            case .softOnce: before >= 1
            case .softFew: before >= 2
            case .soft, .softNextDay, .softThenFault: false
            }
        let change = Transition.AttemptChange.declined(
            number: number, answer, killsKey: isHard)
        // Hard: another card of the customer, if there is one, at once; otherwise the next claim
        // finds none and waits for a new one.
        let next: Transition.Next =
            isHard
            ? .after(.zero)
            : history.declines >= history.dunningSteps
                ? .sealAfterGap
                : kind == .softNextDay
                    ? .nextDay(Backoff.nextDay(jitter: jitter))
                    : .dunning(step: history.declines)
        return Transition(
            subscription: subscription, lease: lease, charge: charge, attempt: change,
            standing: .pastDue, next: next)
    }

    private func unknown(_ number: Int, _ answer: Answer) -> Transition {
        change(.unknown(number: number, answer), next: .after(Backoff.lookUp(after: 0)))
    }

    private func paid(
        _ attempt: Transition.AttemptChange, _ change: Transition.ChargeChange
    ) -> Transition {
        Transition(
            subscription: subscription, lease: lease, charge: charge, attempt: attempt,
            chargeChange: change, standing: .good, next: .advance)
    }

    private func held(_ attempt: Transition.AttemptChange?, _ reason: String) -> Transition {
        Transition(
            subscription: subscription, lease: lease, charge: charge, attempt: attempt,
            chargeChange: .held(reason), next: .never)
    }

    private func change(
        _ attempt: Transition.AttemptChange?, next: Transition.Next
    ) -> Transition {
        Transition(
            subscription: subscription, lease: lease, charge: charge, attempt: attempt, next: next)
    }
}

extension UnpaidEnding {
    var change: Transition.ChargeChange? {
        switch self {
        case .free: .free
        case .waitsForCard, .paused: nil
        case .failed(let reason): .failed(reason)
        case .skipped(let reason): .skipped(reason)
        }
    }

    /// The charge is over with it.
    var ends: Bool {
        switch self {
        case .waitsForCard, .paused: false
        case .failed, .skipped, .free: true
        }
    }

    /// A card that never worked in time is no reason to end the agreement: the next period tries it
    /// again. No card, or no dunning left, is.
    var standing: Transition.Standing? {
        switch self {
        case .failed(.superseded): .pastDue
        case .failed(.exhausted), .failed(.noCard): .exhausted
        case .failed(.canceled): .canceled
        case .free: .good
        case .waitsForCard: .suspended
        case .skipped, .paused: nil
        }
    }
}
