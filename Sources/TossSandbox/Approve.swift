/// `POST /v1/billing/{billingKey}`: the approve call and its faults.
extension SandboxState {
    mutating func approve(
        billingKey: String, _ request: SandboxRequest, _ secret: Int
    ) -> Draft {
        let key = resolve(billingKey)
        let address: IdempotencyMemory.Address =
            key.map { .approve($0) } ?? .approveUnknown(billingKey)
        let identity: IdempotencyMemory.Identity?
        switch self.identity(request, secret, address) {
        case .refused(let answer): return draft(answer)
        case .replay(let replay): return deliver(replay, billingKey, request, nil, true)
        case .first(let first): identity = first
        }
        if let refused = faultBeforeExecution(billingKey, request, identity) { return refused }
        let answer = execute(key, request)
        remember(answer, identity)
        return deliver(draft(answer), billingKey, request, identity, false)
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
            PaymentText(ids: ids).write(number, ledger, keys, asApproved: true))
        answer.executed = number
        return answer
    }

    // MARK: Faults

    /// What rules filter by. Read without checking: a fault may strike a body that is refused.
    private func filterFields(
        _ request: SandboxRequest
    ) -> (customerKey: String, orderID: String) {
        let json = JSONValue(request.body)
        return (json?["customerKey"]?.string ?? "", json?["orderId"]?.string ?? "")
    }

    /// The first rule of those that `choose` takes which strikes this call.
    private mutating func strike(
        _ billingKey: String, _ request: SandboxRequest, replayed: Bool,
        where choose: (FaultRule) -> Bool
    ) -> FaultRule? {
        guard faults.contains(where: choose) else { return nil }
        let fields = filterFields(request)
        for index in faults.indices where choose(faults[index]) {
            if faults[index].strikes(
                customerKey: fields.customerKey, orderID: fields.orderID,
                billingKey: billingKey, replayed: replayed)
            {
                return faults[index]
            }
        }
        return nil
    }

    private mutating func faultBeforeExecution(
        _ billingKey: String, _ request: SandboxRequest, _ identity: IdempotencyMemory.Identity?
    ) -> Draft? {
        guard !faults.isEmpty,
            let rule = strike(
                billingKey, request, replayed: false, where: \.isBeforeExecution)
        else { return nil }
        let answer = Answer.error(rule.code)
        var refused = draft(answer)
        if rule.action == .dropBefore {
            refused.reply.delivery = .drop
            refused.code = nil
        } else {
            remember(answer, identity)
        }
        return refused
    }

    /// Applies latency and the faults after the execution.
    private mutating func deliver(
        _ draft: Draft, _ billingKey: String, _ request: SandboxRequest,
        _ identity: IdempotencyMemory.Identity?, _ replayed: Bool
    ) -> Draft {
        var draft = draft
        draft.reply.delayMilliseconds = latencyMilliseconds
        if !faults.isEmpty {
            if let rule = strike(
                billingKey, request, replayed: replayed, where: { $0.action == .latency })
            {
                let span = rule.milliseconds.upperBound - rule.milliseconds.lowerBound + 1
                draft.reply.delayMilliseconds +=
                    rule.milliseconds.lowerBound + Int64(ids.dice(sequence) % UInt64(span))
            }
            let hits = { (rule: FaultRule) in !rule.isBeforeExecution && rule.action != .latency }
            if draft.code == nil,
                let rule = strike(billingKey, request, replayed: replayed, where: hits)
            {
                damage(&draft, rule, identity)
            }
        }
        guard draft.reply.delayMilliseconds > 0 || draft.reply.delivery != .send else {
            return draft
        }
        let ticket = SandboxReply.Ticket(number: sequence)
        draft.reply.ticket = ticket
        running[ticket] = Running(identity: identity, payment: draft.reply.payment)
        if let payment = draft.reply.payment { ledger[payment].running = true }
        if let identity { memory.setReady(identity, at: .max) }
        return draft
    }

    private mutating func damage(
        _ draft: inout Draft, _ rule: FaultRule, _ identity: IdempotencyMemory.Identity?
    ) {
        let payment = draft.reply.payment
        switch rule.action {
        case .executeAndDrop: draft.reply.delivery = .drop
        case .hang: draft.reply.delivery = .hang
        case .cut: draft.reply.delivery = .cut(bytes: draft.reply.body.count / 2)
        case .executeAndFail:
            let answer = Answer.error(rule.code)
            draft.reply.status = answer.status
            draft.reply.body = answer.body
            draft.code = answer.code
            if let identity, !rule.remembers { memory.remove(identity) }
            if let payment { lost(payment) }
        case .garbage:
            draft.reply.body = Array("<html><body>OK</body></html>".utf8)
            if let payment { lost(payment) }
        case .otherOrder, .otherAmount:
            guard let payment else { return }
            let isOrder = rule.action == .otherOrder
            draft.reply.body = PaymentText(ids: ids).write(
                payment, ledger, keys, asApproved: true,
                orderID: isOrder ? "other-" + ledger[payment].orderID.prefix(58) : nil,
                amount: isOrder ? nil : ledger[payment].amount + 100)
            lost(payment)
        case .latency, .refuse, .dropBefore: break
        }
    }
}
