/// Requests, booked apart from executions.
struct RequestCounts: Sendable {
    enum Endpoint: String, Sendable, CaseIterable {
        case approve, issue, card, delete, payment, order, cancel, transactions, settlements, other
    }

    var byEndpoint: [Endpoint: Int64] = [:]
    var errors: [String: Int64] = [:]
    var replays: Int64 = 0
    var processing: Int64 = 0

    var json: [String: JSONValue] {
        var requests: [String: JSONValue] = [:]
        for (endpoint, count) in byEndpoint { requests[endpoint.rawValue] = .integer(count) }
        return [
            "requests": .object(requests),
            "errors": .object(errors.mapValues { .integer($0) }),
            "replays": .integer(replays),
            "processing409": .integer(processing),
        ]
    }
}

/// Calls a minute and endpoint, counted in fixed minutes of the sandbox's clock.
struct MinuteBudget: Sendable {
    private var minute: Int64 = 0
    private var used: [RequestCounts.Endpoint: Int64] = [:]

    /// Takes one call out of the budget; false when it is used up. A limit of 0 is none.
    mutating func take(_ endpoint: RequestCounts.Endpoint, limit: Int64, now: Int64) -> Bool {
        guard limit > 0 else { return true }
        if now / 60 != minute {
            minute = now / 60
            used = [:]
        }
        used[endpoint, default: 0] += 1
        return used[endpoint, default: 0] <= limit
    }
}
