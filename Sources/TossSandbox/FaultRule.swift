/// A fault of the wire or of the provider's inside, for the approvals that it matches.
///
/// Evaluated at two points: `refuse` and `dropBefore` before anything is executed, all others after
/// the execution and before the answer. Replays are hit only when `replays` is set.
package struct FaultRule: Sendable, Equatable {
    /// What happens to a matching approve call.
    package enum Action: String, Sendable, CaseIterable {
        /// The answer comes `milliseconds` (up to `toMilliseconds`) late.
        case latency
        /// Nothing is executed; the answer is `code`.
        case refuse
        /// Nothing is executed; the connection closes.
        case dropBefore
        /// Executed; the connection closes without an answer.
        case executeAndDrop
        /// Executed; the answer is `code` all the same.
        case executeAndFail
        /// Executed; the answer never comes and the connection stays open.
        case hang
        /// Executed; half of the body comes, then the connection closes.
        case cut
        /// Executed; a 200 that is no JSON.
        case garbage
        /// Executed; a 200 that names another order.
        case otherOrder
        /// Executed; a 200 with another amount.
        case otherAmount
    }

    /// What the fault does.
    package var action: Action
    /// The code of `refuse` and `executeAndFail`.
    package var code = "FAILED_INTERNAL_SYSTEM_PROCESSING"
    /// The least and most milliseconds of `latency`.
    package var milliseconds: ClosedRange<Int64> = 0...0
    /// Only this customer.
    package var customerKey: String?
    /// Only order ids that begin so.
    package var orderPrefix: String?
    /// Only this billing key, with or without its `=`.
    package var billingKey: String?
    /// Only every n-th of the calls that match the rest.
    package var every = 1
    /// At most so many times; nil is for ever.
    package var count: Int?
    /// Answers replayed under an idempotency key are hit, too.
    package var replays = false
    /// With `executeAndFail`: the approval stays stored under the idempotency key, as if a gateway
    /// had lost it. Without, nothing is stored, as if the provider's inside had failed.
    package var remembers = true
    /// How many calls matched so far.
    package var seen = 0
    /// How many times the fault struck so far.
    package var struck = 0

    /// A rule that strikes every approve call.
    package init(_ action: Action) { self.action = action }

    /// Reads one rule: `{"action":…,"code":…,"milliseconds":…,"toMilliseconds":…,"customerKey":…,
    /// "orderPrefix":…,"billingKey":…,"every":…,"count":…,"replays":…,"remembers":…}`.
    package init?(json: JSONValue) {
        guard let action = json["action"]?.string.flatMap(Action.init(rawValue:)) else {
            return nil
        }
        self.action = action
        code = json["code"]?.string ?? code
        let from = json["milliseconds"]?.integer ?? 0
        let to = json["toMilliseconds"]?.integer ?? from
        guard ProviderError(code: code) != nil, from >= 0, to >= from, to <= 3_600_000 else {
            return nil
        }
        milliseconds = from...to
        customerKey = json["customerKey"]?.string
        orderPrefix = json["orderPrefix"]?.string
        billingKey = json["billingKey"]?.string
        every = Int(json["every"]?.integer ?? 1)
        count = json["count"]?.integer.map(Int.init)
        replays = json["replays"]?.bool ?? false
        remembers = json["remembers"]?.bool ?? true
        guard every >= 1 else { return nil }
    }

    /// The rule and its counters as JSON.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "action": .string(action.rawValue), "code": .string(code),
            "milliseconds": .integer(milliseconds.lowerBound),
            "toMilliseconds": .integer(milliseconds.upperBound),
            "every": .integer(Int64(every)), "replays": .bool(replays),
            "remembers": .bool(remembers), "seen": .integer(Int64(seen)),
            "struck": .integer(Int64(struck)),
        ]
        members["customerKey"] = customerKey.map { .string($0) }
        members["orderPrefix"] = orderPrefix.map { .string($0) }
        members["billingKey"] = billingKey.map { .string($0) }
        members["count"] = count.map { .integer(Int64($0)) }
        return .object(members)
    }

    /// Whether the fault acts before anything is executed.
    var isBeforeExecution: Bool { action == .refuse || action == .dropBefore }

    /// Counts a call and says whether the fault strikes it.
    mutating func strikes(
        customerKey: String, orderID: String, billingKey: String, replayed: Bool
    ) -> Bool {
        if replayed && !replays { return false }
        if let only = self.customerKey, only != customerKey { return false }
        if let prefix = orderPrefix, !orderID.hasPrefix(prefix) { return false }
        if let only = self.billingKey, KeyRing.bare(only) != KeyRing.bare(billingKey) {
            return false
        }
        if let count, struck >= count { return false }
        seen += 1
        guard seen % every == 0 else { return false }
        struck += 1
        return true
    }
}
