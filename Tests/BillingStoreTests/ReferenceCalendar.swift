/// The calendar a second time: whole numbers, by hand, sharing nothing with PostgreSQL or its time
/// zone files. Valid where the daylight-saving rules of 2007 hold, and in Seoul from 1989 on.
enum ReferenceCalendar {
    enum Step: Hashable, Sendable, CustomStringConvertible {
        case months(Int)
        case days(Int)

        var description: String {
            switch self {
            case .months(let count): "\(count) months"
            case .days(let count): "\(count) days"
            }
        }
    }

    /// Start of period `n` of `anchor`, in seconds since 1970: wall-clock time plus n steps, the
    /// day clamped to the month's end, read as an instant again.
    static func periodStart(_ anchor: Int, _ step: Step, _ n: Int, in zone: Zone) -> Int {
        let local = zone.local(anchor)
        let day = local.floorDivided(by: 86_400)
        let moved =
            switch step {
            case .days(let count): day + n * count
            case .months(let count): Date(days: day).adding(months: n * count).days
            }
        return zone.instant(moved * 86_400 + (local - day * 86_400))
    }

    /// A day of the proleptic Gregorian calendar.
    struct Date: Hashable, Sendable {
        var year: Int
        var month: Int
        var day: Int

        init(_ year: Int, _ month: Int, _ day: Int) {
            (self.year, self.month, self.day) = (year, month, day)
        }

        /// From days since 1970-01-01: a guess of the year that is never late, then counted off.
        init(days: Int) {
            var year = 1970 + days.floorDivided(by: 366)
            if days < 0 { year -= 1 }
            while Date(year + 1, 1, 1).days <= days { year += 1 }
            var month = 1
            var rest = days - Date(year, 1, 1).days
            while rest >= Date.length(of: month, in: year) {
                rest -= Date.length(of: month, in: year)
                month += 1
            }
            self.init(year, month, rest + 1)
        }

        /// Days since 1970-01-01.
        var days: Int {
            let past = year - 1
            let leaps = { (year: Int) in
                year.floorDivided(by: 4) - year.floorDivided(by: 100) + year.floorDivided(by: 400)
            }
            var days = 365 * (year - 1970) + leaps(past) - leaps(1969)
            for earlier in 1..<month { days += Date.length(of: earlier, in: year) }
            return days + day - 1
        }

        /// Midnight UTC, in seconds since 1970.
        var midnight: Int { days * 86_400 }

        /// 0: Sunday. 1970-01-01 was a Thursday.
        var weekday: Int { (days + 4).modulo(7) }

        static func isLeap(_ year: Int) -> Bool {
            year.modulo(4) == 0 && (year.modulo(100) != 0 || year.modulo(400) == 0)
        }

        static func length(of month: Int, in year: Int) -> Int {
            switch month {
            case 2: isLeap(year) ? 29 : 28
            case 4, 6, 9, 11: 30
            default: 31
            }
        }

        func adding(months: Int) -> Date {
            let total = year * 12 + (month - 1) + months
            let year = total.floorDivided(by: 12)
            let month = total.modulo(12) + 1
            return Date(year, month, min(day, Date.length(of: month, in: year)))
        }

        /// The n-th Sunday of a month, from 1; or its last one.
        static func sunday(_ n: Int?, of month: Int, in year: Int) -> Date {
            if let n {
                let first = Date(year, month, 1)
                return Date(year, month, 1 + (7 - first.weekday).modulo(7) + 7 * (n - 1))
            }
            let last = Date(year, month, length(of: month, in: year))
            return Date(year, month, last.day - last.weekday)
        }
    }

    enum Zone: String, CaseIterable, Sendable {
        case utc = "UTC"
        case seoul = "Asia/Seoul"
        case newYork = "America/New_York"
        case berlin = "Europe/Berlin"

        private var standardOffset: Int {
            switch self {
            case .utc: 0
            case .seoul: 9 * 3_600
            case .newYork: -5 * 3_600
            case .berlin: 3_600
            }
        }

        /// New York changes at 2:00 of its wall clock, Berlin at 1:00 UTC.
        private func isSummer(_ instant: Int) -> Bool {
            let year = Date(days: instant.floorDivided(by: 86_400)).year
            switch self {
            case .utc, .seoul: return false
            case .newYork:
                let start = Date.sunday(2, of: 3, in: year).midnight + 7 * 3_600
                let end = Date.sunday(1, of: 11, in: year).midnight + 6 * 3_600
                return (start..<end).contains(instant)
            case .berlin:
                let start = Date.sunday(nil, of: 3, in: year).midnight + 3_600
                let end = Date.sunday(nil, of: 10, in: year).midnight + 3_600
                return (start..<end).contains(instant)
            }
        }

        /// What the wall clock shows, as if it were UTC.
        func local(_ instant: Int) -> Int {
            instant + standardOffset + (isSummer(instant) ? 3_600 : 0)
        }

        /// When the wall clock shows it. An hour that is skipped in spring and one that comes twice
        /// in autumn are both read as standard time, as PostgreSQL does (DetermineTimeZoneOffset):
        /// 2:30 in the gap becomes 3:30 of summer time, an ambiguous 1:30 is the second one.
        func instant(_ local: Int) -> Int {
            let standard = local - standardOffset
            let summer = standard - 3_600
            return isSummer(summer) && isSummer(standard) ? summer : standard
        }
    }
}

extension Int {
    fileprivate func floorDivided(by divisor: Int) -> Int {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }

    fileprivate func modulo(_ divisor: Int) -> Int { self - floorDivided(by: divisor) * divisor }
}
