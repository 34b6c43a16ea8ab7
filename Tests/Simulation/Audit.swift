import Billing
import TestSupport

extension Oracle {
    // MARK: When faults have stopped

    /// What is still to be done; nil: nothing.
    func unsettled() -> String? {
        let clocks = database.clocks
        for row in ledger.subscriptions {
            if let next = row.nextChargeAt, next <= clocks.business {
                return "sub \(row.id) is due and nobody acts on it"
            }
            guard let id = row.openCharge else { continue }
            let charge = ledger[charge: id]
            if charge.state == .held || row.state == .paused && !row.attemptOpen { continue }
            return "period \(charge.period) of sub \(row.id) does not end (\(row.state))"
        }
        return nil
    }

    /// Ledger and books agree, and nothing is held without a reason.
    func audit() {
        for entry in provider.books {
            let order = entry.call.orderID
            if isLeftToReconcile(entry) { continue }
            guard let charge = charge(entry.call.name) else {
                return world.fail("I4: \(order) is paid and has no charge")
            }
            switch charge.state {
            case .held: break
            // What it took before the period was made free went back.
            case .paid where charge.terms.amount.value == 0 && entry.isGivenBack: break
            case .paid, .refunded:
                if charge.paymentKey != entry.paymentKey {
                    world.fail("I4: \(order) is paid, the ledger knows another payment")
                }
            case .open
            where ledger[subscription: charge.subscription].state == .paused
                && database.hasFailedOver && entry.call.name.attempt > charge.attempts.count:
                // Its name is in no ledger: found when the pause ends, or by reconcile.
                break
            case .open, .failed, .skipped:
                world.fail("I4: \(order) is paid, its charge is \(charge.state)")
            }
        }
        for charge in ledger.charges where charge.state == .held { auditHeld(charge) }
        for row in ledger.subscriptions { audit(row) }
    }

    /// A name of it was refused, and copies are made on the way: one may be executed, since nobody
    /// promises that refusals are kept.
    private func wasCopiedRefusal(_ charge: Ledger.Charge) -> Bool {
        world.swarm.doubled > 0 && charge.attempts.contains { $0.state == .refused }
    }

    /// A failover lost the charge, and nobody asks for it again because the subscription rests or a
    /// person has it: only the comparison with the provider's books finds such a payment.
    private func isLeftToReconcile(_ entry: Provider.Entry) -> Bool {
        guard database.hasFailedOver else { return false }
        let charge = charge(entry.call.name)
        guard charge == nil || charge?.attempts.isEmpty == true else { return false }
        let row = ledger[subscription: entry.call.name.subscription]
        return row.nextChargeAt == nil && (charge == nil || charge?.state == .open)
    }

    private func audit(_ row: Ledger.Subscription) {
        let ended = ledger.charges.filter {
            $0.subscription == row.id && $0.period < row.periodIndex
        }
        if ended.count != row.periodIndex {
            world.fail(
                "I7: sub \(row.id) has \(ended.count) charges for \(row.periodIndex) periods")
        }
        if row.cycle.start(from: row.anchorAt, row.periodIndex - row.anchorIndex) != row.periodAt {
            world.fail(
                "I7: period \(row.periodIndex) of sub \(row.id) does not start where it should")
        }
        let isHeld = row.openCharge.map { ledger[charge: $0].state == .held } ?? false
        if row.state == .active || row.state == .pastDue, row.nextChargeAt == nil, !isHeld {
            world.fail("I7: sub \(row.id) is \(row.state) and nothing is planned")
        }
        for charge in ledger.charges
        where charge.subscription == row.id && charge.state == .open && charge.id != row.openCharge
        {
            world.fail("I7: period \(charge.period) of sub \(row.id) is open and nobody's")
        }
    }

    /// With an honest provider, and faults shorter than the age guard, nothing is held.
    private func auditHeld(_ charge: Ledger.Charge) {
        let excuse = provider.isExcused(charge.subscription, charge.period)
        let reason = charge.reason ?? ""
        let isFine: Bool
        if reason.hasPrefix("too many attempts") {
            isFine = charge.attempts.count >= ledger.numbers.maximumAttempts
        } else if reason.hasPrefix("claimed ") {
            isFine = database.silentFaults >= 5
        } else if reason.hasPrefix("missed") {
            isFine = true
        } else if reason.hasPrefix("paid under earlier") {
            isFine = excuse != nil || database.hasFailedOver || wasCopiedRefusal(charge)
        } else if reason.hasPrefix("unresolved") {
            // So many repeats lost, one after another, are faults that last as long as the guard.
            let sends = charge.attempts.last?.sends ?? 0
            let lookUps = charge.attempts.last?.lookups ?? 0
            isFine =
                excuse != nil || provider.wasSilent || world.swarm.clockJumps > 0
                || world.swarm.fleetDown > 0
                || world.swarm.rotates || lookUps > 6 || sends > 20
                // The last look at all twenty names, of which one at a time is not answered.
                || reason.hasPrefix("unresolved: nothing says") && database.hasFailedOver
        } else {
            isFine = excuse != nil || database.hasFailedOver
        }
        if !isFine {
            world.fail(
                "I7: period \(charge.period) of sub \(charge.subscription) is held without need: \(reason)"
            )
        }
    }
}
