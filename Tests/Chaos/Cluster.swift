import Foundation
import Glibc
import Postgres
import TestSupport

/// A PostgreSQL of one's own that can be ended and started again, run by an unprivileged user and
/// reached by a Unix socket. It ends with this process, whatever ends that.
actor Cluster {
    /// How it ends.
    enum Ending: String, CaseIterable, Sendable {
        /// `pg_ctl stop -m fast`: sessions are thrown out, a checkpoint follows.
        case fast
        /// `pg_ctl stop -m immediate`: everything is dropped; recovery at the start.
        case immediate
        /// SIGKILL of the server's first process.
        case killed

        var signal: Int32 {
            switch self {
            case .fast: SIGINT
            case .immediate: SIGQUIT
            case .killed: SIGKILL
            }
        }
    }

    /// Login roles: the owner of the schema, and members of the contract's.
    enum Role: String, CaseIterable, Sendable { case postgres, worker, web, admin }

    static let database = "shop"

    /// `data` and `socket`.
    nonisolated let folder: URL
    /// A folder for each start.
    private let logs: URL
    private let owner: Owner
    private let settings: [String]
    private var process: ChildProcess?
    private var starts = 0

    nonisolated var socketFolder: String { folder.appending(path: "socket").path() }
    nonisolated var socket: String { socketFolder + "/.s.PGSQL.5432" }
    nonisolated var data: String { folder.appending(path: "data").path() }

    /// `settings`: of postgresql.conf, as NAME=VALUE.
    init(_ folder: URL, _ owner: Owner, logs: URL, settings: [String] = []) throws {
        self.folder = folder
        self.owner = owner
        self.logs = logs
        self.settings = settings
        try FileManager.default.createDirectory(
            at: folder.appending(path: "socket"), withIntermediateDirectories: true)
    }

    /// A conninfo string for its Unix socket.
    nonisolated func connectionString(as role: Role) -> String {
        "host=\(socketFolder) port=5432 dbname=\(Self.database) user=\(role.rawValue)"
    }

    // MARK: Life

    /// Makes an empty one.
    func initialize() async throws {
        try await owner.own(folder)
        try await owner.run(
            "initdb",
            [
                "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--auth=trust",
                "--no-sync",
            ])
    }

    /// Starts it and waits until it takes writes; with `isStandby` until it answers at all.
    func start(isStandby: Bool = false) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            starts += 1
            let (program, arguments) = owner.command(
                "postgres",
                ["-D", data, "-k", socketFolder, "-p", "5432"]
                    + (Self.settings + settings).flatMap { ["-c", $0] })
            let process = try await ChildProcess(
                program, arguments, lastSignal: "INT",
                into: logs.appending(path: "start-\(starts)"))
            self.process = process
            while process.isRunning, ContinuousClock.now < deadline {
                if await answers(isStandby) { return }
                try await ContinuousClock().sleep(for: .milliseconds(30))
            }
            guard ContinuousClock.now < deadline else {
                throw ChildProcess.Failure(
                    "PostgreSQL does not start: \(process.errors.suffix(800))")
            }
            // Sessions of a killed one are still on their way out, or the disk is full.
            try await ContinuousClock().sleep(for: .milliseconds(100))
        }
    }

    /// Ends it and waits for that.
    func end(_ ending: Ending) async throws {
        guard let process else { return }
        process.kill(ending.signal)
        // A server that is asked to go politely may wait for a client: then less politely.
        try await eventually("PostgreSQL ends", within: .seconds(30)) { !process.isRunning }
        self.process = nil
    }

    /// It ended, and not by our hand.
    var hasDied: Bool { process.map { !$0.isRunning } ?? false }

    private static let settings = [
        "listen_addresses=", "unix_socket_permissions=0777", "max_connections=150",
        "shared_buffers=64MB", "log_min_messages=warning", "log_parameter_max_length=0",
        "log_parameter_max_length_on_error=0", "logging_collector=off", "fsync=off",
        "full_page_writes=off", "min_wal_size=32MB", "max_wal_size=128MB", "wal_keep_size=256MB",
        "checkpoint_timeout=30s", "client_connection_check_interval=1s",
    ]

    // MARK: Conversation

    private func answers(_ isStandby: Bool) async -> Bool {
        if isStandby {
            let asked = try? await owner.run(
                "pg_isready", ["-q", "-h", socketFolder, "-p", "5432", "-U", "postgres"])
            return asked != nil
        }
        guard let connection = try? await connect(as: .postgres, database: "postgres") else {
            return false
        }
        await connection.close()
        return true
    }

    private nonisolated func connect(
        as role: Role, database: String = Cluster.database
    ) async throws -> PostgresConnection {
        var configuration = PostgresConfiguration(
            connectionString:
                "host=\(socketFolder) port=5432 dbname=\(database) user=\(role.rawValue)",
            applicationName: "chaos")
        configuration.statementTimeout = .seconds(120)
        return try await PostgresConnection.connect(configuration)
    }

    /// Runs statements on a connection of their own and returns the last one's rows. While the
    /// server is away it waits and tries again: they must bear to be run twice.
    @discardableResult
    nonisolated func run(
        _ script: String, as role: Role = .postgres, database: String = Cluster.database
    ) async throws -> PostgresRows {
        try await insist(as: role, database) {
            try await $0.execute(script: script, deadline: .seconds(120))
        }
    }

    /// The same for one statement with parameters.
    @discardableResult
    nonisolated func query(
        _ query: PostgresQuery, as role: Role = .postgres
    ) async throws -> PostgresRows {
        try await insist(as: role, Self.database) {
            try await $0.query(query, deadline: .seconds(120))
        }
    }

    private nonisolated func insist(
        as role: Role, _ database: String,
        _ body: (PostgresConnection) async throws -> PostgresRows
    ) async throws -> PostgresRows {
        let deadline = ContinuousClock.now + .seconds(90)
        while true {
            do {
                let connection = try await connect(as: role, database: database)
                do {
                    let rows = try await body(connection)
                    await connection.close()
                    return rows
                } catch {
                    await connection.close()
                    throw error
                }
            } catch let error as PostgresError {
                // Gone, full or in somebody's hand: it passes. What is wrong in itself does not.
                let passing = ["53", "57", "55", "40", "58", "25"]
                guard
                    error.kind != .server || passing.contains(where: { error.isOfClass([$0]) }),
                    ContinuousClock.now < deadline
                else { throw error }
                try await ContinuousClock().sleep(for: .milliseconds(100))
            }
        }
    }
}

/// The user that runs PostgreSQL, which refuses to be run by root, and where its programs are.
struct Owner: Sendable {
    private let programs: String
    /// Nil: we are no root; everything is ours.
    private let user: String?
    private let group: String?

    init() async throws {
        let found = try await ChildProcess.run(
            URL(filePath: "/bin/bash"),
            [
                "-c",
                """
                . '\(Checkout.file("deploy/setup.sh").path())' && postgresql_bin &&
                owner=$(getent passwd postgres nobody | head -n 1 | cut -d: -f1) &&
                echo "$owner" && id -gn "$owner"
                """,
            ])
        let lines = found.output.split(separator: "\n").map(String.init)
        guard found.status == 0, lines.count == 3 else {
            throw ChildProcess.Failure(found.errors)
        }
        programs = lines[0]
        user = getuid() == 0 ? lines[1] : nil
        group = getuid() == 0 ? lines[2] : nil
    }

    /// How a program of PostgreSQL is started.
    func command(_ name: String, _ arguments: [String]) -> (URL, [String]) {
        let program = "\(programs)/\(name)"
        guard let user, let group else { return (URL(filePath: program), arguments) }
        return (
            URL(filePath: "/usr/bin/setpriv"),
            [
                "--pdeathsig", "INT", "--reuid", user, "--regid", group, "--clear-groups",
                program,
            ] + arguments
        )
    }

    /// Runs one to its end; throws its words when it fails.
    @discardableResult
    func run(_ name: String, _ arguments: [String]) async throws -> String {
        let (program, arguments) = command(name, arguments)
        let result = try await ChildProcess.run(
            program, arguments, environment: ["LC_ALL": "C.UTF-8"])
        guard result.status == 0 else {
            throw ChildProcess.Failure("\(name): \(result.errors.suffix(800))")
        }
        return result.output
    }

    /// Gives a folder to that user.
    func own(_ folder: URL) async throws {
        guard let user else { return }
        let result = try await ChildProcess.run(
            URL(filePath: "/bin/chown"), ["-R", user, folder.path()])
        guard result.status == 0 else { throw ChildProcess.Failure(result.errors) }
    }
}
