import Postgres
import TestSupport
import Testing

/// The same values, whichever format the answer comes in.
@Suite(.timeLimit(.minutes(1))) struct BinaryAnswerTests {
    private func row(_ query: PostgresQuery) async throws -> PostgresRow {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        let rows = try await connection.query(query.binary)
        await connection.close()
        return try #require(rows.first)
    }

    @Test func integersOfEachWidthComeBack() async throws {
        let row = try await row(
            """
            SELECT 9223372036854775807::bigint AS large, (-9223372036854775808)::bigint AS small,
                2147483647 AS int, (-2147483648)::integer AS least, 32767::smallint AS short,
                (-32768)::smallint AS shortest, 0 AS none, -1 AS minus, 256::bigint AS bytes
            """)
        #expect(try row.int64("large") == .max)
        #expect(try row.int64(0) == .max)
        #expect(try row.int64("small") == .min)
        #expect(try row.int("int") == Int(Int32.max))
        #expect(try row.int64("least") == Int64(Int32.min))
        #expect(try row.int("short") == 32_767)
        #expect(try row.int("shortest") == -32_768)
        #expect(try row.int("none") == 0)
        #expect(try row.int("minus") == -1)
        #expect(try row.int64("bytes") == 256)
    }

    @Test func theOthersComeBack() async throws {
        let row = try await row(
            """
            SELECT 0.1::float8 + 0.2::float8 AS double, '-infinity'::float8 AS least,
                5e-324::float8 AS tiny, true AS yes, false AS no, '정기 결제 ₩14,900 🧾'::text AS text,
                ''::text AS empty, 'unknown' AS literal
            """)
        #expect(try row.double("double") == 0.1 + 0.2)
        #expect(try row.double("least") == -.infinity)
        #expect(try row.double("tiny") == .leastNonzeroMagnitude)
        #expect(try row.bool("yes"))
        #expect(try !row.bool("no"))
        #expect(try row.string("text") == "정기 결제 ₩14,900 🧾")
        #expect(try row.string("empty") == "")
        #expect(try row.string("literal") == "unknown")
    }

    @Test(arguments: [
        "1970-01-01 00:00:00Z", "2000-01-01 00:00:00Z", "1999-12-31 23:59:59.999999Z",
        "2026-02-28 23:59:59.000001+09:00", "0001-01-01 00:00:00Z", "4713-01-01 00:00:00Z BC",
        "294246-12-31 23:59:59.999999Z",
    ])
    func anInstantIsTheOneOfTheText(_ instant: String) async throws {
        let query: PostgresQuery = "SELECT \(instant)::text::timestamptz AS instant"
        let binary = try await row(query).timestamp("instant")
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        let text = try await connection.query(query).first?.timestamp("instant")
        await connection.close()
        #expect(binary == text)
    }

    @Test(arguments: ["infinity", "-infinity", "294276-12-31 23:59:59.999999Z"])
    func aTimeWithoutEndOrTooFarIsNoInstant(_ word: String) async throws {
        let row = try await row("SELECT \(word)::text::timestamptz AS instant")
        let error = #expect(throws: PostgresError.self) { try row.timestamp("instant") }
        #expect(error?.message.contains("column instant is no") == true)
    }

    @Test func nothingIsNull() async throws {
        let row = try await row(
            """
            SELECT null::bigint AS int64, null::text AS string, null::boolean AS bool,
                null::float8 AS double, null::timestamptz AS timestamp
            """)
        #expect(try row.int64OrNil("int64") == nil)
        #expect(try row.stringOrNil("string") == nil)
        #expect(try row.boolOrNil("bool") == nil)
        #expect(try row.doubleOrNil("double") == nil)
        #expect(try row.timestampOrNil("timestamp") == nil)
        #expect(throws: PostgresError.self) { try row.int64("int64") }
    }

    /// Eight letters have the width of a bigint: only the type tells them apart.
    @Test func aValueOfAnotherTypeIsRefused() async throws {
        let row = try await row(
            """
            SELECT '12345678'::text AS text, 7::bigint AS int64, now() AS timestamp, 't'::text AS t,
                1.5::numeric AS numeric, '{}'::jsonb AS json, 1::float8 AS double
            """)
        #expect(throws: PostgresError.self) { try row.int64("text") }
        #expect(throws: PostgresError.self) { try row.timestamp("text") }
        #expect(throws: PostgresError.self) { try row.double("text") }
        #expect(throws: PostgresError.self) { try row.string("int64") }
        #expect(throws: PostgresError.self) { try row.timestamp("int64") }
        #expect(throws: PostgresError.self) { try row.double("int64") }
        #expect(throws: PostgresError.self) { try row.int64("timestamp") }
        #expect(throws: PostgresError.self) { try row.int64("double") }
        #expect(throws: PostgresError.self) { try row.bool("t") }
        #expect(throws: PostgresError.self) { try row.double("numeric") }
        #expect(throws: PostgresError.self) { try row.string("json") }
    }
}
