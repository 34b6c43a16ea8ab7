/// The books as lines, one JSON object each, so that they survive a restart: what was issued,
/// executed, declined, cancelled and stored under idempotency keys. Nothing is ever rewritten.
extension SandboxState {
    private func line(_ members: [String: JSONValue]) {
        guard let record else { return }
        record(JSONValue.object(members).json)
    }

    func journalKey(_ index: Int32) {
        guard record != nil else { return }
        let key = keys[index]
        line([
            "t": "key", "key": .string(key.billingKey), "customer": .string(key.customerKey),
            "at": .integer(key.issuedAt), "issuer": .string(key.card.issuerCode),
            "number": .string(key.card.number), "type": .string(key.card.cardType),
            "owner": .string(key.card.ownerType), "expires": .integer(key.card.expiresAt),
            "refusal": key.card.refusal.map { .string($0) } ?? .null,
            "made": .integer(Int64(keys.keysMade)),
        ])
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

    func journalScript(_ index: Int32, _ script: JSONValue) {
        line(["t": "script", "key": .string(keys[index].billingKey), "script": script])
    }

    func journalReset() { line(["t": "reset"]) }

    func journalLost(_ number: Int32) {
        line(["t": "lost", "payment": .integer(Int64(number))])
    }

    func journalAnswer(
        _ identity: IdempotencyMemory.Identity, _ stored: IdempotencyMemory.Stored
    ) {
        guard record != nil else { return }
        var members: [String: JSONValue] = [
            "t": "answer", "secret": .integer(Int64(identity.secret)),
            "idem": .string(identity.key), "at": .integer(now),
            "sequence": .integer(Int64(sequence)),
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
        switch stored {
        case .approval(let number): members["payment"] = .integer(Int64(number))
        case .answer(let status, let body, let code):
            members["status"] = .integer(Int64(status))
            members["body"] = .string(String(decoding: body, as: UTF8.self))
            members["code"] = code.map { .string($0) }
        }
        line(members)
    }
}

extension JSONValue: ExpressibleByStringLiteral {
    /// A string, written as a literal.
    package init(stringLiteral value: String) { self = .string(value) }
}
