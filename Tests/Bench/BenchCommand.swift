import ArgumentParser
import Foundation
import TestSupport

/// `billing-bench`: what a charge costs, on this machine, with durable commits.
@main
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "billing-bench",
        abstract: "Measure what a charge costs, beside a provider that spends little.",
        subcommands: [DrainCommand.self, ProviderCommand.self], defaultSubcommand: DrainCommand.self
    )
}

struct ProviderCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "provider", abstract: "The cheap provider; prints its port.",
        shouldDisplay: false)

    @Option var latency = 0

    func run() async throws {
        var provider = try Provider(latency: latency)
        print(provider.port)
        fflush(nil)
        provider.run()
    }
}

struct DrainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Due rows until all is paid and recorded.")

    @Option(help: "Due rows of each measurement.")
    var charges = 60_000

    @Option(help: "Only measurements whose name contains this.")
    var only: String?

    @Option(help: "Write the figures here, too, as JSON.")
    var json: String?

    @Flag(help: "Say where PostgreSQL's time went.")
    var statements = false

    func run() async throws {
        let plans = [
            Drain.Plan(name: "no latency", charges: charges, latency: 0, inFlight: 1_000),
            Drain.Plan(name: "50 ms", charges: charges, latency: 50, inFlight: 1_000),
            Drain.Plan(name: "300 ms", charges: charges, latency: 300, inFlight: 4_000),
            Drain.Plan(
                name: "2 workers", charges: charges, latency: 0, workers: 2, inFlight: 1_000),
            Drain.Plan(
                name: "4 workers", charges: charges, latency: 0, workers: 4, inFlight: 500),
        ]
        let site = try await Site()
        var results: [Drain.Result] = []
        print("              " + Drain.Result.head)
        do {
            for plan in plans where only.map({ plan.name.contains($0) }) ?? true {
                let result = try await Drain(site: site, tellsStatements: statements).run(plan)
                results.append(result)
                print(plan.name.padding(toLength: 14, withPad: " ", startingAt: 0) + result.line)
                fflush(nil)
            }
        } catch {
            await site.end()
            throw error
        }
        await site.end()
        guard let json else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(results).write(to: URL(filePath: json))
    }
}
