extension FaultRule {
    /// Why a rule is refused: the field and what is wrong with it.
    package struct Mistake: Error, Equatable, CustomStringConvertible {
        package let description: String
    }

    /// The fields of a rule's JSON form, with what they mean.
    package static let fields: [(name: String, meaning: String)] = [
        ("action", "see actions; required"),
        (
            "calls",
            "the calls it strikes, a name or a list: approve (default), order, payment, cancel, "
                + "transactions, settlements, issue, card, delete, lookups (order and payment), all"
        ),
        ("code", "the provider's code of refuse, executeAndFail and late"),
        ("status", "200 to 599, in place of the code's own status"),
        ("body", "json, empty or html, in place of the error object"),
        (
            "milliseconds",
            "until the answer; late, double: until the request arrives, on the sandbox's clock"
        ),
        ("toMilliseconds", "the upper end of a random span from milliseconds; at most 864000000"),
        ("answered", "approved, declined or any: the answers of the execution that it takes"),
        ("customerKey", "only this customer"),
        ("orderId", "only this order"),
        ("orderPrefix", "only order ids that begin so"),
        ("billingKey", "only this key, with or without its ="),
        ("card", "only this card number, whole or masked"),
        ("from", "only from this time of the sandbox's clock on, 2026-01-01T00:00:00+09:00"),
        ("until", "only before this time"),
        ("every", "only every n-th of the calls that match"),
        ("probability", "0 to 1, drawn from the sandbox's seed"),
        ("count", "at most so many times"),
        ("replays", "replayed answers are hit, too"),
        ("remembers", "executeAndFail: false forgets the answer under the idempotency key"),
        ("forgetsKey", "late, double: the idempotency key is forgotten when the request arrives"),
        ("holdsKey", "late: until the request arrives its key answers 409"),
        ("farewell", "late: drop (default), hang or code"),
    ]

    /// Reads one rule; members are ``fields``. Throws what is wrong with which of them.
    package init(json: JSONValue) throws(Mistake) {
        guard case .object(let members) = json else {
            throw Mistake(description: "a fault rule is an object")
        }
        let known = Set(Self.fields.map(\.name) + ["seen", "struck"])
        if let name = members.keys.sorted().first(where: { !known.contains($0) }) {
            throw Mistake(description: "\(name): a fault rule has no such field")
        }
        let reader = RuleReader(json: json)
        guard let action = try reader.choice("action", Action.self) else {
            throw Mistake(description: "action: is missing")
        }
        self.init(action)
        if let named = json["calls"] { calls = try Self.endpoints(named, action) }
        if calls == [.approve], !action.possibleCalls.contains(.approve) {
            calls = action.possibleCalls
        }
        code = try reader.text("code") ?? code
        guard ProviderError(code: code) != nil else {
            throw Mistake(description: "code: the provider has no \(code)")
        }
        status = try reader.number("status", 200...599).map(Int.init)
        body = try reader.choice("body", Body.self)
        let span: ClosedRange<Int64> = 0...864_000_000
        let least = try reader.number("milliseconds", span) ?? 0
        let most = try reader.number("toMilliseconds", span) ?? least
        guard most >= least else {
            throw Mistake(description: "toMilliseconds: is less than milliseconds")
        }
        milliseconds = least...most
        answered = try reader.choice("answered", Answered.self)
        customerKey = try reader.text("customerKey")
        orderID = try reader.text("orderId")
        orderPrefix = try reader.text("orderPrefix")
        billingKey = try reader.text("billingKey")
        card = try reader.text("card")
        from = try reader.time("from")
        until = try reader.time("until")
        every = Int(try reader.number("every", 1...1_000_000_000) ?? 1)
        count = try reader.number("count", 0...1_000_000_000).map(Int.init)
        probability = try reader.fraction("probability") ?? 1
        replays = try reader.flag("replays") ?? false
        remembers = try reader.flag("remembers") ?? true
        forgetsKey = try reader.flag("forgetsKey") ?? false
        holdsKey = try reader.flag("holdsKey") ?? false
        farewell = try reader.choice("farewell", Farewell.self) ?? .drop
    }

    private static func endpoints(
        _ json: JSONValue, _ action: Action
    ) throws(Mistake) -> Set<APIEndpoint> {
        var calls: Set<APIEndpoint> = []
        for item in json.array ?? [json] {
            switch item.string {
            case "all": calls.formUnion(action.possibleCalls)
            case "lookups": calls.formUnion([.order, .payment])
            case let name?:
                guard let call = APIEndpoint(rawValue: name), call != .other else {
                    throw Mistake(description: "calls: there is no call \(name)")
                }
                calls.insert(call)
            case nil: throw Mistake(description: "calls: a name or a list of names")
            }
        }
        guard !calls.isEmpty, calls.isSubset(of: action.possibleCalls) else {
            let names = action.possibleCalls.map(\.rawValue).sorted().joined(separator: ", ")
            throw Mistake(description: "calls: \(action.rawValue) is for \(names)")
        }
        return calls
    }

    /// The rule and its counters as JSON, which ``init(json:)`` reads again.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "action": .string(action.rawValue), "code": .string(code),
            "calls": .array(calls.map(\.rawValue).sorted().map { .string($0) }),
            "milliseconds": .integer(milliseconds.lowerBound),
            "toMilliseconds": .integer(milliseconds.upperBound),
            "every": .integer(Int64(every)), "probability": .number(probability),
            "replays": .bool(replays), "remembers": .bool(remembers),
            "forgetsKey": .bool(forgetsKey), "holdsKey": .bool(holdsKey),
            "farewell": .string(farewell.rawValue), "seen": .integer(Int64(seen)),
            "struck": .integer(Int64(struck)),
        ]
        members["status"] = status.map { .integer(Int64($0)) }
        members["body"] = body.map { .string($0.rawValue) }
        members["answered"] = answered.map { .string($0.rawValue) }
        members["customerKey"] = customerKey.map { .string($0) }
        members["orderId"] = orderID.map { .string($0) }
        members["orderPrefix"] = orderPrefix.map { .string($0) }
        members["billingKey"] = billingKey.map { .string($0) }
        members["card"] = card.map { .string($0) }
        members["from"] = from.map { .string(KoreanTime.text($0)) }
        members["until"] = until.map { .string(KoreanTime.text($0)) }
        members["count"] = count.map { .integer(Int64($0)) }
        return .object(members)
    }
}

/// Reads the members of an object strictly: absent is nil, of the wrong kind is a mistake.
private struct RuleReader {
    let json: JSONValue

    private func read<Value>(
        _ name: String, _ rule: String, _ convert: (JSONValue) -> Value?
    ) throws(FaultRule.Mistake) -> Value? {
        guard let member = json[name] else { return nil }
        guard let value = convert(member) else {
            throw FaultRule.Mistake(description: "\(name): \(rule)")
        }
        return value
    }

    func text(_ name: String) throws(FaultRule.Mistake) -> String? {
        try read(name, "a text") { $0.string }
    }

    func flag(_ name: String) throws(FaultRule.Mistake) -> Bool? {
        try read(name, "true or false") { $0.bool }
    }

    func number(
        _ name: String, _ range: ClosedRange<Int64>
    ) throws(FaultRule.Mistake) -> Int64? {
        try read(name, "a whole number from \(range.lowerBound) to \(range.upperBound)") {
            $0.integer.flatMap { range.contains($0) ? $0 : nil }
        }
    }

    func fraction(_ name: String) throws(FaultRule.Mistake) -> Double? {
        try read(name, "a number from 0 to 1") {
            $0.double.flatMap { (0...1).contains($0) ? $0 : nil }
        }
    }

    func time(_ name: String) throws(FaultRule.Mistake) -> Int64? {
        try read(name, "a time such as 2026-01-01T00:00:00+09:00") {
            $0.string.flatMap(KoreanTime.seconds)
        }
    }

    func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ name: String, _ type: Choice.Type
    ) throws(FaultRule.Mistake) -> Choice? {
        let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
        return try read(name, "one of \(names)") { $0.string.flatMap(Choice.init(rawValue:)) }
    }
}
