import Postgres
import TestSupport
import Testing

/// Connections that end, and the session that makes new ones.
@Suite(.timeLimit(.minutes(1))) struct SessionTests {
    private let backend: PostgresQuery = "SELECT pg_backend_pid() AS pid"

    private func pid(_ session: PostgresSession) async throws -> Int {
        let backend = backend
        return try await session.withConnection { connection in
            try connection.query(backend).first?.int("pid") ?? 0
        }
    }

    /// Ends a backend, and waits until it is gone.
    private func terminate(_ pid: Int, _ database: TestDatabase) async throws {
        try await database.run("SELECT pg_terminate_backend(\(pid), 20000)")
    }

    @Test func aTerminatedBackendIsALostConnection() async throws {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        let pid = try await connection.query(backend).first?.int("pid")
        try await terminate(#require(pid), database)
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query("SELECT 1 AS one")
        }
        #expect(error?.isConnectionLost == true)
        #expect(error?.isRetryable == true)
        #expect(await connection.isOpen == false)
        let again = await #expect(throws: PostgresError.self) {
            try await connection.query("SELECT 1 AS one")
        }
        #expect(again?.kind == .connection)
    }

    @Test func aBackendTerminatedAtWorkIsALostConnection() async throws {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        let pid = try await #require(connection.query(backend).first).int("pid")
        let answer = Task { try await connection.query("SELECT pg_sleep(60)") }
        try await eventually("the statement is at work") {
            try await database.run(
                "SELECT 1 FROM pg_stat_activity WHERE pid = \(pid) AND state = 'active'"
            ).count == 1
        }
        try await terminate(pid, database)
        let error = await #expect(throws: PostgresError.self) { try await answer.value }
        #expect(error?.isConnectionLost == true)
        #expect(await connection.isOpen == false)
    }

    @Test func aSessionConnectsAnew() async throws {
        let database = try await CommonDatabase.database
        let session = PostgresSession(database.configuration())
        let first = try await pid(session)
        #expect(try await pid(session) == first)
        try await terminate(first, database)
        // It repeats nothing: the work that meets the loss fails.
        let error = await #expect(throws: PostgresError.self) { try await pid(session) }
        #expect(error?.isConnectionLost == true)
        let second = try await pid(session)
        #expect(second != first)
        #expect(try await pid(session) == second)
        await session.close()
    }

    @Test func manyWhoWaitShareOneConnection() async throws {
        let database = try await CommonDatabase.database
        let proxy = try CuttingProxy(database.server)
        let session = PostgresSession(
            PostgresConfiguration(connectionString: proxy.connectionString(to: database)))
        let pids = try await withThrowingTaskGroup { group in
            for _ in 0..<50 { group.addTask { try await pid(session) } }
            return try await group.reduce(into: Set()) { $0.insert($1) }
        }
        #expect(pids.count == 1)
        #expect(proxy.connections.count == 1)
        await session.close()
    }

    @Test func aSessionWithoutAServerFailsAndRecovers() async throws {
        let database = try await TemporaryPostgres.shared.emptyDatabase()
        try await database.run("ALTER DATABASE \(database.name) CONNECTION LIMIT 0")
        let session = PostgresSession(database.configuration(as: .worker))
        for _ in 0..<2 {
            let error = await #expect(throws: PostgresError.self) { try await pid(session) }
            #expect(error?.kind == .connection)
        }
        try await database.run("ALTER DATABASE \(database.name) CONNECTION LIMIT -1")
        #expect(try await pid(session) > 0)
        await session.close()
    }

    @Test func aClosedSessionIsDisconnected() async throws {
        let database = try await CommonDatabase.database
        let session = PostgresSession(database.configuration())
        let pid = try await pid(session)
        await session.close()
        try await eventually("the backend has ended") {
            try await database.run("SELECT 1 FROM pg_stat_activity WHERE pid = \(pid)").isEmpty
        }
    }

    @Test func theErrorOfTheWorkComesThrough() async throws {
        struct Refusal: Error {}
        let database = try await CommonDatabase.database
        let session = PostgresSession(database.configuration())
        await #expect(throws: Refusal.self) {
            try await session.withConnection { _ in throw Refusal() }
        }
        await session.close()
    }
}
