/// `POST /v1/payments/{paymentKey}/cancel`, and the operator's cancel.
extension SandboxState {
    mutating func cancel(_ paymentKey: String, _ request: SandboxRequest) -> Answer {
        guard ApproveBody.isJSON(request.contentType), let json = JSONValue(request.body),
            case .object = json
        else { return .error("INVALID_REQUEST") }
        return cancel(paymentKey, json)
    }

    /// The rules of section 4, in the order in which a wrong request would meet them.
    mutating func cancel(_ paymentKey: String, _ json: JSONValue) -> Answer {
        guard let reasonValue = json["cancelReason"] else {
            return .error("INVALID_REQUIRED_PARAM")
        }
        guard let reason = reasonValue.string, (1...200).contains(reason.utf16.count) else {
            return .error("INVALID_REQUEST")
        }
        for name in ["cancelAmount", "taxFreeAmount", "refundableAmount"] {
            guard let value = json[name] else { continue }
            guard let number = value.integer, number >= 0 else { return .error("INVALID_REQUEST") }
        }
        if let currency = json["currency"], currency.string != "KRW" {
            return .error("INVALID_REQUEST")
        }
        guard let number = ledger.number(paymentKey: paymentKey) else {
            return .error("NOT_FOUND_PAYMENT")
        }
        if ledger.status(number) == "CANCELED" { return .error("ALREADY_CANCELED_PAYMENT") }
        let balance = ledger[number].balance
        if let expected = json["refundableAmount"]?.integer, expected != balance {
            return .error("NOT_MATCHES_REFUNDABLE_AMOUNT")
        }
        let amount = json["cancelAmount"]?.integer ?? balance
        guard amount > 0, amount <= balance else { return .error("NOT_CANCELABLE_AMOUNT") }
        let tax = ledger.taxes[number] ?? .init()
        if tax.exemption > 0 && amount < balance { return .error("NOT_CANCELABLE_AMOUNT") }
        let freeLeft = tax.free - (ledger.cancels[number] ?? []).reduce(0) { $0 + $1.taxFree }
        let free = json["taxFreeAmount"]?.integer ?? (amount == balance ? freeLeft : 0)
        guard free <= min(amount, freeLeft) || tax.free == 0 else {
            return .error("NOT_CANCELABLE_AMOUNT")
        }
        ledger.cancel(
            number, amount: amount, reason: reason, taxFree: tax.free == 0 ? 0 : free, at: now)
        journalCancel(number)
        announceCancel(number)
        return .success(PaymentText(ids: ids).write(number, ledger, keys))
    }
}
