package import Billing

/// `plans.cycle`, and `billing.period_start()` in the zone of Seoul, which has had no summer time
/// since 1988.
package enum Cycle: Hashable, Sendable {
    case days(Int)
    case months(Int)

    /// Start of period `n`, counted from the anchor and clamped to the month's end.
    package func start(from anchor: Instant, _ n: Int) -> Instant {
        switch self {
        case .days(let days): return anchor + .seconds(86_400 * days * n)
        case .months(let months):
            let local = anchor.microseconds + Self.zone
            let day = Int64(Self.floorDivide(Int(local), Int(Self.day)))
            let (year, month, date) = Self.civil(day)
            let count = year * 12 + (month - 1) + months * n
            let (toYear, toMonth) = (Self.floorDivide(count, 12), Self.floorModulo(count, 12) + 1)
            let length = Self.length(toYear, toMonth)
            let moved = Self.days(toYear, toMonth, min(date, length))
            return Instant(microseconds: local + (moved - day) * Self.day - Self.zone)
        }
    }

    /// The number of the day in Seoul.
    package static func dayInSeoul(_ clock: Instant) -> Int {
        floorDivide(Int(clock.microseconds + zone), Int(day))
    }

    private static let zone: Int64 = 9 * 3_600 * 1_000_000
    private static let day: Int64 = 86_400 * 1_000_000

    private static func floorDivide(_ left: Int, _ right: Int) -> Int {
        let quotient = left / right
        return left % right < 0 ? quotient - 1 : quotient
    }

    private static func floorModulo(_ left: Int, _ right: Int) -> Int {
        left - floorDivide(left, right) * right
    }

    private static func length(_ year: Int, _ month: Int) -> Int {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days since 1970-01-01, counted in years that begin in March so that leap days come last.
    private static func days(_ year: Int, _ month: Int, _ date: Int) -> Int64 {
        let marchYear = month <= 2 ? year - 1 : year
        let era = floorDivide(marchYear, 400)
        let yearOfEra = marchYear - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + date - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return Int64(era * 146_097 + dayOfEra - 719_468)
    }

    private static func civil(_ day: Int64) -> (year: Int, month: Int, date: Int) {
        let shifted = Int(day) + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}
