import Glibc
import Postgres
import TestSupport
import Testing

/// Limits, on our side and on the server's.
@Suite(.timeLimit(.minutes(1))) struct DeadlineTests {
    private func database() async throws -> TestDatabase {
        try await TemporaryPostgres.shared.emptyDatabase()
    }

    private func isAtWork(_ database: TestDatabase) async throws -> Bool {
        try await !database.run(
            """
            SELECT pid FROM pg_stat_activity
            WHERE datname = '\(database.name)' AND state = 'active' AND pid <> pg_backend_pid()
            """
        ).isEmpty
    }

    @Test func aStatementPastItsDeadlineIsCancelledAtTheServer() async throws {
        let database = try await database()
        let connection = try await database.connect()
        let began = ContinuousClock.now
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query("SELECT pg_sleep(60)", deadline: .milliseconds(500))
        }
        #expect(ContinuousClock.now - began < .seconds(4), "before the server's own limit")
        #expect(error?.kind == .deadline)
        #expect(error?.isRetryable == true)
        #expect(error?.outcomeUnknown == false)
        #expect(try await isAtWork(database) == false)
        #expect(try await connection.query("SELECT 1 AS one").count == 1, "still usable")
        await connection.close()
    }

    @Test func aDeadlineInsideATransactionRollsItBack() async throws {
        let database = try await database()
        try await database.run("CREATE TABLE public.notes (id bigint)")
        let connection = try await database.connect()
        let error = await #expect(throws: PostgresError.self) {
            try await connection.transaction { connection in
                _ = try connection.query("INSERT INTO public.notes VALUES (1)")
                _ = try connection.query("SELECT pg_sleep(60)", deadline: .milliseconds(500))
            }
        }
        #expect(error?.kind == .deadline)
        #expect(try await database.run("SELECT * FROM public.notes").isEmpty)
        #expect(try await connection.query("SELECT 1 AS one").count == 1)
        await connection.close()
    }

    /// A late cancel request must not hit the statement after the one that it was meant for. (One
    /// that comes before the statement has begun is ignored by the server: then the connection is
    /// closed.)
    @Test func statementsAfterADeadlineAreNotCancelled() async throws {
        let database = try await database()
        var connection = try await database.connect()
        for _ in 0..<20 {
            _ = try? await connection.query("SELECT pg_sleep(60)", deadline: .milliseconds(20))
            if await !connection.isOpen { connection = try await database.connect() }
            let rows = try await connection.query("SELECT pg_sleep(0.005), 1 AS one")
            #expect(try rows.first?.int("one") == 1)
        }
        await connection.close()
    }

    /// A server, a pooler or a network that is silent: the cancel request gets no answer either.
    @Test(arguments: [false, true])
    func aSilentServerHoldsNobodyPastTheDeadline(throughTCP: Bool) async throws {
        let database = try await database()
        let proxy = try CuttingProxy(database.server)
        let connection = try await PostgresConnection.connect(
            PostgresConfiguration(
                connectionString: proxy.connectionString(to: database, throughTCP: throughTCP)))
        proxy.stall()
        let began = ContinuousClock.now
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query("SELECT 1 AS one", deadline: .milliseconds(100))
        }
        #expect(ContinuousClock.now - began < .seconds(10))
        #expect(error?.kind == .deadline)
        #expect(await connection.isOpen == false, "in doubt, therefore closed")
        proxy.resume()
    }

    @Test func theServersStatementTimeoutHolds() async throws {
        var configuration = try await database().configuration()
        configuration.statementTimeout = .milliseconds(100)
        let connection = try await PostgresConnection.connect(configuration)
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query("SELECT pg_sleep(60)")
        }
        #expect(error?.sqlState == "57014")
        #expect(error?.isRetryable == true)
        #expect(await connection.isOpen)
        await connection.close()
    }

    @Test func aLockIsNotWaitedForWithoutEnd() async throws {
        let database = try await database()
        try await database.run("CREATE TABLE public.notes (id bigint)")
        var configuration = database.configuration()
        configuration.lockTimeout = .milliseconds(100)
        let waiting = try await PostgresConnection.connect(configuration)
        let holding = try await database.connect()
        try await holding.execute(script: "BEGIN; LOCK TABLE public.notes")
        let error = await #expect(throws: PostgresError.self) {
            try await waiting.transaction { connection in
                _ = try connection.query("INSERT INTO public.notes VALUES (1)")
            }
        }
        #expect(error?.sqlState == "55P03")
        #expect(error?.isRetryable == true)
        #expect(error?.isConnectionLost == false)
        try await holding.execute(script: "ROLLBACK")
        try await waiting.transaction { connection in
            _ = try connection.query("INSERT INTO public.notes VALUES (1)")
        }
        await waiting.close()
        await holding.close()
    }

    @Test func aTransactionThatIdlesIsEndedByTheServer() async throws {
        let database = try await database()
        var configuration = database.configuration()
        configuration.idleInTransactionTimeout = .milliseconds(100)
        let connection = try await PostgresConnection.connect(configuration)
        try await connection.execute(script: "BEGIN")
        try await eventually("the server has ended the session") {
            try await database.run(
                """
                SELECT pid FROM pg_stat_activity
                WHERE datname = '\(database.name)' AND state = 'idle in transaction'
                """
            ).isEmpty
        }
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query("SELECT 1 AS one")
        }
        #expect(error?.isRetryable == true)
        #expect(await connection.isOpen == false)
    }
}
