import Postgres
import TestSupport
import Testing

/// Behind a transaction pooler: no start-up options, and nothing that outlives a transaction.
@Suite(.timeLimit(.minutes(1))) struct PoolerTests {
    @Test(arguments: [false, true])
    func startupOptionsAreSentOnlyWithoutAPooler(throughPooler: Bool) async throws {
        let database = try await CommonDatabase.database
        let proxy = try CuttingProxy(database.server)
        var configuration = PostgresConfiguration(
            connectionString: proxy.connectionString(to: database))
        configuration.throughPooler = throughPooler
        let connection = try await PostgresConnection.connect(configuration)
        await connection.close()
        let startup = try #require(proxy.startups.first)
        #expect((startup["options"] == nil) == throughPooler)
        // These a pooler knows (pgbouncer manual, ignore_startup_parameters).
        let known: Set = ["user", "database", "application_name", "client_encoding", "options"]
        #expect(Set(startup.keys).isSubset(of: known), "\(startup.keys.sorted())")
    }

    @Test func statementsAndTransactionsWork() async throws {
        let database = try await TemporaryPostgres.shared.emptyDatabase()
        try await database.run("CREATE TABLE public.notes (id bigint, at timestamptz)")
        var configuration = database.configuration()
        configuration.throughPooler = true
        let connection = try await PostgresConnection.connect(configuration)
        let instant = PostgresTimestamp(microseconds: 1_769_817_600_123_456)
        let limits = try await connection.transaction { connection in
            _ = try connection.query("INSERT INTO public.notes VALUES (\(1), \(instant))")
            return try connection.query(
                "SELECT current_setting('synchronous_commit') AS commit"
            ).first?.string("commit")
        }
        #expect(limits == "on")
        let row = try await #require(connection.query("SELECT * FROM public.notes").first)
        #expect(try row.timestamp("at") == instant)
        await connection.close()
    }

    /// The next transaction may meet another server connection: nothing is prepared.
    @Test func noStatementIsLeftPrepared() async throws {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        for number in 0..<10 { _ = try await connection.query("SELECT \(number) AS number") }
        let rows = try await connection.query("SELECT name FROM pg_prepared_statements")
        #expect(rows.isEmpty)
        await connection.close()
    }
}
