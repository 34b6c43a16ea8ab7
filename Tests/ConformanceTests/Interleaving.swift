import Billing
import Foundation
import Postgres
import Synchronization
import TestSupport

/// Two operations at once, in every order of their statements.
struct Interleaving: Sendable {
    /// What comes to be before the two.
    var stage: [Operation]
    var first: Operation
    var second: Operation
}

/// Runs interleavings on one database.
struct Duel: Sendable {
    private let stage: PostgresSide
    private let one: Player
    private let two: Player
    private let monitor: PostgresConnection

    /// `mistake`: in the statements of both sessions; `patch`: in the schema.
    init(
        patch: String? = nil, mistake: @escaping @Sendable (String) -> String = { $0 },
        stops: @escaping @Sendable (String) -> Bool = Gate.changesSomething
    ) async throws {
        stage = try await PostgresSide(patch: patch)
        one = try await Player("session-1", beside: stage, Gate(mistake: mistake, stops: stops))
        two = try await Player("session-2", beside: stage, Gate(mistake: mistake, stops: stops))
        monitor = try await stage.database.connect()
    }

    func close() async {
        await one.side.close()
        await two.side.close()
        await stage.close()
        await monitor.close()
    }

    /// What may come of it.
    private struct Ending: Equatable, CustomStringConvertible {
        var first: String
        var second: String
        var state: String
        var description: String { "first: \(first)\nsecond: \(second)\n\(state)" }
    }

    /// Plays all orders. Returns their number, and what must not be.
    func play(_ interleaving: Interleaving) async throws -> (orders: Int, violations: [String]) {
        var prefix: [Bool] = []
        var orders = 0
        var violations: [String] = []
        while true {
            var ledger = LedgerSide()
            try await stage.reset()
            for operation in interleaving.stage {
                let before = ledger.ledger
                guard ledger.run(operation) == (try await stage.run(operation, before)) else {
                    throw ChildProcess.Failure("ledger and database differ on the stage")
                }
            }
            let (choices, problem) = try await play(interleaving, ledger, prefix)
            orders += 1
            if let problem {
                violations.append("order \(choices.map { $0.taken ? "1" : "2" }): \(problem)")
            }
            // The last place where the other could have gone first.
            guard let turn = choices.lastIndex(where: { $0.taken && $0.isFree }) else { break }
            prefix = choices[..<turn].map(\.taken) + [false]
        }
        return (orders, violations)
    }

    /// A place where somebody goes on: `taken`: the first did; `isFree`: either could have.
    private struct Choice {
        var taken: Bool
        var isFree: Bool
    }

    private func play(
        _ interleaving: Interleaving, _ ledger: LedgerSide, _ prefix: [Bool]
    ) async throws -> ([Choice], String?) {
        await one.prepare(from: stage)
        await two.prepare(from: stage)
        defer {
            one.gate.open()
            two.gate.open()
        }
        var choices: [Choice] = []
        let start = ContinuousClock.now
        while one.state != .done || two.state != .done {
            let canOne = one.state == .fresh || one.state == .waiting
            let canTwo = two.state == .fresh || two.state == .waiting
            if !canOne, !canTwo {
                // Both wait for a lock: PostgreSQL ends that after a second.
                guard ContinuousClock.now - start < .seconds(30) else {
                    throw ChildProcess.Failure("two sessions wait for ever")
                }
                try await one.settle(monitor)
                try await two.settle(monitor)
                continue
            }
            let isFree = canOne && canTwo
            let wish = choices.count < prefix.count ? prefix[choices.count] : true
            let takesOne = isFree ? wish : canOne
            choices.append(Choice(taken: takesOne, isFree: isFree))
            if takesOne {
                one.step(interleaving.first, ledger.ledger)
            } else {
                two.step(interleaving.second, ledger.ledger)
            }
            try await (takesOne ? one : two).settle(monitor)
            try await (takesOne ? two : one).settle(monitor)
        }
        return (choices, try await problem(interleaving, ledger))
    }

    // MARK: What came of it

    private func problem(
        _ interleaving: Interleaving, _ ledger: LedgerSide
    ) async throws -> String? {
        let (charges, state) = try await stage.look()
        func text(_ player: Player) -> String {
            switch player.outcome {
            case .success(let reply): Self.withoutWake(reply.text(charges, hasBudget: false))
            case .failure(let error): "failed: \(error)"
            case nil: "nothing"
            }
        }
        let ending = Ending(first: text(one), second: text(two), state: state)
        let legal = Self.endings(interleaving, ledger)
        guard legal.contains(ending) else {
            let closest = legal.map { Self.difference(ending, $0) }.min { $0.count < $1.count }
            return "neither order alone ends so:\n\(closest ?? "")"
        }
        let audit = try await monitor.execute(
            script: "SELECT a::text AS broken FROM billing.audit() AS a")
        return audit.isEmpty ? nil : "audit: \(try audit[0].string("broken"))"
    }

    /// Those of the two serial orders; and, for a claim, that it passed over a row which the other
    /// had locked: the row is as due as before.
    private static func endings(_ it: Interleaving, _ ledger: LedgerSide) -> [Ending] {
        var endings: [Ending] = []
        var ledger = ledger
        ledger.keepsClaims = false
        var side = ledger
        var (first, second) = (side.reply(to: it.first), "")
        second = side.reply(to: it.second)
        endings.append(ending(first, second, side))
        side = ledger
        second = side.reply(to: it.second)
        first = side.reply(to: it.first)
        endings.append(ending(first, second, side))
        let nothing = "claimed\nnumbers \(FleetNumbers())"
        if case .claim = it.first {
            side = ledger
            second = side.reply(to: it.second)
            endings.append(ending(nothing, second, side))
        }
        if case .claim = it.second {
            side = ledger
            first = side.reply(to: it.first)
            endings.append(ending(first, nothing, side))
        }
        return endings
    }

    private static func ending(_ first: String, _ second: String, _ side: LedgerSide) -> Ending {
        Ending(
            first: withoutWake(first), second: withoutWake(second),
            state: side.ledger.rows(at: side.clocks))
    }

    /// When the next row is due depends on what the claim saw; it is a hint.
    private static func withoutWake(_ answer: String) -> String {
        answer.split(separator: "\n").filter { !$0.hasPrefix("wake ") }.joined(separator: "\n")
    }

    private static func difference(_ got: Ending, _ legal: Ending) -> String {
        let left = "\(got)".split(separator: "\n")
        let right = "\(legal)".split(separator: "\n")
        return left.filter { !right.contains($0) }.map { "  is:     \($0)\n" }.joined()
            + right.filter { !left.contains($0) }.map { "  may be: \($0)\n" }.joined()
    }
}
