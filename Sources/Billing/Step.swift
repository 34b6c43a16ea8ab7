/// What a due row calls for. Decided under the row lock, without I/O.
package struct Step: Hashable, Sendable {
    /// The charge of the period must be opened first, in the same transaction.
    package var opensCharge: Bool
    package var action: Action

    /// The row is held for what it is, not for what became of its charge.
    package var isWrongRow: Bool {
        if case .write(let decision) = action { return decision.isWrongRow }
        return false
    }

    package enum Action: Hashable, Sendable {
        /// Ask the provider. A `.send` with `opensAttempt` writes the attempt first; without, it
        /// puts the open attempt in doubt again.
        case ask(ProviderTask, opensAttempt: Bool)
        /// Nothing to ask of the provider.
        case write(Decision)
    }

    /// A transition whose charge may still have to be opened.
    package struct Decision: Hashable, Sendable {
        /// The end of an attempt that never left.
        package var attempt: Transition.AttemptChange?
        package var chargeChange: Transition.ChargeChange?
        package var standing: Transition.Standing?
        package var next: Transition.Next
        /// See ``Step/isWrongRow``.
        package var isWrongRow = false
    }

    /// The step of a due row. Total: every row gets one, a nonsensical row is held.
    package static func decide(_ row: DueSubscription, _ numbers: FleetNumbers) -> Step {
        guard let charge = row.charge else { return openPeriod(row, numbers) }
        if charge.isHeld { return local(next: .never) }
        guard let attempt = charge.attempt else { return firstAttempt(row, charge, numbers) }
        if attempt.state == .open { return openAttempt(row, attempt, numbers) }
        return endedAttempt(row, charge, attempt, numbers)
    }

    // MARK: No charge is open: a new period

    private static func openPeriod(_ row: DueSubscription, _ numbers: FleetNumbers) -> Step {
        if let cancelAt = row.cancelAt, cancelAt <= row.periodStart {
            if row.now < cancelAt { return local(next: .at(cancelAt)) }
            // The database may have forgotten that the period was charged before it was cancelled.
            if row.looksFirst, row.periodStart <= row.now {
                let amount = row.problem == nil ? row.terms.amount : Won(0)
                return end(row, amount, .failed(.canceled), opens: true, numbers)
            }
            return local(standing: .canceled, next: .never)
        }
        // Suspended ones wait for resume(), whatever date they were given.
        if row.state != .active, row.state != .pastDue { return local(next: .never) }
        if row.now < row.periodStart { return local(next: .at(row.periodStart)) }
        if let problem = row.problem { return hold(wrong: problem, opens: true) }
        if let resumedAt = row.resumedAt, row.periodStart < resumedAt {
            return end(row, row.terms.amount, .skipped(.paused), opens: true, numbers)
        }
        if row.periodEnd <= row.now {
            switch row.catchUp {
            case .latest:
                return end(row, row.terms.amount, .skipped(.missed), opens: true, numbers)
            case .hold: return hold(missed, opens: true)
            case .each: break
            }
        }
        return charge(row, terms: row.terms, opens: true, numbers)
    }

    /// Attempt 1 of a period whose charge is, or will be, open and has none.
    private static func charge(
        _ row: DueSubscription, terms: DueSubscription.Terms, opens: Bool, _ numbers: FleetNumbers
    ) -> Step {
        if terms.amount.value == 0 { return end(row, terms.amount, .free, opens: opens, numbers) }
        guard let card = row.card else {
            return end(row, terms.amount, .waitsForCard, opens: opens, numbers)
        }
        if let wait = keyWait(row, card) { return Step(opensCharge: opens, action: .write(wait)) }
        let request = request(row, terms: terms, card: card, number: 1)
        let task = ProviderTask.send(
            request, earlier: row.looksFirst ? names(row, through: numbers.maximumAttempts) : [],
            isRepeat: false, tries: 0)
        return Step(opensCharge: opens, action: .ask(task, opensAttempt: true))
    }

    private static func firstAttempt(
        _ row: DueSubscription, _ charge: DueSubscription.OpenCharge, _ numbers: FleetNumbers
    ) -> Step {
        if row.silentClaims > numbers.maximumSilentClaims { return hold(wrong: poison(row)) }
        let amount = charge.terms.amount
        if row.isCanceled { return end(row, amount, .failed(.canceled), numbers) }
        // Not "never": a cancel may be to come, or somebody resume it before this is written.
        if row.state == .paused { return local(next: .periodEnd) }
        if let problem = row.problem { return hold(wrong: problem) }
        if row.looksFirst, isOfPause(row, charge) {
            return end(row, amount, .skipped(.paused), numbers)
        }
        // Opened only to be held, by a claim whose record was lost: its terms are none.
        if charge.terms.orderName == "?" {
            return hold(wrong: "the row made no sense when it fell due")
        }
        // The claim that opened it to hold it was lost: nobody has looked.
        let isOver = row.periodEnd <= row.now
        if isOver, row.catchUp == .hold, row.silentClaims > 1 { return hold(missed) }
        let isTooLate =
            row.catchUp == .latest || row.catchUp == .hold && row.state == .suspended
        if isOver, isTooLate || row.card == nil {
            // No card to the end ends the agreement; one that came, or was free again, too late does
            // not.
            if let card = row.card, row.state != .active || keyWait(row, card) != nil {
                return end(row, amount, .failed(.superseded), numbers)
            }
            let ending: UnpaidEnding = row.state == .active ? .skipped(.missed) : .failed(.noCard)
            return end(row, amount, ending, numbers)
        }
        // A missed period of a plan that holds is open because a person released it.
        return Self.charge(row, terms: charge.terms, opens: false, numbers)
    }

    /// The end of a charge for which nothing was ever sent, as far as the database knows, or its wait
    /// for a card: where it may have forgotten, the provider is asked first, as by a seal.
    private static func end(
        _ row: DueSubscription, _ amount: Won, _ ending: UnpaidEnding, opens: Bool = false,
        _ numbers: FleetNumbers
    ) -> Step {
        guard row.looksFirst else {
            let next: Transition.Next =
                switch ending {
                case .failed(.canceled): .never
                case .waitsForCard, .paused: .periodEnd
                case .failed, .skipped, .free: .advance
                }
            return local(ending.change, standing: ending.standing, next: next, opens: opens)
        }
        let task = ProviderTask.seal(
            names(row, through: numbers.maximumAttempts), amount: amount, ending: ending)
        return Step(opensCharge: opens, action: .ask(task, opensAttempt: false))
    }

    /// The charge was opened to ask about a period that is to be skipped, since it began in a pause,
    /// and there was no answer yet. One that is tried because somebody resumed it was opened before.
    private static func isOfPause(
        _ row: DueSubscription, _ charge: DueSubscription.OpenCharge
    ) -> Bool {
        guard let resumedAt = row.resumedAt, let openedAt = charge.openedAt else { return false }
        let isAsked = row.askedAt.map { $0 > openedAt } ?? false
        return row.periodStart < resumedAt && resumedAt <= openedAt && !isAsked
    }

    // MARK: An attempt is open: nothing else may happen before it ends

    private static func openAttempt(
        _ row: DueSubscription, _ attempt: DueSubscription.LastAttempt, _ numbers: FleetNumbers
    ) -> Step {
        if row.silentClaims > numbers.maximumSilentClaims { return hold(wrong: poison(row)) }
        if attempt.openedAt + numbers.holdAge <= row.now {
            return hold("unresolved: the provider gave no answer that ends the attempt in time")
        }
        let maySend = attempt.sameKey && row.now < attempt.openedAt + numbers.lastSendAge
        if !attempt.inDoubt, row.isCanceled, row.state != .canceled {
            // Nobody wants it any more, and nothing of it ever left: it ends unsent. The seal looks once
            // more before the charge does.
            let decision = Decision(
                attempt: .refused(
                    number: attempt.request.number, Answer(code: "CANCELED_UNSENT")),
                chargeChange: nil, standing: nil, next: .sealAfterGap)
            return Step(opensCharge: false, action: .write(decision))
        }
        if maySend, !attempt.inDoubt || attempt.absent {
            let earlier = names(row, before: attempt.request.number, numbers)
            let task = ProviderTask.send(
                attempt.request, earlier: earlier, isRepeat: attempt.inDoubt,
                tries: attempt.notSents)
            return Step(opensCharge: false, action: .ask(task, opensAttempt: false))
        }
        // Each re-send begins the ladder one rung higher: a provider that answers a name with the same
        // error for days is asked every two hours, not every few minutes. Never less often while the
        // name may be sent again: a few lost answers must not cost the 13 days.
        let rung = attempt.lookups + max(0, attempt.sends - 1)
        let doubt = ProviderTask.Doubt(
            lookups: maySend ? min(rung, Backoff.lastRungOfSends) : rung,
            notFounds: attempt.notFounds, quietOver: attempt.quietOver && maySend)
        return Step(
            opensCharge: false, action: .ask(.resolve(attempt.request, doubt), opensAttempt: false))
    }

    // MARK: The last attempt ended without money: another one, or the end

    private static func endedAttempt(
        _ row: DueSubscription, _ charge: DueSubscription.OpenCharge,
        _ attempt: DueSubscription.LastAttempt, _ numbers: FleetNumbers
    ) -> Step {
        if row.silentClaims > numbers.maximumSilentClaims { return hold(wrong: poison(row)) }
        if row.isCanceled { return seal(row, charge, attempt, .failed(.canceled), numbers) }
        // Nothing is sent in a pause, but a copy of what was sent before it may have been executed.
        if row.state == .paused { return seal(row, charge, attempt, .paused, numbers) }
        if row.periodEnd <= row.now {
            // No card to the end is the customer's doing; a card that never worked in time is not.
            let reason: FailReason = row.card == nil ? .noCard : .superseded
            return seal(row, charge, attempt, .failed(reason), numbers)
        }
        if attempt.state == .declined, charge.declines > row.dunningSteps {
            return seal(row, charge, attempt, .failed(.exhausted), numbers)
        }
        guard let card = row.card else {
            return local(standing: .suspended, next: .periodEnd)
        }
        if let problem = row.problem { return hold(wrong: problem) }
        if attempt.request.number >= numbers.maximumAttempts {
            return hold("too many attempts: \(attempt.request.number)")
        }
        let rest =
            attempt.everUnknown
            ? numbers.gap : attempt.state == .refused ? numbers.lateBound * 2 : .zero
        if let finished = attempt.finishedAt, row.now < finished + rest {
            return local(next: .at(finished + rest))
        }
        if let date = declineRest(row, attempt, card) {
            return local(next: .at(min(date, row.periodEnd)))
        }
        if let wait = keyWait(row, card) { return Step(opensCharge: false, action: .write(wait)) }
        let next = request(
            row, terms: charge.terms, card: card, number: attempt.request.number + 1)
        let task = ProviderTask.send(
            next, earlier: names(row, before: next.number, numbers), isRepeat: false, tries: 0)
        return Step(opensCharge: false, action: .ask(task, opensAttempt: true))
    }

    /// The last look before a charge ends unpaid, at least a gap after its last attempt ended.
    private static func seal(
        _ row: DueSubscription, _ charge: DueSubscription.OpenCharge,
        _ attempt: DueSubscription.LastAttempt, _ ending: UnpaidEnding, _ numbers: FleetNumbers
    ) -> Step {
        if let finished = attempt.finishedAt, row.now < finished + numbers.gap {
            return local(next: .at(finished + numbers.gap))
        }
        let task = ProviderTask.seal(
            names(row, before: attempt.request.number + 1, numbers), amount: charge.terms.amount,
            ending: ending)
        return Step(opensCharge: false, action: .ask(task, opensAttempt: false))
    }

    // MARK: Budgets of declines

    /// When the day of a decline is over, if it is not: at most one decline a day and charge, whatever
    /// made it due, because what was short this morning is short at noon, too, and each decline counts
    /// with the card networks. Another card, or a person who asked since, need not wait.
    private static func declineRest(
        _ row: DueSubscription, _ attempt: DueSubscription.LastAttempt, _ card: DueSubscription.Card
    ) -> Instant? {
        guard attempt.state == .declined, attempt.request.billingKeyID == card.id,
            let finished = attempt.finishedAt, let nextDay = attempt.nextDay, row.now < nextDay
        else { return nil }
        if let asked = row.askedAt, asked >= finished { return nil }
        return nextDay
    }

    /// Waiting until the card's budget has room, or for the period's end, which ends the charge by
    /// the normal rules.
    private static func keyWait(
        _ row: DueSubscription, _ card: DueSubscription.Card
    ) -> Decision? {
        guard let freeAt = card.freeAt, row.now < freeAt else { return nil }
        let date = row.now < row.periodEnd ? min(freeAt, row.periodEnd) : freeAt
        return Decision(chargeChange: .waits(.keyDeclines), standing: nil, next: .at(date))
    }

    // MARK: Pieces

    private static func request(
        _ row: DueSubscription, terms: DueSubscription.Terms, card: DueSubscription.Card,
        number: Int
    ) -> AttemptRequest {
        AttemptRequest(
            number: number,
            orderID: OrderID(prefix: row.orderPrefix, period: row.periodIndex, attempt: number),
            billingKeyID: card.id, billingKey: card.billingKey, customerKey: row.customerKey,
            amount: terms.amount, taxFreeAmount: terms.taxFreeAmount, orderName: terms.orderName)
    }

    /// What must be looked up before attempt `number` may be sent: the names before it. When the
    /// database may have forgotten attempts every name the charge can have is one: the first may have
    /// been refused, which the provider does not show, and the second paid.
    private static func names(
        _ row: DueSubscription, before number: Int, _ numbers: FleetNumbers
    ) -> [OrderID] {
        // `maximumAttempts` may have been lowered since.
        names(row, through: row.looksFirst ? max(numbers.maximumAttempts, number - 1) : number - 1)
    }

    private static func names(_ row: DueSubscription, through number: Int) -> [OrderID] {
        guard number >= 1 else { return [] }
        return (1...number).map {
            OrderID(prefix: row.orderPrefix, period: row.periodIndex, attempt: $0)
        }
    }

    private static let missed = "missed: the period went by uncharged"

    private static func poison(_ row: DueSubscription) -> String {
        "claimed \(row.silentClaims - 1) times without any result: it may be what stops the workers"
    }

    private static func hold(_ reason: String, opens: Bool = false) -> Step {
        local(.held(reason), next: .never, opens: opens)
    }

    /// Held because the row makes no sense, or may kill workers.
    private static func hold(wrong reason: String, opens: Bool = false) -> Step {
        let decision = Decision(
            chargeChange: .held(reason), standing: nil, next: .never, isWrongRow: true)
        return Step(opensCharge: opens, action: .write(decision))
    }

    private static func local(
        _ change: Transition.ChargeChange? = nil, standing: Transition.Standing? = nil,
        next: Transition.Next, opens: Bool = false
    ) -> Step {
        let decision = Decision(chargeChange: change, standing: standing, next: next)
        return Step(opensCharge: opens, action: .write(decision))
    }
}

extension DueSubscription {
    /// Cancelled as of now: dunning ends.
    fileprivate var isCanceled: Bool {
        if state == .canceled { return true }
        guard let cancelAt else { return false }
        return cancelAt <= now
    }
}
