import ArgumentParser
import BillingStore
import Dashboard
import HTTP
import Logging
import Postgres
import ServiceLifecycle
import UnixSignals
import Worker

/// The daemon.
struct RunCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Charge what is due, until stopped.",
        discussion: """
            SIGTERM or SIGINT: no new claims, requests in flight end and are recorded, exit 0. A \
            second signal exits at once; what was in flight is resolved by the next worker. SIGHUP \
            ends it in the same way with exit 75, and the unit starts it anew, with the key and the \
            settings as they are then.

            With --shadow it charges nothing and needs no secret key: beside another system that \
            charges, it notes in billing.shadow_charges what would be charged. The database must be \
            in shadow mode (billing.begin_shadow); when that ends, it ends. billingd shadow-report \
            compares.
            """)

    @Flag(
        help: """
            Charge nothing: note what would be charged, beside another system that charges. (env: \
            BILLINGD_SHADOW=true; default: off)
            """)
    var shadow = false
    @OptionGroup var database: DatabaseOptions
    @OptionGroup var provider: ProviderOptions
    @OptionGroup var worker: WorkerOptions
    @OptionGroup var listen: ListenOptions
    @OptionGroup var logging: LogOptions

    func run() async throws {
        try logging.bootstrap()
        let log = Logger(label: "billingd")
        if try shadow || Environment.bool("BILLINGD_SHADOW") ?? false {
            return try await runShadow(log)
        }
        let daemon = try Daemon(database: database, provider: provider, worker: worker, log: log)
        let start = StartProgress()
        let listener = try await listen.listener(
            Observation(daemon, rhythm: try worker.configuration().pollInterval, start: start),
            log: log)
        // Answers as long as there is something to look at: from before the first check, which may have
        // to wait, to the end of a stop.
        try await withThrowingTaskGroup(of: Void.self) { group in
            if let listener { group.addTask { try await listener.run() } }
            let systemd = Systemd()
            try await prepare(daemon, start, systemd, log)
            try await charge(
                daemon,
                SystemdService(systemd: systemd, service: daemon.service, listener: listener), log)
            group.cancelAll()
        }
    }

    private func prepare(
        _ daemon: Daemon, _ start: StartProgress, _ systemd: Systemd, _ log: Logger
    ) async throws {
        systemd.status("checking the database")
        try await Preparation(
            database: daemon.database, key: try provider.secretKey(), log: log
        ).run(waiting: .seconds(60)) { text in
            start.waits(for: text)
            systemd.status("starting: waits for \(text)")
            systemd.stillStarting()
        }
        start.waits(for: "the database, to take this worker in")
        try await daemon.store.bind()
        start.isOver()
    }

    /// Charges until it is stopped. Throws 75 when it was told to start anew.
    private func charge(
        _ daemon: Daemon, _ systemd: SystemdService, _ log: Logger
    ) async throws {
        // Stopped in the reverse order: comparing ends at once, then claims, then the hints, then what
        // tells systemd.
        var services: [any Service] = [systemd]
        if !daemon.isPooled {
            services.append(
                HintListener(database: daemon.database, service: daemon.service, log: log))
        }
        services.append(MissedRenewalWatch(store: daemon.store, log: log))
        services += [daemon.service, try daemon.reconciliation(provider, log: log)]
        log.notice(
            "started",
            metadata: [
                "version": "\(Version.text)", "curl": "\(HTTPClient.libraryVersion)",
                "libpq": "\(PostgresConnection.libraryVersion)",
            ])
        let wantsReload = try await Self.run(services, log)
        await daemon.close()
        if wantsReload { throw ExitCode(SecondSignal.reload) }
    }

    /// In shadow mode: no secret key is read, and there is no way to the provider.
    private func runShadow(_ log: Logger) async throws {
        try listen.refuse(with: "--shadow")
        let service = ShadowService(
            shadow: PostgresShadow(try database.configuration(name: "billingd shadow")),
            rhythm: try worker.shadowRhythm(), log: log)
        try await service.prepare()
        log.notice(
            "started in shadow mode: nothing is charged", metadata: ["version": "\(Version.text)"])
        let wantsReload = try await Self.run([service], log)
        if wantsReload { throw ExitCode(SecondSignal.reload) }
    }

    /// Runs them until a signal, or until one of them ends. True: the signal asks for a new start.
    private static func run(_ services: [any Service], _ log: Logger) async throws -> Bool {
        var configuration = ServiceGroupConfiguration(
            services: services.map {
                .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup)
            },
            gracefulShutdownSignals: [.sigterm, .sigint], logger: log)
        configuration.maximumGracefulShutdownDuration = .seconds(110)
        let group = ServiceGroup(configuration: configuration)
        let signals = SecondSignal()
        let watch = signals.arm(group)
        defer { watch.cancel() }
        try await group.run()
        return signals.wantsReload
    }
}
