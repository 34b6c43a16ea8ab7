package import Billing

/// What the web app may do at any time, with the triggers of `schema.sql` that follow it. False: the
/// database refuses it.
extension Ledger {
    /// `billing.subscribe()`. Returns the id.
    @discardableResult
    package mutating func subscribe(customer: Int, plan: Int, startsAt: Instant) -> Int64 {
        let id = Int64(subscriptions.count + 1)
        subscriptions.append(
            Subscription(
                id: id, customer: customer, plan: plan, anchorAt: startsAt,
                cycle: plans[plan].cycle, periodAt: startsAt, nextChargeAt: startsAt))
        return id
    }

    /// A new card: `billing.use_new_key()` makes the customer's declined charges due at once.
    @discardableResult
    package mutating func addCard(customer: Int, clock: Instant) -> Int64 {
        let id = Int64(cards.count + 1)
        let key = cardSeries == 1 ? "card\(id)" : "card\(id)-\(cardSeries)"
        cards.append(Card(id: id, customer: customer, key: BillingKey(key), createdAt: clock))
        for row in subscriptions where row.customer == customer {
            guard row.state == .pastDue || row.state == .suspended, row.card == nil,
                let charge = row.openCharge,
                !row.attemptOpen, self[charge: charge].state != .held
            else { continue }
            self[subscription: row.id].nextChargeAt =
                row.nextChargeAt.map { min($0, clock) } ?? clock
        }
        return id
    }

    package mutating func deleteCard(_ id: Int64) {
        if cards[Int(id) - 1].state == .active { cards[Int(id) - 1].state = .deleted }
    }

    /// `billing.cancel()`.
    @discardableResult
    package mutating func cancel(_ id: Int64, now: Bool, clock: Instant) -> Bool {
        let row = self[subscription: id]
        let date =
            now ? clock : row.openCharge.map { self[charge: $0].end } ?? row.periodAt
        return update(id, clock) { $0.cancelAt = date }
    }

    /// `billing.change_plan()`, from the next charge on.
    package mutating func changePlan(_ id: Int64, _ plan: Int) {
        self[subscription: id].plan = plan
    }

    /// `billing.change_amount()`, from the next charge on; nil: the plan's again.
    package mutating func changeAmount(_ id: Int64, _ amount: Won?) {
        self[subscription: id].amount = amount
    }

    /// Takes a cancel back.
    @discardableResult
    package mutating func uncancel(_ id: Int64, clock: Instant) -> Bool {
        update(id, clock) { $0.cancelAt = nil }
    }

    @discardableResult
    package mutating func pause(_ id: Int64, clock: Instant) -> Bool {
        update(id, clock) { $0.state = .paused }
    }

    /// `billing.resume()`: nothing for a row that runs.
    @discardableResult
    package mutating func resume(_ id: Int64, clock: Instant) -> Bool {
        switch self[subscription: id].state {
        case .active, .pastDue: true
        case .paused, .suspended, .canceled: update(id, clock) { $0.state = .active }
        }
    }

    /// Another card of the customer, or none in particular.
    @discardableResult
    package mutating func choose(_ card: Int64?, for id: Int64, clock: Instant) -> Bool {
        update(id, clock) { $0.card = card }
    }

    /// `billing.retry_now()`.
    @discardableResult
    package mutating func retryNow(_ id: Int64, clock: Instant) -> Bool {
        let row = self[subscription: id]
        guard let charge = row.openCharge, self[charge: charge].state == .open, !row.attemptOpen,
            row.state == .pastDue || row.state == .suspended
        else { return false }
        self[subscription: id].nextChargeAt = row.nextChargeAt.map { min($0, clock) } ?? clock
        self[subscription: id].askedAt = clock
        return true
    }

    /// An update by the web app; one that `billing.follow_subscription()` refuses changes nothing.
    private mutating func update(
        _ id: Int64, _ clock: Instant, _ body: (inout Subscription) -> Void
    ) -> Bool {
        let old = self[subscription: id]
        guard old.state != .canceled else { return false }
        var new = old
        body(&new)
        follow(old, &new, clock)
        self[subscription: id] = new
        return true
    }

    private func follow(_ old: Subscription, _ new: inout Subscription, _ clock: Instant) {
        let became = new.state != old.state ? new.state : nil
        if became == .paused, !new.attemptOpen {
            let end = new.cancelAt.flatMap { cancelAt -> Instant? in
                if new.openCharge != nil { return max(cancelAt, clock) }
                return cancelAt <= new.periodAt ? cancelAt : nil
            }
            let charge = new.openCharge.map { self[charge: $0] }
            let finished = charge?.state == .open ? charge?.attempts.last?.finishedAt : nil
            let look = finished.map { max($0 + numbers.gap, clock) }
            new.nextChargeAt = [end, look].compactMap { $0 }.min()
        } else if became == .active {
            new.resumedAt = clock
            new.askedAt = clock
            if new.openCharge == nil {
                new.nextChargeAt = new.periodAt
            } else {
                new.state = .pastDue
                if !new.attemptOpen || new.nextChargeAt == nil { new.nextChargeAt = clock }
            }
        }
        if new.cancelAt != old.cancelAt {
            if new.openCharge == nil, let was = old.cancelAt, was <= new.periodAt {
                let goesOn = new.state == .active || new.state == .pastDue
                new.nextChargeAt = goesOn ? new.periodAt : nil
            }
            followCancel(&new, clock)
        }
        if new.card != old.card, new.openCharge != nil, !new.attemptOpen,
            new.state == .pastDue || new.state == .suspended
        {
            new.nextChargeAt = clock
        }
    }

    /// `billing.ladder_date()`.
    private func ladderDate(_ row: Subscription, _ charge: Charge, _ clock: Instant) -> Instant {
        guard let last = charge.attempts.last, last.state == .declined,
            let finished = last.finishedAt
        else { return clock }
        let ladder = plans[row.plan].dunning
        let rung = charge.declines - 1
        return min(
            charge.end, finished + (ladder.indices.contains(rung) ? ladder[rung] : numbers.gap))
    }

    private func followCancel(_ new: inout Subscription, _ clock: Instant) {
        guard let cancelAt = new.cancelAt else {
            // The cancel had made it due: dunning goes on where it was.
            if let id = new.openCharge, !new.attemptOpen, new.state == .pastDue,
                new.nextChargeAt != nil, self[charge: id].state == .open
            {
                new.nextChargeAt = ladderDate(new, self[charge: id], clock)
            }
            return
        }
        if new.openCharge == nil {
            // A cancel that commits before the claim wins.
            let effective = cancelAt <= clock ? min(cancelAt, new.periodAt) : cancelAt
            new.cancelAt = effective
            if effective <= new.periodAt { new.nextChargeAt = effective }
        } else if !new.attemptOpen {
            let date = max(cancelAt, clock)
            new.nextChargeAt = new.nextChargeAt.map { min($0, date) } ?? date
        }
    }
}
