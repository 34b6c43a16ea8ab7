import Postgres
import TestSupport
import Testing

/// What the server's refusals become.
@Suite(.timeLimit(.minutes(1))) struct ErrorTests {
    /// One for the suite: a refusal changes nothing.
    private static let creation = Task {
        let database = try await TemporaryPostgres.shared.emptyDatabase()
        try await database.run(
            """
            CREATE TABLE public.parents (id bigint PRIMARY KEY);
            CREATE TABLE public.things (
                id bigint CONSTRAINT things_key PRIMARY KEY,
                name text NOT NULL CONSTRAINT things_name_check CHECK (name <> 'bad'),
                parent bigint CONSTRAINT things_parent_fkey REFERENCES public.parents
            );
            INSERT INTO public.things VALUES (1, 'S3CRET')
            """)
        return database
    }

    private func database() async throws -> TestDatabase { try await Self.creation.value }

    @Test(
        arguments: [
            ("INSERT INTO public.things VALUES (1, 'S3CRET')", "23505", "things_key"),
            ("INSERT INTO public.things VALUES (2, 'bad')", "23514", "things_name_check"),
            ("INSERT INTO public.things VALUES (3, 'x', 9)", "23503", "things_parent_fkey"),
            ("INSERT INTO public.things VALUES (4, NULL)", "23502", nil),
            ("SELECT * FROM public.absent", "42P01", nil), ("SELEC 1", "42601", nil),
            ("SELECT 1 / 0", "22012", nil), ("SELECT 1; SELECT 2", "42601", nil),
        ] as [(String, String, String?)])
    func aRefusalHasItsCode(_ text: String, state: String, constraint: String?) async throws {
        let connection = try await database().connect()
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query(PostgresQuery(stringLiteral: text))
        }
        #expect(error?.kind == .server)
        #expect(error?.sqlState == state)
        #expect(error?.constraint == constraint)
        #expect(error?.isConnectionLost == false)
        #expect(error?.isRetryable == false)
        #expect(error?.outcomeUnknown == false)
        #expect(try await connection.query("SELECT 1 AS one").count == 1, "still usable")
        await connection.close()
    }

    @Test func aRefusalNamesTableAndColumn() async throws {
        let connection = try await database().connect()
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query("INSERT INTO public.things VALUES (4, NULL)")
        }
        await connection.close()
        #expect(error?.table == "things")
        #expect(error?.column == "name")
    }

    @Test func theDescriptionKeepsValuesOfRowsToItself() async throws {
        let connection = try await database().connect()
        let error = await #expect(throws: PostgresError.self) {
            try await connection.query(
                "INSERT INTO public.things VALUES (5, NULL, \(771_177 as Int64))")
        }
        let duplicate = await #expect(throws: PostgresError.self) {
            try await connection.query("INSERT INTO public.things VALUES (\(1 as Int64), 'x')")
        }
        await connection.close()
        let said = try #require(error)
        #expect(!"\(said)".contains("771177"))
        #expect(said.detail?.contains("771177") == true, "the test would notice")
        #expect(String(reflecting: said).contains("771177"))
        #expect(
            duplicate.map { "\($0)" }
                == "server 23505: duplicate key value violates unique constraint \"things_key\""
                + " [constraint things_key]")
    }

    @Test func aScriptStopsAtItsFirstError() async throws {
        let database = try await database()
        let connection = try await database.connect()
        let error = await #expect(throws: PostgresError.self) {
            try await connection.execute(
                script: """
                    INSERT INTO public.parents VALUES (1);
                    SELECT 1 / 0;
                    INSERT INTO public.parents VALUES (2)
                    """)
        }
        #expect(error?.sqlState == "22012")
        let rows = try await connection.query("SELECT count(*) AS count FROM public.parents")
        #expect(try rows.first?.int("count") == 0)
        await connection.close()
    }

    @Test func aScriptGivesTheLastStatementsRows() async throws {
        let connection = try await database().connect()
        let rows = try await connection.execute(script: "SELECT 1 AS a; SELECT 2 AS b, 3 AS c")
        #expect(rows.columns == ["b", "c"])
        #expect(try rows.first?.int("c") == 3)
        #expect(try await connection.execute(script: "").isEmpty)
        await connection.close()
    }

    @Test(arguments: [
        ("40001", true, false), ("40P01", true, false), ("55P03", true, false),
        ("57014", true, false), ("25006", true, false), ("53300", true, false),
        ("53100", true, false), ("57P01", true, true), ("57P02", true, true),
        ("57P03", true, true), ("08006", true, true), ("23505", false, false),
        ("42501", false, false), ("XX000", false, false),
    ])
    func aCodeSaysWhatMayBeRepeated(_ state: String, isRetryable: Bool, isLost: Bool) {
        let error = PostgresError(kind: .server, message: "x", sqlState: state)
        #expect(error.isRetryable == isRetryable)
        #expect(error.isConnectionLost == isLost)
    }
}
