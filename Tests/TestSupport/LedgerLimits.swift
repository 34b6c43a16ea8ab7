package import Billing

/// The operator's limits: `LimitSQL` and `ClaimLimits`.
extension Ledger {
    /// `max_won_per_day`, `max_requests_per_minute` and `billing.request_budget`.
    package struct Limits: Sendable, Equatable {
        package var wonPerDay: Int64?
        package var requestsPerMinute: Int?
        package var requests: Double = 0
        /// Long ago: a budget that is used for the first time is full.
        package var refilledAt = Instant(microseconds: 946_684_800_000_000)

        package init() {}

        /// Requests at once.
        var burst: Double {
            max(1, (Double(requestsPerMinute ?? 0) / 10).rounded(.down))
        }
        /// Requests a second.
        var rate: Double { max(Double(requestsPerMinute ?? 60) - burst, 1) / 60 }
    }

    /// What the limits leave for one claim.
    struct Allowance {
        var won: Int64?
        var requests: Double?
        var leftOutForWon = 0
        var leftOutForRequests = 0
        /// Of the budgets of declines, by billing key: `KeyBudget`.
        var used: [Int64: Int] = [:]
        /// Cards made minutes ago of which nothing was tried before this claim.
        var newCards: Set<Int64> = []

        var isDayOver: Bool { won.map { $0 < 100 } ?? false }
    }

    /// Fills the budget up and says what is left.
    mutating func allowance(at clocks: Clocks) -> Allowance {
        var allowance = Allowance()
        allowance.newCards = Set(
            cards.filter { card in
                card.createdAt + .seconds(600) > clocks.business
                    && keyEnds(card.id, clocks.business).allSatisfy {
                        $0 + FleetNumbers.keyWindow <= clocks.business
                    }
            }.map(\.id))
        if let cap = limits.wonPerDay {
            let day = Self.midnight(before: clocks.business)
            let spent = charges.flatMap(\.attempts)
                .filter { $0.state != .refused && $0.openedAt >= day }
                .reduce(0) { $0 + $1.request.amount.value }
            allowance.won = cap - spent
        }
        if limits.requestsPerMinute != nil {
            let passed = clocks.real.microseconds - limits.refilledAt.microseconds
            limits.requests = min(
                limits.burst,
                limits.requests + max(0, Double(passed) / 1_000_000) * limits.rate)
            limits.refilledAt = clocks.real
            allowance.requests = limits.requests
        }
        return allowance
    }

    /// Until a request may be sent again; nil: that is no matter of time.
    func untilNextRequest(_ allowance: Allowance) -> Duration? {
        guard let requests = allowance.requests else { return nil }
        return requests >= 1 ? .zero : .seconds((1 - requests) / limits.rate)
    }

    /// Whether `step` may be taken; if so, what it takes is taken off.
    mutating func admits(
        _ step: Step, _ allowance: inout Allowance, _ clock: Instant
    ) -> Bool {
        guard case .ask(let task, let opensAttempt) = step.action else { return true }
        var won: Int64 = 0
        if opensAttempt, case .send(let request, _, _, _) = task {
            won = request.amount.value
            if let left = allowance.won, won > left {
                allowance.leftOutForWon += 1
                return false
            }
        }
        let budget = admitsKey(step, allowance, clock)
        if let left = allowance.requests {
            guard min(Double(task.requestCount), limits.burst) <= left else {
                allowance.leftOutForRequests += 1
                return false
            }
            guard budget.isLeft else { return false }
            allowance.requests = left - Double(task.requestCount)
            limits.requests -= Double(task.requestCount)
        }
        guard budget.isLeft else { return false }
        if let key = budget.key { allowance.used[key] = budget.used }
        allowance.won = allowance.won.map { $0 - won }
        return true
    }

    /// What a new attempt would make of its key's budget of declines.
    private func admitsKey(
        _ step: Step, _ allowance: Allowance, _ clock: Instant
    ) -> (key: Int64?, used: Int, isLeft: Bool) {
        guard case .ask(.send(let request, _, _, _), opensAttempt: true) = step.action else {
            return (nil, 0, true)
        }
        let key = request.billingKeyID
        let before =
            allowance.used[key]
            ?? keyEnds(key, clock).count { $0 + FleetNumbers.keyWindow > clock }
        return (key, before + 1, before < FleetNumbers.keyDeclines)
    }

    /// In Seoul.
    private static func midnight(before instant: Instant) -> Instant {
        let day: Int64 = 86_400_000_000
        let zone: Int64 = 9 * 3_600_000_000
        let local = instant.microseconds + zone
        return Instant(microseconds: local - local % day - zone)
    }
}

extension ProviderTask {
    /// Requests that it may come to, look-ups included.
    fileprivate var requestCount: Int {
        switch self {
        case .send(_, let earlier, let isRepeat, _): earlier.count + (isRepeat ? 2 : 1)
        case .resolve: 1
        case .seal(let orders, _, _): orders.count
        }
    }
}
