/// Lookups, transactions and settlements.
extension SandboxState {
    /// `GET /v1/payments/{paymentKey}`.
    func lookUp(_ number: Int32?) -> Answer {
        guard let number, now >= ledger[number].executedAt + switches.lookupLagSeconds else {
            return .error("NOT_FOUND_PAYMENT")
        }
        return .success(PaymentText(ids: ids).write(number, ledger, keys), shows: number)
    }

    /// `GET /v1/payments/orders/{orderId}`.
    func lookUp(orderID: String) -> Answer {
        if let number = ledger.number(orderID: orderID) { return lookUp(number) }
        if switches.declinedOrderIsAborted, let record = ledger.declined[orderID],
            now >= record.at + switches.lookupLagSeconds
        {
            return .success(PaymentText(ids: ids).writeDeclined(orderID, record, ledger))
        }
        return .error("NOT_FOUND_PAYMENT")
    }

    /// `GET /v1/transactions`: approvals and cancels from `startDate` to `endDate`, oldest first.
    func transactions(_ request: SandboxRequest) -> Answer {
        guard let startText = request.parameter("startDate"),
            let endText = request.parameter("endDate")
        else { return .error("INVALID_REQUIRED_PARAM") }
        guard let start = KoreanTime.zonelessSeconds(startText),
            let end = KoreanTime.zonelessSeconds(endText), start <= end
        else { return .error("INVALID_DATE") }
        var limit = 100
        if let text = request.parameter("limit") {
            guard let number = Int(text), number >= 1 else { return .error("INVALID_REQUEST") }
            guard number <= 5000 else { return .error("EXCEED_MAX_QUERY_LIMIT") }
            limit = number
        }
        var first = 0
        if let after = request.parameter("startingAfter") {
            guard let row = ids.transactionRow(after), row < ledger.rows.count else {
                return .error("INVALID_PAGING_KEY")
            }
            first = row + 1
        }
        let newest = now - switches.transactionLagSeconds
        var out = JSONBuffer(capacity: 4096)
        out.raw("[")
        var written = 0
        for index in first..<ledger.rows.count {
            let row = ledger.rows[index]
            guard row.at >= start, row.at <= end, row.at <= newest, !isMissing(index)
            else { continue }
            if written > 0 { out.raw(",") }
            write(row, index, &out)
            written += 1
            if written == limit { break }
        }
        out.raw("]")
        return .success(out.bytes)
    }

    /// Switch 13: a row that the first day's list leaves out.
    private func isMissing(_ index: Int) -> Bool {
        let every = switches.transactionMissingEvery
        guard every > 0, (Int64(index) + 1) % every == 0 else { return false }
        let local = ledger.rows[index].at + KoreanTime.offsetSeconds
        let day = local - local % 86_400 - KoreanTime.offsetSeconds
        return now < day + 2 * 86_400
    }

    private func write(_ row: Ledger.Row, _ index: Int, _ out: inout JSONBuffer) {
        let payment = ledger[row.payment]
        let paymentKey = ledger.paymentKey(row.payment)
        let cancel = row.cancel.flatMap { ledger.cancels[row.payment]?[Int($0)] }
        out.raw("{\"mId\":\"sandbox01\",\"transactionKey\":\"")
        out.raw(ids.transactionKey(index))
        out.raw("\",\"paymentKey\":\"\(paymentKey)\",\"orderId\":")
        out.string(payment.orderID)
        out.raw(",\"method\":\"카드\",\"customerKey\":")
        out.string(keys[payment.key].customerKey)
        out.raw(",\"useEscrow\":false,\"receiptUrl\":\"")
        out.raw(PaymentText(ids: ids).receipt(paymentKey))
        out.raw("\",\"status\":\"")
        switch cancel {
        case nil: out.raw("DONE")
        case let cancel? where cancel.amount == payment.amount: out.raw("CANCELED")
        default: out.raw("PARTIAL_CANCELED")
        }
        out.raw("\",\"transactionAt\":\"")
        out.raw(KoreanTime.text(row.at))
        out.raw("\",\"currency\":\"KRW\",\"amount\":")
        out.integer(cancel?.amount ?? payment.amount)
        out.raw("}")
    }

    /// `GET /v1/settlements`: checked, and empty as in the provider's test environment.
    func settlements(_ request: SandboxRequest) -> Answer {
        guard let start = request.parameter("startDate"), let end = request.parameter("endDate")
        else { return .error("INVALID_REQUIRED_PARAM") }
        guard start.utf8.count == 10, end.utf8.count == 10,
            KoreanTime.zonelessSeconds(start) != nil, KoreanTime.zonelessSeconds(end) != nil
        else { return .error("INVALID_DATE") }
        if let type = request.parameter("dateType"), type != "soldDate", type != "paidOutDate" {
            return .error("INVALID_REQUEST")
        }
        for (name, limit) in [("page", Int.max), ("size", 5000)] {
            guard let text = request.parameter(name) else { continue }
            guard let number = Int(text), number >= 1 else { return .error("INVALID_REQUEST") }
            guard number <= limit else { return .error("EXCEED_MAX_QUERY_LIMIT") }
        }
        return .success(Array("[]".utf8))
    }
}
