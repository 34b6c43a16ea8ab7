import Foundation

/// `billing-simulation`: histories of workers, people, stores and a provider, by seed.
@main
struct SimulationCommand {
    static func main() {
        do throws(Options.Refusal) {
            exit(run(try Options(Array(CommandLine.arguments.dropFirst()))))
        } catch {
            print(error.text)
            exit(64)
        }
    }

    nonisolated static func run(_ options: Options) -> Int32 {
        if options.isChild { return child(options) }
        if let seed = options.one {
            var words = options.child(from: seed, count: 1, mutant: options.mutant)
            words += ["--seed", "\(seed)"]
            return Fleet.show(words)
        }
        if options.listsMutants { return list() }
        if options.runsMutants { return mutants(options) }
        let start = ContinuousClock.now
        let sum = Fleet(options: options).run(
            from: options.from, count: options.count, mutant: options.mutant,
            seconds: options.seconds)
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        return report(sum, seconds, options)
    }

    // MARK: Child

    private nonisolated static func child(_ options: Options) -> Int32 {
        Stage.takeOver()
        if let seed = options.one { return story(seed, options) }
        var passed = 0
        var steps = 0
        var charges = 0
        var replays = 0
        var span: Int64 = 0
        var attempts = 0
        var tallies = Tallies()
        var lengths = Lengths()
        for seed in options.from..<options.from + options.count {
            let trial = Trial.run(seed, options)
            steps += trial.steps
            charges += trial.charges
            attempts += trial.attempts
            lengths.add(trial.steps)
            span += trial.span
            for index in tallies.counts.indices {
                tallies.counts[index] += trial.tallies.counts[index]
            }
            var failure = trial.failure
            if failure != nil || seed % 100 == 0 {
                replays += 1
                let again = Trial.run(seed, options)
                if again.hash != trial.hash || again.failure != trial.failure {
                    failure = "two runs of one seed differ"
                }
            }
            guard let failure else {
                passed += 1
                continue
            }
            print("failed seed \(seed) step \(trial.steps): \(failure)")
            if options.stopsAtFailure { break }
        }
        let days = span / 86_400_000_000
        print("sum \(passed) \(steps) \(charges) \(attempts) \(days) \(replays)")
        print("lengths " + lengths.counts.map(String.init).joined(separator: " "))
        print("marks " + tallies.counts.map(String.init).joined(separator: " "))
        return 0
    }

    private nonisolated static func story(_ seed: UInt64, _ options: Options) -> Int32 {
        let trial = Trial.run(seed, options, tells: true)
        let hash = String(trial.hash, radix: 16)
        print("seed \(seed): \(trial.steps) steps, trace \(hash)")
        guard let failure = trial.failure else {
            print("every promise held")
            return 0
        }
        print("step \(trial.steps): \(failure)")
        return 1
    }

    // MARK: Reports

    /// How often every fault edge must be met.
    private nonisolated static var leastPerMillion: Int { 100 }

    /// The commit of the folder that this runs in.
    private nonisolated static func commit() -> String {
        guard let stream = popen("git rev-parse --short HEAD 2>/dev/null", "r") else { return "?" }
        defer { pclose(stream) }
        var line = [CChar](repeating: 0, count: 64)
        guard fgets(&line, Int32(line.count), stream) != nil else { return "unknown" }
        let bytes = line.prefix { $0 > 32 }.map { UInt8(bitPattern: $0) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private nonisolated static func report(
        _ sum: Fleet.Sum, _ seconds: Double, _ options: Options
    ) -> Int32 {
        let seeds = sum.passed + sum.failed
        for failure in sum.failures { print(failure) }
        print("mark, count, per million seeds:")
        var thin: [String] = []
        let least = seeds * leastPerMillion / 1_000_000
        for mark in Mark.allCases {
            let count = sum.tallies[mark]
            let rate = Double(count) / Double(max(1, seeds)) * 1_000_000
            print(
                "  \(mark)".padding(toLength: 28, withPad: " ", startingAt: 0)
                    + "\(count)".leftPadded(12) + "\(Int(rate))".leftPadded(12))
            if count < least { thin.append("\(mark)") }
        }
        let rate = Int(Double(seeds) / max(seconds, 0.001))
        print(
            """
            \(sum.charges) charges, \(sum.attempts) attempts, \(sum.days) days, \(sum.steps) steps \
            in \(Int(seconds)) s: \(Int(Double(sum.steps) / max(seconds, 0.001))) steps/s, \
            \(rate) seeds/s, \(sum.replays) seeds run twice
            steps a seed: mean \(sum.steps / max(1, seeds)), half of them up to \
            \(sum.lengths.quantile(0.5)), 90 % \(sum.lengths.quantile(0.9)), 99 % \
            \(sum.lengths.quantile(0.99)), 99.9 % \(sum.lengths.quantile(0.999)), all \
            \(sum.lengths.quantile(0.999_999))
            """)
        // Few seeds say nothing of rare marks.
        let isThin = seeds >= 100_000 && !thin.isEmpty
        if isThin {
            print(
                "hit less than \(leastPerMillion) times per million seeds: "
                    + thin.joined(separator: ", "))
        }
        if sum.failed > 0 { print("commit \(commit()); replay: billing-simulation --seed N") }
        if seeds < Int(options.count) {
            print("time was up: \(seeds) of \(options.count) seeds were played")
        }
        print("\(sum.passed) passed, \(sum.failed) failed")
        return sum.failed == 0 && !isThin ? 0 : 1
    }

    private nonisolated static func list() -> Int32 {
        let rows =
            Mutant.allCases.map { ($0.rawValue, "simulation", "the oracle") } + Elsewhere.all
        for (name, layer, by) in rows {
            print(
                name.padding(toLength: 48, withPad: " ", startingAt: 0)
                    + layer.padding(toLength: 14, withPad: " ", startingAt: 0) + by)
        }
        return 0
    }

    private nonisolated static func mutants(_ options: Options) -> Int32 {
        var survivors: [String] = []
        for mutant in Mutant.allCases {
            let sum = Fleet(options: options).run(
                from: options.from, count: options.count, mutant: mutant, seconds: options.seconds,
                chunk: 200
            ) { $0.failed > 0 }
            let name = mutant.rawValue.padding(toLength: 24, withPad: " ", startingAt: 0)
            if let failure = sum.failures.first {
                print("\(name) noticed: \(failure)")
                fflush(nil)
            } else {
                print("\(name) survived \(sum.passed) seeds")
                fflush(nil)
                survivors.append(mutant.rawValue)
            }
        }
        print(
            "\(Mutant.allCases.count - survivors.count) mutants noticed, \(survivors.count) survived"
        )
        return survivors.isEmpty ? 0 : 1
    }
}
