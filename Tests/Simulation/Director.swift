import Billing
import TestSupport

/// Sets the scene of one history: workers that live and die, people with wishes, clocks and outages.
final class Director: @unchecked Sendable {
    let world: World
    let database: Database
    let provider: Provider
    let wire: Wire
    let oracle: Oracle
    private var nodes: [Node] = []
    private var lastNode = 0
    /// Of the secret key that workers are started with.
    private var fingerprint = 1
    private var fleetIsDown = false
    private var hasRotated = false
    private var pumpAt: Int64?
    private var pumpWait = Duration.seconds(1)

    init(world: World) {
        self.world = world
        database = Database(world: world)
        provider = Provider(world: world)
        wire = Wire(world: world, provider: provider, database: database)
        oracle = Oracle(world: world, database: database, provider: provider)
        connect()
    }

    private func connect() {
        database.onWrite = { [unowned self] before in
            oracle.wrote(before)
            disturb()
            pumpWait = .seconds(1)
            planPump()
        }
        database.onCrash = { [unowned self] in crash($0, $1) }
        wire.onCrash = { [unowned self] in crash($0, $1) }
        wire.willSend = { [unowned self] in oracle.willSend($0, by: $1) }
        provider.onApproved = { [unowned self] in oracle.approved($0) }
    }

    // MARK: The history

    /// Runs it all. True: every promise held.
    func run() -> Bool {
        populate()
        let horizon = Int64(world.swarm.days) * 86_400 * 1_000_000
        scheduleOutages(horizon)
        for _ in 0..<world.swarm.workers { startNode() }
        planPump()
        while world.failure == nil, world.step(until: horizon) {}
        if world.failure == nil { settle() }
        if world.failure == nil { oracle.audit() }
        dismiss()
        return world.failure == nil
    }

    private func populate() {
        let swarm = world.swarm
        let day = Duration.seconds(86_400)
        database.clockOffset = day * world.dice.below(400)
        if world.mutant == .noGap { database.ledger.numbers.gap = .zero }
        if world.mutant == .noAgeGuard {
            database.ledger.numbers.lastSendAge = day * 1_000
            database.ledger.numbers.holdAge = day * 1_001
        }
        let ladders: [[Duration]] = [
            [day, day * 3, day * 5, day * 7], [day], [], [day * 2, day],
        ]
        for _ in 0..<2 {
            var plan = Ledger.Plan(
                amount: Won(Int64(100 + world.dice.below(50_000))),
                cycle: swarm.weekly ? .days(7) : .months(1), dunning: world.dice.among(ladders))
            plan.cancelsWhenExhausted = world.dice.happens(0.3)
            plan.catchUp = world.dice.among([.latest, .latest, .latest, .each, .hold])
            database.ledger.plans.append(plan)
        }
        for customer in 1...swarm.subscriptions {
            if world.dice.happens(0.95) {
                database.ledger.addCard(customer: customer, clock: database.clocks.business)
            }
            let start = world.dice.duration(.zero, day)
            database.ledger.subscribe(
                customer: customer, plan: world.dice.below(2),
                startsAt: database.clocks.business + start)
            world.note(.subscribed, Int64(customer), "sub \(customer)")
        }
    }

    private func settle() {
        world.isCalm = true
        database.ledger.pausedReason = nil
        if !nodes.contains(where: { $0.isAlive && !$0.isAsleep && $0.fingerprint == fingerprint }) {
            startNode()
        }
        for customer in 1...world.swarm.subscriptions {
            database.ledger.addCard(customer: customer, clock: database.clocks.business)
        }
        for _ in 0..<40 {
            let clock = database.clocks.business
            for row in database.ledger.subscriptions {
                if row.openCharge != nil, row.card != nil {
                    database.ledger.choose(nil, for: row.id, clock: clock)
                }
                database.ledger.retryNow(row.id, clock: clock)
            }
            planPump()
            let limit = world.now + 12 * 3_600 * 1_000_000
            while world.failure == nil, world.step(until: limit) {}
            if world.failure != nil || oracle.unsettled() == nil { return }
        }
        world.fail("I7: " + (oracle.unsettled() ?? ""))
    }

    /// Ends the workers that can end, so that their memory goes with them.
    private func dismiss() {
        world.isCalm = true
        for node in nodes where node.isAlive { node.stop() }
        let limit = world.now + 600 * 1_000_000
        while nodes.contains(where: { $0.isAlive }), world.step(until: limit) {}
        Stage.clear()
    }

    // MARK: Workers

    private func startNode() {
        lastNode += 1
        let node = Node(id: lastNode, world: world, fingerprint: fingerprint)
        nodes.append(node)
        world.note(.started, Int64(node.id), "worker \(node.id)")
        node.start(database, wire)
    }

    private func crash(_ node: Node, _ mark: Mark) {
        guard node.isAlive else { return }
        database.silentFaults += 1
        world.note(mark, Int64(node.id), "worker \(node.id) dies")
        node.crash()
        replace(node)
    }

    private func replace(_ node: Node) {
        nodes.removeAll { $0 === node }
        guard !fleetIsDown else { return }
        world.after(world.dice.duration(.seconds(1), .seconds(900))) { [unowned self] in
            if !fleetIsDown, nodes.count < world.swarm.workers { startNode() }
        }
    }

    /// Something was just written: a good moment for trouble.
    private func disturb() {
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
        if world.strikes(swarm.fleetDown / 20) {
            world.after(soon) { [unowned self] in fleetDown() }
        }
        if world.strikes(swarm.storeDown / 20) {
            world.after(soon) { [unowned self] in storeDown() }
        }
        if world.strikes(swarm.failover / 20) {
            world.after(soon) { [unowned self] in
                if !world.isCalm { database.failOver() }
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

    private func scheduleOutages(_ horizon: Int64) {
        for _ in 0..<Int(world.swarm.wishes) {
            world.at(horizon / 1_000 * Int64(world.dice.below(1_000))) { [unowned self] in wish() }
        }
    }

    private func storeDown() {
        let isLong = world.dice.happens(0.1)
        let span = world.dice.duration(.seconds(1), .seconds(isLong ? 3_600 : 400))
        let mark: Mark = world.dice.happens(0.5) ? .storeDown : .storeReadOnly
        world.note(mark, 0, "the store is gone for \(span / .seconds(1)) s")
        database.goDown(for: span)
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
            world.note(.keyRotated, Int64(fingerprint), "")
            for node in nodes { node.stop() }
            nodes = []
            if !fleetIsDown { for _ in 0..<world.swarm.workers { startNode() } }
            planPump()
        }
    }

    // MARK: People

    private func wish() {
        if world.isCalm { return }
        let clock = database.clocks.business
        let before = database.ledger
        let row = database.ledger.subscriptions[
            world.dice.below(database.ledger.subscriptions.count)]
        let id = row.id
        switch world.dice.below(13) {
        case 0 where world.dice.happens(0.3):
            world.note(.cancelledNow, id, "sub \(id)")
            if world.mutant == .cancelIgnoresAttempt {
                database.ledger[subscription: id].state = .canceled
                database.ledger[subscription: id].nextChargeAt = nil
            } else {
                database.ledger.cancel(id, now: true, clock: clock)
            }
        case 1 where world.dice.happens(0.3):
            world.note(.cancelledAtEnd, id, "sub \(id)")
            database.ledger.cancel(id, now: false, clock: clock)
        case 0, 1, 2:
            world.note(.uncancelled, id, "sub \(id)")
            database.ledger.uncancel(id, clock: clock)
        case 3:
            world.note(.pausedRow, id, "sub \(id)")
            database.ledger.pause(id, clock: clock)
        case 4, 5:
            world.note(.resumedRow, id, "sub \(id)")
            database.ledger.resume(id, clock: clock)
        case 6, 7:
            let card = database.ledger.addCard(customer: row.customer, clock: clock)
            world.note(.newCard, id, "sub \(id) card \(card)")
        case 8:
            world.note(.cardDeleted, id, "sub \(id)")
            if let card = database.ledger.card(of: row) { database.ledger.deleteCard(card.id) }
        case 9:
            let cards = database.ledger.cards.filter { $0.customer == row.customer }
            let card = cards.randomElement(using: &world.dice)?.id
            world.note(.cardChosen, id, "sub \(id) card \(card ?? 0)")
            database.ledger.choose(card, for: id, clock: clock)
        case 10:
            world.note(.retriedNow, id, "sub \(id)")
            database.ledger.retryNow(id, clock: clock)
        case 11:
            world.note(.planChanged, id, "sub \(id)")
            changePlan(id)
        default:
            world.note(.priceChanged, id, "sub \(id)")
            let amount = Won(world.dice.happens(0.1) ? 0 : Int64(100 + world.dice.below(90_000)))
            if world.dice.happens(0.5) {
                database.ledger[subscription: id].amount = amount
            } else {
                database.ledger.plans[row.plan].amount = amount
            }
        }
        oracle.wrote(before)
        planPump()
    }

    private func changePlan(_ id: Int64) {
        if world.dice.happens(0.5) {
            database.ledger[subscription: id].plan = world.dice.below(2)
        } else {
            database.ledger.plans[world.dice.below(2)].cycle = world.dice.among([
                .days(7), .months(1), .days(10),
            ])
        }
    }

    // MARK: The pump

    /// A real worker polls every second; here one is woken when there is something to be had.
    private func planPump() {
        guard let wait = database.ledger.nextMoment(after: database.clocks) else { return }
        let pause = max(wait, .milliseconds(1))
        let time = world.now + Int64(pause / .microseconds(1))
        if let pumpAt, pumpAt <= time, pumpAt > world.now { return }
        setPump(time)
    }

    private func setPump(_ time: Int64) {
        pumpAt = time
        world.at(time) { [unowned self] in
            guard pumpAt == time else { return }
            pumpAt = nil
            pump()
        }
    }

    private func pump() {
        guard let wait = database.ledger.nextMoment(after: database.clocks) else { return }
        if wait > .zero {
            pumpWait = .seconds(1)
            return planPump()
        }
        let alive = nodes.filter { $0.isAlive }
        if let node = alive.randomElement(using: &world.dice) { node.wake() }
        if alive.count > 1, world.dice.happens(0.3) {
            alive.randomElement(using: &world.dice)?.wake()
        }
        pumpWait = min(pumpWait * 2, .seconds(120))
        setPump(world.now + Int64(pumpWait / .microseconds(1)))
    }
}
