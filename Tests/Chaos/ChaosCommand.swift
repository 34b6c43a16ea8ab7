import ArgumentParser
import Foundation
import TestSupport

/// `billing-chaos`: real workers, a real PostgreSQL and the provider's stand-in, and everything that
/// can go wrong between them.
@main
struct ChaosCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "billing-chaos",
        abstract: "Break everything, then compare the ledger with the provider's books.",
        discussion: """
            Four billingd, a private PostgreSQL and toss-sandbox, which must stand beside this \
            program. Exit 0: nothing was charged twice, lost, invented, wrong or left over, the audit \
            is empty and no log holds a key. Otherwise the faults are listed, and logs and database \
            stay in --folder.
            """)

    @Flag(help: "100,000 charges, 2,000 kills, 200 database crashes, 10,000 cuts at COMMIT.")
    var long = false

    @Option(help: "The faults and their order follow from it.")
    var seed: UInt64 = .random(in: 1...999_999)

    @Option(help: "So much of the plan, such as 0.1.")
    var part: Double?

    @Flag(help: "Standbys that are promoted under load, and one that is missing.")
    var failover = false

    @Flag(help: "A dump of an earlier moment, charged under the same key.")
    var restore = false

    @Option(help: "An existing, empty folder for logs and data.")
    var folder: String

    func validate() throws {
        guard !(failover && restore) else { throw ValidationError("one of them at a time") }
        if (failover || restore) && (long || part != nil) {
            throw ValidationError("--failover and --restore have one length")
        }
        if let part, !(part > 0 && part <= 1) { throw ValidationError("--part: above 0, up to 1") }
    }

    func run() async throws {
        let site = Site(folder: URL(filePath: folder, directoryHint: .isDirectory))
        // PostgreSQL's user must be able to stand where it is started.
        _ = FileManager.default.changeCurrentDirectoryPath("/")
        site.say("seed \(seed)")
        var story: [String] = []
        do {
            if try await scene(site, &story) {
                site.say("every promise held")
                return
            }
        } catch {
            site.say("the run broke off: \(error)")
        }
        try story.joined(separator: "\n").write(
            to: site.folder.appending(path: "faults"), atomically: true, encoding: .utf8)
        site.say("FAILED with seed \(seed): logs and the list of faults are in \(folder)")
        throw ExitCode.failure
    }

    private func scene(_ site: Site, _ story: inout [String]) async throws -> Bool {
        if failover { return try await Failover(site: site, seed: seed).run() }
        if restore { return try await Restore(site: site, seed: seed).run() }
        var plan = long ? Plan.long : Plan.short
        if let part { plan = plan.scaled(by: part) }
        var storm = try await Storm(site, plan, seed: seed)
        defer { story = storm.story }
        return try await storm.run()
    }
}
