import Foundation
import TestSupport

/// What became of one seed.
struct Trial {
    var seed: UInt64
    var failure: String?
    var steps: Int
    var hash: UInt64
    var tallies: Tallies
    var charges: Int
    var attempts: Int
    /// True time that went by in the history, in microseconds.
    var span: Int64

    /// Runs one seed from its beginning to its end.
    static func run(_ seed: UInt64, _ options: Options, tells: Bool = false) -> Trial {
        let world = World(seed: seed, mutant: options.mutant, tells: tells)
        let director = Director(world: world)
        _ = director.run()
        let charges = director.database.ledger.charges
        return Trial(
            seed: seed, failure: world.failure, steps: world.steps, hash: world.hash,
            tallies: world.tallies, charges: charges.count,
            attempts: charges.reduce(0) { $0 + $1.attempts.count }, span: world.now)
    }
}

/// How long histories are: counts of steps, four classes to the doubling.
struct Lengths {
    var counts = [Int](repeating: 0, count: 100)

    mutating func add(_ steps: Int) {
        counts[min(counts.count - 1, Int(log2(Double(max(1, steps))) * 4))] += 1
    }

    /// Steps that this share of histories does not exceed.
    func quantile(_ share: Double) -> Int {
        let rank = Int(Double(counts.reduce(0, +)) * share)
        var sum = 0
        for (index, count) in counts.enumerated() {
            sum += count
            if sum > rank { return Int(exp2(Double(index + 1) / 4)) }
        }
        return 0
    }
}

/// What the command line asks for.
struct Options {
    var from: UInt64 = 1
    var count: UInt64 = 10_000
    var one: UInt64?
    var jobs = 2
    var seconds: Double?
    var mutant: Mutant?
    var runsMutants = false
    var listsMutants = false
    /// A child of the run: prints for its parent.
    var isChild = false
    var stopsAtFailure = false

    static let usage = """
        billing-simulation [--seeds N] [--from S] [--jobs N] [--seconds LIMIT] [--mutant NAME]
        billing-simulation --seed X [--mutant NAME]     one seed, with its story
        billing-simulation --mutants [--seeds N]        every mutant must be noticed
        billing-simulation --mutants --list             what is noticed, and by which layer
        """

    init(_ arguments: [String]) throws(Refusal) {
        var rest = arguments[...]
        func value<T>(_ parse: (String) -> T?) throws(Refusal) -> T {
            guard let text = rest.popFirst(), let value = parse(text) else {
                throw Refusal(text: Options.usage)
            }
            return value
        }
        while let word = rest.popFirst() {
            switch word {
            case "--seeds": count = try value { UInt64($0.filter { $0 != "_" && $0 != "," }) }
            case "--from": from = try value { UInt64($0) }
            case "--seed": one = try value { UInt64($0) }
            case "--jobs": jobs = max(1, try value { Int($0) })
            case "--seconds": seconds = try value { Double($0) }
            case "--mutant": mutant = try value { Mutant(rawValue: $0) }
            case "--mutants": runsMutants = true
            case "--list": listsMutants = true
            case "--child": isChild = true
            case "--stop": stopsAtFailure = true
            default: throw Refusal(text: Options.usage)
            }
        }
    }

    struct Refusal: Error { var text: String }

    /// The words of a child that runs these seeds.
    func child(from: UInt64, count: UInt64, mutant: Mutant?) -> [String] {
        var words = ["--child", "--from", "\(from)", "--seeds", "\(count)"]
        if let mutant { words += ["--mutant", mutant.rawValue] }
        if stopsAtFailure || mutant != nil { words.append("--stop") }
        return words
    }
}
