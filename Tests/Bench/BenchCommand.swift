import ArgumentParser
import Foundation
import TestSupport

/// `billing-bench`: what a charge costs, on this machine, with durable commits.
@main
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "billing-bench",
        abstract: "Measure what a charge costs, beside a provider that spends little.",
        subcommands: [MeasureCommand.self, ProviderCommand.self],
        defaultSubcommand: MeasureCommand.self)
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

struct MeasureCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "measure",
        abstract: "Print the README's tables; what is being measured goes to standard error.")

    @Option(help: "Due rows of each measurement.")
    var charges = 60_000

    @Flag(help: "Also what takes long: more latencies, sizes to 10 million, 24 months.")
    var full = false

    @Option(help: "Only measurements whose name contains this, of all that there are. Repeatable.")
    var only: [String] = []

    @Option(help: "Write the figures here, too, as JSON.")
    var json: String?

    @Flag(help: "Say where PostgreSQL's time went, by statement and function.")
    var statements = false

    func run() async throws {
        let site = try await Site(countsFunctions: statements)
        var report = Report()
        do {
            try await measure(site, &report)
        } catch {
            await site.end()
            throw error
        }
        await site.end()
        print(report.text)
        guard let json else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(report).write(to: URL(filePath: json))
    }

    /// `rare`: of `--full`.
    private func wants(_ name: String, rare: Bool = false) -> Bool {
        guard only.isEmpty else { return only.contains { name.contains($0) } }
        return full || !rare
    }

    private func measure(_ site: Site, _ report: inout Report) async throws {
        try await limits(site, &report)
        for (plan, rare) in drains where wants("drain \(plan.name)", rare: rare) {
            tell("drain \(plan.name)")
            report.drains.append(try await Drain(site: site).run(plan))
            try await tellStatements(site)
        }
        try await growth(site, &report)
        for backlog in [1, 100_000] {
            let name = backlog == 1 ? "first payment, idle" : "first payment, backlog"
            guard wants(name) else { continue }
            tell(name)
            report.firstPayments.append(try await FirstPayment(site: site).run(backlog: backlog))
        }
        if wants("life") {
            tell("life")
            report.life = try await Life.measure(
                site, subscriptions: full ? 1_000_000 : charges)
        }
    }

    private var ledger: LedgerRun.Plan {
        LedgerRun.Plan(name: "the ledger alone", charges: charges, batch: 500)
    }

    private func limits(_ site: Site, _ report: inout Report) async throws {
        for drivers in 1...2 where wants("limit ledger") {
            tell("limit ledger, \(drivers) at once")
            var ledger = ledger
            ledger.drivers = drivers
            try await site.fill(charges)
            report.ledger.append(try await LedgerRun(site: site).run(ledger))
            try await site.audited(ledger.name, charges: charges)
            try await tellStatements(site)
        }
        for (plan, rare) in drains where plan.workers == 1 {
            let name = "limit HTTP \(plan.name)"
            guard wants(name, rare: rare) else { continue }
            tell(name)
            report.http.append(
                try await HTTPLimit.measure(
                    charges: plan.charges, latency: plan.latency, inFlight: plan.inFlight))
        }
    }

    private var drains: [(plan: Drain.Plan, rare: Bool)] {
        func plan(_ latency: Int, _ inFlight: Int, workers: Int = 1) -> Drain.Plan {
            Drain.Plan(
                name: "\(latency) ms, \(workers) x \(inFlight)", charges: charges,
                latency: latency, workers: workers, inFlight: inFlight)
        }
        return [
            (plan(0, 64), true), (plan(0, 256), true), (plan(0, 1_000), false),
            (plan(0, 4_096), true), (plan(50, 1_000), false), (plan(300, 4_000), false),
            (plan(2_000, 4_096), true), (plan(0, 1_000, workers: 2), false),
            (plan(0, 500, workers: 4), false), (plan(0, 250, workers: 8), true),
        ]
    }

    private func growth(_ site: Site, _ report: inout Report) async throws {
        let growth = Growth(site: site)
        for (name, size) in [
            ("size 10 thousand", 10_000), ("size 1 million", 1_000_000),
            ("size 10 million", 10_000_000),
        ] where wants(name, rare: true) {
            tell(name)
            report.sizes.append(try await growth.size(size))
            try await tellStatements(site)
        }
        if wants("snapshot", rare: true) {
            tell("snapshot")
            var plan = ledger
            plan.name = "a snapshot held open"
            report.snapshot = try await growth.snapshot(plan)
            try await tellStatements(site)
        }
        if wants("24 months", rare: true) {
            tell("24 months")
            report.years = try await growth.years(charges, months: 24)
        }
    }

    private func tellStatements(_ site: Site) async throws {
        guard statements else { return }
        for line in try await site.statements() { tell(line) }
    }

    private func tell(_ line: String) {
        FileHandle.standardError.write(Data((line + "\n").utf8))
    }
}
