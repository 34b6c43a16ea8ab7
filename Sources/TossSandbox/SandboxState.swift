/// Everything the sandbox knows. The calls are in extensions, one file each.
struct SandboxState: Sendable {
    let settings: SandboxProvider.Settings
    var secrets: SecretKeys
    let ids: SandboxIDs
    var clock: SandboxClock
    var switches: Switches
    var faults: [FaultRule] = []
    /// Added to every approve.
    var latencyMilliseconds: Int64
    var keys = KeyRing()
    var ledger = Ledger()
    var memory = IdempotencyMemory()
    var counts = RequestCounts()
    var budget = MinuteBudget()
    var record: (@Sendable ([UInt8]) -> Void)?
    /// Requests seen; the number of a request gives its trace id.
    var sequence: UInt64 = 0
    var running: [SandboxReply.Ticket: Running] = [:]
    /// Requests that are still to arrive, the next one first.
    var lateRequests: [LateRequest] = []
    var lateRequestsMade: Int64 = 0
    /// The newest last.
    var webhooks: [Webhook] = []
    var webhooksMade: Int64 = 0
    var webhookURL: WebhookURL?

    /// What is to be done when a delayed answer has been delivered.
    struct Running: Sendable {
        var identity: IdempotencyMemory.Identity?
        var payment: Int32?
    }

    init(_ settings: SandboxProvider.Settings) {
        self.settings = settings
        secrets = SecretKeys(settings.secretKeys)
        ids = SandboxIDs(seed: settings.seed)
        clock = settings.clock
        switches = settings.switches
        latencyMilliseconds = settings.latencyMilliseconds
    }

    var now: Int64 { clock.milliseconds() / 1000 }

    mutating func handle(_ request: SandboxRequest) -> SandboxReply {
        if !lateRequests.isEmpty { runLateRequests() }
        if request.path.hasPrefix("/_sandbox") { return admin(request) }
        sequence += 1
        let call = Call(method: request.method, path: request.path)
        counts.byEndpoint[call.endpoint, default: 0] += 1
        var reply = route(call, request)
        if reply.status >= 400, let code = reply.code { counts.errors[code, default: 0] += 1 }
        if request.method == "POST", let key = request.idempotencyKey {
            reply.headers.append(("idempotency-key", key))
        }
        return reply.reply
    }

    private mutating func route(_ call: Call, _ request: SandboxRequest) -> Draft {
        let secret: Int
        switch secrets.check(request.authorization) {
        case .accepted(let index): secret = index
        case .refused(let code):
            let wrongSecret = code == "UNAUTHORIZED_KEY" && request.authorization != nil
            return draft(
                .error(code, status: wrongSecret ? Int(switches.wrongSecretStatus) : nil))
        }
        if let code = request.testCode, secrets.isTest(secret) {
            let known = ProviderError(code: code) != nil
            return draft(.error(known ? code : "INVALID_TEST_CODE"))
        }
        if !budget.take(call.endpoint, limit: switches.callsPerMinute, now: now) {
            return tooMany(call, request, secret)
        }
        return perform(call, request, secret)
    }

    /// A call of a client whose secret key is right.
    mutating func perform(_ call: Call, _ request: SandboxRequest, _ secret: Int) -> Draft {
        switch call {
        case .approve(let key): return approve(billingKey: key, call, request, secret)
        case .issue: return run(call, request, secret) { $0.issue(request) }
        case .card: return run(call, request, secret) { $0.registerCard(request) }
        case .cancel(let paymentKey):
            return run(call, request, secret) { $0.cancel(paymentKey, request) }
        case .delete(let key):
            return run(call, request, secret) { $0.delete(billingKey: key) }
        case .payment(let key):
            return run(call, request, secret) { $0.lookUp($0.ledger.number(paymentKey: key)) }
        case .order(let orderID):
            return run(call, request, secret) { $0.lookUp(orderID: orderID) }
        case .transactions: return run(call, request, secret) { $0.transactions(request) }
        case .settlements: return run(call, request, secret) { $0.settlements(request) }
        case .wrongMethod: return draft(.error("NOT_FOUND_HTTP_METHOD"))
        case .unknown: return draft(.error("NOT_FOUND"))
        }
    }

    /// A reply under construction, with the code that the counters want.
    struct Draft {
        var reply: SandboxReply
        var code: String?
        /// The payment that the body shows.
        var shows: Int32?
        var status: Int { reply.status }
        var headers: [(name: String, value: String)] {
            get { reply.headers }
            set { reply.headers = newValue }
        }
    }

    /// Dresses an answer with the headers every reply has. `original` is the number of the first
    /// request when this one replays its answer.
    func draft(_ answer: Answer, original: UInt64? = nil) -> Draft {
        var trace = ids.traceID(sequence)
        if let original { trace += ", " + ids.traceID(original) }
        var headers: [(name: String, value: String)] = [("X-TossPayments-Trace-Id", trace)]
        if !answer.body.isEmpty { headers.append(("Content-Type", answer.contentType)) }
        if let seconds = answer.retryAfter { headers.append(("Retry-After", String(seconds))) }
        return Draft(
            reply: SandboxReply(
                status: answer.status, headers: headers, body: answer.body,
                payment: answer.executed),
            code: answer.code, shows: answer.shows)
    }

    /// Runs a call with its faults. A POST runs under its idempotency key: a known key replays, a
    /// new one runs and is stored.
    mutating func run(
        _ call: Call, _ request: SandboxRequest, _ secret: Int,
        _ execute: (inout SandboxState) -> Answer
    ) -> Draft {
        var identity: IdempotencyMemory.Identity?
        if let address = address(call) {
            switch self.identity(request, secret, address) {
            case .refused(let answer): return draft(answer)
            case .replay(let replay):
                return deliver(replay, call, request, secret, nil, replayed: true)
            case .first(let first): identity = first
            }
        }
        if !faults.isEmpty,
            let refused = faultBeforeExecution(call, request, secret, identity)
        {
            return hold(refused, nil)
        }
        let answer = execute(&self)
        remember(answer, identity)
        return deliver(draft(answer), call, request, secret, identity, replayed: false)
    }

    /// Applies latency and the faults after the execution.
    private mutating func deliver(
        _ draft: Draft, _ call: Call, _ request: SandboxRequest, _ secret: Int,
        _ identity: IdempotencyMemory.Identity?, replayed: Bool
    ) -> Draft {
        var draft = draft
        if case .approve = call { draft.reply.delayMilliseconds = latencyMilliseconds }
        if !faults.isEmpty {
            faultAfterExecution(&draft, call, request, secret, identity, replayed: replayed)
        }
        return hold(draft, identity)
    }

    /// A request whose answer takes time, or never comes, counts as running until then.
    private mutating func hold(
        _ draft: Draft, _ identity: IdempotencyMemory.Identity?
    ) -> Draft {
        guard draft.reply.delayMilliseconds > 0 || draft.reply.delivery != .send else {
            return draft
        }
        var draft = draft
        let ticket = SandboxReply.Ticket(number: sequence)
        draft.reply.ticket = ticket
        running[ticket] = Running(identity: identity, payment: draft.reply.payment)
        if let payment = draft.reply.payment { ledger[payment].running = true }
        if let identity { memory.setReady(identity, at: .max) }
        return draft
    }

    /// The address of a POST call under idempotency keys, nil for other methods.
    private func address(_ call: Call) -> IdempotencyMemory.Address? {
        switch call {
        case .approve(let key): keys.index(key).map { .approve($0) } ?? .approveUnknown(key)
        case .issue: .issue
        case .card: .card
        case .cancel(let paymentKey): .cancel(paymentKey)
        default: nil
        }
    }

    /// The idempotency key of a request with what belongs to it, nil without one.
    func identity(
        of call: Call, _ request: SandboxRequest, _ secret: Int
    ) -> IdempotencyMemory.Identity? {
        guard let key = request.idempotencyKey, !key.isEmpty, let address = address(call) else {
            return nil
        }
        return .init(secret: secret, address: address, key: key)
    }

    enum Identified {
        case refused(Answer)
        case replay(Draft)
        case first(IdempotencyMemory.Identity?)
    }

    /// Section 3 of the contract: over 300 characters is refused, a running first request is a 409,
    /// a stored answer is replayed with two trace ids. The body is not looked at.
    mutating func identity(
        _ request: SandboxRequest, _ secret: Int, _ address: IdempotencyMemory.Address
    ) -> Identified {
        guard let key = request.idempotencyKey, !key.isEmpty else { return .first(nil) }
        if key.count > 300 { return .refused(.error("INVALID_IDEMPOTENCY_KEY")) }
        let identity = IdempotencyMemory.Identity(secret: secret, address: address, key: key)
        let milliseconds = clock.milliseconds()
        guard let entry = memory.entry(identity, now: milliseconds / 1000) else {
            return .first(identity)
        }
        if milliseconds < entry.readyAt {
            counts.processing += 1
            return .refused(.error("IDEMPOTENT_REQUEST_PROCESSING"))
        }
        counts.replays += 1
        var answer: Answer
        switch entry.stored {
        case .approval(let number):
            answer = .success(
                PaymentText(ids: ids).write(number, ledger, keys, asApproved: true), shows: number)
        case .answer(let status, let body, let code):
            answer = Answer(status: status, body: body, code: code)
        }
        answer.executed = nil
        return .replay(draft(answer, original: entry.sequence))
    }

    /// Stores what the provider stores: successes, 400 and 403; the rest only by switch 4.
    mutating func remember(_ answer: Answer, _ identity: IdempotencyMemory.Identity?) {
        guard let identity else { return }
        let isStored =
            answer.status == 200 || answer.status == 400 || answer.status == 403
            || (switches.storesAllErrors
                && ([401, 409, 429].contains(answer.status) || answer.status >= 500))
        guard isStored, answer.code == nil || !switches.forgetsDeclines else { return }
        let stored: IdempotencyMemory.Stored =
            answer.executed.map { .approval($0) }
            ?? .answer(status: answer.status, body: answer.body, code: answer.code)
        memory.store(
            identity,
            .init(
                firstUsed: now, sequence: sequence,
                readyAt: clock.milliseconds() + switches.processingLingersSeconds * 1000,
                stored: stored))
        journalAnswer(identity, stored)
    }

    private mutating func tooMany(_ call: Call, _ request: SandboxRequest, _ secret: Int) -> Draft {
        let answer = switches.tooMany
        if switches.storesAllErrors, case .approve(let text) = call, let key = keys.index(text),
            case .first(let identity) = identity(request, secret, .approve(key))
        {
            remember(answer, identity)
        }
        return draft(answer)
    }

    mutating func finish(_ ticket: SandboxReply.Ticket, delivered: Bool) {
        guard let running = running.removeValue(forKey: ticket) else { return }
        if let identity = running.identity {
            memory.setReady(
                identity, at: clock.milliseconds() + switches.processingLingersSeconds * 1000)
        }
        if let payment = running.payment {
            ledger[payment].running = false
            if !delivered { lost(payment) }
        }
    }

    mutating func lost(_ payment: Int32) {
        guard ledger[payment].answered else { return }
        ledger[payment].answered = false
        journalLost(payment)
    }
}
