/// How a card answers approvals, by attempt, by date and by amount.
///
/// JSON: `{"script":["REJECT_CARD_PAYMENT","approve"],"limit":30000,"limitCode":…,"deadFrom":time,
/// "deadCode":…,"windows":[{"from":time,"to":time,"code":…}]}`, every member optional.
package struct CardScript: Sendable, Equatable {
    /// A span of time, in seconds since 1970, during which the card answers one code.
    package struct Window: Sendable, Equatable {
        /// The first second of the span.
        package var from: Int64
        /// The first second after it.
        package var to: Int64
        /// A code of the provider.
        package var code: String
    }

    /// Codes by attempt, nil for an approval; the last one repeats. Empty approves.
    package var outcomes: [String?] = []
    /// Amounts above this many won are declined with `limitCode`.
    package var limit: Int64?
    /// The code of a decline for `limit`.
    package var limitCode = "REJECT_CARD_PAYMENT"
    /// From this instant on, in seconds since 1970, the card answers `deadCode`.
    package var deadFrom: Int64?
    /// The code of a dead card.
    package var deadCode = "INVALID_STOPPED_CARD"
    /// Spans with a code of their own; the first that holds counts.
    package var windows: [Window] = []

    /// A card that answers these outcomes: a code of the provider, or nil for an approval.
    package init(outcomes: [String?] = []) { self.outcomes = outcomes }

    /// Reads the JSON form. Nil when a time is unreadable or a code is not the provider's.
    package init?(json: JSONValue) {
        if let list = json["script"] {
            guard let names = list.array else { return nil }
            for name in names {
                guard let text = name.string else { return nil }
                outcomes.append(text == "approve" ? nil : text)
            }
        }
        limit = json["limit"]?.integer
        limitCode = json["limitCode"]?.string ?? limitCode
        deadCode = json["deadCode"]?.string ?? deadCode
        if let text = json["deadFrom"]?.string {
            guard let time = KoreanTime.seconds(text) else { return nil }
            deadFrom = time
        }
        for window in json["windows"]?.array ?? [] {
            guard let from = window["from"]?.string.flatMap(KoreanTime.seconds),
                let to = window["to"]?.string.flatMap(KoreanTime.seconds),
                let code = window["code"]?.string
            else { return nil }
            windows.append(Window(from: from, to: to, code: code))
        }
        let codes = outcomes.compactMap(\.self) + [limitCode, deadCode] + windows.map(\.code)
        guard codes.allSatisfy({ ProviderError(code: $0) != nil }) else { return nil }
    }

    /// The script in the form that ``init(json:)`` reads.
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "script": .array(outcomes.map { .string($0 ?? "approve") }),
            "limitCode": .string(limitCode), "deadCode": .string(deadCode),
            "windows": .array(
                windows.map {
                    .object([
                        "from": .string(KoreanTime.text($0.from)),
                        "to": .string(KoreanTime.text($0.to)), "code": .string($0.code),
                    ])
                }),
        ]
        members["limit"] = limit.map { .integer($0) }
        members["deadFrom"] = deadFrom.map { .string(KoreanTime.text($0)) }
        return .object(members)
    }

    /// The code of the decline of attempt `attempt` (from 0) over `amount` won at `now`, nil for an
    /// approval.
    package func code(attempt: Int, amount: Int64, now: Int64) -> String? {
        if let deadFrom, now >= deadFrom { return deadCode }
        if let window = windows.first(where: { $0.from <= now && now < $0.to }) {
            return window.code
        }
        if let limit, amount > limit { return limitCode }
        return outcomes.isEmpty ? nil : outcomes[min(attempt, outcomes.count - 1)]
    }
}
