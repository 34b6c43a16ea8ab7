/// The sandbox's answers to what the provider leaves open. Defaults are the likely behaviour,
/// other values the nasty one. JSON names are the property names.
package struct Switches: Sendable, Equatable {
    /// No. 1: a lookup of a declined order shows an ABORTED payment instead of 404.
    package var declinedOrderIsAborted = false
    /// No. 2: a declined order id is burned.
    package var declinedOrderIsBurned = false
    /// No. 3: an approve that runs beside another of the same order id also wins.
    package var concurrentOrdersBothWin = false
    /// No. 4: 401, 409, 429 and 5xx answers are stored under the idempotency key, too.
    package var storesAllErrors = false
    /// No answer but a success is stored under its idempotency key: a repeat of what was declined
    /// is executed.
    package var forgetsDeclines = false
    /// No. 5: seconds until an approval shows in lookups.
    package var lookupLagSeconds: Int64 = 0
    /// No. 6: a repeated DELETE answers 404 `NOT_FOUND_BILLING`.
    package var repeatedDeleteIsNotFound = false
    /// No. 7: the body of a 429: `json`, `empty` or `html`.
    package var tooManyBody = TooManyBody.json
    /// No. 7: `Retry-After` of a 429 in seconds; 0 sends none.
    package var retryAfterSeconds: Int64 = 0
    /// No. 8: approve with a key never issued answers 404 `NOT_FOUND_BILLING`.
    package var unknownKeyIsNotFound = false
    /// No. 9: the HTTP status of `DUPLICATED_ORDER_ID`, 400 or 409.
    package var duplicatedOrderStatus: Int64 = 400
    /// No. 10: the HTTP status for a wrong secret key, 401 or 403.
    package var wrongSecretStatus: Int64 = 401
    /// No. 11: seconds after issue during which approve refuses the key.
    package var issueLagSeconds: Int64 = 0
    /// No. 12: seconds that 409 goes on after the first request has ended.
    package var processingLingersSeconds: Int64 = 0
    /// No. 13: seconds until a row shows in `/v1/transactions`.
    package var transactionLagSeconds: Int64 = 60
    /// No. 13: every n-th row is missing from `/v1/transactions` until the second Korean day after
    /// its own begins; 0: none is.
    package var transactionMissingEvery: Int64 = 0
    /// No. 14: what becomes of webhooks.
    package var webhooks = WebhookMode.sent
    /// No. 14: seconds that a late webhook waits, or the first of two that come out of order.
    package var webhookDelaySeconds: Int64 = 600
    /// Calls a minute and API before 429; 0 is no limit. The provider's test limit is 100.
    package var callsPerMinute: Int64 = 0
    /// The shop sells tax-free goods: `taxFreeAmount` is honoured.
    package var taxFreeShop = false

    /// What a 429 carries: the provider's error object, nothing, or a gateway's page.
    package enum TooManyBody: String, Sendable { case json, empty, html }

    /// Webhooks of cancels and deleted keys: sent at once, late, twice, every other one late, never.
    package enum WebhookMode: String, Sendable, CaseIterable {
        case sent, late, twice, outOfOrder, never
    }

    /// The likely provider.
    package init() {}

    /// What each switch means, by its JSON name.
    package static let meanings: [(name: String, meaning: String)] = [
        ("declinedOrderIsAborted", "1: a look-up of a declined order shows ABORTED, not 404"),
        ("declinedOrderIsBurned", "2: a declined order id answers DUPLICATED_ORDER_ID"),
        ("concurrentOrdersBothWin", "3: two approves of one order at once are both executed"),
        ("storesAllErrors", "4: 401, 409, 429 and 5xx are stored under the idempotency key"),
        ("forgetsDeclines", "nothing but a success is stored under the idempotency key"),
        ("lookupLagSeconds", "5: until an approval shows in look-ups"),
        ("repeatedDeleteIsNotFound", "6: 404 NOT_FOUND_BILLING"),
        ("tooManyBody", "7: the body of a 429: json, empty or html"),
        ("retryAfterSeconds", "7: Retry-After of a 429; 0: none"),
        ("unknownKeyIsNotFound", "8: approve with a key never issued: 404 NOT_FOUND_BILLING"),
        ("duplicatedOrderStatus", "9: 400 to 409"),
        ("wrongSecretStatus", "10: 401 to 403"),
        ("issueLagSeconds", "11: after issue, INVALID_BILL_KEY_REQUEST"),
        ("processingLingersSeconds", "12: 409 goes on after the first request has ended"),
        ("transactionLagSeconds", "13: until a row shows in /v1/transactions"),
        (
            "transactionMissingEvery",
            "13: every n-th row is missing until the second Korean day after its own; 0: none"
        ),
        ("webhooks", "14: sent, late, twice, outOfOrder or never"),
        ("webhookDelaySeconds", "14: of late, and of every other one out of order"),
        ("callsPerMinute", "for each call, then 429; 0: no limit; the provider's test limit: 100"),
        ("taxFreeShop", "taxFreeAmount is honoured"),
    ]

    /// A 429 as no. 7 has it.
    var tooMany: Answer {
        var answer = Answer.error("TOO_MANY_REQUESTS")
        answer.dress(FaultRule.Body(rawValue: tooManyBody.rawValue) ?? .json)
        if retryAfterSeconds > 0 { answer.retryAfter = retryAfterSeconds }
        return answer
    }

    private static var flags: [(String, WritableKeyPath<Switches, Bool>)] {
        [
            ("declinedOrderIsAborted", \.declinedOrderIsAborted),
            ("declinedOrderIsBurned", \.declinedOrderIsBurned),
            ("concurrentOrdersBothWin", \.concurrentOrdersBothWin),
            ("storesAllErrors", \.storesAllErrors),
            ("forgetsDeclines", \.forgetsDeclines),
            ("repeatedDeleteIsNotFound", \.repeatedDeleteIsNotFound),
            ("unknownKeyIsNotFound", \.unknownKeyIsNotFound),
            ("taxFreeShop", \.taxFreeShop),
        ]
    }

    private static var numbers: [(String, WritableKeyPath<Switches, Int64>, ClosedRange<Int64>)] {
        [
            ("lookupLagSeconds", \.lookupLagSeconds, 0...86_400),
            ("retryAfterSeconds", \.retryAfterSeconds, 0...86_400),
            ("duplicatedOrderStatus", \.duplicatedOrderStatus, 400...409),
            ("wrongSecretStatus", \.wrongSecretStatus, 401...403),
            ("issueLagSeconds", \.issueLagSeconds, 0...86_400),
            ("processingLingersSeconds", \.processingLingersSeconds, 0...86_400),
            ("transactionLagSeconds", \.transactionLagSeconds, 0...864_000),
            ("transactionMissingEvery", \.transactionMissingEvery, 0...1_000_000),
            ("webhookDelaySeconds", \.webhookDelaySeconds, 0...864_000),
            ("callsPerMinute", \.callsPerMinute, 0...1_000_000),
        ]
    }

    /// All switches as a JSON object.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "tooManyBody": .string(tooManyBody.rawValue), "webhooks": .string(webhooks.rawValue),
        ]
        for (name, path) in Self.flags { members[name] = .bool(self[keyPath: path]) }
        for (name, path, _) in Self.numbers { members[name] = .integer(self[keyPath: path]) }
        return .object(members)
    }

    /// Takes over the members of a JSON object; absent ones stay. Returns the name of the first
    /// member that is unknown or out of range, and then changes nothing.
    package mutating func merge(_ json: JSONValue) -> String? {
        guard case .object(let members) = json else { return "(no object)" }
        var next = self
        for (name, value) in members {
            if let (_, path) = Self.flags.first(where: { $0.0 == name }), let flag = value.bool {
                next[keyPath: path] = flag
            } else if let (_, path, range) = Self.numbers.first(where: { $0.0 == name }),
                let number = value.integer, range.contains(number)
            {
                next[keyPath: path] = number
            } else if name == "tooManyBody",
                let body = value.string.flatMap(TooManyBody.init(rawValue:))
            {
                next.tooManyBody = body
            } else if name == "webhooks",
                let mode = value.string.flatMap(WebhookMode.init(rawValue:))
            {
                next.webhooks = mode
            } else {
                return name
            }
        }
        self = next
        return nil
    }
}
