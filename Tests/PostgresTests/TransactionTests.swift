import Postgres
import TestSupport
import Testing

/// Work between BEGIN and COMMIT.
@Suite(.timeLimit(.minutes(1))) struct TransactionTests {
    private struct Refusal: Error {}

    private func database() async throws -> TestDatabase {
        let database = try await TemporaryPostgres.shared.emptyDatabase()
        try await database.run("CREATE TABLE public.notes (id bigint PRIMARY KEY)")
        return database
    }

    private func notes(_ database: TestDatabase) async throws -> [Int64] {
        try await database.run("SELECT id FROM public.notes ORDER BY id")
            .map { try $0.int64("id") }
    }

    @Test func whatWasDoneIsCommitted() async throws {
        let database = try await database()
        let connection = try await database.connect()
        let count = try await connection.transaction { connection in
            _ = try connection.query("INSERT INTO public.notes VALUES (\(1))")
            _ = try connection.query("INSERT INTO public.notes VALUES (\(2))")
            return try connection.query("SELECT count(*) AS count FROM public.notes").first?
                .int("count")
        }
        #expect(count == 2)
        #expect(try await notes(database) == [1, 2])
        await connection.close()
    }

    @Test func whatThrowsIsRolledBack() async throws {
        let database = try await database()
        let connection = try await database.connect()
        await #expect(throws: Refusal.self) {
            try await connection.transaction { connection in
                _ = try connection.query("INSERT INTO public.notes VALUES (\(1))")
                throw Refusal()
            }
        }
        #expect(try await notes(database).isEmpty)
        try await connection.transaction { connection in
            _ = try connection.query("INSERT INTO public.notes VALUES (\(2))")
        }
        #expect(try await notes(database) == [2])
        await connection.close()
    }

    @Test func anErrorOfTheServerIsRolledBackAndThrown() async throws {
        let database = try await database()
        let connection = try await database.connect()
        let error = await #expect(throws: PostgresError.self) {
            try await connection.transaction { connection in
                _ = try connection.query("INSERT INTO public.notes VALUES (\(1))")
                _ = try connection.query("INSERT INTO public.notes VALUES (\(1))")
            }
        }
        #expect(error?.sqlState == "23505")
        #expect(error?.outcomeUnknown == false)
        #expect(try await notes(database).isEmpty)
        #expect(await connection.isOpen)
        await connection.close()
    }

    /// A failed transaction answers COMMIT with ROLLBACK and no error; that must not pass for one
    /// that was committed.
    @Test func anErrorThatWasSwallowedIsFoundAtCommit() async throws {
        let database = try await database()
        let connection = try await database.connect()
        let error = await #expect(throws: PostgresError.self) {
            try await connection.transaction { connection in
                _ = try connection.query("INSERT INTO public.notes VALUES (\(1))")
                _ = try? connection.query("SELECT 1 / 0")
            }
        }
        #expect(error?.kind == .server)
        #expect(error?.outcomeUnknown == false)
        #expect(try await notes(database).isEmpty)
        try await connection.transaction { connection in
            _ = try connection.query("INSERT INTO public.notes VALUES (\(2))")
        }
        #expect(try await notes(database) == [2])
        await connection.close()
    }

    /// A deferred constraint speaks at COMMIT: then nothing was committed, for certain.
    @Test func aRefusalAtCommitIsCertain() async throws {
        let database = try await database()
        try await database.run(
            """
            CREATE TABLE public.later (
                id bigint REFERENCES public.notes DEFERRABLE INITIALLY DEFERRED)
            """)
        let connection = try await database.connect()
        let error = await #expect(throws: PostgresError.self) {
            try await connection.transaction { connection in
                _ = try connection.query("INSERT INTO public.later VALUES (\(7))")
            }
        }
        #expect(error?.sqlState == "23503")
        #expect(error?.outcomeUnknown == false)
        #expect(await connection.isOpen)
        await connection.close()
    }

    @Test(arguments: [false, true])
    func commitsAreDurableWhateverRoleAndSessionSay(throughPooler: Bool) async throws {
        let database = try await database()
        try await database.run(
            "ALTER ROLE test_worker IN DATABASE \(database.name) SET synchronous_commit = off")
        var configuration = database.configuration(as: .worker)
        configuration.throughPooler = throughPooler
        let connection = try await PostgresConnection.connect(configuration)
        let setting: PostgresQuery = "SELECT current_setting('synchronous_commit') AS value"
        if !throughPooler {
            #expect(
                try await connection.query(setting).first?.string("value") == "on",
                "start-up options beat the role's setting")
            try await connection.execute(script: "SET synchronous_commit = off")
        }
        #expect(
            try await connection.query(setting).first?.string("value") == "off",
            "the test would notice")
        let inside = try await connection.transaction { connection in
            try connection.query(setting).first?.string("value")
        }
        #expect(inside == "on")
        #expect(try await connection.query(setting).first?.string("value") == "off")
        await connection.close()
    }

    @Test func transactionsReadCommittedAndWriteWhateverTheDefaults() async throws {
        let database = try await database()
        try await database.run(
            """
            ALTER DATABASE \(database.name) SET default_transaction_isolation = 'serializable'
            """)
        let connection = try await database.connect()
        let level = try await connection.transaction { connection in
            _ = try connection.query("INSERT INTO public.notes VALUES (\(1))")
            return try connection.query("SELECT current_setting('transaction_isolation') AS level")
                .first?.string("level")
        }
        #expect(level == "read committed")
        await connection.close()
    }

    /// The actor runs a transaction as one piece; no statement of another task falls into it.
    @Test func transactionsOfOneConnectionDoNotMix() async throws {
        let database = try await database()
        let connection = try await database.connect()
        try await withThrowingTaskGroup { group in
            for number in 0..<40 {
                group.addTask {
                    if number.isMultiple(of: 2) {
                        try await connection.transaction { connection in
                            _ = try connection.query("INSERT INTO public.notes VALUES (\(number))")
                            _ = try connection.query("SELECT pg_sleep(0.001)")
                        }
                    } else {
                        try? await connection.transaction { connection in
                            _ = try connection.query("INSERT INTO public.notes VALUES (\(number))")
                            throw Refusal()
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await notes(database) == (0..<40).filter { $0.isMultiple(of: 2) })
        await connection.close()
    }

    @Test func aClosedConnectionRefuses() async throws {
        let database = try await database()
        let connection = try await database.connect()
        await connection.close()
        #expect(await connection.isOpen == false)
        let error = await #expect(throws: PostgresError.self) {
            try await connection.transaction { _ in }
        }
        #expect(error?.isConnectionLost == true)
        #expect(error?.outcomeUnknown == false)
    }
}
