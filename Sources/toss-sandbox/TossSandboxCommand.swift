import ArgumentParser
import Logging
import ServiceLifecycle
import TossSandbox
import UnixSignals

/// The provider's stand-in as a process.
@main
struct TossSandboxCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "toss-sandbox",
        abstract: "A stand-in for Toss Payments' billing API, for tests. No money moves.",
        discussion: """
            Answers /v1/… like the provider, and /_sandbox/… to whoever runs the tests.
            GET /_sandbox lists the same as JSON:

            \(SandboxManual.text)

            It has no authentication for /_sandbox and therefore listens on loopback only.
            SIGTERM and SIGINT end it at once.
            """)

    @Option(help: "The loopback address to listen on.")
    var host = "127.0.0.1"

    @Option(help: "The port to listen on; 0 takes a free one.")
    var port = 0

    @Option(
        name: .customLong("secret-key"),
        help:
            "A secret key to accept, test_sk_… or live_sk_…; repeatable. (default: test_sk_sandbox)"
    )
    var secretKeys: [String] = []

    @Option(name: .customLong("latency-ms"), help: "Milliseconds that every approve takes.")
    var latencyMilliseconds = 0

    @Flag(help: "A well-formed billing key that nobody issued belongs to whoever uses it first.")
    var acceptAnyKey = false

    @Option(help: "A file of JSON lines in which the books survive a restart.")
    var books: String?

    @Option(help: "The time that the clock shows at the start, such as 2026-01-01T00:00:00+09:00.")
    var clock: String?

    @Option(help: "trace, debug, info, notice, warning, error or critical; requests are at debug.")
    var logLevel = "warning"

    func validate() throws {
        guard (0...65_535).contains(port) else { throw ValidationError("--port: 0 to 65535") }
        guard Logger.Level(rawValue: logLevel) != nil else {
            throw ValidationError("--log-level: no such level")
        }
        guard (0...3_600_000).contains(latencyMilliseconds) else {
            throw ValidationError("--latency-ms: 0 to 3600000")
        }
        for key in secretKeys where !key.hasPrefix("test_sk_") && !key.hasPrefix("live_sk_") {
            throw ValidationError("--secret-key: begins with test_sk_ or live_sk_")
        }
        if let clock, KoreanTime.seconds(clock) == nil {
            throw ValidationError("--clock: yyyy-MM-ddTHH:mm:ss+09:00")
        }
    }

    func run() async throws {
        var logger = Logger(label: "toss-sandbox") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = Logger.Level(rawValue: logLevel) ?? .warning
        let server = try SandboxServer(
            provider: makeProvider(), host: host, port: port, logger: logger
        ) { [host] port in
            let shown = host.contains(":") ? "[\(host)]" : host
            ReadyLine.print("toss-sandbox listening on http://\(shown):\(port)")
        }
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server)], gracefulShutdownSignals: [],
                cancellationSignals: [.sigterm, .sigint], logger: logger))
        do {
            try await group.run()
        } catch is CancellationError {
            // The signal that ends the process.
        }
    }

    private func makeProvider() throws -> SandboxProvider {
        var settings = SandboxProvider.Settings()
        if !secretKeys.isEmpty { settings.secretKeys = secretKeys }
        settings.acceptsAnyKey = acceptAnyKey
        settings.latencyMilliseconds = Int64(latencyMilliseconds)
        if let start = clock.flatMap(KoreanTime.seconds) { settings.clock = .running(from: start) }
        guard let books else { return SandboxProvider(settings) }
        let file = try BooksFile(path: books)
        return SandboxProvider(settings, journal: file.lines) { file.append($0) }
    }
}
