import Billing
import TestSupport

/// Sets the scene of one history: workers that live and die, people with wishes, clocks and outages.
final class Director: @unchecked Sendable {
    let world: World
    let database: Database
    let provider: Provider
    let wire: Wire
    let oracle: Oracle
    var nodes: [Node] = []
    private var lastNode = 0
    /// Of the secret key that workers are started with.
    var fingerprint = 1
    /// Schema version of the program that workers are started with.
    var version = 1
    var fleetIsDown = false
    var hasRotated = false
    var hasDeployed = false
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
        database.onChange = { [unowned self] in planPump() }
        database.onClaim = { [unowned self] in oracle.claimed(by: $0, $1) }
        database.onRecord = { [unowned self] in oracle.recorded($0, $1, by: $2, $3) }
        database.onCrash = { [unowned self] in crash($0, $1) }
        wire.onCrash = { [unowned self] in crash($0, $1) }
        wire.onSent = { [unowned self] in oracle.sent($0) }
        wire.onNotFound = { [unowned self] in oracle.heardNotFound($0) }
        wire.willLookUp = { [unowned self] in oracle.willLookUp($0, $1, by: $2) }
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
        world.mutant?.prepare(&database.ledger)
        database.ledger.limits.wonPerDay = swarm.maxWonPerDay
        database.ledger.limits.requestsPerMinute = swarm.requestsPerMinute
        if swarm.days >= 100 { world.note(.longHistory, Int64(swarm.days), "\(swarm.days) days") }
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
        database.ledger.limits.wonPerDay = nil
        if database.identity != database.adoptedIdentity { database.adopt() }
        version = database.schemaVersion
        if !nodes.contains(where: {
            $0.isAlive && !$0.isAsleep && $0.fingerprint == fingerprint && $0.version == version
        }) {
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

    func startNode() {
        lastNode += 1
        let node = Node(
            id: lastNode, world: world, fingerprint: fingerprint, version: version)
        nodes.append(node)
        world.note(.started, Int64(node.id), "worker \(node.id)")
        node.start(database, wire) { [unowned self] in oracle.stopped(node) }
    }

    func crash(_ node: Node, _ mark: Mark) {
        guard node.isAlive else { return }
        database.silentFaults += 1
        world.note(mark, Int64(node.id), "worker \(node.id) dies")
        node.crash()
        replace(node)
    }

    func replace(_ node: Node) {
        nodes.removeAll { $0 === node }
        guard !fleetIsDown else { return }
        world.after(world.dice.duration(.seconds(1), .seconds(900))) { [unowned self] in
            if !fleetIsDown, nodes.count < world.swarm.workers { startNode() }
        }
    }

    // MARK: The pump

    /// A real worker polls every second; here one is woken when there is something to be had.
    func planPump() {
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
        // What waits for the next day's won waits for hours.
        let longest =
            database.ledger.limits.wonPerDay == nil ? Duration.seconds(900) : .seconds(21_600)
        pumpWait = min(pumpWait * 2, longest)
        setPump(world.now + Int64(pumpWait / .microseconds(1)))
    }
}
