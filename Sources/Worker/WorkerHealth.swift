package import Billing

/// How the worker is, for a status line, a health page and a watchdog.
package struct WorkerHealth: Hashable, Sendable {
    /// Claims go on as they should.
    package var ready: Bool
    /// Why it is not ready, for a person; never a key.
    package var reason: String?
    package var state: WorkerReport.State
    /// Subscriptions between claim and record.
    package var inFlight: Int
    /// Since the last claim that the store answered; nil: there was none.
    package var sinceClaim: Duration?
    /// Since ``progress`` rose last; nil: it never did.
    package var sinceProgress: Duration?
    /// Rises only when the poll loop moved *and* a call of the store came back, well or not: a
    /// claim, or, while nothing may be claimed (slots full, a fault, no recording), another call
    /// since the last turn. So it stands still when something hangs, and goes on in an outage.
    package var progress: UInt64
    /// What the provider's answers allow.
    package var breaker: BreakerState
    package var counters: WorkerCounters
    package var meters: WorkerMeters
    /// Most subscriptions under way by the worker's own configuration.
    package var maximum: Int
    /// How long nothing is claimed because the provider said "not now"; zero: it did not.
    package var pause: Duration
}

/// How many subscriptions may be under way, on account of what the provider answers.
package enum BreakerState: Hashable, Sendable {
    /// As many as `maxInFlight`.
    case closed
    /// So many: too many requests failed, or the provider has only just come back.
    case limited(Int)
    /// One at a time, with pauses. The provider's code, or ours for no answer.
    case open(code: String)

    /// `closed`, `limited` or `open`: a bounded set, for a metric's label.
    package var word: String {
        switch self {
        case .closed: "closed"
        case .limited: "limited"
        case .open: "open"
        }
    }
}

/// A kind of outcome and the code that came with it.
package struct OutcomeKey: Hashable, Sendable {
    package enum Kind: String, CaseIterable, Sendable {
        case approved, declined, refused, unknown
        case notSent = "not_sent"
    }
    package var kind: Kind
    /// The provider's code, ours for no answer, or `OTHER`; empty: it was approved.
    package var code: String

    package init(kind: Kind, code: String) {
        self.kind = kind
        self.code = code
    }
}

/// What happened since the start. Never reset.
package struct WorkerCounters: Hashable, Sendable {
    /// Most codes that are counted one by one; further ones are counted as `OTHER`.
    package static let maximumCodes = 64

    /// Claims that the store answered.
    package var claims: UInt64 = 0
    package var approved: UInt64 = 0
    /// By the provider's code, at most ``maximumCodes`` and `OTHER`.
    package var declined: [String: UInt64] = [:]
    /// All outcomes by kind and code, bounded in the same way.
    package var outcomes: [OutcomeKey: UInt64] = [:]
    package var refused: UInt64 = 0
    package var unknown: UInt64 = 0
    package var notSent: UInt64 = 0
    /// Charges that a person must look at.
    package var held: UInt64 = 0
    /// Claimed and given back: too late, stopping or faulted.
    package var released: UInt64 = 0
    /// Calls of record that failed.
    package var recordFailures: UInt64 = 0

    package init() {}

    mutating func count(_ transition: Transition) {
        if case .held = transition.chargeChange { held += 1 }
        switch transition.attempt {
        case .approved, .earlierPaid:
            approved += 1
            count(.approved, "")
        case .declined(_, let answer, _):
            let isKnown = declined[answer.code] != nil || declined.count < Self.maximumCodes
            declined[isKnown ? answer.code : "OTHER", default: 0] += 1
            count(.declined, answer.code)
        case .refused(_, let answer):
            refused += 1
            count(.refused, answer.code)
        case .unknown(_, let answer):
            unknown += 1
            count(.unknown, answer.code)
        case .notSent(_, let answer):
            notSent += 1
            count(.notSent, answer.code)
        case .lookedUp, nil: break
        }
    }

    private mutating func count(_ kind: OutcomeKey.Kind, _ code: String) {
        let key = OutcomeKey(kind: kind, code: code)
        let isKnown = outcomes[key] != nil || outcomes.count < 2 * Self.maximumCodes
        outcomes[isKnown ? key : OutcomeKey(kind: kind, code: "OTHER"), default: 0] += 1
    }
}
