/// `POST /v1/billing/{billingKey}`: the approve call.
extension SandboxState {
    mutating func approve(
        billingKey: String, _ call: Call, _ request: SandboxRequest, _ secret: Int
    ) -> Draft {
        let key = resolve(billingKey)
        return run(call, request, secret) { $0.execute(key, request) }
    }

    /// The index of a key; in any-key mode an unknown one of the right form is taken in, bound to
    /// nobody yet.
    private mutating func resolve(_ billingKey: String) -> Int32? {
        if let index = keys.index(billingKey) { return index }
        guard settings.acceptsAnyKey, KeyRing.isWellFormed(billingKey) else { return nil }
        return keys.add(
            .init(billingKey: billingKey, customerKey: "", card: .init(), issuedAt: now))
    }

    private mutating func execute(_ key: Int32?, _ request: SandboxRequest) -> Answer {
        let body: ApproveBody
        switch ApproveBody.read(request) {
        case .refused(let code): return .error(code)
        case .body(let read): body = read
        }
        guard let key else {
            return .error(
                switches.unknownKeyIsNotFound ? "NOT_FOUND_BILLING" : "INVALID_BILL_KEY_REQUEST")
        }
        if keys[key].isDeleted { return .error("ALREADY_REMOVED_BILLING_KEY") }
        if now < keys[key].issuedAt + switches.issueLagSeconds {
            return .error("INVALID_BILL_KEY_REQUEST")
        }
        if keys[key].customerKey.isEmpty {
            keys[key].customerKey = body.customerKey
            journalKey(key)
        }
        guard keys[key].customerKey == body.customerKey else {
            return .error("NOT_MATCHES_CUSTOMER_KEY")
        }
        if let other = ledger.number(orderID: body.orderID),
            !(switches.concurrentOrdersBothWin && ledger[other].running)
        {
            return duplicate()
        }
        if switches.declinedOrderIsBurned, ledger.declined[body.orderID] != nil {
            return duplicate()
        }
        return charge(key, body, idempotencyKey: request.idempotencyKey ?? "")
    }

    private func duplicate() -> Answer {
        .error("DUPLICATED_ORDER_ID", status: Int(switches.duplicatedOrderStatus))
    }

    /// Asks the card; an approval is booked here and nowhere else.
    private mutating func charge(
        _ key: Int32, _ body: ApproveBody, idempotencyKey: String
    ) -> Answer {
        let card = keys[key].card
        let attempt = keys[key].attempts
        keys[key].attempts += 1
        var code = keys[key].script?.code(attempt: attempt, amount: body.amount, now: now)
        if card.expiresAt != 0 && now >= card.expiresAt { code = "INVALID_CARD_EXPIRATION" }
        let name = ledger.nameIndex(body.orderName)
        if let code = card.refusal ?? code {
            let declined = Ledger.Declined(
                key: key, name: name, amount: body.amount, at: now, code: code)
            ledger.decline(orderID: body.orderID, declined)
            journalDecline(body.orderID, declined)
            return .error(code)
        }
        var tax = body.tax
        if !switches.taxFreeShop { tax.free = 0 }
        let number = ledger.approve(
            .init(
                orderID: body.orderID, idempotencyKey: idempotencyKey, key: key, name: name,
                amount: body.amount, balance: body.amount, executedAt: now, row: 0),
            tax: tax)
        journalApproval(number)
        var answer = Answer.success(
            PaymentText(ids: ids).write(number, ledger, keys, asApproved: true), shows: number)
        answer.executed = number
        return answer
    }
}
