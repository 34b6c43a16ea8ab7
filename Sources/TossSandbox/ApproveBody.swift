/// The body of an approve call, checked field by field; unknown fields are ignored.
struct ApproveBody {
    var amount: Int64
    var customerKey: String
    var orderID: String
    var orderName: String
    var tax = Ledger.Tax()

    enum Reading {
        case body(ApproveBody)
        case refused(String)
    }

    static func read(_ request: SandboxRequest) -> Reading {
        guard isJSON(request.contentType), let json = JSONValue(request.body), case .object = json
        else { return .refused("INVALID_REQUEST") }
        for name in ["customerKey", "orderId", "orderName"] where json[name] == nil {
            return .refused("INVALID_REQUIRED_PARAM")
        }
        guard let amountValue = json["amount"] else { return .refused("REQUIRED_AMOUNT") }
        guard let amount = amountValue.integer, let customerKey = json["customerKey"]?.string,
            let orderID = json["orderId"]?.string, let orderName = json["orderName"]?.string
        else { return .refused("INVALID_REQUEST") }
        if amount <= 0 { return .refused("BELOW_ZERO_AMOUNT") }
        if amount < 100 { return .refused("BELOW_MINIMUM_AMOUNT") }
        if amount > 1_000_000_000_000 { return .refused("EXCEED_MAX_AMOUNT") }
        // The provider does not enforce the character set of customer keys (measured).
        if !(2...300).contains(customerKey.utf16.count) { return .refused("INVALID_CUSTOMER_KEY") }
        if !isOrderID(orderID) { return .refused("INVALID_ORDER_ID") }
        if !(1...100).contains(orderName.utf16.count) { return .refused("INVALID_ORDER_NAME") }
        var body = ApproveBody(
            amount: amount, customerKey: customerKey, orderID: orderID, orderName: orderName)
        if let code = body.readOptional(json) { return .refused(code) }
        return .body(body)
    }

    private mutating func readOptional(_ json: JSONValue) -> String? {
        if let value = json["customerEmail"] {
            guard let email = value.string else { return "INVALID_REQUEST" }
            let parts = email.split(separator: "@", omittingEmptySubsequences: false)
            guard email.utf16.count <= 100, parts.count == 2, !parts[0].isEmpty,
                parts[1].contains("."), !email.contains(" ")
            else { return "INVALID_EMAIL" }
        }
        if let value = json["customerName"] {
            guard let name = value.string, name.utf16.count <= 100 else {
                return "INVALID_REQUEST"
            }
        }
        if let value = json["customerIp"], value.string == nil { return "INVALID_REQUEST" }
        for (name, path) in [
            ("taxFreeAmount", \Ledger.Tax.free), ("taxExemptionAmount", \Ledger.Tax.exemption),
        ] {
            guard let value = json[name] else { continue }
            guard let part = value.integer, (0...amount).contains(part) else {
                return "INVALID_REQUEST"
            }
            tax[keyPath: path] = part
        }
        if tax.free + tax.exemption > amount { return "INVALID_REQUEST" }
        if let value = json["cardInstallmentPlan"] {
            guard let months = value.integer else { return "INVALID_REQUEST" }
            guard months == 0 || (2...12).contains(months) else {
                return "INVALID_CARD_INSTALLMENT_PLAN"
            }
            if months > 0 && amount < 50_000 {
                return "NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT"
            }
            tax.installments = months
        }
        return nil
    }

    static func isJSON(_ contentType: String?) -> Bool {
        guard let contentType else { return false }
        return contentType.lowercased().hasPrefix("application/json")
    }

    static func isOrderID(_ text: String) -> Bool {
        (6...64).contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                    || $0 == 45 || $0 == 95
            }
    }
}
