import ArgumentParser
import BillingStore
import Logging
import Worker

/// For lovers of cron, and for tests.
struct OnceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "once",
        abstract: "Charge all that is due now, print what happened, and exit.",
        discussion: """
            Safe beside running daemons and beside itself. Exit 0: nothing that is due is left; 1: \
            it ended early, the reason is printed.
            """)

    @OptionGroup var database: DatabaseOptions
    @OptionGroup var provider: ProviderOptions
    @OptionGroup var worker: WorkerOptions
    @OptionGroup var logging: LogOptions

    func run() async throws {
        try logging.bootstrap()
        let log = Logger(label: "billingd")
        let daemon = try Daemon(database: database, provider: provider, worker: worker, log: log)
        try await Preparation(database: daemon.database, key: provider.secretKey(), log: log)
            .run(waiting: .zero)
        try await daemon.store.bind()
        let summary: ChargingService.OnceSummary
        do {
            summary = try await daemon.service.runOnce()
        } catch {
            await daemon.close()
            throw Failure("the database failed: \(error)")
        }
        await daemon.close()
        let counters = summary.counters
        let declined = counters.declined.values.reduce(0, +)
        print(
            """
            paid \(counters.approved), declined \(declined), refused \(counters.refused), \
            not sent \(counters.notSent), unknown \(counters.unknown), held \(counters.held)
            """)
        for (code, times) in counters.declined.sorted(by: { $0.key < $1.key }) {
            print("  \(code): \(times)")
        }
        if let reason = summary.endedEarly {
            print("ended early: \(reason)")
            throw ExitCode.failure
        }
    }
}
