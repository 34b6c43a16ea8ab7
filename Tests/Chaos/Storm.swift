import Foundation
import Glibc
import Postgres
import TestSupport

/// Chaos: the faults of a plan, while the business clock runs fast and charges fall due.
struct Storm {
    /// Seconds on the business clock in one real second: ladders of minutes and hours are climbed
    /// while it storms, and the ten minutes that a late request may take are two real seconds.
    static let speed = 300.0
    static let workers = 4

    let site: Site
    let plan: Plan
    let seed: UInt64
    private var dice: Dice
    private var shop: Shop
    private let database: Cluster
    private let sandbox: Sandbox
    private let databaseWire: CuttingProxy
    private let providerWire: CuttingProxy
    private let fleet: Fleet
    private let disk: Disk?
    private var struck: [String: Int] = [:]
    private var applied: [String: Int] = [:]
    private(set) var story: [String] = []
    private var released = 0

    init(_ site: Site, _ plan: Plan, seed: UInt64) async throws {
        self.site = site
        self.plan = plan
        self.seed = seed
        var dice = Dice(seed: seed)
        let secretKey = "test_sk_" + dice.text(24)
        let owner = try await Owner()
        disk = try await Disk.mount(
            site.folder.appending(path: "disk"), megabytes: plan.charges > 10_000 ? 2_000 : 500)
        let database = try Cluster(
            disk?.folder.appending(path: "pg") ?? site.folder.appending(path: "pg"), owner,
            logs: site.folder.appending(path: "postgres"))
        try await database.initialize()
        try await database.start()
        sandbox = try await Sandbox(
            secretKey: secretKey, latencyMilliseconds: 20,
            into: site.folder.appending(path: "sandbox"))
        databaseWire = try CuttingProxy(.postgres(socket: database.socket))
        providerWire = try CuttingProxy(.tcp(port: Int(sandbox.port)))
        shop = Shop(database, sandbox, secretKey: secretKey)
        fleet = Fleet(
            environment: [
                "DATABASE_URL": "\(databaseWire.address) dbname=\(Cluster.database) user=worker",
                "TOSS_API_URL": "http://127.0.0.1:\(providerWire.port)",
                "TOSS_SECRET_KEY": secretKey, "LOG_FORMAT": "json", "BILLINGD_LISTEN": "off",
            ], options: ["--max-in-flight", "24", "--poll-interval", "0.2"],
            logs: site.folder.appending(path: "workers"))
        self.database = database
        self.dice = dice
    }

    /// All rounds; the verdicts are printed. True: every promise held.
    mutating func run() async throws -> Bool {
        let start = ContinuousClock.now
        try await shop.open(lateBound: "10 minutes")
        let subscriptions = plan.charges / plan.rounds
        // As long as the faults of a round take, so that charges fall due to the end.
        let faults = plan.round(0).faults(workers: Self.workers, &dice).count
        let real = plan.pause * faults
        try await shop.subscribe(subscriptions, over: real * Self.speed, &dice)
        try await fleet.start(Self.workers)
        var isSound = true
        for round in 0..<plan.rounds where isSound {
            let weather = plan.round(round).faults(workers: Self.workers, &dice)
            try await begin(round)
            try await storm(weather, over: real)
            isSound = try await calm(round)
        }
        try await fleet.end(within: .seconds(75))
        let findings = await fleet.findings
        for finding in findings { site.say("FOUND \(finding)") }
        let leaks = try Leaks.scan(
            site.folder, secretKey: shop.secretKey, keys: shop.billingKeys,
            skipping: disk?.folder)
        site.say(leaks.text)
        try await summarize(took: ContinuousClock.now - start)
        return isSound && findings.isEmpty && leaks.found.isEmpty
    }

    // MARK: One round

    /// The clocks of business and provider jump to the round's month.
    private func begin(_ round: Int) async throws {
        let seconds = try await database.run(
            """
            SELECT extract(epoch FROM billing.period_start(min(anchor_at), '1 month', \(round))
                - now())::float8 AS s FROM billing.subscriptions
            """)[0].double("s")
        try await setClock(offset: max(seconds, 0))
        try sandbox.call("PUT", "clock", "{\"offsetSeconds\":\(Int(max(seconds, 0)))}")
    }

    private func setClock(offset seconds: Double) async throws {
        try await database.run(
            """
            UPDATE billing.settings SET clock_offset = greatest(
                clock_offset, make_interval(secs => \(seconds)))
            """)
    }

    private func clockOffset() async throws -> Double {
        try await database.run(
            "SELECT extract(epoch FROM clock_offset)::float8 AS s FROM billing.settings")[0]
            .double("s")
    }

    /// One fault after another. What a fault leaves for later (a SIGCONT) is a task of the group.
    private mutating func storm(_ faults: [Fault], over real: Duration) async throws {
        let start = ContinuousClock.now
        let offset = try await clockOffset()
        var next = start
        try await withThrowingTaskGroup { group in
            for (index, fault) in faults.enumerated() {
                next += plan.pause * Double(dice.below(200)) / 100
                let now = ContinuousClock.now
                if now < next { try await ContinuousClock().sleep(until: next) }
                // Not to be caught up with: a fault that took long shifts those that follow.
                next = max(next, ContinuousClock.now - .seconds(2))
                story.append("\(Self.text(ContinuousClock.now - start)) \(fault.text)")
                if let later = try await apply(fault) {
                    group.addTask {
                        try await ContinuousClock().sleep(for: later.after)
                        try await later.act()
                    }
                }
                guard index % 4 == 0 else { continue }
                let gone = (ContinuousClock.now - start) / .seconds(1)
                try await setClock(offset: offset + gone * (Self.speed - 1))
                try await fleet.look()
                if index % 40 == 20 { try await shop.bringNewCards(&dice) }
                if index % 40 == 32 { try await shop.changeTheirMinds(&dice) }
            }
            try await group.waitForAll()
        }
    }

    /// What undoes a fault, and when.
    private struct Later: Sendable {
        var after: Duration
        var act: @Sendable () async throws -> Void
    }

    private mutating func apply(_ fault: Fault) async throws -> Later? {
        switch fault {
        case .kill(let worker): try await fleet.kill(worker)
        case .freeze(let worker, let leases):
            let goOn = await fleet.freeze(worker)
            return Later(after: .seconds(3 * leases)) { goOn() }
        case .stop(let worker, let first): try await fleet.stop(worker, successorFirst: first)
        case .hurry(let worker):
            try await fleet.stop(worker, successorFirst: false, hurried: true)
        case .restart(let ending):
            applied["database \(ending.rawValue)", default: 0] += 1
            try await database.end(ending)
            try await database.start()
        case .endBackends(let count):
            let ended = try await database.run(
                """
                SELECT count(pg_terminate_backend(pid)) AS n FROM (
                    SELECT pid FROM pg_stat_activity WHERE usename = 'worker'
                    ORDER BY random() LIMIT \(count)) AS b
                """)
            applied["backends terminated", default: 0] += try ended[0].int("n")
        case .cutCommits(let cuts):
            for cut in cuts { databaseWire.arm(cut) }
            return endsStalls(databaseWire)
        case .damageDatabase(let damages):
            for damage in damages { databaseWire.arm(damage) }
            return endsStalls(databaseWire)
        case .damageProvider(let damages):
            for damage in damages { providerWire.arm(damage) }
        case .blackHole(let time):
            databaseWire.stall()
            return Later(after: time) { [databaseWire] in databaseWire.resume() }
        case .hangProvider(let time):
            // Nobody calls the sandbox's own door meanwhile: the storm waits here.
            sandbox.process.kill(SIGSTOP)
            try await ContinuousClock().sleep(for: time)
            sandbox.process.kill(SIGCONT)
        case .weather(let rules):
            try count()
            try sandbox.faults("[" + rules.joined(separator: ",") + "]")
        case .fillDisk(let time):
            guard let disk else { return nil }
            try disk.fill()
            try await ContinuousClock().sleep(for: time)
            try disk.empty()
            applied["disk full", default: 0] += 1
            if await database.hasDied { try await database.start() }
        }
        return nil
    }

    /// A stalled session is closed a while later, or a worker waits 30 s for its COMMIT.
    private mutating func endsStalls(_ wire: CuttingProxy) -> Later {
        Later(after: dice.seconds(1...6)) { wire.endStalled() }
    }

    /// Adds up which faults of the provider struck.
    private mutating func count() throws {
        struct Rule: Decodable {
            var action: String
            var struck: Int
        }
        let json = try sandbox.call("GET", "faults")
        for rule in try JSONDecoder().decode([Rule].self, from: Data(json.utf8)) {
            struck[rule.action, default: 0] += rule.struck
        }
    }

    // MARK: Afterwards

    /// No more faults; the clock moves on from rung to rung until nothing is open. Then the books.
    private mutating func calm(_ round: Int) async throws -> Bool {
        databaseWire.disarm()
        databaseWire.endStalled()
        databaseWire.resume()
        providerWire.disarm()
        providerWire.endStalled()
        try count()
        try sandbox.call("DELETE", "faults")
        let start = ContinuousClock.now
        try await fleet.look()
        try await shop.bringNewCards(all: true, &dice)
        let calm = Calm(database: database, site: site)
        let isEmpty = try await calm.wait(within: .seconds(150)) {
            try await calm.release(held: "claimed ", by: shop.secretKey, sandbox)
        }
        released += isEmpty.released
        let took = ContinuousClock.now - start
        let verdict = try await Verdict.compare(database, sandbox)
        site.say("round \(round + 1): \(verdict.text)")
        site.say(
            "  backlog \(isEmpty.isEmpty ? "empty" : "NOT EMPTY") \(Self.text(took)) after the last fault"
        )
        return verdict.isSound && isEmpty.isEmpty
    }

    private func summarize(took: Duration) async throws {
        let unknown = try await database.run(
            """
            SELECT count(*) FILTER (WHERE unknown_since IS NOT NULL) AS unknown,
                   count(*) FILTER (WHERE code = 'LOOKED_UP') AS adopted,
                   count(*) FILTER (WHERE sends > 1) AS resent, count(*) AS attempts
            FROM billing.attempts
            """)[0]
        let (kills, freezes, stops) = await (fleet.kills, fleet.freezes, fleet.stops)
        func list(_ counts: [String: Int]) -> String {
            counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
                .joined(separator: ", ")
        }
        site.say(
            """
            workers: \(kills) kill -9, \(freezes) zombies, \(stops) stops
            database: \(list(applied))\(disk == nil ? ", disk full SKIPPED: " + Disk.why : "")
            wires: \(databaseWire.cuts.count) cuts between workers and database at \
            \(databaseWire.commits.count) COMMITs, \(providerWire.cuts.count) to the provider
            provider: \(list(struck))
            attempts: \(try unknown.int("attempts")), once unknown \(try unknown.int("unknown")), \
            sent again \(try unknown.int("resent")), found by look-up \(try unknown.int("adopted")); \
            \(released) holds released
            \(Self.text(took)) in all
            """)
    }

    private static func text(_ duration: Duration) -> String {
        String(format: "%.1f s", duration / .seconds(1))
    }
}
