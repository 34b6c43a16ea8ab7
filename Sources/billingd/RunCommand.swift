import ArgumentParser
import BillingStore
import Logging
import ServiceLifecycle
import UnixSignals

/// The daemon.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Charge what is due, until stopped.",
        discussion: """
            SIGTERM or SIGINT: no new claims, requests in flight end and are recorded, exit 0. A \
            second signal exits at once; what was in flight is resolved by the next worker.
            """)

    @OptionGroup var database: DatabaseOptions
    @OptionGroup var provider: ProviderOptions
    @OptionGroup var worker: WorkerOptions
    @OptionGroup var logging: LogOptions

    func run() async throws {
        try logging.bootstrap()
        let log = Logger(label: "billingd")
        let daemon = try Daemon(database: database, provider: provider, worker: worker, log: log)
        let key = try provider.secretKey()
        let systemd = Systemd()
        systemd.status("checking the database")
        try await Preparation(database: daemon.database, key: key, log: log)
            .run(waiting: .seconds(60))
        try await daemon.store.bind()

        let notifier = SystemdService(systemd: systemd, service: daemon.service)
        var services: [any Service] = [daemon.service, notifier]
        if !daemon.isPooled {
            services.append(
                HintListener(database: daemon.database, service: daemon.service, log: log))
        }
        log.notice("started", metadata: ["version": "\(Version.text)"])
        var configuration = ServiceGroupConfiguration(
            services: services.map {
                .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup)
            },
            gracefulShutdownSignals: [.sigterm, .sigint], logger: log)
        configuration.maximumGracefulShutdownDuration = .seconds(110)
        let group = ServiceGroup(configuration: configuration)
        let hardStop = SecondSignal.arm()
        defer { hardStop.cancel() }
        try await group.run()
        await daemon.close()
    }
}
