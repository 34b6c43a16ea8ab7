/// Instants in whole seconds since 1970 (UTC), written and read as Korean wall-clock time.
///
/// Korea has had no daylight saving since 1988, so the zone is the constant +09:00.
package enum KoreanTime {
    static let offsetSeconds: Int64 = 9 * 3600

    /// The text `yyyy-MM-ddTHH:mm:ss+09:00` of an instant in seconds since 1970.
    package static func text(_ seconds: Int64) -> String {
        let f = fields(seconds)
        return "\(pad(f.year, 4))-\(pad(f.month, 2))-\(pad(f.day, 2))T"
            + "\(pad(f.hour, 2)):\(pad(f.minute, 2)):\(pad(f.second, 2))+09:00"
    }

    /// The instant, in seconds since 1970, of `yyyy-MM-dd[THH:mm:ss[.fraction]][zone]`.
    ///
    /// Without a zone the text is Korean time; `Z` and `±HH:mm` are understood.
    /// Returns nil when the text is no such date.
    package static func seconds(_ text: String) -> Int64? {
        var rest = Array(text.utf8)[...]
        var zone = offsetSeconds
        if rest.last == UInt8(ascii: "Z") {
            zone = 0
            rest = rest.dropLast()
        } else if rest.count > 16, let stated = offset(rest.suffix(6)) {
            zone = stated
            rest = rest.dropLast(6)
        }
        guard let wall = wallClock(Array(rest)) else { return nil }
        return wall - zone
    }

    /// As ``seconds(_:)``, but refusing any zone: the form `/v1/transactions` takes.
    static func zonelessSeconds(_ text: String) -> Int64? {
        wallClock(Array(text.utf8)).map { $0 - offsetSeconds }
    }

    struct Fields {
        var year: Int
        var month: Int
        var day: Int
        var hour: Int
        var minute: Int
        var second: Int
    }

    /// The Korean calendar fields of an instant. Days to dates after Hinnant, "chrono-compatible
    /// low-level date algorithms".
    static func fields(_ seconds: Int64) -> Fields {
        let local = seconds + offsetSeconds
        let days = Int((local >= 0 ? local : local - 86_399) / 86_400)
        let inDay = Int(local - Int64(days) * 86_400)
        let z = days + 719_468
        let era = (z >= 0 ? z : z - 146_096) / 146_097
        let doe = z - era * 146_097
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100)
        let mp = (5 * doy + 2) / 153
        let month = mp < 10 ? mp + 3 : mp - 9
        return Fields(
            year: yoe + era * 400 + (month <= 2 ? 1 : 0), month: month,
            day: doy - (153 * mp + 2) / 5 + 1,
            hour: inDay / 3600, minute: inDay / 60 % 60, second: inDay % 60)
    }

    static func daysInMonth(year: Int, month: Int) -> Int {
        switch month {
        case 4, 6, 9, 11: 30
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        default: 31
        }
    }

    private static func daysSince1970(year: Int, month: Int, day: Int) -> Int {
        let y = month <= 2 ? year - 1 : year
        let era = (y >= 0 ? y : y - 399) / 400
        let yoe = y - era * 400
        let doy = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
    }

    private static func wallClock(_ text: [UInt8]) -> Int64? {
        guard text.count >= 10, text[4] == UInt8(ascii: "-"), text[7] == UInt8(ascii: "-"),
            let year = digits(text[0..<4]), let month = digits(text[5..<7]),
            let day = digits(text[8..<10]), (1...12).contains(month),
            (1...daysInMonth(year: year, month: month)).contains(day)
        else { return nil }
        let date = Int64(daysSince1970(year: year, month: month, day: day)) * 86_400
        if text.count == 10 { return date }
        let colon = UInt8(ascii: ":")
        guard text.count >= 19, text[10] == UInt8(ascii: "T"), text[13] == colon,
            text[16] == colon, let hour = digits(text[11..<13]),
            let minute = digits(text[14..<16]), let second = digits(text[17..<19]),
            hour < 24, minute < 60, second < 60
        else { return nil }
        if text.count > 19 {
            guard text[19] == UInt8(ascii: "."), text.count > 20, digits(text[20...]) != nil
            else { return nil }
        }
        return date + Int64(hour * 3600 + minute * 60 + second)
    }

    private static func offset(_ text: ArraySlice<UInt8>) -> Int64? {
        let t = Array(text)
        guard t.count == 6, t[3] == UInt8(ascii: ":"), let hours = digits(t[1..<3]),
            let minutes = digits(t[4..<6])
        else { return nil }
        switch t[0] {
        case UInt8(ascii: "+"): return Int64(hours * 3600 + minutes * 60)
        case UInt8(ascii: "-"): return -Int64(hours * 3600 + minutes * 60)
        default: return nil
        }
    }

    private static func digits(_ text: ArraySlice<UInt8>) -> Int? {
        guard text.count <= 18, text.allSatisfy({ (48...57).contains($0) }) else { return nil }
        return text.reduce(0) { $0 * 10 + Int($1 - 48) }
    }

    private static func pad(_ value: Int, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }
}
