/// Everything the sandbox knows. The calls are in extensions, one file each.
struct SandboxState: Sendable {
    let settings: SandboxProvider.Settings
    let secrets: SecretKeys
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
        switch call {
        case .approve(let key): return approve(billingKey: key, request, secret)
        case .issue:
            return post(request, secret, .issue) { $0.issue(request) }
        case .card:
            return post(request, secret, .card) { $0.registerCard(request) }
        case .cancel(let paymentKey):
            return post(request, secret, .cancel(paymentKey)) { $0.cancel(paymentKey, request) }
        case .delete(let key): return draft(delete(billingKey: key))
        case .payment(let key): return draft(lookUp(ledger.number(paymentKey: key)))
        case .order(let orderID): return draft(lookUp(orderID: orderID))
        case .transactions: return draft(transactions(request))
        case .settlements: return draft(settlements(request))
        case .wrongMethod: return draft(.error("NOT_FOUND_HTTP_METHOD"))
        case .unknown: return draft(.error("NOT_FOUND"))
        }
    }

    /// A reply under construction, with the code that the counters want.
    struct Draft {
        var reply: SandboxReply
        var code: String?
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
            code: answer.code)
    }

    /// Runs a POST under its idempotency key: a known key replays, a new one runs and is stored.
    private mutating func post(
        _ request: SandboxRequest, _ secret: Int, _ address: IdempotencyMemory.Address,
        _ run: (inout SandboxState) -> Answer
    ) -> Draft {
        let identity: IdempotencyMemory.Identity?
        switch self.identity(request, secret, address) {
        case .refused(let answer): return draft(answer)
        case .replay(let draft): return draft
        case .first(let first): identity = first
        }
        let answer = run(&self)
        remember(answer, identity)
        return draft(answer)
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
                PaymentText(ids: ids).write(number, ledger, keys, asApproved: true))
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
        guard isStored else { return }
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
        var answer = Answer.error("TOO_MANY_REQUESTS")
        switch switches.tooManyBody {
        case .json: break
        case .empty: answer.body = []
        case .html:
            answer.body = Array("<html><body><h1>429 Too Many Requests</h1></body></html>".utf8)
            answer.contentType = "text/html"
        }
        if switches.retryAfterSeconds > 0 { answer.retryAfter = switches.retryAfterSeconds }
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
