import Billing

/// How many subscriptions may be under way, on account of what the provider says to this worker.
/// Sans I/O: events go in, a ``Change`` worth a log line and the number that may be claimed come out.
///
/// States, and where each can go:
/// - closed: no limit of its own. → limited, open
/// - limited: so many at a time; one more for every answer, half when too many requests fail, so
///   that a provider that comes back sees a ramp and no stampede. → closed, open
/// - open: one row at a time, with pauses; what is claimed already is given back unsent. → limited
///
/// A whole outage thus costs a probe a minute, and each of them another row: no dunning, and hardly
/// an attempt of any charge.
struct CircuitBreaker: Sendable {
    /// What one finished work says about the provider as a whole.
    enum Sign: Hashable, Sendable {
        /// Approved, or declined in the ordinary way: the key, the contract and the URL are right.
        case healthy
        /// Answered clearly, but by less than a charge.
        case clear
        /// Nothing learnt: nothing was asked, or the answer is about this row alone.
        case none
        /// No answer, or none that says anything: time-out, reset, not sent, 5xx. The last code.
        case failed(code: String)
        /// Answered "not now": too many requests, maintenance.
        case busy(code: String)
        /// The provider says that this row's data is wrong.
        case faultOfRow
        /// Every row would fail; the provider's code.
        case fault(code: String)
    }

    /// Why it is open.
    enum Cause: Hashable, Sendable {
        /// An answer that every row would get: it ends with a charge that goes its ordinary way.
        case fault(code: String)
        /// No answers: it ends with the first that says anything.
        case silence(code: String)

        var code: String {
            switch self {
            case .fault(let code), .silence(let code): code
            }
        }
    }

    struct Open: Hashable, Sendable {
        var cause: Cause
        /// Probes so far that brought nothing better.
        var step: Int
        var probeAt: Duration
        /// A probe is under way.
        var isProbing: Bool
    }

    enum State: Hashable, Sendable {
        case closed
        case limited(Int)
        case open(Open)
    }

    /// A change of state that a person should read of; growing and halving in between is none.
    enum Change: Hashable, Sendable {
        case closed
        case limited(Int)
        case opened(Cause)
    }

    private(set) var state = State.closed
    /// Raised whenever it opens. Work of an earlier epoch was claimed in another world: it neither
    /// starts a request, nor lengthens the pause, nor ends it.
    private(set) var epoch = 0
    private(set) var pausedUntil: Duration = .zero
    private let maximum: Int
    /// The last requests, oldest first.
    private var recent: [(at: Duration, failed: Bool)] = []
    /// Pauses in a row: "not now" is answered with longer and longer ones.
    private var pauses = 0
    /// Rows found wrong, by the provider or by ourselves, one after another, without a charge that went
    /// its ordinary way.
    private var wrongRows = 0
    /// Of the last silence, kept until it closes: a ramp that fails at once goes on where it was.
    private var silenceStep = 0

    /// `maximum`: most that are ever under way.
    init(maximum: Int = 256) { self.maximum = max(1, maximum) }

    /// See ``Claim/mostWrongRows``, which bounds what a single claim can hold.
    static let mostWrongRows = Claim.mostWrongRows
    /// Ours, for these.
    static let manyWrongRows = "MANY_WRONG_ROWS"
    /// Requests that are weighed: a few of them must not drown in the good ones of an hour ago.
    static let window = 20
    /// None older than this is weighed. A time-out takes 65 s, so that a shorter span would see a
    /// part of one burst only.
    static let windowAge = Duration.seconds(300)
    /// Fewer say nothing. With one failure in twenty, more than any ordinary day has, five of ten
    /// fail by accident once in ten thousand times.
    static let fewest = 10

    /// For a fault, which a person must mend: 30 s, 60 s, 2 min, 4 min, then 5 min.
    static func faultPause(_ step: Int) -> Duration {
        .seconds(min(300, 30 << min(max(step, 0), 4)))
    }

    /// For a silence, which ends by itself: 5 s, 10, 20, 40, then 60 s; half to all of it, by
    /// `jitter` (0 ..< 1), so that a fleet does not knock at once.
    static func silencePause(_ step: Int, jitter: Double) -> Duration {
        .seconds(min(60, 5 << min(max(step, 0), 4))) * (0.5 + 0.5 * min(max(jitter, 0), 1))
    }

    var cause: Cause? {
        if case .open(let open) = state { return open.cause }
        return nil
    }

    /// How many may be claimed now with `inFlight` under way; 0: see ``nextLook(now:)``.
    func limit(inFlight: Int, now: Duration) -> Int {
        if now < pausedUntil { return 0 }
        let free = max(0, maximum - inFlight)
        switch state {
        case .closed: return free
        case .limited(let most): return min(free, max(0, most - inFlight))
        case .open(let open): return open.isProbing || now < open.probeAt ? 0 : min(1, free)
        }
    }

    /// Time until the limit changes by itself; nil: it takes an event.
    func nextLook(now: Duration) -> Duration? {
        if now < pausedUntil { return pausedUntil - now }
        guard case .open(let open) = state, !open.isProbing, now < open.probeAt else { return nil }
        return open.probeAt - now
    }

    /// A claim of `epoch` brought work for the provider. One that was called before it opened is no
    /// probe: its work is given back unsent.
    mutating func started(epoch: Int) {
        guard epoch == self.epoch, case .open(var open) = state else { return }
        open.isProbing = true
        state = .open(open)
    }

    /// A claim of `epoch` brought rows that make no sense, `wrong` of them, and `others`. Among as many
    /// others they are single rows with faults of their own. A probe that brings one of them is as bad
    /// as the provider's word for it.
    mutating func claimed(
        wrong: Int, others: Int, epoch: Int, now: Duration
    ) -> Change? {
        guard wrong > others, epoch == self.epoch else { return nil }
        wrongRows += wrong
        let isProbe = cause == .fault(code: Self.manyWrongRows)
        guard isProbe || wrongRows >= Self.mostWrongRows else { return nil }
        wrongRows = 0
        return fault(code: Self.manyWrongRows, now: now)
    }

    /// One work of `epoch` ended. `jitter`: 0 ..< 1.
    mutating func ended(
        _ sign: Sign, epoch: Int, now: Duration, jitter: Double = 1
    ) -> Change? {
        guard epoch == self.epoch else { return nil }
        wrongRows = sign == .faultOfRow ? wrongRows + 1 : sign == .healthy ? 0 : wrongRows
        if wrongRows >= Self.mostWrongRows {
            wrongRows = 0
            return fault(code: Self.manyWrongRows, now: now)
        }
        switch sign {
        case .fault(let code): return fault(code: code, now: now)
        case .healthy:
            pauses = 0
            return answered(isCharge: true, now: now)
        case .clear, .faultOfRow: return answered(isCharge: false, now: now)
        case .failed(let code): return failed(code: code, now: now, jitter: jitter)
        case .busy(let code):
            // Many requests meet the same "too many": one pause for all of them.
            if now >= pausedUntil {
                pausedUntil = now + .seconds(min(60, 1 << min(pauses, 6)))
                pauses += 1
            }
            return failed(code: code, now: now, jitter: jitter)
        case .none:
            probe(cameBackAt: now, worse: false, jitter: jitter)
            return nil
        }
    }

    // MARK: Events

    private mutating func fault(code: String, now: Duration) -> Change? {
        var step = 0
        var isNew = true
        if case .open(let open) = state, case .fault = open.cause {
            step = open.step + 1
            isNew = false
        }
        let cause = Cause.fault(code: code)
        open(cause, step: step, probeAt: now + Self.faultPause(step))
        return isNew ? .opened(cause) : nil
    }

    private mutating func answered(isCharge: Bool, now: Duration) -> Change? {
        note(failed: false, now: now)
        switch state {
        case .closed: return nil
        case .limited(let most):
            if most + 1 < maximum {
                state = .limited(most + 1)
                return nil
            }
            state = .closed
            silenceStep = 0
            return .closed
        case .open(var open):
            if case .fault = open.cause, !isCharge {
                // A look-up proves neither the contract nor the mapping: a charge must, and may now.
                open.isProbing = false
                open.probeAt = now
                state = .open(open)
                return nil
            }
            recent = []
            guard maximum > 2 else {
                state = .closed
                silenceStep = 0
                return .closed
            }
            state = .limited(2)
            return .limited(2)
        }
    }

    private mutating func failed(code: String, now: Duration, jitter: Double) -> Change? {
        note(failed: true, now: now)
        let failures = recent.count { $0.failed }
        switch state {
        case .open:
            probe(cameBackAt: now, worse: true, jitter: jitter)
            return nil
        case .limited(let most) where most <= 2:
            // A ramp that had hardly begun.
            return silence(code, step: silenceStep + 1, now: now, jitter: jitter)
        case .closed, .limited:
            guard recent.count >= Self.fewest, failures * 2 >= recent.count else { return nil }
            // All but one in ten: nobody is there.
            if failures * 10 >= recent.count * 9 {
                return silence(code, step: silenceStep, now: now, jitter: jitter)
            }
            recent = []
            if case .limited(let most) = state {
                state = .limited(max(1, most / 2))
                return nil
            }
            let most = max(1, maximum / 2)
            state = .limited(most)
            return .limited(most)
        }
    }

    private mutating func silence(
        _ code: String, step: Int, now: Duration, jitter: Double
    ) -> Change {
        silenceStep = step
        let cause = Cause.silence(code: code)
        open(cause, step: step, probeAt: now + Self.silencePause(step, jitter: jitter))
        return .opened(cause)
    }

    private mutating func open(_ cause: Cause, step: Int, probeAt: Duration) {
        state = .open(Open(cause: cause, step: step, probeAt: probeAt, isProbing: false))
        recent = []
        epoch += 1
    }

    /// A probe that opened nothing. A fault is not the longer for a probe without an answer.
    private mutating func probe(cameBackAt now: Duration, worse: Bool, jitter: Double) {
        guard case .open(var open) = state else { return }
        switch open.cause {
        case .fault: open.probeAt = now + Self.faultPause(open.step)
        case .silence:
            if worse { open.step += 1 }
            silenceStep = open.step
            open.probeAt = now + Self.silencePause(open.step, jitter: jitter)
        }
        open.isProbing = false
        state = .open(open)
    }

    private mutating func note(failed: Bool, now: Duration) {
        recent.removeAll { $0.at + Self.windowAge < now }
        recent.append((now, failed))
        if recent.count > Self.window { recent.removeFirst(recent.count - Self.window) }
    }
}
