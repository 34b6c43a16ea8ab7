/// Requests, booked apart from executions.
struct RequestCounts: Sendable {
    var byEndpoint: [APIEndpoint: Int64] = [:]
    var errors: [String: Int64] = [:]
    var replays: Int64 = 0
    var processing: Int64 = 0
    /// Requests that arrived late, or a second time, by a fault rule.
    var late: Int64 = 0

    var json: [String: JSONValue] {
        var requests: [String: JSONValue] = [:]
        for (endpoint, count) in byEndpoint { requests[endpoint.rawValue] = .integer(count) }
        return [
            "requests": .object(requests),
            "errors": .object(errors.mapValues { .integer($0) }),
            "replays": .integer(replays),
            "processing409": .integer(processing),
            "late": .integer(late),
        ]
    }
}

/// Calls a minute and endpoint, counted in fixed minutes of the sandbox's clock.
struct MinuteBudget: Sendable {
    private var minute: Int64 = 0
    private var used: [APIEndpoint: Int64] = [:]

    /// Takes one call out of the budget; false when it is used up. A limit of 0 is none.
    mutating func take(_ endpoint: APIEndpoint, limit: Int64, now: Int64) -> Bool {
        guard limit > 0 else { return true }
        if now / 60 != minute {
            minute = now / 60
            used = [:]
        }
        used[endpoint, default: 0] += 1
        return used[endpoint, default: 0] <= limit
    }
}
