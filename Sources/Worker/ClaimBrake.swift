/// Why claims slow down or stop on account of what the provider says. Sans I/O: events go in, the
/// number of rows that may be claimed comes out.
///
/// States: open → faulted (an answer that every row would get) → open (a probe was approved or
/// declined in the ordinary way). Refusals ("too many requests", "under maintenance") only pause.
struct ClaimBrake: Sendable {
    /// What one finished work says about the provider as a whole.
    enum Sign: Hashable, Sendable {
        /// Approved, or declined in the ordinary way: the key, the contract and the URL are right.
        case healthy
        /// Answered clearly, but by less than a charge.
        case clear
        /// Nothing learnt: no answer, not sent, released.
        case none
        /// Answered "not now".
        case busy
        /// The provider says that this row's data is wrong.
        case faultOfRow
        /// Every row would fail; the provider's code.
        case fault(code: String)
    }

    struct Fault: Hashable, Sendable {
        var code: String
        /// Probes so far that met the fault too.
        var step: Int
        var probeAt: Duration
        /// A probe is under way.
        var isProbing: Bool
    }

    private(set) var fault: Fault?
    /// Raised by every fault. Work of an earlier epoch was claimed in another world: it neither
    /// starts a request, nor lengthens the pause, nor ends it.
    private(set) var epoch = 0
    private(set) var pausedUntil: Duration = .zero
    private var refusals = 0
    /// Rows found wrong, one after another, without a charge that went its ordinary way.
    private var wrongRows = 0

    /// So many wrong rows in a row are no accident of data: a mapping is broken, and going on would
    /// hold every due charge.
    static let mostWrongRows = 10

    /// 30 s, 60 s, 2 min, 4 min, then 5 min.
    static func probePause(_ step: Int) -> Duration {
        .seconds(min(300, 30 << min(max(step, 0), 4)))
    }

    /// How many of `free` slots may be claimed now; 0: see ``nextLook(now:)``.
    func limit(free: Int, now: Duration) -> Int {
        if now < pausedUntil { return 0 }
        guard let fault else { return free }
        return fault.isProbing || now < fault.probeAt ? 0 : min(1, free)
    }

    /// Time until the limit changes by itself; nil: it takes an event.
    func nextLook(now: Duration) -> Duration? {
        if now < pausedUntil { return pausedUntil - now }
        guard let fault, !fault.isProbing, now < fault.probeAt else { return nil }
        return fault.probeAt - now
    }

    /// A claim of `epoch` brought work for the provider. One that was called before the fault is no
    /// probe: its work is given back unsent.
    mutating func started(epoch: Int) {
        if epoch == self.epoch { fault?.isProbing = true }
    }

    /// One work of `epoch` ended. True: the worker is faulted since this very call.
    mutating func ended(_ sign: Sign, epoch: Int, now: Duration) -> Bool {
        guard epoch == self.epoch else { return false }
        wrongRows = sign == .faultOfRow ? wrongRows + 1 : sign == .healthy ? 0 : wrongRows
        if wrongRows >= Self.mostWrongRows {
            wrongRows = 0
            return ended(.fault(code: "MANY_WRONG_ROWS"), epoch: epoch, now: now)
        }
        switch sign {
        case .fault(let code):
            let step = fault.map { $0.step + 1 } ?? 0
            let isNew = fault == nil
            fault = Fault(
                code: code, step: step, probeAt: now + Self.probePause(step), isProbing: false)
            self.epoch += 1
            return isNew
        case .healthy:
            fault = nil
            refusals = 0
        case .clear, .faultOfRow:
            fault?.isProbing = false
            fault?.probeAt = now
        case .none, .busy:
            if let current = fault {
                fault?.isProbing = false
                fault?.probeAt = now + Self.probePause(current.step)
            }
        }
        // Many requests meet the same "too many": one pause for all of them.
        if sign == .busy, now >= pausedUntil {
            pausedUntil = now + .seconds(min(60, 1 << min(refusals, 6)))
            refusals += 1
        }
        return false
    }
}
