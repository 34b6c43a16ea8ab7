/// A request that arrives, or arrives again, when its client has long heard something else.
///
/// It is executed as soon as the sandbox's clock has come to its time and anything looks: nobody
/// can tell that from an execution on the dot, and a restart loses none.
struct LateRequest: Sendable {
    /// Counts from 1 over the life of the books.
    var number: Int64
    /// Milliseconds since 1970 on the sandbox's clock.
    var dueAt: Int64
    /// The index of its secret key; the key itself is in no books.
    var secret: Int
    var request: SandboxRequest
    /// The provider has lost what it knew under the idempotency key.
    var forgetsKey: Bool
    /// The provider knows the key already and answers repeats with 409.
    var heldKey: IdempotencyMemory.Identity?
}

extension SandboxState {
    mutating func postpone(
        _ request: SandboxRequest, _ secret: Int, _ identity: IdempotencyMemory.Identity?,
        _ rule: FaultRule, by milliseconds: Int64
    ) {
        lateRequestsMade += 1
        let late = LateRequest(
            number: lateRequestsMade, dueAt: clock.milliseconds() + milliseconds, secret: secret,
            request: request, forgetsKey: rule.forgetsKey,
            heldKey: rule.holdsKey ? identity : nil)
        add(late)
        journalLate(late)
    }

    /// Queues a request by its time.
    mutating func add(_ late: LateRequest) {
        if let identity = late.heldKey {
            memory.store(
                identity,
                .init(
                    firstUsed: now, sequence: sequence, readyAt: .max,
                    stored: .answer(status: 409, body: [], code: nil)))
        }
        let place = lateRequests.firstIndex { $0.dueAt > late.dueAt } ?? lateRequests.endIndex
        lateRequests.insert(late, at: place)
    }

    /// Executes the late requests whose time has come, each at its own time and without faults.
    mutating func runLateRequests() {
        while let late = lateRequests.first, late.dueAt <= clock.milliseconds() {
            lateRequests.removeFirst()
            let saved = (clock, faults, latencyMilliseconds)
            (clock, faults, latencyMilliseconds) = (.fixed(milliseconds: late.dueAt), [], 0)
            execute(late)
            (clock, faults, latencyMilliseconds) = saved
        }
    }

    private mutating func execute(_ late: LateRequest) {
        sequence += 1
        counts.late += 1
        let call = Call(method: late.request.method, path: late.request.path)
        if let identity = late.heldKey { memory.remove(identity) }
        if late.forgetsKey { forget(identity(of: call, late.request, late.secret)) }
        let draft = perform(call, late.request, late.secret)
        if let code = draft.code { counts.errors[code, default: 0] += 1 }
        if let ticket = draft.reply.ticket { finish(ticket, delivered: false) }
        // Its answer reaches nobody.
        if let payment = draft.reply.payment { lost(payment) }
        journalArrived(late.number)
    }
}
