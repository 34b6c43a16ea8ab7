import TestSupport

/// How much goes wrong, how often, over how many charges.
struct Plan: Sendable {
    var charges: Int
    /// Periods that each subscription is charged for: the charges come in so many waves.
    var rounds: Int
    var kills: Int
    var freezes: Int
    /// Graceful stops, a fifth of them hurried by a second signal.
    var stops: Int
    /// Of PostgreSQL, by turns in order, immediate and by SIGKILL.
    var crashes: Int
    var terminations: Int
    /// COMMITs that meet a cut.
    var commitCuts: Int
    var databaseWires: Int
    var providerWires: Int
    var blackHoles: Int
    var hangs: Int
    var weathers: Int
    var fullDisks: Int
    /// Real time from one fault to the next, on average.
    var pause: Duration

    /// What CI runs.
    static let short = Plan(
        charges: 2_000, rounds: 2, kills: 100, freezes: 16, stops: 20, crashes: 10,
        terminations: 10, commitCuts: 300, databaseWires: 30, providerWires: 40, blackHoles: 2,
        hangs: 4, weathers: 12, fullDisks: 2, pause: .milliseconds(150))

    /// What is run before a release.
    static let long = Plan(
        charges: 100_000, rounds: 10, kills: 2_000, freezes: 300, stops: 400, crashes: 200,
        terminations: 200, commitCuts: 10_000, databaseWires: 600, providerWires: 800,
        blackHoles: 40, hangs: 80, weathers: 240, fullDisks: 20, pause: .milliseconds(150))

    /// The share of one round, with the remainders in the first.
    func round(_ number: Int) -> Plan {
        func share(_ all: Int) -> Int { all / rounds + (number < all % rounds ? 1 : 0) }
        var plan = self
        for path in Self.counts { plan[keyPath: path] = share(self[keyPath: path]) }
        return plan
    }

    /// A part of it, at least one of each.
    func scaled(by factor: Double) -> Plan {
        var plan = self
        for path in Self.counts {
            plan[keyPath: path] = max(1, Int(Double(self[keyPath: path]) * factor))
        }
        plan.rounds = max(1, Int((Double(rounds) * factor).rounded(.up)))
        return plan
    }

    private static var counts: [WritableKeyPath<Plan, Int>] {
        [
            \.charges, \.kills, \.freezes, \.stops, \.crashes, \.terminations, \.commitCuts,
            \.databaseWires, \.providerWires, \.blackHoles, \.hangs, \.weathers, \.fullDisks,
        ]
    }

    /// The faults of this plan in an order that the dice make.
    func faults(workers: Int, _ dice: inout Dice) -> [Fault] {
        var faults: [Fault] = []
        for _ in 0..<kills { faults.append(.kill(worker: dice.below(workers))) }
        for _ in 0..<freezes {
            let leases = Double(50 + dice.below(201)) / 100
            faults.append(.freeze(worker: dice.below(workers), leases: leases))
        }
        for number in 0..<stops {
            let worker = dice.below(workers)
            faults.append(
                number % 5 == 4
                    ? .hurry(worker: worker)
                    : .stop(worker: worker, successorFirst: number % 2 == 0))
        }
        for _ in 0..<crashes { faults.append(.restart(dice.among(Cluster.Ending.allCases))) }
        for _ in 0..<terminations { faults.append(.endBackends(1 + dice.below(8))) }
        var left = commitCuts
        while left > 0 {
            let count = min(left, 1 + dice.below(6))
            faults.append(.cutCommits((0..<count).map { _ in Self.commitCut(&dice) }))
            left -= count
        }
        for _ in 0..<databaseWires {
            faults.append(.damageDatabase(Self.damages(&dice, longest: 4_000)))
        }
        for _ in 0..<providerWires {
            faults.append(.damageProvider(Self.damages(&dice, longest: 900)))
        }
        for _ in 0..<blackHoles { faults.append(.blackHole(dice.seconds(0.5...4))) }
        for _ in 0..<hangs { faults.append(.hangProvider(dice.seconds(0.5...2.5))) }
        for _ in 0..<weathers { faults.append(.weather(Self.weather(&dice))) }
        for _ in 0..<fullDisks { faults.append(.fillDisk(dice.seconds(1...4))) }
        faults.shuffle(using: &dice)
        return [.weather(Self.weather(&dice))] + faults
    }

    /// Half of them where it hurts most: committed, and nobody says so.
    private static func commitCut(_ dice: inout Dice) -> CuttingProxy.Cut {
        switch dice.below(40) {
        case 0: .stall
        case 1...4: .halfClose
        case 5...10: .beforeForwarding
        case 11...20: .afterForwarding
        default: .afterAnswer
        }
    }

    private static func damages(_ dice: inout Dice, longest: Int) -> [CuttingProxy.Damage] {
        (0..<1 + dice.below(3)).map { _ in
            switch dice.below(20) {
            case 0: .stall
            case 1...3: .halfClose
            case 4...11: .cutRequest(bytes: dice.below(longest))
            default: .cutAnswer(bytes: dice.below(longest))
            }
        }
    }

    /// Some of the sandbox's faults, each striking every n-th approval that comes to it.
    private static func weather(_ dice: inout Dice) -> [String] {
        let kinds = [
            #""action":"executeAndDrop""#, #""action":"executeAndDrop""#,
            #""action":"dropBefore""#, #""action":"hang""#, #""action":"cut""#,
            #""action":"garbage""#, #""action":"otherOrder""#, #""action":"otherAmount""#,
            #""action":"executeAndFail""#,
            #""action":"executeAndFail","code":"FAILED_DB_PROCESSING","remembers":false"#,
            #""action":"executeAndFail","code":"IDEMPOTENT_REQUEST_PROCESSING","remembers":false"#,
            // Kept under the key: lost on its way, it is replayed to every repeat.
            #""action":"refuse","code":"MAINTAINED_METHOD""#,
            #""action":"refuse","code":"TOO_MANY_REQUESTS""#,
            #""action":"refuse","code":"FAILED_INTERNAL_SYSTEM_PROCESSING""#,
            #""action":"latency","milliseconds":0,"toMilliseconds":1600"#,
            #""action":"latency","milliseconds":0,"toMilliseconds":300"#,
        ]
        return (0..<2 + dice.below(4)).map { _ in
            "{\(dice.among(kinds)),\"every\":\(3 + dice.below(14))}"
        }
    }
}
