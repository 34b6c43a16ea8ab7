import Billing

/// The body of an approve: whole won as a JSON number, the customer key the billing key was issued
/// for, our order id and name. Neither email nor address of the customer: the provider would mail
/// at every change, and a scheduler has no buyer's address (Toss Payments, core API).
struct ApproveBody {
    let request: AttemptRequest

    /// UTF-8 JSON. Written here, field by field, because a repeat must be the same to the byte.
    var bytes: [UInt8] {
        var text = ""
        text.reserveCapacity(255)
        text += "{\"amount\":\(request.amount.value)"
        text += ",\"customerKey\":\(Self.quoted(request.customerKey.reveal()))"
        text += ",\"orderId\":\(Self.quoted(request.orderID.value))"
        text += ",\"orderName\":\(Self.quoted(request.orderName))"
        if request.taxFreeAmount.value > 0 {
            text += ",\"taxFreeAmount\":\(request.taxFreeAmount.value)"
        }
        return Array((text + "}").utf8)
    }

    private static func quoted(_ text: String) -> String {
        // Nearly every text is written as it is.
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 != 0x5c && $0 != 0x7f }) {
            return "\"\(text)\""
        }
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\u{0}"..<"\u{20}", "\u{7f}":
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
