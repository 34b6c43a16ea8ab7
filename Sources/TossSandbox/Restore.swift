/// Reads the lines that `Journal.swift` writes. A line that makes no sense, the torn last one of a
/// killed process among them, is left out.
extension SandboxState {
    mutating func restore(_ line: JSONValue) {
        switch line["t"]?.string {
        case "reset": reset()
        case "key": restoreKey(line)
        case "script":
            if let key = line["key"]?.string.flatMap(keys.index), let json = line["script"] {
                keys[key].script = CardScript(json: json)
                keys[key].attempts = 0
            }
        case "deleted":
            if let key = line["key"]?.string.flatMap(keys.index) { keys[key].isDeleted = true }
        case "approval": restoreApproval(line)
        case "decline": restoreDecline(line)
        case "cancel":
            guard let number = payment(line), let amount = line["amount"]?.integer,
                let reason = line["reason"]?.string, let at = line["at"]?.integer
            else { return }
            ledger.cancel(
                number, amount: amount, reason: reason, taxFree: line["free"]?.integer ?? 0,
                at: at)
        case "lost":
            if let number = payment(line) { ledger[number].answered = false }
        case "answer": restoreAnswer(line)
        case "forgotten":
            if let identity = identity(line) { memory.remove(identity) }
        case "late": restoreLate(line)
        case "arrived":
            let number = line["number"]?.integer
            for late in lateRequests where late.number == number {
                // Its own answer, stored since, stays.
                guard let identity = late.heldKey, memory.entries[identity]?.readyAt == .max else {
                    continue
                }
                memory.remove(identity)
            }
            lateRequests.removeAll { $0.number == number }
        case "webhook-url": webhookURL = line["url"]?.string.flatMap(WebhookURL.init)
        case "webhook", "delivery": restoreWebhook(line)
        case "auth":
            guard let text = line["key"]?.string, let customer = line["customer"]?.string,
                let number = line["number"]?.string
            else { return }
            keys.restoreAuthKey(
                text, .init(customerKey: customer, cardNumber: number),
                made: Int(line["made"]?.integer ?? 0))
        case "spent":
            if let text = line["key"]?.string { keys.authKeys[text] = nil }
        case "card-script":
            if let number = line["number"]?.string {
                keys.cardScripts[number] = line["script"].flatMap(CardScript.init(json:))
            }
        case "switches":
            if let json = line["switches"] { _ = switches.merge(json) }
        case "clock":
            if let offset = line["offset"]?.integer {
                clock = .running(offsetMilliseconds: offset)
            } else if let instant = line["fixed"]?.integer {
                clock = .fixed(milliseconds: instant)
            }
        default: break
        }
    }

    private func payment(_ line: JSONValue) -> Int32? {
        guard let number = line["payment"]?.integer.flatMap({ Int32(exactly: $0) }), number >= 0,
            number < ledger.payments.count
        else { return nil }
        return number
    }

    private mutating func restoreKey(_ line: JSONValue) {
        guard let text = line["key"]?.string, let customer = line["customer"]?.string,
            let at = line["at"]?.integer
        else { return }
        var card = KeyRing.Card()
        card.issuerCode = line["issuer"]?.string ?? card.issuerCode
        card.number = line["number"]?.string ?? card.number
        card.cardType = line["type"]?.string ?? card.cardType
        card.ownerType = line["owner"]?.string ?? card.ownerType
        card.expiresAt = line["expires"]?.integer ?? 0
        card.refusal = line["refusal"]?.string
        keys.skip(to: Int(line["made"]?.integer ?? 0))
        if let index = keys.index(text) {
            keys[index].customerKey = customer
        } else {
            _ = keys.add(
                .init(
                    billingKey: text, customerKey: customer, card: card, issuedAt: at,
                    script: line["script"].flatMap(CardScript.init(json:))))
        }
    }

    private mutating func restoreApproval(_ line: JSONValue) {
        guard let key = line["key"]?.string.flatMap(keys.index),
            let order = line["order"]?.string, let idempotencyKey = line["idem"]?.string,
            let name = line["name"]?.string, let amount = line["amount"]?.integer,
            let at = line["at"]?.integer
        else { return }
        let tax = Ledger.Tax(
            free: line["free"]?.integer ?? 0, exemption: line["exempt"]?.integer ?? 0,
            installments: line["months"]?.integer ?? 0)
        _ = ledger.approve(
            .init(
                orderID: order, idempotencyKey: idempotencyKey, key: key,
                name: ledger.nameIndex(name), amount: amount, balance: amount, executedAt: at,
                row: 0),
            tax: tax)
        keys[key].attempts += 1
    }

    private mutating func restoreDecline(_ line: JSONValue) {
        guard let key = line["key"]?.string.flatMap(keys.index),
            let order = line["order"]?.string, let name = line["name"]?.string,
            let amount = line["amount"]?.integer, let at = line["at"]?.integer,
            let code = line["code"]?.string
        else { return }
        ledger.decline(
            orderID: order,
            .init(key: key, name: ledger.nameIndex(name), amount: amount, at: at, code: code))
        keys[key].attempts += 1
    }

    private func identity(_ line: JSONValue) -> IdempotencyMemory.Identity? {
        guard let secret = line["secret"]?.integer, let idempotencyKey = line["idem"]?.string
        else { return nil }
        let path = line["path"]?.string ?? ""
        let address: IdempotencyMemory.Address
        switch line["call"]?.string {
        case "issue": address = .issue
        case "card": address = .card
        case "cancel": address = .cancel(path)
        case "unknown": address = .approveUnknown(path)
        default:
            guard let key = keys.index(path) else { return nil }
            address = .approve(key)
        }
        return .init(secret: Int(secret), address: address, key: idempotencyKey)
    }

    private mutating func restoreAnswer(_ line: JSONValue) {
        guard let identity = identity(line), let at = line["at"]?.integer,
            let sequence = line["sequence"]?.integer
        else { return }
        let stored: IdempotencyMemory.Stored
        if let number = payment(line) {
            stored = .approval(number)
        } else if let status = line["status"]?.integer, let body = line["body"]?.string {
            stored = .answer(
                status: Int(status), body: Array(body.utf8), code: line["code"]?.string)
        } else {
            return
        }
        let number = UInt64(max(0, sequence))
        self.sequence = max(self.sequence, number)
        memory.store(
            identity, .init(firstUsed: at, sequence: number, readyAt: 0, stored: stored))
    }

    private mutating func restoreWebhook(_ line: JSONValue) {
        guard let number = line["number"]?.integer, let due = line["due"]?.integer,
            let state = line["state"]?.string.flatMap(Webhook.State.init(rawValue:))
        else { return }
        if let status = line["status"]?.integer {
            guard let index = webhooks.firstIndex(where: { $0.number == number }) else { return }
            webhooks[index].answers.append(Int(status))
            webhooks[index].state = state
            webhooks[index].dueAt = due
            return
        }
        guard let type = line["type"]?.string, let body = line["body"]?.string,
            let transmission = line["trans"]?.string
        else { return }
        webhooksMade = max(webhooksMade, number)
        add(
            Webhook(
                number: number, eventType: type, body: Array(body.utf8),
                transmissionID: transmission, state: state, dueAt: due))
    }

    private mutating func restoreLate(_ line: JSONValue) {
        guard let number = line["number"]?.integer, let due = line["due"]?.integer,
            let secret = line["secret"]?.integer, secret < secrets.keys.count,
            let method = line["method"]?.string, let path = line["path"]?.string,
            let body = line["body"]?.string
        else { return }
        var request = SandboxRequest(method: method, path: path, body: Array(body.utf8))
        request.idempotencyKey = line["idem"]?.string
        request.contentType = line["type"]?.string
        lateRequestsMade = max(lateRequestsMade, number)
        let call = Call(method: method, path: path)
        add(
            LateRequest(
                number: number, dueAt: due, secret: Int(secret), request: request,
                forgetsKey: line["forgets"]?.bool ?? false,
                heldKey: line["holds"]?.bool == true
                    ? self.identity(of: call, request, Int(secret)) : nil))
    }
}
