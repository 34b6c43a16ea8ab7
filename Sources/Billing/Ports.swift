/// Where claims come from and records go: PostgreSQL, or memory in tests.
package protocol Store: Sendable {
    /// Locks up to `limit` due subscriptions, decides each one's step with ``Step/decide(_:_:)``
    /// while the locks are held, writes charges, attempts and leases, and commits. Work is returned
    /// only when that commit was acknowledged.
    func claim(limit: Int) async throws(StoreError) -> Claim
    /// Writes transitions, each at most once and each alone in what can go wrong with it. Safe to
    /// repeat. At most one transition a subscription in one call. One verdict a transition, in order.
    func record(_ transitions: [Transition]) async throws(StoreError) -> [Verdict]
    /// Gives back claims of which nothing was sent: the rows are due at once, under their names.
    func release(_ work: [Work]) async throws(StoreError)
    /// Tells the fleet that this worker lives (`billing.workers`).
    func report(_ worker: WorkerReport) async throws(StoreError)
}

/// Where the money moves: Toss Payments, or a script in tests.
package protocol Gateway: Sendable {
    /// Exactly one request under the attempt's name. Never throws and cannot be cancelled: what is
    /// on the wire ends in an answer or, after `timeout` (the fleet's, of the claim it belongs to),
    /// in `unknown`.
    func charge(_ request: AttemptRequest, timeout: Duration) async -> Outcome
    /// Asks for the payment of an order id, for at most `timeout`.
    func lookUp(_ orderID: OrderID, timeout: Duration) async -> LookUp
}

/// Why the store did not do it.
package enum StoreError: Error, Hashable, Sendable {
    /// Lost, read-only, restarting, full: the same call may work later. `mayHaveCommitted`: it may
    /// even have worked this time.
    case unavailable(String, mayHaveCommitted: Bool)
    /// The database refuses this worker: wrong mode, key, schema or role. The reason, for a person.
    case refused(String)
    /// A statement failed in a way that repeating does not mend.
    case failed(String)

    /// The reason alone.
    package var text: String {
        switch self {
        case .unavailable(let reason, _), .refused(let reason), .failed(let reason): reason
        }
    }
}

/// What a claim brought.
package struct Claim: Sendable {
    /// For the charger.
    package var work: [Work]
    /// Decided without asking the provider: straight to the recorder.
    package var local: [Transition]
    /// How many of `local` are held because the row makes no sense, or may be what kills workers.
    package var wrongRows = 0
    /// Rows that broke the claim and were set aside; they are in neither list.
    package var setAside = 0
    /// Why nothing may be claimed at present (`settings.paused`), if so.
    package var pausedReason: String?
    /// Time until something is due or a lease runs out; nil: nothing is planned. Zero: more is due.
    package var wake: Duration?
    /// Rows whose claim before ended without a word: its lease ran out. For the meters only.
    package var takenOver = 0
    package var numbers: FleetNumbers

    package init(
        work: [Work] = [], local: [Transition] = [], pausedReason: String? = nil,
        wake: Duration? = nil, numbers: FleetNumbers = FleetNumbers()
    ) {
        self.work = work
        self.local = local
        self.pausedReason = pausedReason
        self.wake = wake
        self.numbers = numbers
    }

    /// So many wrong rows, one after another, are no accident of data: a plan, a mapping or the database
    /// itself is broken, and going on would hold every due row, each of which a person must then
    /// release. Ten, because constraints and triggers let no wrong row in at all, so that even two are
    /// rare, and ten are released by hand in some minutes. No claim holds, or sets aside, more than
    /// these; and a worker that met so many claims no more, but probes (its circuit breaker).
    package static let mostWrongRows = 10

    /// Whether the row of `step` may be taken; a wrong one is counted, and one too many stays due.
    package mutating func admits(_ step: Step) -> Bool {
        guard step.isWrongRow else { return true }
        guard wrongRows + setAside < Self.mostWrongRows else { return false }
        wrongRows += 1
        return true
    }
}

/// One claimed subscription with something to ask of the provider.
package struct Work: Sendable {
    package var subscription: SubscriptionID
    package var lease: LeaseNumber
    package var charge: ChargeID
    package var task: ProviderTask
    /// Declines and the previous attempt's code: what a new answer is weighed against.
    package var history: History

    package struct History: Hashable, Sendable {
        package var declines: Int
        package var dunningSteps: Int
        /// Code of the last decline, before the attempt in hand, of the same card.
        package var lastCode: String?
        /// And of the one before that.
        package var codeBefore: String?
        /// The card was registered just now, and nothing was tried with it before.
        package var cardIsNew: Bool
        /// Trace of the last answer to a send of the open attempt.
        package var trace: String?
        /// How far the ladder of look-ups has come since the charge was to end and nothing said clearly
        /// whether it was paid; nil: that is not so.
        package var unclearRung: Int?
        /// It is so long ago that an open attempt would be held.
        package var isOverdue: Bool
        package init(
            declines: Int = 0, dunningSteps: Int = 4, lastCode: String? = nil,
            codeBefore: String? = nil, cardIsNew: Bool = false, trace: String? = nil,
            unclearRung: Int? = nil, isOverdue: Bool = false
        ) {
            self.declines = declines
            self.dunningSteps = dunningSteps
            self.lastCode = lastCode
            self.codeBefore = codeBefore
            self.cardIsNew = cardIsNew
            self.trace = trace
            self.unclearRung = unclearRung
            self.isOverdue = isOverdue
        }

        /// How often in a row `code` was the answer before this one.
        func timesInARow(_ code: String) -> Int {
            lastCode != code ? 0 : codeBefore != code ? 1 : 2
        }
    }

    package init(
        subscription: SubscriptionID, lease: LeaseNumber, charge: ChargeID, task: ProviderTask,
        history: History = History()
    ) {
        self.subscription = subscription
        self.lease = lease
        self.charge = charge
        self.task = task
        self.history = history
    }
}

/// What to ask of the provider.
///
/// Indirect, as are the answers and what becomes of them: in line, their copies made the stack of each
/// charge in flight 16.5 KB, with a reference 6.
package indirect enum ProviderTask: Hashable, Sendable {
    /// Send the attempt. `earlier`: order ids of the charge to look up before (design: Send); all that
    /// it can have, its own among them, when the database may have forgotten attempts.
    /// `isRepeat`: an earlier send of this very name went unanswered. `tries`: sends proven not to
    /// have left, for the backoff.
    case send(AttemptRequest, earlier: [OrderID], isRepeat: Bool, tries: Int)
    /// Look up an attempt that may have been sent.
    case resolve(AttemptRequest, Doubt)
    /// Look up every order id of the charge; none paid: it ends so.
    case seal([OrderID], amount: Won, ending: UnpaidEnding)

    /// What is known of an attempt in doubt.
    package struct Doubt: Hashable, Sendable {
        /// Rung of the ladder of look-ups.
        package var lookups: Int
        package var notFounds: Int
        /// A not-found counts, and the name could be sent again: without that, absence changes nothing
        /// and the look-ups stay on their ladder.
        package var quietOver: Bool
        package init(lookups: Int, notFounds: Int, quietOver: Bool) {
            self.lookups = lookups
            self.notFounds = notFounds
            self.quietOver = quietOver
        }
    }
}

/// How a charge ends without money.
package enum UnpaidEnding: Hashable, Sendable {
    case failed(FailReason)
    case skipped(Transition.SkipReason)
    /// Nothing is to be taken: its amount is 0 won.
    case free
    /// Not yet: there is no card to try, and it stays open.
    case waitsForCard
    /// Not yet: the subscription is paused, and the charge stays open; the look is for what may have
    /// been paid all the same.
    case paused
}

/// Why a charge failed (`charges.reason`).
package enum FailReason: String, Hashable, Sendable {
    case exhausted, superseded, canceled
    case noCard = "no_card"
}

/// What a record did.
package enum Verdict: String, Hashable, Sendable {
    /// Written.
    case applied
    /// The same news was there already.
    case repeated
    /// Somebody claimed the row since: an opinion from an old lease counts for nothing.
    case stale
    /// It contradicts what the ledger says: the charge is held, an alarm is due.
    case contradiction
    /// The database refuses this very row; the message is in the log. It stays claimed until its
    /// lease ends and is resolved then.
    case rejected
    /// Somebody else holds the row's lock for long: not written, to be tried again.
    case busy

    /// Whether the ledger itself says so; the others are the store's words.
    package var isOfLedger: Bool { self != .rejected && self != .busy }
}

/// One line of `billing.workers`.
package struct WorkerReport: Hashable, Sendable {
    package enum State: String, Sendable { case starting, running, stopping, stopped, faulted }
    package var state: State
    package var inFlight: Int
    /// Why it claims nothing, or next to nothing, if so and `state` does not say it: one line, at most
    /// 300 characters.
    package var reason: String?
    package init(state: State, inFlight: Int, reason: String? = nil) {
        self.state = state
        self.inFlight = inFlight
        self.reason = reason
    }
}
