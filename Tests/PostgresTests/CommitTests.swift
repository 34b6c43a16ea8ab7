import Postgres
import TestSupport
import Testing

/// A connection that dies at COMMIT: committed, not committed, and nobody told us which.
@Suite(.timeLimit(.minutes(1))) struct CommitTests {
    private func database() async throws -> TestDatabase {
        let database = try await TemporaryPostgres.shared.emptyDatabase()
        try await database.run("CREATE TABLE public.notes (id bigint PRIMARY KEY)")
        return database
    }

    private func insert(
        _ number: Int, _ connection: PostgresConnection
    ) async throws {
        try await connection.transaction { connection in
            _ = try connection.query("INSERT INTO public.notes VALUES (\(number))")
        }
    }

    /// Returns when no session is at work any more: one whose client is gone may still commit.
    private func allSessionsEnd(_ database: TestDatabase) async throws {
        try await eventually("the old sessions have ended") {
            try await database.run(
                """
                SELECT pid FROM pg_stat_activity
                WHERE datname = '\(database.name)' AND pid <> pg_backend_pid()
                    AND backend_type = 'client backend'
                """
            ).isEmpty
        }
    }

    /// What became of it.
    private func isCommitted(_ number: Int, _ database: TestDatabase) async throws -> Bool {
        try await allSessionsEnd(database)
        return try await database.run("SELECT 1 FROM public.notes WHERE id = \(number)").count == 1
    }

    @Test(
        arguments: [
            (.beforeForwarding, false), (.afterForwarding, nil), (.afterAnswer, true),
            (.halfClose, true),
        ] as [(CuttingProxy.Cut, Bool?)], [false, true])
    func aConnectionCutAtCommitLeavesTheOutcomeUnknown(
        _ cut: (CuttingProxy.Cut, Bool?), throughTCP: Bool
    ) async throws {
        let database = try await database()
        let proxy = try CuttingProxy(database.server)
        let connection = try await PostgresConnection.connect(
            PostgresConfiguration(
                connectionString: proxy.connectionString(to: database, throughTCP: throughTCP)))
        try await insert(1, connection)
        proxy.arm(cut.0)
        let error = await #expect(throws: PostgresError.self) {
            try await insert(2, connection)
        }
        #expect(proxy.cuts.count == 1)
        #expect(error?.outcomeUnknown == true)
        #expect(error?.isRetryable == true)
        #expect(error.map { "\($0)".contains("not known") } == true)
        #expect(await connection.isOpen == false)
        let isCommitted = try await isCommitted(2, database)
        if let expected = cut.1 { #expect(isCommitted == expected) }
    }

    @Test func manyCutsAtCommitAreAllUnknown() async throws {
        let database = try await database()
        let proxy = try CuttingProxy(database.server)
        let session = PostgresSession(
            PostgresConfiguration(connectionString: proxy.connectionString(to: database)))
        var unknown = 0
        for number in 0..<60 {
            proxy.arm(
                [.beforeForwarding, .afterForwarding, .afterAnswer, .halfClose][number % 4])
            do {
                try await session.withConnection { connection in
                    try connection.transaction { connection in
                        _ = try connection.query("INSERT INTO public.notes VALUES (\(number))")
                    }
                }
            } catch let error as PostgresError where error.outcomeUnknown {
                unknown += 1
            }
        }
        await session.close()
        #expect(unknown == 60)
        #expect(proxy.commits.count == 60)
        try await allSessionsEnd(database)
        let kept = try await database.run("SELECT id FROM public.notes")
            .map { try $0.int64("id") % 4 }
        #expect(!kept.contains(0))
        #expect(kept.filter { $0 == 2 }.count == 15)
        #expect(kept.filter { $0 == 3 }.count == 15)
    }

    /// Only COMMIT makes an unknown: before it, nothing is committed.
    @Test func aConnectionCutBeforeCommitIsOnlyLost() async throws {
        let database = try await database()
        let proxy = try CuttingProxy(database.server)
        let connection = try await PostgresConnection.connect(
            PostgresConfiguration(connectionString: proxy.connectionString(to: database)))
        let error = await #expect(throws: PostgresError.self) {
            try await connection.transaction { connection in
                _ = try connection.query("INSERT INTO public.notes VALUES (\(1))")
                proxy.cutAll()
                _ = try connection.query("SELECT pg_sleep(5)")
            }
        }
        #expect(error?.isConnectionLost == true)
        #expect(error?.outcomeUnknown == false)
        #expect(try await isCommitted(1, database) == false)
    }

    @Test func theSessionAfterACutIsANewOne() async throws {
        let database = try await database()
        let proxy = try CuttingProxy(database.server)
        let session = PostgresSession(
            PostgresConfiguration(connectionString: proxy.connectionString(to: database)))
        proxy.arm(.afterAnswer)
        await #expect(throws: PostgresError.self) {
            try await session.withConnection { try $0.transaction { _ in } }
        }
        try await session.withConnection { connection in
            try connection.transaction { connection in
                _ = try connection.query("INSERT INTO public.notes VALUES (\(1))")
            }
        }
        #expect(proxy.connections.count == 2)
        await session.close()
    }
}
