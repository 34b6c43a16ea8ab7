import Foundation
package import Postgres

/// One private PostgreSQL for all tests of a run, with a database of its own for each test that
/// wants one. It ends with the test process, whatever ends that.
package actor TemporaryPostgres {
    package static let shared = TemporaryPostgres()

    /// The login roles of the contract's four, and the owner of the schema.
    package enum Role: String, Sendable, CaseIterable {
        case owner = "postgres"
        case worker = "test_worker"
        case web = "test_web"
        case report = "test_report"
        case admin = "test_admin"

        fileprivate var group: String { "billing_" + rawValue.dropFirst("test_".count) }
    }

    /// Where a server is.
    package struct Server: Sendable {
        /// Folder of its Unix socket.
        package var socket: String
        package var port: Int
        package var pid: Int32

        package init(socket: String, port: Int, pid: Int32) {
            self.socket = socket
            self.port = port
            self.pid = pid
        }
    }

    private var child: ChildProcess?
    private var starting: Task<Server, any Error>?
    private var databases = 0
    private var creation: Task<Void, any Error>?

    /// An empty database with `schema.sql` applied.
    package func database() async throws -> TestDatabase { try await create("TEMPLATE billing") }

    /// A copy of a database, as a careless administrator makes one. Ends the connections to the
    /// original, which PostgreSQL asks for.
    package func clone(of original: TestDatabase) async throws -> TestDatabase {
        let clone = TestDatabase(server: original.server, name: original.name + "_clone")
        let owner = try await TestDatabase(server: original.server, name: "postgres").connect()
        try await owner.execute(
            script: """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = '\(original.name)'
                """)
        try await owner.execute(script: "CREATE DATABASE \(clone.name) TEMPLATE \(original.name)")
        await owner.close()
        return clone
    }

    /// A database without anything in it.
    package func emptyDatabase() async throws -> TestDatabase { try await create("") }

    private func create(_ template: String) async throws -> TestDatabase {
        let server = try await running()
        databases += 1
        let database = TestDatabase(server: server, name: "test_\(databases)")
        // One after another: many at once hold each other up, past what a statement may take.
        let before = creation
        let creation = Task {
            _ = await before?.result
            let owner = try await TestDatabase(server: server, name: "postgres").connect()
            try await owner.execute(script: "CREATE DATABASE \(database.name) \(template)")
            await owner.close()
        }
        self.creation = creation
        try await creation.value
        return database
    }

    private func running() async throws -> Server {
        // One starts it, all others wait.
        if let starting { return try await starting.value }
        let task = Task { try await self.start() }
        starting = task
        return try await task.value
    }

    private func start() async throws -> Server {
        // The script ends with us, and the server with the script.
        let child = try await ChildProcess(
            Checkout.file("deploy/private-postgres"), ["--fast"], lastSignal: "TERM")
        self.child = child
        var words: [Substring] = []
        try await eventually("PostgreSQL is up") {
            words = child.output.split(whereSeparator: \.isWhitespace)
            return words.count == 3
        }
        guard let port = Int(words[1]), let pid = Int32(words[2]) else {
            throw ChildProcess.Failure("deploy/private-postgres: \(child.output)")
        }
        let server = Server(socket: String(words[0]), port: port, pid: pid)
        let owner = try await TestDatabase(server: server, name: "postgres").connect()
        try await owner.execute(script: "CREATE DATABASE billing")
        await owner.close()
        let template = TestDatabase(server: server, name: "billing")
        try await template.applySchema()
        let connection = try await template.connect()
        for role in Role.allCases where role != .owner {
            try await connection.execute(
                script: "CREATE ROLE \(role.rawValue) LOGIN IN ROLE \(role.group)")
        }
        await connection.close()
        return server
    }
}

/// A database of a test.
package struct TestDatabase: Sendable {
    package let server: TemporaryPostgres.Server
    package let name: String

    package init(server: TemporaryPostgres.Server, name: String) {
        self.server = server
        self.name = name
    }

    /// A conninfo string.
    package func connectionString(as role: TemporaryPostgres.Role = .owner) -> String {
        "host=\(server.socket) port=\(server.port) dbname=\(name) user=\(role.rawValue)"
    }

    package func configuration(as role: TemporaryPostgres.Role = .owner) -> PostgresConfiguration {
        var configuration = PostgresConfiguration(connectionString: connectionString(as: role))
        // A machine that runs all tests at once is slow; limits are tested by setting them.
        configuration.statementTimeout = .seconds(60)
        return configuration
    }

    package func connect(
        as role: TemporaryPostgres.Role = .owner
    ) async throws -> PostgresConnection {
        try await PostgresConnection.connect(configuration(as: role))
    }

    /// Runs statements on a connection of their own and returns the last one's rows.
    @discardableResult
    package func run(
        _ script: String, as role: TemporaryPostgres.Role = .owner
    ) async throws -> PostgresRows {
        let connection = try await connect(as: role)
        do {
            let rows = try await connection.execute(script: script)
            await connection.close()
            return rows
        } catch {
            await connection.close()
            throw error
        }
    }

    /// Applies `schema.sql` as its head says. Throws psql's words when it fails.
    package func applySchema() async throws {
        let result = try await ChildProcess.run(
            URL(filePath: "/usr/bin/psql"),
            [
                "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", connectionString(), "-f",
                Checkout.file("schema.sql").path(),
            ])
        guard result.status == 0 else {
            throw ChildProcess.Failure("schema.sql: \(result.errors)")
        }
    }
}
