package import Billing

/// `billing.end_hold()`.
extension Ledger {
    package enum HoldEnd: Sendable, Hashable {
        case open, failed
        /// Only the attempt ends, too old to be sent again; the charge stays held.
        case held
        case paid(order: OrderID, paymentKey: String)
        case refunded(order: OrderID, paymentKey: String, Won)

        var state: Charge.State {
            switch self {
            case .open: .open
            case .failed: .failed
            case .held: .held
            case .paid: .paid
            case .refunded: .refunded
            }
        }

        /// The payment that is left, or was the last to be cancelled.
        var payment: (order: OrderID, key: String)? {
            switch self {
            case .paid(let order, let key), .refunded(let order, let key, _): (order, key)
            case .open, .failed, .held: nil
            }
        }

        var refunded: Won? {
            if case .refunded(_, _, let won) = self { won } else { nil }
        }
    }

    /// Throws ``Violation`` where the function raises.
    package mutating func endHold(
        _ id: Int64, _ end: HoldEnd, by user: String, why: String, at clocks: Clocks
    ) throws {
        guard id <= charges.count else { throw Violation(rule: "there is no such charge") }
        let before = self
        do {
            try endHold(self[charge: id], end, user, why, clocks)
        } catch {
            self = before
            throw error
        }
    }

    private mutating func endHold(
        _ charge: Charge, _ end: HoldEnd, _ user: String, _ why: String, _ clocks: Clocks
    ) throws {
        let row = self[subscription: charge.subscription]
        guard charge.state == .held else { throw Violation(rule: "the charge is not held") }
        guard row.leaseUntil.map({ $0 <= clocks.real }) ?? true else {
            throw Violation(rule: "the subscription is in a worker's hand")
        }
        let isCurrent = row.openCharge == charge.id
        switch end {
        case .held: return try endAttempt(charge, isCurrent, clocks.business)
        case .paid(let order, let paymentKey):
            try adopt(order, paymentKey, charge, clocks.business)
        case .refunded(let order, let paymentKey, let won):
            guard won >= Won(1), won <= charge.terms.amount else {
                throw Violation(rule: "refunded: 1 to the charge's amount")
            }
            try adopt(order, paymentKey, charge, clocks.business)
        case .open, .failed:
            guard charge.paymentKey == nil else {
                throw Violation(rule: "the charge has a payment: paid or refunded")
            }
            if end == .open, !isCurrent { throw Violation(rule: "its period is over") }
        }
        try close(charge, end, "\(user): \(why)", clocks.business)
        if isCurrent { goOn(row.id, charge, end, clocks.business) }
        var data = Event.Data(period: charge.period, amount: charge.terms.amount)
        data.hold = [user, why, charge.reason]
        data.paymentKey = end.payment?.key
        data.refunded = end.refunded
        let type = end == .open ? "released" : end.state.rawValue
        tell("charge." + type, (row.id, charge.id), data)
    }

    private mutating func endAttempt(
        _ charge: Charge, _ isCurrent: Bool, _ clock: Instant
    ) throws {
        guard let last = charge.attempts.indices.last, charge.attempts[last].state == .open,
            charge.attempts[last].openedAt + numbers.lastSendAge <= clock
        else { throw Violation(rule: "no open attempt that is too old to be sent again") }
        self[charge: charge.id].attempts[last].state = .refused
        self[charge: charge.id].attempts[last].finishedAt = clock
        self[charge: charge.id].attempts[last].code = "NOT_FOUND_PAYMENT"
        self[charge: charge.id].attempts[last].inDoubt = false
        guard isCurrent else { return }
        self[subscription: charge.subscription].lease += 1
        self[subscription: charge.subscription].attemptOpen = false
    }

    private mutating func adopt(
        _ order: OrderID, _ paymentKey: String, _ charge: Charge, _ clock: Instant
    ) throws {
        let id = charge.id
        let found = self[charge: id].attempts.firstIndex { $0.request.orderID == order }
        guard let found else { throw Violation(rule: "no attempt of this order id") }
        var attempt = self[charge: id].attempts[found]
        if attempt.state != .open, attempt.state != .approved {
            attempt.contradiction = paymentKey
        }
        if attempt.state == .open {
            attempt.state = .approved
            attempt.code = "LOOKED_UP"
        }
        attempt.finishedAt = attempt.finishedAt ?? clock
        attempt.inDoubt = false
        self[charge: id].attempts[found] = attempt
        guard let known = charge.paymentKey, known != paymentKey else { return }
        // The payment that was cancelled: late news of it is no news.
        for (index, other) in self[charge: id].attempts.enumerated()
        where index != found && other.state == .approved && other.contradiction == nil {
            self[charge: id].attempts[index].contradiction = known
        }
    }

    private mutating func close(
        _ charge: Charge, _ end: HoldEnd, _ why: String, _ clock: Instant
    ) throws {
        var new = self[charge: charge.id]
        new.state = end.state
        new.reason = end == .open ? nil : "\(why) (held: \(charge.reason ?? ""))"
        if let key = end.payment?.key, new.paymentKey != key {
            guard !charges.contains(where: { $0.paymentKey == key }) else {
                throw Violation(rule: "charges_payment_key_unique")
            }
            if new.paymentKey != nil { new.refunded = nil }
            new.paymentKey = key
        }
        new.refunded = end.refunded ?? new.refunded
        try guardCharge(from: charge.state, new, clock)
        self[charge: charge.id] = new
    }

    private mutating func goOn(_ id: Int64, _ charge: Charge, _ end: HoldEnd, _ clock: Instant) {
        var row = self[subscription: id]
        if end == .open {
            row.nextChargeAt = clock
            row.askedAt = clock
        } else if let cancelAt = row.cancelAt, cancelAt <= charge.end {
            row.nextChargeAt = max(cancelAt, clock)
        } else if row.state == .canceled || row.state == .paused
            || row.state == .suspended && end == .failed
        {
            row.nextChargeAt = nil
        } else {
            row.nextChargeAt = charge.end
        }
        if end.payment != nil, row.state == .pastDue || row.state == .suspended {
            row.state = .active
        }
        row.lease += 1
        row.leaseUntil = nil
        row.leaseOwner = nil
        row.claims = 0
        if end != .open {
            row.periodIndex += 1
            row.periodAt = charge.end
            row.openCharge = nil
            row.attemptOpen = false
        }
        self[subscription: id] = row
    }
}
