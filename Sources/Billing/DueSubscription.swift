/// What the claim reads of one locked, due subscription: everything ``Step/decide(_:_:)`` needs.
package struct DueSubscription: Sendable {
    package enum State: String, Sendable, CaseIterable {
        case active
        case pastDue = "past_due"
        case suspended, canceled, paused
    }

    /// What to do with periods that went by while nobody charged (`plans.catch_up`).
    package enum CatchUp: String, Sendable { case latest, each, hold }

    package var id: SubscriptionID
    package var lease: LeaseNumber
    /// Claims since the last record, this one included.
    package var silentClaims: Int
    package var state: State
    /// The business clock when the rows were locked.
    package var now: Instant
    package var cancelAt: Instant?
    /// When a pause or suspension ended: periods that began before it are skipped.
    package var resumedAt: Instant?
    /// When a person last asked for the open charge to be tried: `retry_now`, `resume`, a release.
    package var askedAt: Instant?
    package var periodIndex: Int
    package var periodStart: Instant
    package var periodEnd: Instant
    /// The random part of the subscription's order ids.
    package var orderPrefix: String
    package var customerKey: CustomerKey
    /// What a charge opened now would take: the subscription's own amount or its plan's.
    package var terms: Terms
    package var catchUp: CatchUp
    /// Rungs of the plan's dunning ladder.
    package var dunningSteps: Int
    /// The card that a new attempt would use; nil: none is active.
    package var card: Card?
    /// Why the row makes no sense any more, if it does not (a plan gone, an illegal name).
    package var problem: String?
    /// The database may have forgotten attempts of this period (a failover, a restore): even a name
    /// that looks new is looked up before it is sent.
    package var looksFirst: Bool
    package var charge: OpenCharge?

    package struct Terms: Hashable, Sendable {
        package var amount: Won
        package var taxFreeAmount: Won
        package var orderName: String
        package init(amount: Won, taxFreeAmount: Won, orderName: String) {
            self.amount = amount
            self.taxFreeAmount = taxFreeAmount
            self.orderName = orderName
        }
    }

    package struct Card: Hashable, Sendable {
        package var id: Int64
        package var billingKey: BillingKey
        /// When the budget of declines of this key has room again; nil: it has.
        package var freeAt: Instant?
        /// Registered minutes ago, and nothing was tried with it yet.
        package var isNew: Bool
        package init(
            id: Int64, billingKey: BillingKey, freeAt: Instant? = nil, isNew: Bool = false
        ) {
            self.id = id
            self.billingKey = billingKey
            self.freeAt = freeAt
            self.isNew = isNew
        }
    }

    package struct OpenCharge: Sendable {
        package var id: ChargeID
        /// Frozen when the charge was opened.
        package var terms: Terms
        package var openedAt: Instant?
        /// When the last look before its end was first in vain; nil: it was not.
        package var unclearSince: Instant?
        /// A person must look before anything else happens to it.
        package var isHeld: Bool
        /// Declined attempts so far: rungs of the dunning ladder used up.
        package var declines: Int
        /// Nil: opened, but nothing was ever sent for it (no card, or the worker died).
        package var attempt: LastAttempt?
        /// Codes of the last two declines before the last attempt, made with the same card.
        package var earlierCode: String?
        package var earliestCode: String?
        package init(
            id: ChargeID, terms: Terms, openedAt: Instant? = nil, unclearSince: Instant? = nil,
            isHeld: Bool = false, declines: Int, attempt: LastAttempt?, earlierCode: String? = nil,
            earliestCode: String? = nil
        ) {
            self.id = id
            self.terms = terms
            self.openedAt = openedAt
            self.unclearSince = unclearSince
            self.isHeld = isHeld
            self.declines = declines
            self.attempt = attempt
            self.earlierCode = earlierCode
            self.earliestCode = earliestCode
        }
    }

    package struct LastAttempt: Sendable {
        package enum State: String, Sendable { case open, approved, declined, refused }
        package var state: State
        /// All that is sent under this name, pinned.
        package var request: AttemptRequest
        package var code: String?
        /// Of the last answer to a send.
        package var traceID: String?
        package var openedAt: Instant
        package var finishedAt: Instant?
        /// The midnight in Korea after `finishedAt`.
        package var nextDay: Instant?
        /// A send of it was ever left without an answer.
        package var everUnknown: Bool
        /// A request may have left and nobody knows its answer.
        package var inDoubt: Bool
        /// Looked for twice, late enough, and not there: the same name may be sent again.
        package var absent: Bool
        /// Claims that may have sent it.
        package var sends: Int
        package var lookups: Int
        package var notFounds: Int
        /// The quiet time since the last possible send is over: a not-found counts.
        package var quietOver: Bool
        /// Times it was proven not to have left.
        package var notSents: Int
        /// It is pinned to the secret key that the fleet uses now. Under another key the provider's
        /// idempotency does not hold: such an attempt is only looked up.
        package var sameKey: Bool

        package init(
            state: State, request: AttemptRequest, code: String? = nil, traceID: String? = nil,
            openedAt: Instant,
            finishedAt: Instant? = nil, nextDay: Instant? = nil, everUnknown: Bool = false,
            inDoubt: Bool = true,
            absent: Bool = false, sends: Int = 1, lookups: Int = 0, notFounds: Int = 0,
            quietOver: Bool = false, notSents: Int = 0, sameKey: Bool = true
        ) {
            self.state = state
            self.request = request
            self.code = code
            self.traceID = traceID
            self.openedAt = openedAt
            self.finishedAt = finishedAt
            self.nextDay = nextDay
            self.everUnknown = everUnknown
            self.inDoubt = inDoubt
            self.absent = absent
            self.sends = sends
            self.lookups = lookups
            self.notFounds = notFounds
            self.quietOver = quietOver
            self.notSents = notSents
            self.sameKey = sameKey
        }
    }

    package init(
        id: SubscriptionID, lease: LeaseNumber, silentClaims: Int = 1, state: State = .active,
        now: Instant, cancelAt: Instant? = nil, resumedAt: Instant? = nil, askedAt: Instant? = nil,
        periodIndex: Int = 0,
        periodStart: Instant, periodEnd: Instant, orderPrefix: String, customerKey: CustomerKey,
        terms: Terms, catchUp: CatchUp = .latest, dunningSteps: Int = 4, card: Card?,
        problem: String? = nil, looksFirst: Bool = false, charge: OpenCharge? = nil
    ) {
        self.id = id
        self.lease = lease
        self.silentClaims = silentClaims
        self.state = state
        self.now = now
        self.cancelAt = cancelAt
        self.resumedAt = resumedAt
        self.askedAt = askedAt
        self.periodIndex = periodIndex
        self.periodStart = periodStart
        self.periodEnd = periodEnd
        self.orderPrefix = orderPrefix
        self.customerKey = customerKey
        self.terms = terms
        self.catchUp = catchUp
        self.dunningSteps = dunningSteps
        self.card = card
        self.problem = problem
        self.looksFirst = looksFirst
        self.charge = charge
    }
}

extension DueSubscription {
    /// What the answer to the attempt in hand is weighed against; `opensAttempt`: it is a new one.
    package func history(opensAttempt: Bool, _ numbers: FleetNumbers) -> Work.History {
        var codes = [charge?.earlierCode, charge?.earliestCode].compactMap { $0 }
        if opensAttempt, let last = charge?.attempt {
            if last.request.billingKeyID != card?.id {
                codes = []
            } else if last.state == .declined, let code = last.code {
                codes.insert(code, at: 0)
            }
        }
        return Work.History(
            declines: charge?.declines ?? 0, dunningSteps: dunningSteps, lastCode: codes.first,
            codeBefore: codes.dropFirst().first,
            cardIsNew: opensAttempt && card?.isNew ?? false,
            trace: opensAttempt ? nil : charge?.attempt?.traceID,
            unclearRung: unclearSince.map { Backoff.rung(from: $0, to: now) },
            isOverdue: unclearSince.map { $0 + numbers.holdAge <= now } ?? false)
    }

    /// Since when the charge waits for its last look. One that was to end, was not to end after all and
    /// is to end again waits anew, and so does one that a pause kept from it.
    private var unclearSince: Instant? {
        guard let since = charge?.unclearSince else { return nil }
        return [periodEnd, cancelAt, resumedAt].reduce(since) { latest, date in
            guard let date, date <= now else { return latest }
            return max(latest, date)
        }
    }
}
