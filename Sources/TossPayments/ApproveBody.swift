import Billing

/// The body of an approve: whole won as a JSON number, the customer key the billing key was issued
/// for, our order id and name. Neither email nor address of the customer: the provider would mail
/// at every change, and a scheduler has no buyer's address (Toss Payments, core API).
struct ApproveBody {
    let request: AttemptRequest

    /// UTF-8 JSON. Written here, field by field, because a repeat must be the same to the byte.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(256)
        bytes.append(contentsOf: "{\"amount\":".utf8)
        bytes.append(contentsOf: "\(request.amount.value)".utf8)
        bytes.append(contentsOf: ",\"customerKey\":".utf8)
        Self.quote(request.customerKey.reveal(), &bytes)
        bytes.append(contentsOf: ",\"orderId\":".utf8)
        Self.quote(request.orderID.value, &bytes)
        bytes.append(contentsOf: ",\"orderName\":".utf8)
        Self.quote(request.orderName, &bytes)
        if request.taxFreeAmount.value > 0 {
            bytes.append(contentsOf: ",\"taxFreeAmount\":\(request.taxFreeAmount.value)".utf8)
        }
        bytes.append(UInt8(ascii: "}"))
        return bytes
    }

    private static func quote(_ text: String, _ bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        // Nearly every text is written as it is.
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x22 && $0 != 0x5c && $0 != 0x7f }) {
            bytes.append(contentsOf: text.utf8)
        } else {
            for byte in text.utf8 {
                switch byte {
                case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
                case 0..<0x20, 0x7f:
                    let digits = String(byte, radix: 16)
                    bytes.append(contentsOf: (digits.count == 1 ? "\\u000" : "\\u00").utf8)
                    bytes.append(contentsOf: digits.utf8)
                default: bytes.append(byte)
                }
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
