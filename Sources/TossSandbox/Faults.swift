/// Carrying out fault rules. Nothing here runs while there are none.
extension SandboxState {
    /// What rules filter a call by. Read without checking: a fault may strike a refused body.
    private func subject(_ call: Call, _ request: SandboxRequest) -> FaultSubject {
        switch call {
        case .approve(let billingKey):
            let json = JSONValue(request.body)
            var subject = FaultSubject(billingKey: billingKey)
            subject.customerKey = json?["customerKey"]?.string ?? ""
            subject.orderID = json?["orderId"]?.string ?? ""
            if let key = keys.index(billingKey) { subject.card = keys[key].card.number }
            return subject
        case .delete(let billingKey): return subject(key: keys.index(billingKey), orderID: "")
        case .order(let orderID):
            let key =
                ledger.number(orderID: orderID).map { ledger[$0].key }
                ?? ledger.declined[orderID]?.key
            return subject(key: key, orderID: orderID)
        case .payment(let paymentKey), .cancel(let paymentKey):
            guard let number = ledger.number(paymentKey: paymentKey) else { return .init() }
            return subject(key: ledger[number].key, orderID: ledger[number].orderID)
        case .issue, .card:
            let json = JSONValue(request.body)
            var subject = FaultSubject(customerKey: json?["customerKey"]?.string ?? "")
            if let number = json?["cardNumber"]?.string {
                subject.card = KeyRing.Card(number: number).number
            }
            return subject
        case .transactions, .settlements, .wrongMethod, .unknown: return .init()
        }
    }

    private func subject(key: Int32?, orderID: String) -> FaultSubject {
        guard let key else { return FaultSubject(orderID: orderID) }
        return FaultSubject(
            customerKey: keys[key].customerKey, orderID: orderID,
            billingKey: keys[key].billingKey, card: keys[key].card.number)
    }

    /// The first rule of those that `choose` takes which strikes this call.
    private mutating func strike(
        _ call: Call, _ request: SandboxRequest, replayed: Bool,
        where choose: (FaultRule) -> Bool
    ) -> FaultRule? {
        let endpoint = call.endpoint
        let candidates = faults.indices.filter {
            faults[$0].calls.contains(endpoint) && choose(faults[$0])
        }
        guard !candidates.isEmpty else { return nil }
        let subject = subject(call, request)
        for index in candidates {
            let dice = ids.dice(sequence &+ UInt64(index + 1) << 40)
            if faults[index].strikes(subject, replayed: replayed, now: now, dice: dice) {
                return faults[index]
            }
        }
        return nil
    }

    private func span(_ rule: FaultRule) -> Int64 {
        let width = UInt64(rule.milliseconds.upperBound - rule.milliseconds.lowerBound) + 1
        return rule.milliseconds.lowerBound + Int64(ids.dice(sequence) % width)
    }

    /// The answer of a rule that acts before the execution, nil when none strikes.
    mutating func faultBeforeExecution(
        _ call: Call, _ request: SandboxRequest, _ secret: Int,
        _ identity: IdempotencyMemory.Identity?
    ) -> Draft? {
        guard
            let rule = strike(
                call, request, replayed: false, where: { $0.action.isBeforeExecution })
        else { return nil }
        let answer = rule.answer(switches)
        var refused = draft(answer)
        switch rule.action {
        case .late:
            postpone(request, secret, identity, rule, by: span(rule))
            switch rule.farewell {
            case .code: return refused
            case .drop: refused.reply.delivery = .drop
            case .hang: refused.reply.delivery = .hang
            }
            refused.code = nil
        case .dropBefore:
            refused.reply.delivery = .drop
            refused.code = nil
        default:
            refused.reply.delayMilliseconds = span(rule)
            remember(answer, identity)
        }
        return refused
    }

    /// Applies the rules that act after the execution.
    mutating func faultAfterExecution(
        _ draft: inout Draft, _ call: Call, _ request: SandboxRequest, _ secret: Int,
        _ identity: IdempotencyMemory.Identity?, replayed: Bool
    ) {
        let isError = draft.code != nil
        let endpoint = call.endpoint
        if let rule = strike(
            call, request, replayed: replayed,
            where: { $0.action == .latency && $0.takes(isError: isError, of: endpoint) })
        {
            draft.reply.delayMilliseconds += span(rule)
        }
        let rule = strike(
            call, request, replayed: replayed,
            where: {
                !$0.action.isBeforeExecution && $0.action != .latency
                    && $0.takes(isError: isError, of: endpoint)
            })
        guard let rule else { return }
        switch rule.action {
        case .double: postpone(request, secret, nil, rule, by: span(rule))
        case .forget: forget(identity)
        default:
            draft.reply.delayMilliseconds += span(rule)
            damage(&draft, rule, identity)
        }
    }

    private mutating func damage(
        _ draft: inout Draft, _ rule: FaultRule, _ identity: IdempotencyMemory.Identity?
    ) {
        switch rule.action {
        case .executeAndDrop: draft.reply.delivery = .drop
        case .hang: draft.reply.delivery = .hang
        case .cut: draft.reply.delivery = .cut(bytes: draft.reply.body.count / 2)
        case .executeAndFail:
            replace(&draft, rule.answer(switches))
            if !rule.remembers { forget(identity) }
        case .garbage:
            draft.reply.status = 200
            draft.reply.body = Array("<html><body>OK</body></html>".utf8)
        case .otherOrder, .otherAmount, .otherPayment: lie(&draft, rule.action)
        case .stale: makeStale(&draft)
        case .latency, .refuse, .dropBefore, .late, .double, .forget: break
        }
        // What was executed and is told wrongly counts as unanswered.
        if draft.reply.delivery == .send, let payment = draft.reply.payment { lost(payment) }
    }

    /// Another answer in place of one that is about to leave.
    private func replace(_ draft: inout Draft, _ answer: Answer) {
        let other = self.draft(answer)
        draft.reply.status = other.reply.status
        draft.reply.headers = other.reply.headers
        draft.reply.body = other.reply.body
        draft.code = other.code
    }

    /// A payment of another order, with another amount, or altogether somebody else's.
    private func lie(_ draft: inout Draft, _ action: FaultRule.Action) {
        guard let number = draft.shows else { return }
        let text = PaymentText(ids: ids)
        let orderID = ledger[number].orderID
        if action == .otherAmount {
            draft.reply.body = text.write(
                number, ledger, keys, asApproved: true, amount: ledger[number].amount + 100)
        } else if action == .otherPayment,
            let other = (0..<Int32(ledger.payments.count)).last(where: {
                ledger[$0].orderID != orderID
            })
        {
            draft.reply.body = text.write(other, ledger, keys)
        } else {
            draft.reply.body = text.write(
                number, ledger, keys, asApproved: true,
                orderID: "other-" + orderID.prefix(58))
        }
    }

    private func makeStale(_ draft: inout Draft) {
        guard let number = draft.shows else { return }
        if ledger.cancels[number] == nil {
            replace(&draft, .error("NOT_FOUND_PAYMENT"))
        } else {
            draft.reply.body = PaymentText(ids: ids).write(
                number, ledger, keys, asApproved: true)
        }
    }

    /// Loses what is stored under an idempotency key.
    mutating func forget(_ identity: IdempotencyMemory.Identity?) {
        guard let identity, memory.entries[identity] != nil else { return }
        memory.remove(identity)
        journalForgotten(identity)
    }
}
