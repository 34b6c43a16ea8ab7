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
        var report = Report()
        do {
            try await drain(plans.filter { isWanted($0.name) }, site, &report)
            try await wait(site, &report)
        } catch {
            await site.end()
            throw error
        }
        await site.end()
        guard let json else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(report).write(to: URL(filePath: json))
    }

    /// What ``json`` holds.
    private struct Report: Codable {
        var drains: [Drain.Result] = []
        var firstPayments: [FirstPayment.Result] = []
        var life: Life?
    }

    private func isWanted(_ name: String) -> Bool { only.map { name.contains($0) } ?? true }

    private func drain(_ plans: [Drain.Plan], _ site: Site, _ report: inout Report) async throws {
        if !plans.isEmpty { tell("              " + Drain.Result.head) }
        for plan in plans {
            let result = try await Drain(site: site, tellsStatements: statements).run(plan)
            report.drains.append(result)
            tell(plan.name.padding(toLength: 14, withPad: " ", startingAt: 0) + result.line)
        }
    }

    private func wait(_ site: Site, _ report: inout Report) async throws {
        for (name, backlog) in [("first payment, idle", 1), ("first payment, backlog", charges)]
        where isWanted(name) {
            let result = try await FirstPayment(site: site).run(name, backlog: backlog)
            report.firstPayments.append(result)
            tell(
                String(
                    format: "%@: median %.1f ms, slowest 1 %% %.1f ms", name, result.median,
                    result.slowest1Percent))
        }
        if isWanted("life") {
            let life = try await Life.measure(site, subscriptions: charges)
            report.life = life
            tell(
                String(
                    format:
                        "life: ready in %.0f ms, stopped in %.0f ms, idle %.2f %% of a core, %.0f MB",
                    life.ready, life.stop, life.idle, life.memory))
        }
    }

    private func tell(_ line: String) {
        print(line)
        fflush(nil)
    }
}
