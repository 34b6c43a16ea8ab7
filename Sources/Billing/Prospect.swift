/// What will happen to a subscription by itself, told ahead by the very rules that will do it.
package struct Prospect: Hashable, Sendable {
    /// On the business clock; not before.
    package var at: Instant
    package var step: Step
    package init(at: Instant, step: Step) {
        self.at = at
        self.step = step
    }
}

extension SubscriptionHistory {
    /// The steps that ``Step/decide(_:_:)`` would take if nothing changed: waits are followed to the
    /// first step that depends on an answer or ends something. Empty: nothing is planned.
    package var prospects: [Prospect] {
        guard let next = row.nextChargeAt, row.heldReason == nil else { return [] }
        var at = max(fleet.now, next)
        if let lease = row.leaseUntil, fleet.realNow < lease { at = max(at, fleet.business(lease)) }
        var due = due
        var prospects: [Prospect] = []
        // A row waits at most for a rest, for the period's end and for a seal.
        while prospects.count < 4 {
            due.now = at
            due.looksFirst = fleet.looksFirst(due.periodStart, at: at)
            due.charge?.attempt?.quietOver = row.quietUntil.map { $0 <= fleet.real(at) } ?? true
            let step = Step.decide(due, fleet.numbers)
            prospects.append(Prospect(at: at, step: step))
            guard case .write(let decision) = step.action, decision.chargeChange == nil else {
                break
            }
            switch decision.next {
            case .at(let later) where later > at: at = later
            case .periodEnd where due.periodEnd > at:
                at = due.periodEnd
                if step.opensCharge {
                    due.charge = DueSubscription.OpenCharge(
                        id: ChargeID(0), terms: due.terms, declines: 0, attempt: nil)
                }
                if decision.standing == .suspended { due.state = .suspended }
            default: return prospects
            }
        }
        return prospects
    }
}

/// What a person who wants a declined charge tried now is told.
package enum RetryVerdict: Hashable, Sendable {
    /// It becomes due now.
    case due
    /// It is due already.
    case alreadyDue
    /// It cannot be: why, and what helps instead.
    case refused(String)
}

extension SubscriptionHistory {
    /// Whether the open, declined charge may become due now.
    package var retry: RetryVerdict {
        let id = due.id.value
        if let reason = row.heldReason {
            return .refused(
                "the row is set aside (\(reason)): mend it, then billing.resume(\(id))")
        }
        guard let charge = due.charge else { return .refused(withoutCharge) }
        if charge.isHeld {
            return .refused(
                "charge \(charge.id.value) is held for a person: billingd release "
                    + "\(charge.id.value) --why … ends that, and asks the provider first")
        }
        if let lease = row.leaseUntil, fleet.realNow < lease {
            return .refused(
                "a worker has it in hand until \(fleet.zone.text(lease)) at the latest: try again "
                    + "then")
        }
        guard let attempt = charge.attempt else {
            return .refused(
                due.card == nil
                    ? "nothing was tried yet, because there is no card: register one, then it is "
                        + "charged at once"
                    : "nothing was tried yet, so that there is nothing to try again: billingd "
                        + "explain \(id) says what it waits for")
        }
        if attempt.state == .open {
            return .refused(
                "attempt \(attempt.request.number) is open: a request under \(attempt.request.orderID) "
                    + "may have been executed, and nothing is tried beside it. billingd explain "
                    + "\(id) says when the provider is asked about it")
        }
        switch due.state {
        case .paused: return .refused("it is paused: billing.resume(\(id)) tries it at once")
        case .canceled: return .refused("it is cancelled: what is cancelled is not charged")
        case .active, .pastDue, .suspended: break
        }
        if let cancelAt = due.cancelAt, cancelAt <= fleet.now {
            return .refused("it is cancelled as of \(fleet.zone.text(cancelAt))")
        }
        if due.card == nil, fleet.now < due.periodEnd {
            return .refused("there is no card to try: register a new one, then it is tried at once")
        }
        if let next = row.nextChargeAt, next <= fleet.now { return .alreadyDue }
        return retryByRule
    }

    /// As if it were due now: a rest, or the next attempt, is what was wished for.
    private var retryByRule: RetryVerdict {
        var now = self
        now.row.nextChargeAt = fleet.now
        switch now.prospects.last?.step.action {
        case .ask(.send, _): return .due
        case .ask(.seal(_, _, .failed(let reason)), _):
            return .refused(Self.words(reason, steps: due.dunningSteps))
        case .write(let decision):
            if case .held(let reason) = decision.chargeChange {
                return .refused("it would be held: \(reason)")
            }
            if case .waits(let reason) = decision.chargeChange {
                return .refused("it \(reason.rawValue); a new card need not wait")
            }
            return .refused("nothing would be tried: billingd explain \(due.id.value) says why")
        case .ask(.resolve, _), .ask(.seal, _), nil:
            return .refused("nothing would be tried: billingd explain \(due.id.value) says why")
        }
    }

    private var withoutCharge: String {
        let id = due.id.value
        if due.state == .suspended {
            let last = periods.last.map {
                "period \($0.index) ended as \($0.state)\($0.reason.map { " (\($0))" } ?? "")"
            }
            return
                "it is suspended and has no open charge: \(last ?? "the last period ended"), and "
                + "what has ended is never tried again. billing.resume(\(id)) charges again "
                + "from the next period that begins; collect the period that was missed another way"
        }
        let next = row.nextChargeAt.map { "; the next charge is due at \(fleet.zone.text($0))" }
        return "it has no open charge: there is nothing to try again\(next ?? "")"
    }

    private static func words(_ reason: FailReason, steps: Int) -> String {
        switch reason {
        case .exhausted:
            "dunning is exhausted: all \(steps) retries of the plan are used up, and the charge ends "
                + "as failed after a last look at the provider"
        case .superseded:
            "its period is over: the charge ends as failed after a last look at the provider, and "
                + "the next period is charged instead"
        case .noCard: "its period is over and there is no card: the charge ends as failed"
        case .canceled: "it is cancelled: the charge ends as failed"
        }
    }
}
