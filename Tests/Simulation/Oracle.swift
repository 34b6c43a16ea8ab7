import Billing
import TestSupport

/// What must hold (fault-model.md, section 2), checked against the provider's books after every
/// execution and every write.
final class Oracle: @unchecked Sendable {
    unowned let world: World
    unowned let database: Database
    unowned let provider: Provider
    /// True time of each attempt's opening, by order id.
    private var openedAt: [String: Int64] = [:]

    init(world: World, database: Database, provider: Provider) {
        self.world = world
        self.database = database
        self.provider = provider
    }

    private var ledger: Ledger { database.ledger }

    private func charge(_ name: ApproveCall.Name) -> Ledger.Charge? {
        ledger.charges.first { $0.subscription == name.subscription && $0.period == name.period }
    }

    private func entries(_ charge: Ledger.Charge) -> [Provider.Entry] {
        provider.books.filter {
            $0.call.name.subscription == charge.subscription && $0.call.name.period == charge.period
        }
    }

    /// The provider keeps what it answers (A2), and answers what is.
    private var isHonest: Bool {
        world.swarm.forgets == 0 && world.swarm.anyCode == 0 && world.swarm.failover == 0
    }

    // MARK: At every event

    /// A worker asks for a request to be made.
    func willSend(_ request: AttemptRequest, by node: Node) {
        // After a failover with loss, what was claimed before it is in no ledger any more.
        if world.swarm.failover > 0 { return }
        let name = ApproveCall.Name(request.orderID)
        guard let charge = charge(name), name.attempt <= charge.attempts.count,
            charge.attempts[name.attempt - 1].request == request
        else { return world.fail("I5: \(request.orderID) is sent without being in the ledger") }
        if let opened = openedAt[request.orderID.value],
            world.now - opened > (13 * 86_400 + 3_600) * 1_000_000
        {
            world.fail("L2: \(request.orderID) is sent when the provider may have forgotten it")
        }
        guard world.swarm.clockSteps == 0 else { return }
        let row = ledger[subscription: name.subscription]
        let end = row.leaseUntil.map { $0.microseconds - database.clocks.real.microseconds } ?? 0
        if row.leaseOwner != node.id || end < 65_000_000 {
            world.fail("F9: \(request.orderID) is sent although the lease ends too soon")
        }
    }

    /// The provider took money.
    func approved(_ entry: Provider.Entry) {
        let name = entry.call.name
        guard let charge = charge(name) else {
            if world.swarm.failover > 0 { return }
            return world.fail("I3: \(entry.call.orderID) is paid and has no charge")
        }
        let all = entries(charge)
        if all.count > 1 {
            world.fail(
                "I1: sub \(name.subscription) period \(name.period) is paid \(all.count) times: "
                    + all.map { "\($0.call.orderID)" }.joined(separator: ", "))
        }
        if charge.isUnpaid {
            world.fail("I2: \(entry.call.orderID) is paid, its charge had ended as \(charge.state)")
        }
        if entry.call.amount != charge.terms.amount {
            world.fail(
                "I8: \(entry.call.orderID) took \(entry.call.amount.value) won, not what was frozen"
            )
        }
    }

    /// The ledger was written; `before` is how it was.
    func wrote(_ before: Ledger) {
        for (index, charge) in ledger.charges.enumerated() {
            let old = index < before.charges.count ? before.charges[index] : nil
            if old == charge { continue }
            check(charge, old)
        }
    }

    private func check(_ charge: Ledger.Charge, _ old: Ledger.Charge?) {
        let name = "sub \(charge.subscription) period \(charge.period)"
        for (index, attempt) in charge.attempts.enumerated() {
            guard let was = old, index < was.attempts.count else {
                openedAt[attempt.request.orderID.value] = world.now
                continue
            }
            let earlier = was.attempts[index]
            if earlier.request != attempt.request || earlier.fingerprint != attempt.fingerprint {
                world.fail("I5: a pinned field of \(attempt.request.orderID) changed")
            }
            if earlier.state != .open,
                earlier.state != attempt.state || earlier.finishedAt != attempt.finishedAt
            {
                world.fail("I5: \(attempt.request.orderID) had ended and changed")
            }
        }
        for attempt in charge.attempts where isHonest {
            guard attempt.state == .declined || attempt.state == .refused else { continue }
            if provider.books.contains(where: { $0.call.orderID == attempt.request.orderID }) {
                world.fail("I5: \(attempt.request.orderID) ended as \(attempt.state) and is paid")
            }
        }
        let open = charge.attempts.filter { $0.state == .open }.count
        if open > 1 { world.fail("I6: \(name) has \(open) open attempts") }
        switch charge.state {
        case .open, .held: break
        case .failed, .skipped:
            if open > 0 { world.fail("I6: \(name) ended with an open attempt") }
            if let entry = entries(charge).first {
                world.fail("I2: \(name) ended as \(charge.state) and \(entry.call.orderID) is paid")
            }
        case .paid, .refunded:
            guard charge.terms.amount.value > 0 else { return }
            let isBooked = entries(charge).contains { entry in
                entry.paymentKey == charge.paymentKey && entry.call.amount == charge.terms.amount
                    && entry.call.customerKey
                        == ledger[subscription: charge.subscription].customerKey.reveal()
                    && charge.attempts.contains { $0.request.orderID == entry.call.orderID }
            }
            if !isBooked { world.fail("I3: \(name) counts as paid, the provider's books say no") }
        }
    }

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
            guard let charge = charge(entry.call.name) else {
                return world.fail("I4: \(order) is paid and has no charge")
            }
            switch charge.state {
            case .held: break
            case .paid, .refunded:
                if charge.paymentKey != entry.paymentKey {
                    world.fail("I4: \(order) is paid, the ledger knows another payment")
                }
            case .open
            where ledger[subscription: charge.subscription].state == .paused
                && provider.isExcused(charge.subscription, charge.period) == "forgotten decline":
                // Nobody looks while the pause lasts: found when it ends, or by reconcile.
                break
            case .open, .failed, .skipped:
                world.fail("I4: \(order) is paid, its charge is \(charge.state)")
            }
        }
        for charge in ledger.charges where charge.state == .held { auditHeld(charge) }
        for row in ledger.subscriptions { audit(row) }
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
        } else if reason.hasPrefix("unresolved") {
            // So many repeats lost, one after another, are faults that last as long as the guard.
            let sends = charge.attempts.last?.sends ?? 0
            let lookUps = charge.attempts.last?.lookups ?? 0
            isFine =
                excuse != nil || world.swarm.clockJumps > 0 || world.swarm.fleetDown > 0
                || world.swarm.rotates || lookUps > 6 || sends > 20
        } else {
            isFine = excuse != nil
        }
        if !isFine {
            world.fail(
                "I7: period \(charge.period) of sub \(charge.subscription) is held without need: \(reason)"
            )
        }
    }
}
