/// An instant: microseconds since 1970-01-01 00:00:00 UTC, PostgreSQL's own resolution.
package struct PostgresTimestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let microseconds: Int64

    package init(microseconds: Int64) { self.microseconds = microseconds }

    /// Reads ISO 8601 or PostgreSQL's ISO output: `2026-01-31 09:00:00.123456+09`,
    /// `2026-01-31T09:00:00+09:00`, `…Z`, and a year before 1 with ` BC` at the end. Nil for anything
    /// else: `infinity`, a day that is in no calendar, and what 64 bits do not hold.
    package init?(iso8601 text: String) {
        self.init(iso8601: Array(text.utf8)[...])
    }

    /// The same of UTF-8 bytes.
    init?(iso8601 text: ArraySlice<UInt8>) {
        var digits = Scanner(text)
        guard var year = digits.number(4...6), digits.take("-"), let month = digits.number(2...2),
            digits.take("-"), let day = digits.number(2...2), digits.take(" ") || digits.take("T"),
            let hour = digits.number(2...2), digits.take(":"), let minute = digits.number(2...2),
            digits.take(":"), let second = digits.number(2...2),
            hour < 24, minute < 60, second <= 60
        else { return nil }
        var fraction: Int64 = 0
        if digits.take(".") {
            guard let read = digits.fraction() else { return nil }
            fraction = read
        }
        guard let offset = digits.offset() else { return nil }
        if digits.take(" ") {
            guard digits.take("B"), digits.take("C"), year > 0 else { return nil }
            year = 1 - year
        }
        let days = Self.days(year: year, month: month, day: day)
        guard digits.isAtEnd, Self.date(days: days) == (year, month, day) else { return nil }
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset
        let (whole, isTooFar) = seconds.multipliedReportingOverflow(by: 1_000_000)
        let (sum, isBeyond) = whole.addingReportingOverflow(fraction)
        guard !isTooFar, !isBeyond else { return nil }
        microseconds = sum
    }

    /// Reads PostgreSQL's binary format: microseconds since 2000-01-01 00:00:00 UTC. Nil for
    /// `infinity`, and for what 64 bits do not hold.
    init?(binary bytes: ArraySlice<UInt8>) {
        guard let sent = PostgresType.timestamp.integer(bytes), sent != .max, sent != .min
        else { return nil }
        let (sum, isBeyond) = sent.addingReportingOverflow(Self.startOf2000)
        guard !isBeyond else { return nil }
        microseconds = sum
    }

    /// The same format. Its extremes would mean infinity: what comes near them is too far in the past
    /// for PostgreSQL anyhow, which says so.
    var binary: Int64 {
        microseconds < .min + 1 + Self.startOf2000 ? .min + 1 : microseconds - Self.startOf2000
    }

    private static let startOf2000: Int64 = 946_684_800_000_000

    package static func < (left: Self, right: Self) -> Bool {
        left.microseconds < right.microseconds
    }

    /// ISO 8601 in UTC with microseconds, as PostgreSQL reads it.
    package var description: String {
        var text: [UInt8] = []
        write(to: &text)
        return String(decoding: text, as: UTF8.self)
    }

    /// Appends its description.
    func write(to text: inout [UInt8]) {
        let (seconds, micros) = microseconds.quotientAndRemainder(floor: 1_000_000)
        let (days, second) = seconds.quotientAndRemainder(floor: 86_400)
        let (year, month, day) = Self.date(days: days)
        func write(_ number: Int64, _ width: Int, _ end: Unicode.Scalar) {
            var left = width
            var power: Int64 = 1
            while left > 1 || number / power >= 10 {
                power *= 10
                left -= 1
            }
            while power > 0 {
                text.append(UInt8(ascii: "0") + UInt8(number / power % 10))
                power /= 10
            }
            text.append(UInt8(ascii: end))
        }
        write(year > 0 ? year : 1 - year, 4, "-")
        write(month, 2, "-")
        write(day, 2, "T")
        write(second / 3_600, 2, ":")
        write(second / 60 % 60, 2, ":")
        write(second % 60, 2, ".")
        write(micros, 6, "Z")
        if year <= 0 { text += Array(" BC".utf8) }
    }

    /// Days since 1970-01-01 in the proleptic Gregorian calendar (400-year eras from 1 March).
    private static func days(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let (era, yearOfEra) = shifted.quotientAndRemainder(floor: 400)
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
            - 719_468
    }

    private static func date(days: Int64) -> (Int64, Int64, Int64) {
        let (era, dayOfEra) = (days + 719_468).quotientAndRemainder(floor: 146_097)
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * shifted + 2) / 5 + 1)
    }
}

extension Int64 {
    fileprivate func quotientAndRemainder(floor divisor: Int64) -> (Int64, Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}

private struct Scanner {
    private let bytes: ArraySlice<UInt8>
    private var index: Int

    init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        index = bytes.startIndex
    }

    var isAtEnd: Bool { index == bytes.endIndex }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard index < bytes.endIndex, bytes[index] == UInt8(ascii: character) else { return false }
        index += 1
        return true
    }

    mutating func number(_ width: ClosedRange<Int>) -> Int64? {
        var value: Int64 = 0
        var count = 0
        while index < bytes.endIndex, count < width.upperBound, let digit = digit(bytes[index]) {
            value = value * 10 + digit
            count += 1
            index += 1
        }
        return width.contains(count) ? value : nil
    }

    /// Up to nine digits, as microseconds.
    mutating func fraction() -> Int64? {
        var value: Int64 = 0
        var count = 0
        while index < bytes.endIndex, count < 9, let digit = digit(bytes[index]) {
            if count < 6 { value = value * 10 + digit }
            count += 1
            index += 1
        }
        guard count > 0 else { return nil }
        for _ in min(count, 6)..<6 { value *= 10 }
        return value
    }

    /// `Z`, `+09`, `+09:00`, `-03:30` or `+08:27:52`, in seconds.
    mutating func offset() -> Int64? {
        if take("Z") { return 0 }
        let isNegative = take("-")
        guard isNegative || take("+"), let hours = number(2...2) else { return nil }
        var seconds = hours * 3_600
        if take(":") {
            guard let minutes = number(2...2), minutes < 60 else { return nil }
            seconds += minutes * 60
        }
        if take(":") {
            guard let rest = number(2...2) else { return nil }
            seconds += rest
        }
        return isNegative ? -seconds : seconds
    }

    private func digit(_ byte: UInt8) -> Int64? {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            ? Int64(byte - UInt8(ascii: "0")) : nil
    }
}
