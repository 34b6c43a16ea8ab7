import Billing
import Postgres

/// What the operator's limits leave for one claim: won of the day, requests of the minute. Both are
/// for the whole fleet, so they are taken under a lock, inside the claim's transaction.
struct ClaimLimits {
    /// Won that attempts opened today may still add up to; nil: unlimited.
    private(set) var won: Int64?
    /// Requests that may be sent now; nil: unlimited.
    private(set) var requests: Double?
    /// Requests at once, at most: a tenth of the minute's, at least 1.
    private let burst: Double
    /// Requests a second. Burst and a minute's refill together are the limit, so that no minute,
    /// wherever it begins, sees more.
    private let rate: Double
    private(set) var spent: Double = 0
    private(set) var leftOutForWon = 0
    private(set) var leftOutForRequests = 0

    init(won: Int64?, requests: Double?, perMinute: Int64?) {
        self.won = won
        self.requests = requests
        burst = Self.burst(perMinute ?? 0)
        rate = Self.rate(perMinute ?? 60)
    }

    static func burst(_ perMinute: Int64) -> Double {
        max(1, (Double(perMinute) / 10).rounded(.down))
    }
    static func rate(_ perMinute: Int64) -> Double {
        // With one request a minute there is nothing beside the burst: one a minute all the same.
        max(Double(perMinute) - burst(perMinute), 1) / 60
    }

    /// Whether `step` fits.
    mutating func admits(_ step: Step) -> Bool {
        guard case .ask(let task, let opensAttempt) = step.action else { return true }
        if let won, opensAttempt, case .send(let request, _, _, _) = task,
            request.amount.value > won
        {
            leftOutForWon += 1
            return false
        }
        // More than any burst: let through alone, and paid for by the wait that follows.
        if let requests, min(Double(task.requests), burst) > requests {
            leftOutForRequests += 1
            return false
        }
        return true
    }

    /// Takes off what `step`, which fits, may come to.
    mutating func take(_ step: Step) {
        guard case .ask(let task, let opensAttempt) = step.action else { return }
        if let requests {
            self.requests = requests - Double(task.requests)
            spent += Double(task.requests)
        }
        if let won, opensAttempt, case .send(let request, _, _, _) = task {
            self.won = won - request.amount.value
        }
    }

    /// Until a request may be sent again; nil: that is no matter of time.
    var untilNextRequest: Duration? {
        guard let requests else { return nil }
        return requests >= 1 ? .zero : .seconds((1 - requests) / rate)
    }
}

extension ProviderTask {
    /// Requests that it may come to, look-ups included.
    fileprivate var requests: Int {
        switch self {
        // The decline of a repeat is looked up. (So is an order that was executed before: too rare to
        // halve the limit for.)
        case .send(_, let earlier, let isRepeat, _): earlier.count + (isRepeat ? 2 : 1)
        case .resolve: 1
        case .seal(let orders, _, _): orders.count
        }
    }
}
