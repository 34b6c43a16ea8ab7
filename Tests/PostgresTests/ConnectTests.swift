import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

/// Where the client connects, and what it says there.
@Suite(.timeLimit(.minutes(1))) struct ConnectTests {
    private func connect(
        _ text: String, _ change: (inout PostgresConfiguration) -> Void = { _ in }
    ) async throws -> PostgresConnection {
        var configuration = PostgresConfiguration(connectionString: text)
        change(&configuration)
        return try await PostgresConnection.connect(configuration)
    }

    private func escaped(_ text: String) -> String {
        text.split(separator: "/", omittingEmptySubsequences: false).joined(separator: "%2F")
    }

    @Test func aConninfoStringConnects() async throws {
        let database = try await CommonDatabase.database
        let connection = try await connect(database.connectionString(as: .worker))
        let row = try await #require(
            connection.query("SELECT current_user::text AS role, current_database()::text AS name")
                .first)
        #expect(try row.string("role") == "test_worker")
        #expect(try row.string("name") == database.name)
        await connection.close()
    }

    @Test(arguments: ["postgresql", "postgres"])
    func aURIConnects(_ scheme: String) async throws {
        let database = try await CommonDatabase.database
        let connection = try await connect(
            "\(scheme)://test_web@\(escaped(database.server.socket)):\(database.server.port)"
                + "/\(database.name)?application_name=elsewhere")
        let row = try await #require(
            connection.query(
                """
                SELECT current_user::text AS role, current_database()::text AS name,
                    current_setting('application_name') AS application
                """
            ).first)
        #expect(try row.string("role") == "test_web")
        #expect(try row.string("name") == database.name)
        #expect(try row.string("application") == "billingd")
        await connection.close()
    }

    @Test func aURIConnectsOverTCP() async throws {
        let database = try await CommonDatabase.database
        let proxy = try CuttingProxy(database.server)
        let connection = try await connect(
            "postgresql://postgres@127.0.0.1:\(proxy.port)/\(database.name)?sslmode=disable")
        #expect(try await connection.query("SELECT 1 AS one").count == 1)
        await connection.close()
    }

    /// In a process of its own, because the environment belongs to all tests.
    @Test func anEmptyStringMeansTheEnvironment() async throws {
        let database = try await CommonDatabase.database
        await #expect(processExitsWith: .success) {
            [
                socket = database.server.socket as String, port = database.server.port as Int,
                name = database.name as String
            ] in
            setenv("PGHOST", socket, 1)
            setenv("PGPORT", "\(port)", 1)
            setenv("PGDATABASE", name, 1)
            setenv("PGUSER", "test_report", 1)
            let connection = try await PostgresConnection.connect(
                PostgresConfiguration(connectionString: ""))
            let row = try await #require(
                connection.query(
                    "SELECT current_user::text AS role, current_database()::text AS name"
                ).first)
            #expect(try row.string("role") == "test_report")
            #expect(try row.string("name") == name)
        }
    }

    @Test func theEnvironmentDoesNotWeakenASession() async throws {
        let database = try await CommonDatabase.database
        await #expect(processExitsWith: .success) {
            [text = database.connectionString() as String] in
            setenv("PGOPTIONS", "-c synchronous_commit=off -c statement_timeout=0", 1)
            setenv("PGCLIENTENCODING", "LATIN1", 1)
            setenv("PGAPPNAME", "somebody", 1)
            setenv("PGTARGETSESSIONATTRS", "read-only", 1)
            setenv("PGTZ", "Asia/Seoul", 1)
            setenv("PGDATESTYLE", "German", 1)
            setenv("PGDATABASE", "postgres", 1)
            let connection = try await PostgresConnection.connect(
                PostgresConfiguration(connectionString: text))
            let expected = [
                "synchronous_commit": "on", "statement_timeout": "5s", "client_encoding": "UTF8",
                "application_name": "billingd",
            ]
            for (name, value) in expected {
                let row = try await #require(
                    connection.query("SELECT current_setting(\(name)) AS value").first)
                #expect(try row.string("value") == value, "\(name)")
            }
            // PGDATESTYLE beats the options; a transaction sets it once more.
            let instant = try await connection.transaction { connection in
                try connection.query("SELECT timestamptz 'epoch' AS instant").first?
                    .timestamp("instant")
            }
            #expect(instant == PostgresTimestamp(microseconds: 0))
        }
    }

    @Test func theSessionHasTheConfiguredLimits() async throws {
        let database = try await CommonDatabase.database
        let connection = try await connect(database.connectionString()) {
            $0.applicationName = "a name"
            $0.statementTimeout = .milliseconds(1_234)
            $0.lockTimeout = .seconds(2)
            $0.idleInTransactionTimeout = .seconds(9)
        }
        let expected = [
            "application_name": "a name", "statement_timeout": "1234ms", "lock_timeout": "2s",
            "idle_in_transaction_session_timeout": "9s", "synchronous_commit": "on",
            "search_path": "", "TimeZone": "UTC", "DateStyle": "ISO, MDY",
            "IntervalStyle": "postgres", "client_encoding": "UTF8",
        ]
        for (name, value) in expected {
            let rows = try await connection.query("SELECT current_setting(\(name)) AS value")
            #expect(try rows.first?.string("value") == value, "\(name)")
        }
        await connection.close()
    }

    @Test(arguments: ["/nonexistent", "127.0.0.1"])
    func theSecondHostIsUsedWhenTheFirstIsDead(_ dead: String) async throws {
        let database = try await CommonDatabase.database
        let (holder, unused) = try Sockets.reserveOnLoopback()
        defer { close(holder) }
        let connection = try await connect(
            "host=\(dead),\(database.server.socket) port=\(unused),\(database.server.port)"
                + " dbname=\(database.name) user=postgres")
        #expect(try await connection.query("SELECT 1 AS one").count == 1)
        await connection.close()
    }

    @Test func aReadOnlyServerIsPassedOver() async throws {
        let database = try await CommonDatabase.database
        let child = try await ChildProcess(
            Checkout.file("deploy/private-postgres"),
            ["--fast", "--set", "default_transaction_read_only=on"], lastSignal: "TERM")
        var words: [String] = []
        try await eventually("the read-only server is up") {
            words = child.output.split(whereSeparator: \.isWhitespace).map(String.init)
            return words.count == 3
        }
        let rest = "dbname=postgres user=postgres"
        let connection = try await connect(
            "host=\(words[0]),\(database.server.socket) port=\(words[1]),\(database.server.port) "
                + rest)
        let rows = try await connection.query("SELECT current_setting('port') AS port")
        #expect(try rows.first?.string("port") == "\(database.server.port)")
        await connection.close()
        let error = await #expect(throws: PostgresError.self) {
            try await connect("host=\(words[0]) port=\(words[1]) \(rest)")
        }
        #expect(error?.kind == .connection)
        child.kill(SIGTERM)
        await child.ended()
    }

    @Test func nobodyThereIsALostConnection() async throws {
        let error = await #expect(throws: PostgresError.self) {
            try await connect("host=/nonexistent port=1 dbname=nothing user=nobody")
        }
        #expect(error?.kind == .connection)
        #expect(error?.isConnectionLost == true)
        #expect(error?.isRetryable == true)
        #expect(error.map { "\($0)".contains("/nonexistent") } == true)
    }

    @Test(arguments: [
        "postgresql://u:pa%ssS3CRET@127.0.0.1:1/x", "postgresql://u:S3CRET@[::1/x",
        "postgresql://u:S3CRET@127.0.0.1:1/x?nonsense=1", "postgresql://u:S3CRET@127.0.0.1:1/x?S3",
        "host=/nonexistent port=1 password=S3CRET user=u dbname=x",
        "host=/nonexistent port=1 password='S3CRET user=u", "password S3CRET",
        "host=/nonexistent password=two words=S3CRET", "host=/nonexistent password=two S3CRET",
        // A slash or an at sign that is not percent-encoded: half the password becomes a host or port.
        "postgresql://u:S3CRET/x@127.0.0.1:1/x", "postgresql://u:pa@S3CRET@127.0.0.1:1/x",
    ])
    func aRejectedConnectionStringIsNotPrinted(_ text: String) async throws {
        let error = await #expect(throws: PostgresError.self) { try await connect(text) }
        let said = try #require(error)
        #expect(said.kind == .connection)
        #expect(!"\(said) \(String(reflecting: said)) \(said.message)".contains("S3CRET"))
    }

    @Test func aConfigurationDoesNotPrintItsConnectionString() {
        let configuration = PostgresConfiguration(connectionString: "password=S3CRET")
        #expect("\(configuration)" == "PostgresConfiguration(billingd)")
        var dumped = ""
        dump(configuration, to: &dumped)
        #expect(!String(reflecting: configuration).contains("S3CRET"))
        #expect(!dumped.contains("S3CRET"))
    }

    /// Threads are counted in a process without other tests.
    @Test func closedConnectionsLeaveNoThreadAndNoDescriptor() async throws {
        let database = try await CommonDatabase.database
        await #expect(processExitsWith: .success) {
            [text = database.connectionString() as String] in
            func entries(_ folder: String) throws -> Int {
                try FileManager.default.contentsOfDirectory(atPath: folder).count
            }
            func use(_ text: String) async throws {
                let connection = try await PostgresConnection.connect(
                    PostgresConfiguration(connectionString: text))
                _ = try await connection.query("SELECT 1 AS one")
                await connection.close()
            }
            try await use(text)
            // Timers of the runtime have descriptors too, from the first time that one is set.
            var isSet = false
            try await eventually("a timer was set") {
                defer { isSet = true }
                return isSet
            }
            let descriptors = try entries("/proc/self/fd")
            try await withThrowingTaskGroup { group in
                for _ in 0..<50 { group.addTask { try await use(text) } }
                try await group.waitForAll()
            }
            for _ in 0..<5 { try? await use("host=/nonexistent") }
            // What the runtime itself keeps, one thread a core, is no connection's.
            let runtime = ProcessInfo.processInfo.activeProcessorCount + 4
            try await eventually("the threads have ended") {
                try entries("/proc/self/task") <= runtime
            }
            try await eventually("the descriptors are closed") {
                try entries("/proc/self/fd") <= descriptors
            }
        }
    }
}
