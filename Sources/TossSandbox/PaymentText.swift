/// Writes the Payment object. Approving a payment and replaying that answer must give the same
/// bytes, so everything here follows from the record alone.
struct PaymentText {
    let ids: SandboxIDs
    static let merchant = "sandbox01"

    /// VAT in won: a tenth of the net price, which is an eleventh of the taxed amount, rounded.
    static func vat(taxed: Int64) -> Int64 { (taxed * 2 + 11) / 22 }

    /// The Payment as it is now, or (`asApproved`) as it was when it was approved.
    func write(
        _ number: Int32, _ ledger: Ledger, _ keys: KeyRing, asApproved: Bool = false,
        orderID: String? = nil, amount: Int64? = nil
    ) -> [UInt8] {
        let payment = ledger[number]
        let cancels = asApproved ? [] : ledger.cancels[number] ?? []
        let tax = ledger.taxes[number] ?? Ledger.Tax()
        let total = amount ?? payment.amount
        let balance = asApproved ? total : payment.balance
        let paymentKey = ledger.paymentKey(number)
        let time = KoreanTime.text(payment.executedAt)
        var out = JSONBuffer(capacity: 1800)
        out.raw("{\"mId\":\"sandbox01\",\"version\":\"2022-11-16\",\"paymentKey\":\"")
        out.raw(paymentKey)
        out.raw("\",\"status\":\"")
        out.raw(asApproved ? "DONE" : ledger.status(number))
        out.raw("\",\"lastTransactionKey\":\"")
        out.raw(ids.transactionKey(Int(cancels.last?.row ?? payment.row)))
        out.raw("\",\"orderId\":")
        out.string(orderID ?? payment.orderID)
        out.raw(",\"orderName\":")
        out.string(ledger.names[Int(payment.name)])
        out.raw(",\"requestedAt\":\"")
        out.raw(time)
        out.raw("\",\"approvedAt\":\"")
        out.raw(time)
        out.raw("\",\"useEscrow\":false,\"cultureExpense\":false,\"card\":")
        writeCard(keys[payment.key].card, installments: tax.installments, amount: total, &out)
        out.raw(
            ",\"virtualAccount\":null,\"transfer\":null,\"mobilePhone\":null,\"giftCertificate\""
                + ":null,\"cashReceipt\":null,\"cashReceipts\":null,\"discount\":null,\"cancels\":")
        writeCancels(cancels, &out)
        out.raw(",\"secret\":\"")
        out.raw(ids.paymentSecret(number))
        out.raw("\",\"type\":\"BILLING\",\"easyPay\":null,\"country\":\"KR\",\"failure\":null,")
        out.raw("\"isPartialCancelable\":")
        out.raw(tax.exemption > 0 ? "false" : "true")
        out.raw(",\"receipt\":{\"url\":\"")
        out.raw(receipt(paymentKey))
        out.raw("\"},\"checkout\":{\"url\":\"https://api.tosspayments.com/v1/payments/")
        out.raw(paymentKey)
        out.raw("/checkout\"},")
        writeAmounts(total: total, balance: balance, tax: tax, cancels: cancels, &out)
        return out.bytes
    }

    func receipt(_ paymentKey: String) -> String {
        "https://dashboard.tosspayments.com/receipt/" + paymentKey
    }

    /// The amounts and the end of the object. After cancels, supply and VAT are the balance's: the
    /// provider's cancel samples show both at zero after a full cancel.
    private func writeAmounts(
        total: Int64, balance: Int64, tax: Ledger.Tax, cancels: [Ledger.Cancel],
        _ out: inout JSONBuffer
    ) {
        let free = tax.free - cancels.reduce(0) { $0 + $1.taxFree }
        let taxed = max(0, balance - free - (cancels.isEmpty ? tax.exemption : 0))
        let vat = Self.vat(taxed: taxed)
        out.raw("\"currency\":\"KRW\",\"totalAmount\":")
        out.integer(total)
        out.raw(",\"balanceAmount\":")
        out.integer(balance)
        out.raw(",\"suppliedAmount\":")
        out.integer(taxed - vat)
        out.raw(",\"vat\":")
        out.integer(vat)
        out.raw(",\"taxFreeAmount\":")
        out.integer(max(0, free))
        out.raw(",\"metadata\":null,\"taxExemptionAmount\":")
        out.integer(tax.exemption)
        out.raw(",\"method\":\"카드\"}")
    }

    private func writeCard(
        _ card: KeyRing.Card, installments: Int64, amount: Int64, _ out: inout JSONBuffer
    ) {
        out.raw("{\"issuerCode\":\"")
        out.raw(card.issuerCode)
        out.raw("\",\"acquirerCode\":\"")
        out.raw(card.issuerCode)
        out.raw("\",\"number\":\"")
        out.raw(card.number)
        out.raw("\",\"installmentPlanMonths\":")
        out.integer(installments)
        out.raw(",\"isInterestFree\":false,\"interestPayer\":null,\"approveNo\":\"00000000\",")
        out.raw("\"useCardPoint\":false,\"cardType\":\"")
        out.raw(card.cardType)
        out.raw("\",\"ownerType\":\"")
        out.raw(card.ownerType)
        out.raw("\",\"acquireStatus\":\"READY\",\"amount\":")
        out.integer(amount)
        out.raw("}")
    }

    private func writeCancels(_ cancels: [Ledger.Cancel], _ out: inout JSONBuffer) {
        guard !cancels.isEmpty else { return out.raw("null") }
        for (index, cancel) in cancels.enumerated() {
            out.raw(index == 0 ? "[" : ",")
            out.raw("{\"cancelAmount\":")
            out.integer(cancel.amount)
            out.raw(",\"cancelReason\":")
            out.string(cancel.reason)
            out.raw(",\"taxFreeAmount\":")
            out.integer(cancel.taxFree)
            out.raw(",\"taxExemptionAmount\":0,\"refundableAmount\":")
            out.integer(cancel.refundable)
            out.raw(",\"cardDiscountAmount\":0,\"transferDiscountAmount\":0,")
            out.raw("\"easyPayDiscountAmount\":0,\"canceledAt\":\"")
            out.raw(KoreanTime.text(cancel.at))
            out.raw("\",\"transactionKey\":\"")
            out.raw(ids.transactionKey(Int(cancel.row)))
            out.raw("\",\"receiptKey\":null,\"cancelStatus\":\"DONE\",\"cancelRequestId\":null}")
        }
        out.raw("]")
    }

    /// The ABORTED payment that switch 1 shows for a declined order.
    func writeDeclined(_ orderID: String, _ record: Ledger.Declined, _ ledger: Ledger) -> [UInt8] {
        let error = ProviderError(code: record.code)
        var out = JSONBuffer(capacity: 900)
        out.raw("{\"mId\":\"sandbox01\",\"version\":\"2022-11-16\",\"paymentKey\":null,")
        out.raw("\"status\":\"ABORTED\",\"lastTransactionKey\":null,\"orderId\":")
        out.string(orderID)
        out.raw(",\"orderName\":")
        out.string(ledger.names[Int(record.name)])
        out.raw(",\"requestedAt\":\"")
        out.raw(KoreanTime.text(record.at))
        out.raw("\",\"approvedAt\":null,\"useEscrow\":false,\"cultureExpense\":false,\"card\":null")
        out.raw(",\"virtualAccount\":null,\"transfer\":null,\"mobilePhone\":null,")
        out.raw("\"giftCertificate\":null,\"cashReceipt\":null,\"cashReceipts\":null,")
        out.raw("\"discount\":null,\"cancels\":null,\"secret\":null,\"type\":\"BILLING\",")
        out.raw("\"easyPay\":null,\"country\":\"KR\",\"failure\":{\"code\":")
        out.string(record.code)
        out.raw(",\"message\":")
        out.string(error?.message ?? "")
        out.raw("},\"isPartialCancelable\":false,\"receipt\":null,\"checkout\":null,")
        writeAmounts(total: record.amount, balance: record.amount, tax: .init(), cancels: [], &out)
        return out.bytes
    }
}
