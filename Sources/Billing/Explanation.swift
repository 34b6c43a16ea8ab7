/// What happened to a subscription and what comes next, in sentences for people and fields for
/// machines. Pure: made of a ``SubscriptionHistory`` and nothing else.
package struct Explanation: Encodable, Sendable {
    package var subscriptionID: Int64
    package var state: String
    /// Who it is and how it stands.
    package var summary: String
    /// How many older periods were left out.
    package var olderPeriods: Int
    package var periods: [Period]
    /// Why it is not being charged at this moment.
    package var obstacles: [Reason]
    /// What comes next, in order.
    package var next: [Step]

    package struct Period: Encodable, Sendable {
        package var periodIndex: Int
        package var chargeID: Int64
        package var state: String
        package var amount: Int64
        /// Every payment that the ledger knows of: one at most, unless a promise was broken.
        package var paymentKeys: [String]
        package var orderIDs: [String]
        package var sentences: [String]
    }

    package struct Reason: Encodable, Sendable {
        package var code: String
        package var sentence: String
    }

    package struct Step: Encodable, Sendable {
        /// ISO 8601 in the ledger's zone, on the business clock.
        package var at: String
        package var sentence: String
    }

    /// `meaning`: the provider's code in words.
    package init(_ history: SubscriptionHistory, meaning: (String) -> String?) {
        let fleet = history.fleet
        subscriptionID = history.due.id.value
        state = history.due.state.rawValue
        summary = Self.summary(history)
        olderPeriods = history.olderPeriods
        periods = history.periods.map { period in
            Period(
                periodIndex: period.index, chargeID: period.charge, state: period.state,
                amount: period.amount.value, paymentKeys: period.payments,
                orderIDs: period.attempts.map(\.order.value),
                sentences: [period.head(fleet.zone)]
                    + period.attempts.flatMap { $0.sentences(fleet.zone, meaning) }
                    + period.byHand.map { $0.sentence(fleet.zone) } + [period.count]
                    + (period.receiptURL.map { ["Receipt: \($0)"] } ?? []))
        }
        obstacles = history.obstacles.map {
            Reason(code: $0.code, sentence: $0.sentence(history.due.id, fleet))
        }
        next = history.prospects.map { prospect in
            Step(
                at: fleet.zone.text(prospect.at),
                sentence: prospect.sentence(fleet.zone, history))
        }
    }

    private static func summary(_ history: SubscriptionHistory) -> String {
        let due = history.due
        var text =
            "Subscription \(due.id.value), plan \(history.row.planID) "
            + "(\(history.row.planName)): \(won(due.terms.amount.value)) every \(history.row.cycle), "
            + "\(due.state.words)."
        if let cancelAt = due.cancelAt, due.state != .canceled {
            text += " It ends at \(history.fleet.zone.text(cancelAt))."
        }
        return text + " It is \(history.fleet.zone.text(history.fleet.now)) on the business clock."
    }

    /// The whole as text, a line a sentence.
    package var text: String {
        var lines = [summary]
        if olderPeriods > 0 { lines.append("\(olderPeriods) older periods: --all tells them.") }
        if periods.isEmpty { lines.append("No period was charged yet.") }
        for period in periods {
            lines.append("")
            lines.append(period.sentences[0])
            lines += period.sentences.dropFirst().map { "  \($0)" }
        }
        lines += ["", "Now:"] + obstacles.map { "  \($0.sentence)" }
        lines += ["", "Next:"] + next.map { "  \($0.sentence)" }
        if next.isEmpty { lines.append("  Nothing happens by itself.") }
        return lines.joined(separator: "\n")
    }
}

extension DueSubscription.State {
    fileprivate var words: String {
        switch self {
        case .active: "active"
        case .pastDue: "past due"
        case .suspended: "suspended"
        case .canceled: "cancelled"
        case .paused: "paused"
        }
    }
}

extension SubscriptionHistory.Period {
    fileprivate func head(_ zone: Zone) -> String {
        let span = "Period \(index), from \(zone.day(start)) to \(zone.day(end)) (charge \(charge))"
        let money = won(amount.value)
        switch state {
        case "paid" where amount.value == 0: return "\(span): free."
        case "paid":
            return "\(span): paid, \(money) at \(paidAt.map(zone.text) ?? "an unknown time")."
        case "refunded":
            return "\(span): paid, \(money), and \(won(refunded?.value ?? 0)) of it given back."
        case "open": return "\(span): open, \(money)\(reason.map { "; it \($0)" } ?? "")."
        case "skipped":
            let why =
                switch reason {
                case "missed":
                    "nobody charged it in time, and the plan catches up with the latest only"
                case "paused": "it began while the subscription was paused or suspended"
                default: reason ?? "no reason given"
                }
            return "\(span): skipped, because \(why)."
        case "failed":
            let why =
                switch reason {
                case "exhausted": "all retries were declined"
                case "superseded": "the next period came before it was paid"
                case "canceled": "the subscription was cancelled"
                case "no_card": "there was no card to charge"
                default: reason ?? "no reason given"
                }
            return "\(span): not paid, \(money), because \(why)."
        default: return "\(span): \(state), \(money): \(reason ?? "no reason given")."
        }
    }

    /// The accountant's question: how often was it charged?
    package var count: String {
        let payments = payments
        switch payments.count {
        case 0 where amount.value == 0 && state == "paid": return "There was nothing to pay."
        case 0:
            if attempts.contains(where: { $0.state == "open" && $0.inDoubt }) {
                return "The ledger knows of no payment for this period yet; one request's outcome "
                    + "is not known."
            }
            return "The ledger knows of no payment for this period."
        case 1:
            return "The ledger knows of exactly one payment for this period: \(payments[0])."
        default:
            return "The ledger knows of \(payments.count) payments for this period: "
                + "\(payments.joined(separator: ", ")). All but one must be given back at the provider."
        }
    }
}

extension SubscriptionHistory.Attempt {
    fileprivate func sentences(_ zone: Zone, _ meaning: (String) -> String?) -> [String] {
        let card = cardNumber.map { "card \($0)" } ?? "card \(cardID)"
        var text = "Attempt \(number), order id \(order), \(won(amount.value)) with \(card), "
        text +=
            sentAt.map { "sent at \(zone.text($0))" }
            ?? "opened at \(zone.text(openedAt)), not sent"
        if sends > 1 { text += " (sent \(times(sends)) under this name)" }
        text += ": \(ending(zone, meaning))"
        if let traceID { text += " Trace id \(traceID)." }
        guard let contradiction else { return [text] }
        return [
            text,
            "The provider shows payment \(contradiction) under this name all the same: a contradiction.",
        ]
    }

    private func ending(_ zone: Zone, _ meaning: (String) -> String?) -> String {
        var answer = code.map { code in
            meaning(code).map { "\(code), \($0)" } ?? code
        }
        if let status = httpStatus, let text = answer { answer = "\(text) (HTTP \(status))" }
        let looked = lookups == 0 ? "" : " It was looked up \(times(lookups))."
        let at = finishedAt.map { " at \(zone.text($0))" } ?? ""
        switch state {
        case "approved":
            return code == "LOOKED_UP"
                ? "approved; no answer came, the payment was found by a look-up\(at)."
                : "approved\(at)." + looked
        case "declined": return "declined\(at) with \(answer ?? "no code")." + looked
        case "refused":
            // A person ended it: the ledger's function says who and why.
            if let message, message.hasPrefix("ended by ") { return "\(message)\(at)." + looked }
            return "refused\(at) without touching the card: \(answer ?? "no code")." + looked
        default:
            if !inDoubt { return "it did not leave this side (\(answer ?? "given back unsent"))." }
            let since = unknownSince.map { " since \(zone.text($0))" } ?? ""
            return
                (unknownSince == nil
                ? "no answer is recorded yet."
                : "its outcome is unknown\(since) (last: \(answer ?? "no answer")).") + looked
        }
    }
}

extension SubscriptionHistory.Deed {
    fileprivate func sentence(_ zone: Zone) -> String {
        let what =
            switch type {
            case "charge.released": "released the held charge"
            case "charge.failed": "gave the held charge up"
            case "charge.paid": "ended the hold with the payment that the provider shows"
            case "charge.retried": "made it due at once"
            default: type
            }
        return "By hand, at \(zone.text(at)): \(by) \(what): \(why)."
    }
}

extension Prospect {
    fileprivate func sentence(_ zone: Zone, _ history: SubscriptionHistory) -> String {
        let when =
            at <= history.fleet.now ? "As soon as a worker may" : "At \(zone.text(at))"
        switch step.action {
        case .ask(let task, let opensAttempt):
            return "\(when), \(Self.sentence(task, opensAttempt, history))"
        case .write(let decision):
            return "\(when), \(Self.sentence(decision, opens: step.opensCharge, zone, history))"
        }
    }

    private static func sentence(
        _ task: ProviderTask, _ opensAttempt: Bool, _ history: SubscriptionHistory
    ) -> String {
        switch task {
        case .send(let request, let earlier, let isRepeat, _):
            let card = history.row.cardNumber.map { "card \($0)" } ?? "card \(request.billingKeyID)"
            let first =
                earlier.isEmpty
                ? ""
                : " after \(earlier.count) order id\(earlier.count == 1 ? "" : "s") of the charge "
                    + "\(earlier.count == 1 ? "was" : "were") looked up and none is paid"
            if isRepeat {
                return "\(request.orderID) is sent again under the same name\(first): "
                    + "\(won(request.amount.value))."
            }
            if !opensAttempt {
                return "\(request.orderID) is sent\(first): \(won(request.amount.value))."
            }
            return
                "attempt \(request.number) charges \(won(request.amount.value)) to \(card), order "
                + "id \(request.orderID)\(first)."
        case .resolve(let request, _):
            return "the provider is asked about \(request.orderID): a payment found is recorded, "
                + "nothing else is done meanwhile."
        case .seal(let orders, _, let ending):
            return
                "\(orders.count) order id\(orders.count == 1 ? " is" : "s are") looked up a last "
                + "time; unless one is paid, \(sentence(ending, history))"
        }
    }

    private static func sentence(
        _ ending: UnpaidEnding, _ history: SubscriptionHistory
    ) -> String {
        switch ending {
        case .skipped(.missed):
            "the period is skipped, because it went by uncharged and the plan catches up with the "
                + "latest only; then comes the next one."
        case .skipped(.paused):
            "the period is skipped, because it began while the subscription was paused or "
                + "suspended; then comes the next one."
        case .free: "the period is recorded as free; then comes the next one."
        case .waitsForCard:
            "the charge waits for a card, until the period's end at "
                + "\(history.fleet.zone.text(history.due.periodEnd))."
        case .paused: "the charge waits for the end of the pause."
        case .failed(let reason):
            "the charge ends as failed (\(reason.rawValue))\(after(reason, history))."
        }
    }

    private static func after(_ reason: FailReason, _ history: SubscriptionHistory) -> String {
        switch reason {
        case .superseded: " and the next period is charged"
        case .canceled: " and the subscription with it"
        case .exhausted, .noCard:
            history.row.onExhausted == "cancel"
                ? " and the plan cancels the subscription"
                : " and the plan suspends the subscription"
        }
    }

    private static func sentence(
        _ decision: Step.Decision, opens: Bool, _ zone: Zone, _ history: SubscriptionHistory
    ) -> String {
        switch decision.chargeChange {
        case .skipped(let reason): return sentence(.skipped(reason), history)
        case .free: return sentence(.free, history)
        case .held(let reason): return "the charge is held for a person: \(reason)."
        case .failed(let reason): return sentence(.failed(reason), history)
        case .paid, .refunded: return "the charge is recorded as paid."
        case .waits(let reason):
            guard case .at(let then) = decision.next else {
                return "the charge \(reason.rawValue)."
            }
            return "the charge \(reason.rawValue), until \(zone.text(then))."
        case nil: break
        }
        switch (decision.standing, decision.next) {
        case (.canceled, _): return "the subscription ends as cancelled."
        case (_, .periodEnd):
            return sentence(.waitsForCard, history)
        case (_, .at(let then)): return "it is looked at, and waits until \(zone.text(then))."
        default: return "it is looked at, and nothing is planned any more."
        }
    }
}
