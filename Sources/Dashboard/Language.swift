/// In which language the page speaks.
enum Language: String, Sendable {
    case korean = "ko"
    case english = "en"

    /// The better of the two for a browser's Accept-Language (RFC 9110, 12.5.4); English if it wants
    /// neither.
    init(accepting field: String) {
        var best: (language: Language, weight: Double) = (.english, 0)
        // A browser sends a handful.
        for range in field.split(separator: ",").prefix(20) {
            let parts = range.split(separator: ";")
            let tag = parts.first?.filter { $0 != " " }.lowercased() ?? ""
            guard let language = Language(rawValue: String(tag.prefix { $0 != "-" })) else {
                continue
            }
            let quality = parts.dropFirst().first { $0.contains("q=") }?.split(separator: "=").last
            let weight = quality.map { Double($0.filter { $0 != " " }) ?? 0 } ?? 1
            if weight > best.weight { best = (language, weight) }
        }
        self = best.language
    }

    /// One of two texts.
    func callAsFunction(_ korean: String, _ english: String) -> String {
        self == .korean ? korean : english
    }

    func won(_ amount: Int64) -> String {
        self("\(grouped(amount))원", "₩\(grouped(amount))")
    }

    func count(_ number: Int64) -> String { self("\(grouped(number))건", grouped(number)) }
}
