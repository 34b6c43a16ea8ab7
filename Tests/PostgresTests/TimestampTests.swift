import Postgres
import TestSupport
import Testing

/// Instants, against PostgreSQL's own calendar.
@Suite(.timeLimit(.minutes(1))) struct TimestampTests {
    /// Years 4713 BC to 294,246 AD, the seams of the calendar, and a mix in between.
    private static var samples: [Int64] {
        var samples: [Int64] = [
            0, -1, 1, 999_999, -999_999, 951_782_400_000_000, 4_107_542_400_000_000,
            -62_135_596_800_000_000, -62_135_596_800_000_001, -62_167_219_200_000_000,
            -62_167_219_200_000_001, 253_402_300_799_999_999, 253_402_300_800_000_000,
            -210_863_520_000_000_000, 9_223_371_331_199_999_999,
        ]
        var generator = SplitMix(seed: 20_260_131)
        for _ in 0..<3_000 {
            samples.append(
                .random(in: -210_863_520_000_000_000...9_223_371_331_199_999_999, using: &generator)
            )
            samples.append(
                .random(in: -80_000_000_000_000_000...300_000_000_000_000_000, using: &generator))
            samples.append(
                .random(in: 1_500_000_000_000_000...2_500_000_000_000_000, using: &generator))
        }
        // Each day of four centuries' Februaries and ends of years.
        for day in stride(from: Int64(-141_000), through: 141_000, by: 1) where day % 37 == 0 {
            samples.append(day * 86_400_000_000 + 86_399_999_999)
        }
        return samples
    }

    private struct SplitMix: RandomNumberGenerator {
        var state: UInt64
        init(seed: UInt64) { state = seed }
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
            return mixed ^ (mixed >> 31)
        }
    }

    @Test func postgreSQLReadsWhatIsWritten() async throws {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        let samples = Self.samples
        let rows = try await connection.query(
            """
            SELECT (extract(epoch FROM list.instant) * 1000000)::bigint AS microseconds
            FROM unnest(\(samples.map { PostgresTimestamp(microseconds: $0) }))
                WITH ORDINALITY AS list (instant, place) ORDER BY place
            """)
        await connection.close()
        try #require(rows.count == samples.count)
        let wrong = try zip(samples, rows).filter { try $1.int64("microseconds") != $0 }
        #expect(wrong.isEmpty, "\(wrong.prefix(3).map { "\($0.0)" })")
    }

    /// Zones with whole hours, halves, and seconds before they had standard time.
    @Test(arguments: [
        "UTC", "Asia/Seoul", "America/St_Johns", "Africa/Monrovia", "Europe/Amsterdam",
        "Pacific/Apia",
    ])
    func whatPostgreSQLWritesIsRead(inZone zone: String) async throws {
        let database = try await CommonDatabase.database
        let connection = try await database.connect()
        _ = try await connection.query("SELECT set_config('TimeZone', \(zone), false)")
        let samples = Self.samples
        let rows = try await connection.query(
            """
            SELECT list.instant
            FROM unnest(\(samples.map { PostgresTimestamp(microseconds: $0) }))
                WITH ORDINALITY AS list (instant, place) ORDER BY place
            """)
        await connection.close()
        try #require(rows.count == samples.count)
        let texts = try rows.map { try $0.string("instant") }
        let wrong = zip(samples, texts).filter {
            PostgresTimestamp(iso8601: $1)?.microseconds != $0
        }
        #expect(wrong.isEmpty, "\(wrong.prefix(3))")
    }

    @Test func theRangeOfPostgreSQLDoesNotTrap() async throws {
        let database = try await CommonDatabase.database
        let rows = try await database.run(
            """
            SELECT timestamptz '4714-11-24 00:00:00+00 BC' AS first,
                timestamptz '294276-12-31 23:59:59.999999+00' AS last,
                timestamptz 'infinity' AS never, timestamptz '-infinity' AS always
            """)
        let row = try #require(rows.first)
        #expect(try row.timestamp("first").microseconds == -210_866_803_200_000_000)
        for column in ["last", "never", "always"] {
            let error = #expect(throws: PostgresError.self) { try row.timestamp(column) }
            #expect(error?.kind == .decoding)
        }
    }

    @Test(arguments: [
        ("2026-01-31T09:00:00+09:00", 1_769_817_600_000_000),
        ("2026-01-31T00:00:00Z", 1_769_817_600_000_000),
        ("2026-01-31 00:00:00.5+00", 1_769_817_600_500_000),
        ("2026-01-31 00:00:00.123456789Z", 1_769_817_600_123_456),
        ("1969-12-31 23:59:59.999999+00", -1),
        ("1908-04-01 00:00:00+08:27:52", -1_948_782_472_000_000),
        ("2026-01-30 20:30:00-03:30", 1_769_817_600_000_000),
        ("2024-02-29 00:00:00+00", 1_709_164_800_000_000),
    ])
    func anInstantIsRead(_ text: String, _ microseconds: Int64) {
        #expect(PostgresTimestamp(iso8601: text)?.microseconds == microseconds)
    }

    @Test(arguments: [
        "", "infinity", "-infinity", "now", "2026-01-31", "2026-01-31 00:00:00",
        "2026-1-31T00:00:00Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-01-31T24:00:00Z", "2026-01-31T23:60:00Z", "2026-01-31T23:59:61Z",
        "2026-01-31T00:00:00.Z",
        "2026-01-31T00:00:00.1234567890Z", "2026-01-31T00:00:00Zx", "2026-01-31T00:00:00+9",
        "2026-01-31T00:00:00+09:", "-2026-01-31T00:00:00Z", "２０２６-01-31T00:00:00Z",
        "999999-12-31T23:59:59Z", "294247-01-10T04:00:54.775808Z", "2026-01-31T00:00:00+0900x",
    ])
    func anythingElseIsNoInstant(_ text: String) {
        #expect(PostgresTimestamp(iso8601: text) == nil)
    }

    @Test func theExtremesDoNotTrap() {
        for microseconds in [Int64.min, .min + 1, .max, .max - 1] {
            let instant = PostgresTimestamp(microseconds: microseconds)
            #expect(!instant.description.isEmpty)
        }
        #expect(
            PostgresTimestamp(iso8601: PostgresTimestamp(microseconds: .max).description)?
                .microseconds
                == .max)
        #expect(PostgresTimestamp(microseconds: 1) < PostgresTimestamp(microseconds: 2))
    }
}
