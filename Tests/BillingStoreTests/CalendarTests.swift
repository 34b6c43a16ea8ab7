import Postgres
import TestSupport
import Testing

/// `billing.period_start` against ``ReferenceCalendar``.
@Suite(.serialized, .timeLimit(.minutes(2))) struct CalendarTests {
    typealias Date = ReferenceCalendar.Date
    typealias Step = ReferenceCalendar.Step
    typealias Zone = ReferenceCalendar.Zone

    private struct Case {
        var anchor: Int
        var step: Step
        var n: Int
        var zone: Zone
    }

    /// Asks PostgreSQL for many periods at a time and reports the first few it places elsewhere.
    private func compare(_ cases: [Case]) async throws {
        let database = try await TemporaryPostgres.shared.database()
        let connection = try await database.connect(as: .web)
        var wrong: [String] = []
        for start in stride(from: 0, to: cases.count, by: 10_000) {
            let some = cases[start..<min(start + 10_000, cases.count)]
            let rows = try await connection.query(
                """
                SELECT extract(epoch FROM billing.period_start(
                    t.anchor_at, t.cycle::interval, t.n, t.time_zone))::bigint
                FROM unnest(
                    \(some.map { instant($0.anchor) }), \(some.map { "\($0.step)" }),
                    \(some.map { Int32($0.n) }), \(some.map(\.zone.rawValue))
                ) WITH ORDINALITY AS t (anchor_at, cycle, n, time_zone, ord)
                ORDER BY ord
                """)
            try #require(rows.count == some.count)
            for (row, one) in zip(rows, some) {
                let expected = ReferenceCalendar.periodStart(
                    one.anchor, one.step, one.n, in: one.zone)
                let found = Int(try row.int64(0))
                guard found != expected else { continue }
                wrong.append("\(one): \(instant(found)), not \(instant(expected))")
            }
        }
        await connection.close()
        #expect(wrong.isEmpty, "\(wrong.count) of \(cases.count): \(wrong.prefix(5))")
    }

    private func instant(_ seconds: Int) -> PostgresTimestamp {
        PostgresTimestamp(microseconds: Int64(seconds) * 1_000_000)
    }

    /// 47,460 cases: the last days of January, February and of the year, 1 to 31 of each month in
    /// leap and common years, at times of day on both sides of a date line and of a clock change.
    @Test(arguments: Zone.allCases)
    func edgesOfMonthsAndYearsAreWhereTheReferenceHasThem(_ zone: Zone) async throws {
        let times = [0, 1, 2 * 3_600 + 1_800, 15 * 3_600 - 1, 86_399]
        let steps: [(Step, [Int])] = [
            (.months(1), [0, 1, 2, 11, 12, 13, 119]), (.months(3), [1, 4]), (.months(12), [1, 4]),
            (.days(1), [1, 31]), (.days(30), [12]), (.days(365), [3]),
        ]
        var cases: [Case] = []
        for year in [2023, 2024, 2099] {
            for month in [1, 2, 3, 10, 11, 12] {
                for day in 1...Date.length(of: month, in: year) {
                    for time in times {
                        let local = Date(year, month, day).midnight + time
                        for (step, numbers) in steps {
                            // Few times of day for the plain days: the edges have them all.
                            if day < 28, time != times[day % times.count] { continue }
                            for n in numbers {
                                cases.append(
                                    Case(anchor: zone.instant(local), step: step, n: n, zone: zone))
                            }
                        }
                    }
                }
            }
        }
        try await compare(cases)
    }

    /// 80,000 cases: any anchor of forty years or more, any cycle that is allowed, far ahead.
    @Test(arguments: Zone.allCases)
    func anyPeriodIsWhereTheReferenceHasIt(_ zone: Zone) async throws {
        var random = SplitMix(seed: UInt64(zone.rawValue.count))
        let hasSummer = zone == .newYork || zone == .berlin
        let range = Date(hasSummer ? 2007 : 1989, 4, 1).midnight..<Date(2047, 4, 1).midnight
        let horizon = Date(2300, 1, 1).midnight
        var cases: [Case] = []
        while cases.count < 20_000 {
            let step: Step =
                switch Int.random(in: 0..<4, using: &random) {
                case 0: .months(Int.random(in: 1...120, using: &random))
                case 1: .days(Int.random(in: 1...3_660, using: &random))
                case 2: .months([1, 2, 3, 6, 12].randomElement(using: &random) ?? 1)
                default: .days([1, 7, 14, 28, 30].randomElement(using: &random) ?? 1)
                }
            let one = Case(
                anchor: Int.random(in: range, using: &random), step: step,
                n: Int.random(in: 0...600, using: &random), zone: zone)
            let length =
                switch step {
                case .months(let count): count * 31 * 86_400
                case .days(let count): count * 86_400
                }
            if one.anchor + one.n * length < horizon { cases.append(one) }
        }
        try await compare(cases)
    }

    /// 8,832 cases: every quarter of an hour around every clock change of forty years.
    @Test(arguments: [Zone.newYork, .berlin])
    func clockChangesAreReadAsStandardTime(_ zone: Zone) async throws {
        var cases: [Case] = []
        for year in 2008...2047 {
            let changes =
                zone == .newYork
                ? [Date.sunday(2, of: 3, in: year), Date.sunday(1, of: 11, in: year)]
                : [Date.sunday(nil, of: 3, in: year), Date.sunday(nil, of: 10, in: year)]
            for change in changes {
                for quarter in 0..<16 {
                    let local = change.midnight + quarter * 900
                    let monthBefore = change.adding(months: -1)
                    guard monthBefore.day == change.day else { continue }
                    // Onto the change from a month, a week and nothing before it, and away from it.
                    cases += [
                        Case(
                            anchor: zone.instant(monthBefore.midnight + quarter * 900),
                            step: .months(1), n: 1, zone: zone),
                        Case(
                            anchor: zone.instant(local - 7 * 86_400), step: .days(7), n: 1,
                            zone: zone),
                        Case(anchor: zone.instant(local), step: .months(1), n: 0, zone: zone),
                        Case(anchor: zone.instant(local) - 3_600, step: .days(1), n: 1, zone: zone),
                    ]
                }
            }
        }
        try await compare(cases)
    }

    /// 31 days of January, 5 zones, 8 cycles, 241 periods each: 298,840 in all.
    @Test func periodsStrictlyIncreaseAndKeepTheAnchorsDay() async throws {
        let database = try await TemporaryPostgres.shared.database()
        let rows = try await database.run(
            """
            WITH periods AS (
                SELECT z, c, day, n, a.anchor_at AT TIME ZONE z AS anchor_local,
                       billing.period_start(a.anchor_at, c, n, z) AS starts_at
                FROM generate_series(1, 31) AS day,
                     unnest('{UTC,Asia/Seoul,America/New_York,Europe/Berlin,Pacific/Auckland}'
                            ::text[]) AS z,
                     unnest('{1 month,2 months,3 months,6 months,1 year,1 day,7 days,30 days}'
                            ::interval[]) AS c,
                     LATERAL (SELECT make_timestamp(2028, 1, day, 2, 30, 0) AT TIME ZONE z
                              AS anchor_at) AS a,
                     generate_series(0, 240) AS n
            ), followed AS (
                SELECT *, lead(starts_at) OVER (PARTITION BY z, c::text, day ORDER BY n) AS next_at,
                       starts_at AT TIME ZONE z AS local
                FROM periods
            )
            SELECT count(*) AS periods,
                   count(*) FILTER (WHERE next_at <= starts_at) AS standing,
                   count(*) FILTER (
                       WHERE extract(month FROM c) + extract(year FROM c) > 0
                         AND extract(day FROM local) <> least(day, extract(day FROM
                             date_trunc('month', local) + interval '1 month - 1 day'))) AS drifted
            FROM followed
            """)
        let row = try #require(rows.first)
        #expect(try row.int("periods") == 31 * 5 * 8 * 241)
        #expect(try row.int("standing") == 0)
        #expect(try row.int("drifted") == 0)
    }

    @Test(arguments: [
        // The month's end is clamped and comes back.
        (
            "2026-01-31 09:00+09", "1 month", "Asia/Seoul",
            [
                "2026-01-31 09:00+09", "2026-02-28 09:00+09", "2026-03-31 09:00+09",
                "2026-04-30 09:00+09", "2026-05-31 09:00+09",
            ]
        ),
        (
            "2028-01-30 00:00+09", "1 month", "Asia/Seoul",
            [
                "2028-01-30 00:00+09", "2028-02-29 00:00+09", "2028-03-30 00:00+09",
            ]
        ),
        // 29 February yearly comes back in leap years.
        (
            "2028-02-29 12:00+09", "1 year", "Asia/Seoul",
            [
                "2028-02-29 12:00+09", "2029-02-28 12:00+09", "2030-02-28 12:00+09",
                "2031-02-28 12:00+09", "2032-02-29 12:00+09",
            ]
        ),
        // Midnight in Seoul is 15:00 of the day before in UTC: the day is Seoul's.
        (
            "2025-12-31 15:00Z", "1 month", "Asia/Seoul",
            [
                "2025-12-31 15:00Z", "2026-01-31 15:00Z", "2026-02-28 15:00Z", "2026-03-31 15:00Z",
            ]
        ),
        (
            "2025-12-31 15:00Z", "1 month", "UTC",
            [
                "2025-12-31 15:00Z", "2026-01-31 15:00Z", "2026-02-28 15:00Z", "2026-03-31 15:00Z",
            ]
        ),
        (
            "2026-01-30 15:00Z", "1 month", "Asia/Seoul",
            [
                "2026-01-30 15:00Z", "2026-02-27 15:00Z", "2026-03-30 15:00Z",
            ]
        ),
        (
            "2026-01-30 15:00Z", "1 month", "UTC",
            [
                "2026-01-30 15:00Z", "2026-02-28 15:00Z", "2026-03-30 15:00Z",
            ]
        ),
        // The wall clock stays; in the gap of 8 March 2026 it is read as standard time.
        (
            "2026-02-08 02:30-05", "1 month", "America/New_York",
            [
                "2026-02-08 02:30-05", "2026-03-08 03:30-04", "2026-04-08 02:30-04",
            ]
        ),
        // The hour that comes twice on 25 October 2026 is the second one.
        (
            "2026-10-18 02:30+02", "7 days", "Europe/Berlin",
            [
                "2026-10-18 02:30+02", "2026-10-25 02:30+01", "2026-11-01 02:30+01",
            ]
        ),
    ])
    func periodsOfAnAnchor(
        _ anchor: String, _ cycle: String, _ zone: String, _ starts: [String]
    ) async throws {
        let database = try await TemporaryPostgres.shared.database()
        let connection = try await database.connect(as: .report)
        let rows = try await connection.query(
            """
            SELECT ord, billing.period_start(
                       \(anchor)::timestamptz, \(cycle)::interval, ord::int - 1, \(zone)) AS found,
                   expected::timestamptz AS expected
            FROM unnest(\(starts)) WITH ORDINALITY AS t (expected, ord) ORDER BY ord
            """)
        for row in rows {
            #expect(try row.timestamp("found") == row.timestamp("expected"))
        }
        #expect(rows.count == starts.count)
        await connection.close()
    }
}

/// A seeded generator (Steele, Lea and Flood, 2014), so that a failing case fails again.
private struct SplitMix: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
