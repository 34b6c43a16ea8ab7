import Postgres
import TestSupport
import Testing

/// Values on their way to the server and back.
@Suite(.timeLimit(.minutes(1))) struct ValueTests {
    private func row(_ query: PostgresQuery) async throws -> PostgresRow {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        let rows = try await connection.query(query)
        await connection.close()
        return try #require(rows.first)
    }

    private static let texts = [
        "", " ", "plain", "it's", #"say "no""#, #"back\slash\\"#, #"\""#, "a,b{c}d", "NULL", "null",
        "{}", "line\nbreak\r\n\ttab", "정기 결제 ₩14,900", "🧾👩‍👩‍👧", "e\u{301}", "\u{1}\u{7f}",
        "$1 ; -- '", "%s\\x00",
    ]

    @Test func numbersComeBack() async throws {
        let row = try await row(
            """
            SELECT \(Int64.max) AS large, \(Int64.min) AS small, \(Int32.min) AS int32,
                \(7) AS int, \(0.1 + 0.2) AS double, \(-Double.greatestFiniteMagnitude) AS extreme,
                \(Double.leastNonzeroMagnitude) AS tiny, \(Double.infinity) AS infinite,
                \(Double.nan) AS nan
            """)
        #expect(try row.int64("large") == .max)
        #expect(try row.int64("small") == .min)
        #expect(try row.int64("int32") == Int64(Int32.min))
        #expect(try row.int("int") == 7)
        #expect(try row.int64(0) == .max)
        #expect(try row.double("double") == 0.1 + 0.2)
        #expect(try row.double("extreme") == -.greatestFiniteMagnitude)
        #expect(try row.double("tiny") == .leastNonzeroMagnitude)
        #expect(try row.double("infinite") == .infinity)
        #expect(try row.double("nan").isNaN)
    }

    @Test func eachValueHasItsType() async throws {
        let row = try await row(
            """
            SELECT pg_typeof(\(Int64(1)))::text AS int64, pg_typeof(\(Int32(1)))::text AS int32,
                pg_typeof(\(1.0))::text AS double, pg_typeof(\(true))::text AS bool,
                pg_typeof(\("x"))::text AS string,
                pg_typeof(\(PostgresTimestamp(microseconds: 0)))::text AS timestamp,
                pg_typeof(\(.json("{}")))::text AS json,
                pg_typeof(\(.uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")))::text AS uuid,
                pg_typeof(\(.interval("1 day")))::text AS interval,
                pg_typeof(\([Int64(1)]))::text AS int64s, pg_typeof(\([Int32(1)]))::text AS int32s,
                pg_typeof(\([1.0]))::text AS doubles, pg_typeof(\([true]))::text AS bools,
                pg_typeof(\(["x"]))::text AS strings,
                pg_typeof(\([PostgresTimestamp(microseconds: 0)]))::text AS timestamps,
                pg_typeof(\(.jsons(["{}"])))::text AS jsons
            """)
        let expected = [
            "int64": "bigint", "int32": "integer", "double": "double precision", "bool": "boolean",
            "string": "text", "timestamp": "timestamp with time zone", "json": "jsonb",
            "uuid": "uuid", "interval": "interval", "int64s": "bigint[]", "int32s": "integer[]",
            "doubles": "double precision[]", "bools": "boolean[]", "strings": "text[]",
            "timestamps": "timestamp with time zone[]", "jsons": "jsonb[]",
        ]
        for (column, type) in expected { #expect(try row.string(column) == type, "\(column)") }
    }

    @Test(arguments: texts) func aTextComesBack(_ text: String) async throws {
        let row = try await row(
            "SELECT \(text) AS text, octet_length(\(text)) AS bytes, (\([text]))[1] AS element")
        #expect(try Array(row.string("text").utf8) == Array(text.utf8))
        #expect(try Array(row.string("element").utf8) == Array(text.utf8))
        #expect(try row.int("bytes") == text.utf8.count)
    }

    @Test func arraysComeBackByUnnest() async throws {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        let long = String(repeating: "가\"\\", count: 200_000)
        let texts: [String?] = Self.texts + [long, nil]
        let numbers: [Int64?] = (0..<texts.count).map { $0 == 3 ? nil : Int64($0) - 5 }
        let small: [Int32?] = numbers.map { $0.map { Int32($0) } }
        let doubles: [Double?] = numbers.map { $0.map { Double($0) / 3 } }
        let flags: [Bool?] = numbers.map { $0.map { $0 > 0 } }
        let instants: [PostgresTimestamp?] = numbers.map {
            $0.map { PostgresTimestamp(microseconds: $0 * 1_000_000_007) }
        }
        let jsons = texts.map { $0.map { _ in #"{"a": "\"\\"}"# } }
        let rows = try await connection.query(
            """
            SELECT * FROM unnest(\(texts), \(numbers), \(small), \(doubles), \(.bools(flags)),
                \(.timestamps(instants)), \(.jsons(jsons)))
                WITH ORDINALITY AS list (text, number, small, double, flag, instant, json, place)
            ORDER BY place
            """)
        await connection.close()
        #expect(rows.count == texts.count)
        #expect(rows.columns.first == "text")
        for (index, row) in rows.enumerated() {
            #expect(
                try row.stringOrNil("text").map { Array($0.utf8) }
                    == texts[index].map { Array($0.utf8) })
            #expect(try row.int64OrNil("number") == numbers[index])
            #expect(try row.int64OrNil("small") == numbers[index])
            #expect(try row.doubleOrNil("double") == doubles[index])
            #expect(try row.boolOrNil("flag") == flags[index])
            #expect(try row.timestampOrNil("instant") == instants[index])
            #expect(try row.stringOrNil("json") == jsons[index])
        }
    }

    @Test func extremesComeBackFromArrays() async throws {
        let numbers: [Int64] = [.min, .max, 0, -1, 256, 1 << 40]
        let doubles: [Double?] = [.infinity, -.infinity, .nan, -0.0, .leastNonzeroMagnitude]
        let instants = [
            "4713-01-01 00:00:00+00 BC", "1999-12-31 23:59:59.999999+00",
            "9999-12-31 23:59:59.999999+00",
        ]
        let sent = try instants.map { try #require(PostgresTimestamp(iso8601: $0)) }
        let row = try await row(
            """
            SELECT \(numbers)::text AS numbers, \(doubles)::text AS doubles,
                set_config('TimeZone', 'UTC', false), array_to_string(\(sent), ',') AS instants
            """)
        #expect(
            try row.string("numbers")
                == "{-9223372036854775808,9223372036854775807,0,-1,256,1099511627776}")
        #expect(try row.string("doubles") == "{Infinity,-Infinity,NaN,-0,5e-324}")
        #expect(try row.string("instants") == instants.joined(separator: ","))
    }

    /// PostgreSQL writes infinity as the extremes of its numbers: none of ours may become one.
    @Test(arguments: [Int64.min, Int64.min + 1, Int64.min + 2, Int64.min + 946_684_800_000_001])
    func aTimestampTooFarInThePastIsRefused(_ microseconds: Int64) async throws {
        let instant = PostgresTimestamp(microseconds: microseconds)
        let error = await #expect(throws: PostgresError.self) {
            try await self.row("SELECT \([instant])::text AS instants")
        }
        #expect(error?.sqlState == "22008")
    }

    @Test func emptyArraysAreEmpty() async throws {
        let row = try await row(
            """
            SELECT cardinality(\([String]())) + cardinality(\([Int64]())) + cardinality(\([Bool]()))
                + cardinality(\(.jsons([]))) + cardinality(\([PostgresTimestamp]())) AS size,
                (SELECT count(*) FROM unnest(\([String]()), \([Int32]()))) AS rows
            """)
        #expect(try row.int("size") == 0)
        #expect(try row.int("rows") == 0)
    }

    @Test func nothingIsNull() async throws {
        let row = try await row(
            """
            SELECT \(nil as Int64?) AS int64, \(nil as String?) AS string, \(nil as Bool?) AS bool,
                \(nil as Double?) AS double, \(nil as PostgresTimestamp?) AS timestamp,
                \(.json(nil)) AS json, \(.uuid(nil)) AS uuid, \(.interval(nil)) AS interval
            """)
        #expect(try row.int64OrNil("int64") == nil)
        #expect(try row.stringOrNil("string") == nil)
        #expect(try row.boolOrNil("bool") == nil)
        #expect(try row.doubleOrNil("double") == nil)
        #expect(try row.timestampOrNil("timestamp") == nil)
        for column in ["json", "uuid", "interval"] {
            #expect(try row.stringOrNil(column) == nil)
            #expect(throws: PostgresError.self) { try row.string(column) }
        }
    }

    @Test func jsonUUIDAndIntervalAreTexts() async throws {
        let row = try await row(
            """
            SELECT \(.json(#"{"b":[1,null],"a":"\u00e9\\"}"#)) AS json,
                \(.uuid("A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11")) AS uuid,
                \(.interval("1 month 3 days 04:05:06")) AS interval,
                \(.interval("P1Y")) AS year, make_interval(hours => 25) AS hours
            """)
        #expect(try row.string("json") == #"{"a": "é\\", "b": [1, null]}"#)
        #expect(try row.string("uuid") == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
        #expect(try row.string("interval") == "1 mon 3 days 04:05:06")
        #expect(try row.string("year") == "1 year")
        #expect(try row.string("hours") == "25:00:00")
    }

    /// The sign for NUL stands for NUL, so that the log of the tests stays text.
    @Test(arguments: ["␀", "a␀b", "end␀"])
    func aTextWithANULIsRefused(_ sign: String) async throws {
        let text = sign.replacing("␀", with: "\0")
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        for query in ["SELECT \(text)", "SELECT \(["x", text])"] as [PostgresQuery] {
            let error = await #expect(throws: PostgresError.self) {
                try await connection.query(query)
            }
            // As the server would say of one that came in another way.
            #expect(error?.sqlState == "22021")
            #expect(error?.isRetryable == false)
        }
        #expect(try await connection.query("SELECT 1 AS one").count == 1)
        await connection.close()
    }

    @Test func aValueOfAnotherTypeNamesItsColumn() async throws {
        let row = try await row("SELECT 'S3CRET' AS word, NULL::int AS none, 1.5 AS number")
        let readings: [(String, () throws -> Void)] = [
            ("word", { _ = try row.int64("word") }), ("word", { _ = try row.bool("word") }),
            ("word", { _ = try row.timestamp("word") }), ("word", { _ = try row.double("word") }),
            ("none", { _ = try row.int("none") }), ("number", { _ = try row.int64("number") }),
            ("absent", { _ = try row.string("absent") }), ("9", { _ = try row.int64(9) }),
        ]
        for (column, read) in readings {
            let error = #expect(throws: PostgresError.self) { try read() }
            #expect(error?.kind == .decoding)
            #expect(error?.message.contains(column) == true)
            #expect(error?.message.contains("S3CRET") == false)
        }
    }

    @Test func anInterpolatedValueIsNeverTextOfTheStatement() {
        let query: PostgresQuery =
            "SELECT \("'; DROP TABLE x; --") , \(7 as Int64) \([1, 2] as [Int64])"
        #expect(query.text == "SELECT $1 , $2 $3")
        #expect(query.parameters.count == 3)
    }

    @Test func manyRowsComeBackInOrder() async throws {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        let rows = try await connection.query(
            "SELECT g AS number, repeat('x', 100) AS filler FROM generate_series(1, \(20_000)) g")
        await connection.close()
        #expect(try rows.map { try $0.int64("number") } == Array(1...20_000))
    }
}
