/// What the lists of a run came to: a comparison of histories in which nothing happens is none.
struct Coverage: Sendable {
    private(set) var counts: [String: Int] = [:]

    mutating func add(_ operation: Operation, _ form: NormalForm) {
        for line in form.answer.split(separator: "\n") { add(answer: line, operation) }
    }

    /// The rows as they stand at the end of a list.
    mutating func add(rows: String) {
        for line in rows.split(separator: "\n") {
            let words = line.split(separator: " ")
            switch words[0] {
            case "event": count("event \(words[1])")
            case "charge": count("charge \(words[7])")
            case "attempt": count("attempt \(words[10])")
            case "card": count("card \(words[3])")
            case "subscription": count("subscription \(words[2])")
            default: break
            }
        }
    }

    mutating func merge(_ other: Coverage) {
        counts.merge(other.counts, uniquingKeysWith: +)
    }

    private mutating func add(answer line: Substring, _ operation: Operation) {
        let words = line.split(separator: " ")
        switch operation {
        case .claim:
            switch words[0] {
            case "work": count(line.contains("repeat true") ? "repeat" : "\(words[5])")
            case "local", "paused": count("\(words[0])")
            default: break
            }
        case .claimRefused: count("claim \(words[0])")
        case .recordAll, .record: for word in words { count("\(word)") }
        case .endHold: count("end of hold \(words.first ?? "done")")
        case .release: count("\(words[0])")
        default: if words.first == "refused" { count("wish refused") }
        }
    }

    private mutating func count(_ name: String) { counts[name, default: 0] += 1 }

    /// What every run must have come to.
    static let required = [
        "send", "repeat", "resolve", "seal", "local", "paused", "claim refused", "released",
        "applied", "repeated", "stale", "contradiction", "rejected", "wish refused",
        "end of hold refused", "charge open", "charge paid", "charge failed", "charge skipped",
        "charge held", "charge refunded", "attempt open", "attempt approved", "attempt declined",
        "attempt refused", "card active", "card dead", "card deleted", "subscription active",
        "subscription past_due", "subscription suspended", "subscription canceled",
        "subscription paused", "event charge.paid", "event charge.declined",
        "event charge.failed", "event charge.skipped", "event charge.held",
        "event charge.released", "event charge.refunded", "event subscription.past_due",
        "event subscription.suspended", "event subscription.recovered",
        "event subscription.canceled", "event billing_key.dead",
    ]
}
