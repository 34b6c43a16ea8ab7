import Billing
import TestSupport

/// Rules of the protocol that outcomes show too seldom, or never: they are checked themselves.
extension Oracle {
    /// A request of this name left.
    func sent(_ order: OrderID) {
        doubts[order.value] = (world.now, 0, world.now)
    }

    /// A worker heard that there is no such payment.
    func heardNotFound(_ order: OrderID) {
        doubts[order.value]?.notFounds += 1
        doubts[order.value]?.lastAt = world.now
    }

    /// A name is sent again only after two not-founds, the last of them two request timeouts after
    /// the last send. (A process that stood still in between may have sent it later than it says.)
    func checkRepeat(_ request: AttemptRequest) {
        guard world.swarm.stall == 0, let doubt = doubts[request.orderID.value] else { return }
        if doubt.notFounds < 2 {
            world.fail("\(request.orderID) is sent again after \(doubt.notFounds) not-founds")
        }
        let quiet = Int64(ledger.numbers.requestTimeout * 2 / .microseconds(1))
        if doubt.lastAt - doubt.sentAt < quiet {
            world.fail("\(request.orderID) is sent again before its quiet time is over")
        }
    }

    /// I8: never more won in a day than the operator allows.
    func checkDay(of entry: Provider.Entry) {
        guard let cap = world.swarm.maxWonPerDay, !database.hasFailedOver else { return }
        guard let opened = opened(entry), !world.isCalm else { return }
        let day = Cycle.dayInSeoul(opened)
        let sum = provider.books.reduce(0) { sum, entry in
            self.opened(entry).map { Cycle.dayInSeoul($0) } == day
                ? sum + entry.call.amount.value : sum
        }
        if sum > cap { world.fail("I8: \(sum) won in a day, the limit is \(cap)") }
    }

    private func opened(_ entry: Provider.Entry) -> Instant? {
        let name = entry.call.name
        guard let charge = charge(name), name.attempt <= charge.attempts.count else { return nil }
        let attempt = charge.attempts[name.attempt - 1]
        // A copy of a refused request, made on its way and executed later: what was refused counts as
        // no money of its day.
        return attempt.state == .refused ? nil : attempt.openedAt
    }

    /// I10: who may claim at all.
    func claimed(by node: Node, _ before: Ledger) {
        if node.version != database.schemaVersion {
            world.fail("I10: worker \(node.id) claims with version \(node.version)")
        }
        if node.fingerprint != before.fingerprint {
            world.fail("I10: worker \(node.id) claims with another secret key")
        }
        if before.pausedReason != nil {
            world.fail("I10: worker \(node.id) claims while everything is paused")
        }
        if database.identity != database.adoptedIdentity {
            world.fail("I10: worker \(node.id) claims in a database that nobody vouched for")
        }
    }

    /// A transition was written, or not; `before` is the row as it was.
    func recorded(
        _ transition: Transition, _ verdict: Verdict, by node: Node,
        _ before: Ledger.Subscription
    ) {
        guard !database.hasFailedOver else { return }
        switch transition.attempt {
        case .approved(let number, let payment, _):
            guard let id = transition.charge?.value, id <= ledger.charges.count else { return }
            let charge = ledger[charge: id]
            let isNoted = charge.attempts.contains { $0.contradiction == payment.paymentKey }
            if charge.paymentKey != payment.paymentKey, !isNoted {
                world.fail("I4: the approval of attempt \(number) was told and is not written")
            }
        default:
            let isCurrent =
                before.lease == transition.lease.value && before.leaseOwner == node.id
            if verdict == .applied, !isCurrent {
                world.fail("I6: sub \(before.id) takes an opinion from an old lease")
            }
        }
    }

    /// A worker was asked to stop and says that everything is recorded.
    func stopped(_ node: Node) {
        guard !node.hadTrouble, !database.hasFailedOver else { return }
        world.note(.stoppedClean, Int64(node.id), "worker \(node.id) has stopped")
        if let row = ledger.subscriptions.first(where: { $0.leaseOwner == node.id }) {
            world.fail("worker \(node.id) stopped and left sub \(row.id) unrecorded")
        }
    }
}
