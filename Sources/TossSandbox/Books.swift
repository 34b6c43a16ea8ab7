/// The books as an export: a CSV of all executions and a summary that tests assert on.
extension SandboxState {
    /// One row per execution. Billing keys are left out: they are secrets.
    func csv() -> SandboxReply {
        var out = JSONBuffer(capacity: 200 * ledger.payments.count + 200)
        out.raw("payment_key,order_id,customer_key,amount,status,balance,")
        out.raw("idempotency_key,executed_at,answered\n")
        for number in 0..<Int32(ledger.payments.count) {
            let payment = ledger[number]
            out.raw(ledger.paymentKey(number))
            out.raw(",")
            out.raw(payment.orderID)
            out.raw(",")
            out.raw(Self.field(keys[payment.key].customerKey))
            out.raw(",")
            out.integer(payment.amount)
            out.raw(",")
            out.raw(ledger.status(number))
            out.raw(",")
            out.integer(payment.balance)
            out.raw(",")
            out.raw(Self.field(payment.idempotencyKey))
            out.raw(",")
            out.raw(KoreanTime.text(payment.executedAt))
            out.raw(payment.answered && !payment.running ? ",true\n" : ",false\n")
        }
        return SandboxReply(
            status: 200, headers: [("Content-Type", "text/csv;charset=UTF-8")], body: out.bytes)
    }

    /// A CSV field, quoted where RFC 4180 asks for it.
    private static func field(_ text: String) -> String {
        guard text.contains(where: { $0 == "," || $0 == "\"" || $0.isNewline }) else {
            return text
        }
        return "\""
            + text.split(separator: "\"", omittingEmptySubsequences: false)
            .joined(separator: "\"\"") + "\""
    }

    /// Totals, and the order-id prefixes (all before the last `-`) that were charged twice.
    var booksJSON: JSONValue {
        var charged: [Substring: Int64] = [:]
        var won: Int64 = 0
        var refunded: Int64 = 0
        var unanswered: Int64 = 0
        for payment in ledger.payments {
            won += payment.amount
            refunded += payment.amount - payment.balance
            if !payment.answered || payment.running { unanswered += 1 }
            let cut = payment.orderID.lastIndex(of: "-") ?? payment.orderID.endIndex
            charged[payment.orderID[..<cut], default: 0] += 1
        }
        var members = counts.json
        members["approvals"] = .integer(Int64(ledger.payments.count))
        members["won"] = .integer(won)
        members["refundedWon"] = .integer(refunded)
        members["unanswered"] = .integer(unanswered)
        members["cancels"] = .integer(Int64(ledger.rows.count - ledger.payments.count))
        members["lateRequestsToCome"] = .integer(Int64(lateRequests.count))
        members["billingKeys"] = .integer(Int64(keys.keys.count))
        members["declines"] = .object(
            ledger.declinesByCode.mapValues { .integer($0) })
        var duplicates: [String: JSONValue] = [:]
        for (prefix, count) in charged where count > 1 {
            duplicates[String(prefix)] = .integer(count)
        }
        members["duplicates"] = .object(duplicates)
        return .object(members)
    }

    /// Approvals, won and refunds by customer, or by order-id prefix: all before the last `-`.
    func totals(byCustomer: Bool) -> JSONValue {
        var totals: [String: (approvals: Int64, won: Int64, refunded: Int64)] = [:]
        for payment in ledger.payments {
            let cut = payment.orderID.lastIndex(of: "-") ?? payment.orderID.endIndex
            let name =
                byCustomer ? keys[payment.key].customerKey : String(payment.orderID[..<cut])
            totals[name, default: (0, 0, 0)].approvals += 1
            totals[name, default: (0, 0, 0)].won += payment.amount
            totals[name, default: (0, 0, 0)].refunded += payment.amount - payment.balance
        }
        return .object(
            totals.mapValues {
                .object([
                    "approvals": .integer($0.approvals), "won": .integer($0.won),
                    "refundedWon": .integer($0.refunded),
                ])
            })
    }
}
