import ArgumentParser
import FoundationEssentials
import Logging
import Postgres
import TossPayments
import Worker

/// What every command needs to reach the database.
struct DatabaseOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "PostgreSQL URI or conninfo string. (env: DATABASE_URL; default: the PG* variables)",
            valueName: "url"))
    var databaseURL: String?

    @Flag(
        help: """
            The database is behind a transaction pooler such as PgBouncer: no start-up options, no \
            LISTEN. (env: BILLINGD_POOLED=true; default: off)
            """)
    var pooled = false

    /// Throws a validation error that names the option.
    func configuration(name: String) throws -> PostgresConfiguration {
        let environment = ProcessInfo.processInfo.environment
        return PostgresConfiguration(
            connectionString: databaseURL ?? environment["DATABASE_URL"] ?? "",
            applicationName: name, throughPooler: try isPooled())
    }

    func isPooled() throws -> Bool {
        if pooled { return true }
        return try Environment.bool("BILLINGD_POOLED") ?? false
    }
}

/// What charging needs to reach the provider.
struct ProviderOptions: ParsableArguments {
    @Option(
        name: .customLong("toss-api-url"),
        help: ArgumentHelp(
            """
            The provider's address. (env: TOSS_API_URL; default: https://api.tosspayments.com)
            """, valueName: "url"))
    var tossAPIURL: String?

    @Option(
        help: ArgumentHelp(
            """
            File with the provider's secret key. (env: TOSS_SECRET_KEY_FILE; default: the systemd \
            credential toss-secret-key; TOSS_SECRET_KEY itself is taken for test_ keys only)
            """, valueName: "path"))
    var tossSecretKeyFile: String?

    @Option(
        help: ArgumentHelp(
            """
            Proxy for requests to the provider; it must tunnel (CONNECT). (env: BILLINGD_PROXY; \
            default: none, whatever https_proxy says)
            """, valueName: "url"))
    var proxy: String?

    @Option(
        help: ArgumentHelp(
            """
            File with the certificates to trust. (env: BILLINGD_CA_FILE; default: the system's)
            """, valueName: "path"))
    var caFile: String?

    var address: String {
        tossAPIURL ?? Environment.text("TOSS_API_URL") ?? "https://api.tosspayments.com"
    }

    /// The secret key from where it was put; throws what is wrong with it and how to mend it.
    func secretKey() throws -> SecretKey {
        if let path = tossSecretKeyFile ?? Environment.text("TOSS_SECRET_KEY_FILE") {
            return try SecretKey(parsing: Self.contents(path))
        }
        if let directory = Environment.text("CREDENTIALS_DIRECTORY") {
            let path = directory + "/toss-secret-key"
            if FileManager.default.fileExists(atPath: path) {
                let text = try Self.contents(path)
                // Blank: the unit's stand-in for a file that does not exist.
                if !text.allSatisfy(\.isWhitespace) { return try SecretKey(parsing: text) }
            }
        }
        if let text = Environment.text("TOSS_SECRET_KEY") {
            let key = try SecretKey(parsing: text)
            guard key.mode == .test else {
                throw ValidationError(
                    """
                    TOSS_SECRET_KEY holds a live key: an environment can be read by others. Put it \
                    in a file (mode 0600) and name that in TOSS_SECRET_KEY_FILE.
                    """)
            }
            return key
        }
        throw ValidationError(
            """
            there is no secret key: name its file in TOSS_SECRET_KEY_FILE (or --toss-secret-key-file), \
            or give systemd the credential toss-secret-key (the unit reads /etc/billingd/toss-secret-key).
            """)
    }

    private static func contents(_ path: String) throws -> String {
        // Whoever puts the key where its file's name belongs must not find it in the log.
        guard !path.contains("_sk_") else {
            throw ValidationError(
                "TOSS_SECRET_KEY_FILE holds a secret key: it is for the path of a file with the key"
            )
        }
        guard let data = FileManager.default.contents(atPath: path) else {
            throw Failure("the secret key's file \(path) cannot be read by this user")
        }
        // A key has about 40 characters; anything longer is the wrong file.
        guard data.count <= 4_096 else {
            throw ValidationError("the secret key's file \(path) is longer than 4,096 bytes")
        }
        return String(decoding: data, as: UTF8.self)
    }
}

/// The worker's own numbers.
struct WorkerOptions: ParsableArguments {
    @Option(
        help: """
            Most subscriptions in hand at one time, 1 to 10,000. (env: BILLINGD_MAX_IN_FLIGHT; \
            default: 256)
            """)
    var maxInFlight: Int?

    @Option(
        help: ArgumentHelp(
            """
            Longest sleep between two looks for due rows, 0.05 to 3,600 seconds. (env: \
            BILLINGD_POLL_INTERVAL; default: 1)
            """, valueName: "seconds"))
    var pollInterval: Double?

    func configuration() throws -> WorkerConfiguration {
        let inFlight = try maxInFlight ?? Environment.integer("BILLINGD_MAX_IN_FLIGHT") ?? 256
        guard (1...10_000).contains(inFlight) else {
            throw ValidationError("max-in-flight: 1 to 10,000, not \(inFlight)")
        }
        // A descriptor for each request, and some for the database, the log and the libraries.
        let files = LibC.raiseFileLimit()
        guard inFlight + 100 <= files else {
            throw ValidationError(
                """
                max-in-flight: \(inFlight) requests need more than the \(files) files this process \
                may open; raise LimitNOFILE= (or ulimit -n), or lower max-in-flight
                """)
        }
        return WorkerConfiguration(maxInFlight: inFlight, pollInterval: try rhythm(default: 1))
    }

    /// Between two looks of `run --shadow`, which reads every subscription: nothing is late there.
    func shadowRhythm() throws -> Duration { try rhythm(default: 10) }

    private func rhythm(default usual: Double) throws -> Duration {
        let seconds = try pollInterval ?? Environment.number("BILLINGD_POLL_INTERVAL") ?? usual
        guard (0.05...3_600).contains(seconds) else {
            throw ValidationError("poll-interval: 0.05 to 3,600 seconds, not \(seconds)")
        }
        // The watchdog is fed by the poll loop, so the loop turns at least four times in its span.
        return Systemd().watchdog.map { min(.seconds(seconds), $0 / 4) } ?? .seconds(seconds)
    }
}

/// How to log.
struct LogOptions: ParsableArguments {
    @Option(
        help: """
            trace, debug, info, notice, warning, error or critical. (env: LOG_LEVEL; default: info)
            """)
    var logLevel: String?

    @Option(
        help: "text or json. (env: LOG_FORMAT; default: text on a terminal, else json)")
    var logFormat: String?

    /// Must be called once, before the first logger is made.
    func bootstrap() throws {
        let name = logLevel ?? Environment.text("LOG_LEVEL") ?? "info"
        guard let level = Logger.Level(rawValue: name.lowercased()) else {
            throw ValidationError("log-level: \(name) is none")
        }
        let format =
            logFormat ?? Environment.text("LOG_FORMAT")
            ?? (LibC.outputIsTerminal ? "text" : "json")
        guard let shape = LineLogHandler.Shape(rawValue: format) else {
            throw ValidationError("log-format: text or json, not \(format)")
        }
        let isJournal = LibC.errorIs(Environment.text("JOURNAL_STREAM"))
        LoggingSystem.bootstrap { label in
            LineLogHandler(label: label, level: level, shape: shape, hasPriority: isJournal)
        }
    }
}

/// Typed values of environment variables; an empty one counts as not set.
enum Environment {
    static func text(_ name: String) -> String? {
        guard let value = ProcessInfo.processInfo.environment[name], !value.isEmpty else {
            return nil
        }
        return value
    }

    static func integer(_ name: String) throws -> Int? {
        guard let text = text(name) else { return nil }
        guard let value = Int(text) else {
            throw ValidationError("\(name): \"\(text)\" is no whole number")
        }
        return value
    }

    static func number(_ name: String) throws -> Double? {
        guard let text = text(name) else { return nil }
        guard let value = Double(text), value.isFinite else {
            throw ValidationError("\(name): \"\(text)\" is no number")
        }
        return value
    }

    static func bool(_ name: String) throws -> Bool? {
        guard let text = text(name) else { return nil }
        switch text.lowercased() {
        case "true", "1", "yes", "on": return true
        case "false", "0", "no", "off": return false
        default: throw ValidationError("\(name): true or false, not \"\(text)\"")
        }
    }
}
