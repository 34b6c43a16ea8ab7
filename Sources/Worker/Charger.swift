package import Billing
import Logging

/// Takes one claimed work to what must be written. Holds no state of its own: as many run at once
/// as there are slots.
package struct Charger: Sendable {
    /// What becomes of a claimed work.
    package enum Ending: Sendable {
        case record(Transition)
        /// Nothing was sent in this claim: give it back.
        case release
    }

    let gateway: any Gateway
    let status: WorkerStatus
    let logger: Logger
    var time: Timepiece { status.time }

    /// Asks the provider what `work` calls for. Never throws; ends when the provider answered or
    /// the gateway gave up.
    func run(_ work: Work, under terms: Batch.Terms) async -> Ending {
        let start = time.now()
        var conversation = Conversation(
            deadline: terms.deadline, requestTimeout: terms.requestTimeout, epoch: terms.epoch)
        let ending: Ending
        if maySend(conversation) {
            switch work.task {
            case .send(let request, let earlier, let isRepeat, let tries):
                ending = await send(
                    work, request, after: earlier, isRepeat: isRepeat, tries: tries,
                    &conversation)
            case .resolve(let request, let doubt):
                let lookUp = await lookUp(request.orderID, &conversation)
                ending = .record(work.after(lookUp, of: request, doubt, jitter: time.jitter()))
            case .seal(let orders, let amount, let unpaid):
                let answers = await lookUps(orders, of: amount, &conversation)
                ending = .record(work.afterSeal(answers, amount: amount, ending: unpaid))
            }
        } else {
            ending = .release
        }
        finish(work, ending, conversation, took: time.now() - start)
        return ending
    }

    /// What one work heard from the provider.
    fileprivate struct Conversation {
        let deadline: Duration
        let requestTimeout: Duration
        let epoch: Int
        var sign = CircuitBreaker.Sign.none
        var fault: Answer?
        /// How long the charge took, if one was sent; and that it was not the first request of its kind.
        var charge: Duration?
        var isRetry = false
        /// Most works ask for none or one look-up.
        var lookUps: [Duration] = []
    }

    private func send(
        _ work: Work, _ request: AttemptRequest, after earlier: [OrderID], isRepeat: Bool,
        tries: Int, _ conversation: inout Conversation
    ) async -> Ending {
        var answers = await lookUps(earlier, of: request.amount, &conversation)
        // The last of them came too late to send: to be tried again after a backoff, not at once.
        if let (last, answer) = answers.last, answer.leavesTheWayFree(of: last, request.amount),
            isTooLate(conversation)
        {
            answers.append((last, .unclear(.tooSlow)))
        }
        let instead = work.afterEarlier(
            answers, before: request, isRepeat: isRepeat, tries: tries, jitter: time.jitter())
        if let instead { return .record(instead) }
        // A fault of all was met meanwhile, or the process stood still: a request that starts now
        // must still end within the lease.
        guard maySend(conversation) else { return .release }
        let start = time.now()
        let outcome = await gateway.charge(request, timeout: conversation.requestTimeout)
        conversation.charge = time.now() - start
        conversation.isRetry = isRepeat || tries > 0 || request.number > 1
        // What it kept says nothing of today.
        if !(isRepeat && work.isKept(outcome)) { conversation.note(outcome) }
        // What is left of the lease bounds the look-up; too little is as good as no look-up.
        let left = conversation.deadline + conversation.requestTimeout - time.now()
        if needsLookUp(outcome, of: work, request, isRepeat: isRepeat),
            left >= conversation.requestTimeout / 4
        {
            let doubt = ProviderTask.Doubt(lookups: 0, notFounds: 0, quietOver: false)
            let lookUp = await lookUp(request.orderID, within: left, &conversation)
            return .record(
                work.after(
                    lookUp, of: request, doubt, confirms: outcome, jitter: time.jitter()))
        }
        return .record(
            work.after(
                outcome, of: request, isRepeat: isRepeat, tries: tries, jitter: time.jitter()))
    }

    /// "Executed before" is adopted from a look-up; the decline of a repeat, another payment than was
    /// asked for, or an answer that the provider kept, must be confirmed, because the first send may have been paid.
    private func needsLookUp(
        _ outcome: Outcome, of work: Work, _ request: AttemptRequest, isRepeat: Bool
    ) -> Bool {
        switch outcome {
        case .duplicate: true
        case .declined: isRepeat
        case .approved(let payment, _): isRepeat && !payment.answers(request)
        case .notSent: false
        case .refused, .faultOfRow, .faultOfAll, .unknown: isRepeat && work.isKept(outcome)
        }
    }

    /// One after another: the first that decides ends it, and so does the end of the lease's time.
    /// What many slow look-ups leave open is a doubt like any other and gets its backoff; given back,
    /// the row would be claimed again at once, for ever.
    private func lookUps(
        _ orders: [OrderID], of amount: Won, _ conversation: inout Conversation
    ) async -> [(OrderID, LookUp)] {
        var answers: [(OrderID, LookUp)] = []
        for order in orders {
            if isTooLate(conversation) {
                answers.append((order, .unclear(.tooSlow)))
                break
            }
            let answer = await lookUp(order, &conversation)
            answers.append((order, answer))
            if !answer.leavesTheWayFree(of: order, amount) { break }
        }
        return answers
    }

    private func lookUp(
        _ order: OrderID, within left: Duration? = nil, _ conversation: inout Conversation
    ) async -> LookUp {
        let start = time.now()
        let most = conversation.requestTimeout
        let answer = await gateway.lookUp(order, timeout: left.map { min($0, most) } ?? most)
        conversation.lookUps.append(time.now() - start)
        conversation.note(answer)
        return answer
    }

    private func maySend(_ conversation: Conversation) -> Bool {
        !isTooLate(conversation) && status.maySend(epoch: conversation.epoch)
    }

    /// A request that starts now might outlive the lease.
    private func isTooLate(_ conversation: Conversation) -> Bool {
        time.now() >= conversation.deadline
    }

    private func finish(
        _ work: Work, _ ending: Ending, _ conversation: Conversation, took: Duration
    ) {
        let now = time.now()
        let jitter = time.jitter()
        let change = status.change { state in
            if case .record(let transition) = ending { state.counters.count(transition) }
            conversation.count(into: &state.meters)
            return state.breaker.ended(
                conversation.sign, epoch: conversation.epoch, now: now, jitter: jitter)
        }
        if let change { logger.log(change, after: conversation.fault) }
        switch ending {
        case .record(let transition): logger.log(transition, of: work, took: took)
        case .release:
            logger.info("given back unsent", metadata: work.metadata)
        }
    }
}

extension Charger.Conversation {
    fileprivate func count(into meters: inout WorkerMeters) {
        if let charge { meters.charges.add(charge) }
        if isRetry { meters.retries += 1 }
        for took in lookUps { meters.lookUps.add(took) }
        if case .busy = sign { meters.busy += 1 }
    }

    fileprivate mutating func note(_ outcome: Outcome) {
        switch outcome {
        case .approved, .declined: sign = .healthy
        case .duplicate: sign = .clear
        case .faultOfRow: sign = .faultOfRow
        case .refused(let answer): sign = .busy(code: singleLine(answer.code))
        // Its first request still runs: this row's affair.
        case .unknown(let answer) where answer.httpStatus == 409: sign = .none
        case .notSent(let answer), .unknown(let answer):
            sign = .failed(code: singleLine(answer.code))
        case .faultOfAll(let answer): met(answer)
        }
    }

    /// A look-up says less than a charge: it never takes back what a charge said.
    fileprivate mutating func note(_ lookUp: LookUp) {
        switch lookUp {
        case .found, .notFound: if sign == .none { sign = .clear }
        case .unclear(let answer):
            // Asked too often: a look-up slows the worker as a charge does.
            let code = singleLine(answer.code)
            if sign == .none || sign == .clear {
                sign = answer.isTooMany ? .busy(code: code) : .failed(code: code)
            }
        case .faultOfAll(let answer): met(answer)
        }
    }

    private mutating func met(_ answer: Answer) {
        sign = .fault(code: singleLine(answer.code))
        fault = answer
    }
}

extension Answer {
    /// Ours, for look-ups that took longer than the lease allows.
    static let tooSlow = Answer(code: "LOOK_UPS_TOO_SLOW")

    fileprivate var isTooMany: Bool {
        httpStatus == 429 || code == "FORBIDDEN_CONSECUTIVE_REQUEST"
    }
}

extension LookUp {
    /// No payment under this name: the next may be asked.
    fileprivate func leavesTheWayFree(of order: OrderID, _ amount: Won) -> Bool {
        switch self {
        case .notFound: true
        case .found(let payment): payment.isOver(as: order, amount)
        case .unclear, .faultOfAll: false
        }
    }
}
