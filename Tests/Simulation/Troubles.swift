import Billing
import TestSupport

/// What happens to workers, store, provider and clocks.
extension Director {
    /// Something was just written: a good moment for trouble.
    func disturb() {
        if world.isCalm { return }
        let swarm = world.swarm
        let soon = world.dice.duration(.zero, .seconds(world.dice.happens(0.5) ? 2 : 200))
        if world.strikes(swarm.crash / 8) {
            world.after(soon) { [unowned self] in
                if let node = nodes.randomElement(using: &world.dice) { crash(node, .crashIdle) }
            }
        }
        if world.strikes(swarm.stall / 4) { world.after(soon) { [unowned self] in stallOne() } }
        if world.strikes(swarm.stop / 4) {
            world.after(soon) { [unowned self] in
                guard let node = nodes.randomElement(using: &world.dice) else { return }
                world.note(.stopped, Int64(node.id), "worker \(node.id) is asked to stop")
                node.stop()
                replace(node)
            }
        }
        if world.strikes(swarm.wishes / 20) { world.after(soon) { [unowned self] in wish() } }
        if world.strikes(swarm.pauses / 10) { world.after(soon) { [unowned self] in pauseFleet() } }
        if swarm.rotates, !hasRotated, world.dice.happens(0.1) {
            hasRotated = true
            world.after(soon) { [unowned self] in rotate() }
        }
        if swarm.deploys, !hasDeployed, world.dice.happens(0.1) {
            hasDeployed = true
            world.after(soon) { [unowned self] in deploy() }
        }
        if world.strikes(swarm.fleetDown / 20) {
            world.after(soon) { [unowned self] in fleetDown() }
        }
        if world.strikes(swarm.storeDown / 20) {
            world.after(soon) { [unowned self] in storeDown() }
        }
        if world.strikes(swarm.failover / 20) {
            world.after(soon) { [unowned self] in
                if !world.isCalm, database.failOver() { changeMinds() }
            }
        }
        if world.strikes(swarm.outage / 20) { world.after(soon) { [unowned self] in outage() } }
        if world.strikes(swarm.clockSteps / 20) {
            world.after(soon) { [unowned self] in stepClock() }
        }
        if world.strikes(swarm.clockJumps / 40) {
            world.after(soon) { [unowned self] in jumpClock() }
        }
        if world.strikes(swarm.console / 5) {
            world.after(soon) { [unowned self] in provider.cancelOne() }
        }
        if world.strikes(swarm.strays / 5) { world.after(soon) { [unowned self] in payWrongly() } }
        if world.strikes(swarm.silence / 20) {
            world.after(soon) { [unowned self] in
                guard !world.isCalm, !provider.wasSilent else { return }
                let days = 14 + world.dice.below(10)
                world.note(
                    .silence, Int64(days), "the provider says nothing clear for \(days) days")
                provider.fallSilent(for: .seconds(86_400 * days))
            }
        }
    }

    private func payWrongly() {
        let open = database.ledger.charges.filter { $0.state == .open && !$0.attempts.isEmpty }
        guard !world.isCalm, let charge = open.randomElement(using: &world.dice),
            let last = charge.attempts.last
        else { return }
        provider.payWrongly(last.request.orderID, charge.terms.amount)
    }

    private func stallOne() {
        guard !world.isCalm, let node = nodes.randomElement(using: &world.dice), !node.isAsleep
        else { return }
        database.silentFaults += 1
        let lease = database.ledger.numbers.lease
        let span = world.dice.duration(lease / 20, lease * 5 / 2)
        world.note(
            span > lease ? .stallBeyondLease : .stall, Int64(node.id),
            "worker \(node.id) stands still for \(span / .seconds(1)) s")
        node.stall(for: span)
    }

    private func fleetDown() {
        guard !fleetIsDown, !world.isCalm else { return }
        fleetIsDown = true
        let days = 1 + world.dice.below(20)
        world.note(.fleetDown, Int64(days), "no worker for \(days) days")
        for node in nodes { node.crash() }
        nodes = []
        world.after(.seconds(86_400 * days)) { [unowned self] in
            fleetIsDown = false
            startNode()
        }
    }

    // MARK: Outages and clocks

    func scheduleOutages(_ horizon: Int64) {
        for _ in 0..<Int(world.swarm.wishes) {
            world.at(horizon / 1_000 * Int64(world.dice.below(1_000))) { [unowned self] in wish() }
        }
    }

    private func storeDown() {
        let isLong = world.dice.happens(0.1)
        let span = world.dice.duration(.seconds(1), .seconds(isLong ? 3_600 : 400))
        let kind = world.dice.among(Database.Trouble.allCases)
        world.note(kind.mark, 0, "the store is \(kind) for \(span / .seconds(1)) s")
        database.goDown(kind, for: span)
    }

    private func outage() {
        let mark = world.dice.among([
            Mark.providerDown, .maintenance, .tooMany, .unauthorized, .refusedBefore500,
        ])
        let span = world.dice.duration(
            .seconds(10), .seconds(world.dice.happens(0.2) ? 20_000 : 900))
        world.note(mark, 0, "the provider is out for \(span / .seconds(1)) s")
        provider.breakDown(mark, for: span)
    }

    private func stepClock() {
        let step = world.dice.duration(.seconds(-3_600), .seconds(7_200))
        // Backwards no more than the margin between 13 days and what the provider remembers.
        guard database.clockError + step > .seconds(-7_200) else { return }
        database.clockError += step
        world.note(.clockStep, 0, "the database's clock steps by \(step / .seconds(1)) s")
        planPump()
    }

    private func jumpClock() {
        let days = 1 + world.dice.below(60)
        database.clockOffset += .seconds(86_400 * days)
        world.note(.clockJump, Int64(days), "the business clock jumps by \(days) days")
        planPump()
    }

    private func pauseFleet() {
        guard database.ledger.pausedReason == nil else { return }
        database.ledger.pausedReason = "by the operator"
        world.note(.fleetPaused, 0, "")
        world.after(world.dice.duration(.seconds(10), .seconds(7_200))) { [unowned self] in
            database.ledger.pausedReason = nil
            planPump()
        }
    }

    /// The secret key changes: pause, drain, rebind, workers with the new key.
    private func rotate() {
        database.ledger.pausedReason = "rotation"
        world.after(.seconds(1_200)) { [unowned self] in
            fingerprint += 1
            database.ledger.fingerprint = fingerprint
            database.ledger.pausedReason = nil
            world.note(.keyRotated, Int64(fingerprint), "the secret key is another one")
            for row in database.ledger.subscriptions where row.attemptOpen {
                world.note(.rotatedWhileOpen, row.id, "sub \(row.id) has an open attempt")
            }
            let old = nodes
            nodes = []
            for node in old {
                guard world.dice.happens(0.3) else {
                    node.stop()
                    continue
                }
                nodes.append(node)
                // Left behind with the old key, until somebody sees that it is refused.
                world.after(world.dice.duration(.zero, .seconds(600))) { [unowned self] in
                    guard node.isAlive else { return }
                    node.stop()
                    replace(node)
                }
            }
            if !fleetIsDown { for _ in 0..<world.swarm.workers { startNode() } }
            planPump()
        }
    }

    /// A new version of program and schema: for a while workers of both run, one of them refused.
    private func deploy() {
        guard !world.isCalm, !fleetIsDown else { return }
        version += 1
        let new = version
        world.note(.deployed, Int64(new), "version \(new) comes")
        let old = nodes
        startNode()
        world.after(world.dice.duration(.zero, .seconds(600))) { [unowned self] in
            database.schemaVersion = new
            planPump()
        }
        for node in old {
            world.after(world.dice.duration(.zero, .seconds(900))) { [unowned self] in
                guard node.isAlive else { return }
                node.stop()
                replace(node)
            }
        }
    }
}
