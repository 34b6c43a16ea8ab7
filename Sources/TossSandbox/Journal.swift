/// The books as lines, one JSON object each, so that they survive a restart: what was issued,
/// executed, declined, cancelled, stored under idempotency keys and still to arrive. Nothing is ever
/// rewritten. Requests counts and fault rules are no books: a restarted sandbox is well until told.
extension SandboxState {
    private func line(_ members: [String: JSONValue]) {
        guard let record else { return }
        record(JSONValue.object(members).json)
    }

    func journalKey(_ index: Int32) {
        guard record != nil else { return }
        let key = keys[index]
        var members: [String: JSONValue] = [
            "t": "key", "key": .string(key.billingKey), "customer": .string(key.customerKey),
            "at": .integer(key.issuedAt), "issuer": .string(key.card.issuerCode),
            "number": .string(key.card.number), "type": .string(key.card.cardType),
            "owner": .string(key.card.ownerType), "expires": .integer(key.card.expiresAt),
            "refusal": key.card.refusal.map { .string($0) } ?? .null,
            "made": .integer(Int64(keys.keysMade)),
        ]
        members["script"] = key.script?.json
        line(members)
    }

    func journalAuthKey(_ text: String) {
        guard record != nil, let key = keys.authKeys[text] else { return }
        line([
            "t": "auth", "key": .string(text), "customer": .string(key.customerKey),
            "number": .string(key.cardNumber), "made": .integer(Int64(keys.authKeysMade)),
        ])
    }

    func journalSpent(_ authKey: String) { line(["t": "spent", "key": .string(authKey)]) }

    func journalCardScript(_ number: String, _ script: CardScript) {
        line(["t": "card-script", "number": .string(number), "script": script.json])
    }

    func journalSwitches() { line(["t": "switches", "switches": switches.json]) }

    func journalClock() {
        switch clock {
        case .running(let offset): line(["t": "clock", "offset": .integer(offset)])
        case .fixed(let milliseconds): line(["t": "clock", "fixed": .integer(milliseconds)])
        }
    }

    func journalDeleted(_ index: Int32) {
        line(["t": "deleted", "key": .string(keys[index].billingKey)])
    }

    func journalApproval(_ number: Int32) {
        guard record != nil else { return }
        let payment = ledger[number]
        let tax = ledger.taxes[number] ?? .init()
        var members: [String: JSONValue] = [
            "t": "approval", "key": .string(keys[payment.key].billingKey),
            "order": .string(payment.orderID), "idem": .string(payment.idempotencyKey),
            "name": .string(ledger.names[Int(payment.name)]), "amount": .integer(payment.amount),
            "at": .integer(payment.executedAt),
        ]
        if tax != .init() {
            members["free"] = .integer(tax.free)
            members["exempt"] = .integer(tax.exemption)
            members["months"] = .integer(tax.installments)
        }
        line(members)
    }

    func journalDecline(_ orderID: String, _ record: Ledger.Declined) {
        guard self.record != nil else { return }
        line([
            "t": "decline", "key": .string(keys[record.key].billingKey),
            "order": .string(orderID), "name": .string(ledger.names[Int(record.name)]),
            "amount": .integer(record.amount), "at": .integer(record.at),
            "code": .string(record.code),
        ])
    }

    func journalCancel(_ number: Int32) {
        guard record != nil, let cancel = ledger.cancels[number]?.last else { return }
        line([
            "t": "cancel", "payment": .integer(Int64(number)), "amount": .integer(cancel.amount),
            "reason": .string(cancel.reason), "free": .integer(cancel.taxFree),
            "at": .integer(cancel.at),
        ])
    }

    func journalScript(_ index: Int32, _ script: CardScript) {
        line(["t": "script", "key": .string(keys[index].billingKey), "script": script.json])
    }

    func journalReset() { line(["t": "reset"]) }

    func journalLost(_ number: Int32) {
        line(["t": "lost", "payment": .integer(Int64(number))])
    }

    func journalAnswer(
        _ identity: IdempotencyMemory.Identity, _ stored: IdempotencyMemory.Stored
    ) {
        guard record != nil else { return }
        var members = identityMembers(identity)
        members["t"] = "answer"
        members["at"] = .integer(now)
        members["sequence"] = .integer(Int64(sequence))
        switch stored {
        case .approval(let number): members["payment"] = .integer(Int64(number))
        case .answer(let status, let body, let code):
            members["status"] = .integer(Int64(status))
            members["body"] = .string(String(decoding: body, as: UTF8.self))
            members["code"] = code.map { .string($0) }
        }
        line(members)
    }

    func journalForgotten(_ identity: IdempotencyMemory.Identity) {
        guard record != nil else { return }
        var members = identityMembers(identity)
        members["t"] = "forgotten"
        line(members)
    }

    func journalLate(_ late: LateRequest) {
        guard record != nil else { return }
        var members: [String: JSONValue] = [
            "t": "late", "number": .integer(late.number), "due": .integer(late.dueAt),
            "secret": .integer(Int64(late.secret)), "method": .string(late.request.method),
            "path": .string(late.request.path), "forgets": .bool(late.forgetsKey),
            "holds": .bool(late.heldKey != nil),
            "body": .string(String(decoding: late.request.body, as: UTF8.self)),
        ]
        members["idem"] = late.request.idempotencyKey.map { .string($0) }
        members["type"] = late.request.contentType.map { .string($0) }
        line(members)
    }

    func journalArrived(_ number: Int64) { line(["t": "arrived", "number": .integer(number)]) }

    func journalWebhookURL() {
        line(["t": "webhook-url", "url": webhookURL.map { .string($0.text) } ?? .null])
    }

    func journalWebhook(_ webhook: Webhook) {
        guard record != nil else { return }
        line([
            "t": "webhook", "number": .integer(webhook.number),
            "type": .string(webhook.eventType), "trans": .string(webhook.transmissionID),
            "state": .string(webhook.state.rawValue), "due": .integer(webhook.dueAt),
            "body": .string(String(decoding: webhook.body, as: UTF8.self)),
        ])
    }

    func journalDelivery(_ webhook: Webhook, status: Int) {
        line([
            "t": "delivery", "number": .integer(webhook.number), "status": .integer(Int64(status)),
            "state": .string(webhook.state.rawValue), "due": .integer(webhook.dueAt),
        ])
    }

    private func identityMembers(
        _ identity: IdempotencyMemory.Identity
    ) -> [String: JSONValue] {
        var members: [String: JSONValue] = [
            "secret": .integer(Int64(identity.secret)), "idem": .string(identity.key),
        ]
        switch identity.address {
        case .issue: members["call"] = "issue"
        case .card: members["call"] = "card"
        case .approve(let index):
            members["call"] = "approve"
            members["path"] = .string(keys[index].billingKey)
        case .approveUnknown(let text):
            members["call"] = "unknown"
            members["path"] = .string(text)
        case .cancel(let paymentKey):
            members["call"] = "cancel"
            members["path"] = .string(paymentKey)
        }
        return members
    }
}

extension JSONValue: ExpressibleByStringLiteral {
    /// A string, written as a literal.
    package init(stringLiteral value: String) { self = .string(value) }
}
