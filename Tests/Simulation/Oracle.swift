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
    /// True time at which a request of a name last left, and the not-founds heard of it since.
    var doubts: [String: (sentAt: Int64, notFounds: Int, lastAt: Int64)] = [:]

    init(world: World, database: Database, provider: Provider) {
        self.world = world
        self.database = database
        self.provider = provider
    }

    var ledger: Ledger { database.ledger }

    func charge(_ name: ApproveCall.Name) -> Ledger.Charge? {
        ledger.charges.first { $0.subscription == name.subscription && $0.period == name.period }
    }

    func entries(_ charge: Ledger.Charge) -> [Provider.Entry] {
        provider.books.filter {
            $0.call.name.subscription == charge.subscription && $0.call.name.period == charge.period
        }
    }

    /// An ended name that may be paid all the same: nobody promises that a refusal is kept, so that a
    /// copy made on the way of the refused request may be executed.
    private func mayBePaid(_ attempt: Ledger.Attempt) -> Bool {
        switch attempt.state {
        case .open, .approved: true
        case .refused: !isHonest || world.swarm.doubled > 0
        case .declined: !isHonest
        }
    }

    /// The provider keeps what it answers (A2), and answers what is.
    private var isHonest: Bool {
        world.swarm.forgets == 0 && world.swarm.anyCode == 0 && !database.hasFailedOver
    }

    // MARK: At every event

    /// A worker asks for a request to be made.
    func willSend(_ request: AttemptRequest, by node: Node) {
        // After a failover with loss, what was claimed before it is in no ledger any more.
        if database.hasFailedOver { return }
        let name = ApproveCall.Name(request.orderID)
        guard let charge = charge(name), name.attempt <= charge.attempts.count,
            charge.attempts[name.attempt - 1].request == request
        else { return world.fail("I5: \(request.orderID) is sent without being in the ledger") }
        if let opened = openedAt[request.orderID.value],
            // 13 days by the database's clock, whose steps back add up; the provider forgets after 15.
            world.now - opened > 14 * 86_400 * 1_000_000
        {
            world.fail("L2: \(request.orderID) is sent when the provider may have forgotten it")
        }
        guard world.swarm.clockSteps == 0 else { return }
        checkRepeat(request)
        if !ends(ledger.numbers.requestTimeout, within: name, of: node) {
            world.fail("F9: \(request.orderID) is sent although the lease ends too soon")
        }
    }

    /// A worker asks for a look-up that may take so long.
    func willLookUp(_ order: OrderID, _ timeout: Duration, by node: Node) {
        if database.hasFailedOver || world.swarm.clockSteps > 0 { return }
        if !ends(timeout, within: ApproveCall.Name(order), of: node) {
            world.fail("F9: \(order) is looked up although the lease ends too soon")
        }
    }

    /// Whether a request that takes so long ends within the worker's lease.
    private func ends(_ span: Duration, within name: ApproveCall.Name, of node: Node) -> Bool {
        let row = ledger[subscription: name.subscription]
        guard row.leaseOwner == node.id, let end = row.leaseUntil else { return false }
        return database.clocks.real + span <= end
    }

    /// The provider took money.
    func approved(_ entry: Provider.Entry) {
        let name = entry.call.name
        guard let charge = charge(name) else {
            if database.hasFailedOver { return }
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
        if name.attempt <= charge.attempts.count {
            let attempt = charge.attempts[name.attempt - 1]
            if !mayBePaid(attempt) {
                world.fail("I5: \(entry.call.orderID) had ended as \(attempt.state) and is paid")
            }
        }
        checkDay(of: entry)
        if entry.call.amount != charge.terms.amount, !database.hasFailedOver {
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
        for attempt in charge.attempts where !mayBePaid(attempt) {
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
            guard charge.terms.amount.value > 0 else {
                if let entry = entries(charge).first(where: { !$0.isGivenBack }) {
                    world.fail("I2: \(name) counts as free and \(entry.call.orderID) is paid")
                }
                return
            }
            // What a failover lost is found under a name that is in no ledger any more.
            let isBooked = entries(charge).contains { entry in
                entry.paymentKey == charge.paymentKey && entry.call.amount == charge.terms.amount
                    && entry.call.customerKey
                        == ledger[subscription: charge.subscription].customerKey.reveal()
                    && (database.hasFailedOver
                        || charge.attempts.contains { $0.request.orderID == entry.call.orderID })
            }
            if !isBooked { world.fail("I3: \(name) counts as paid, the provider's books say no") }
        }
    }
}
