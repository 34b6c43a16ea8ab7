import Billing
import FoundationEssentials
import HTTP

/// Reads what the provider answers, leniently in what it does not need and strictly in what it does.
enum Reply {
    /// Our own code for what is no answer of the provider.
    static let unreadable = "UNREADABLE_ANSWER"

    /// The payment of a 200; nil when the body is not a payment we can read.
    static func payment(_ body: [UInt8]) -> Payment? {
        if let plain = plainPayment(body) { return plain.payment }
        // The plain reader stops at eight levels by itself; a decoder follows any number.
        guard isShallow(body) else { return nil }
        return anyPayment(body)?.payment
    }

    /// The payment as the provider writes it; nil: it is odd in some way, or no payment at all.
    static func plainPayment(_ body: [UInt8]) -> PaymentShape? { try? PaymentShape(plain: body) }

    /// The payment in whatever shape.
    static func anyPayment(_ body: [UInt8]) -> PaymentShape? {
        try? JSONDecoder().decode(PaymentShape.self, from: Data(body))
    }

    /// The error of any other status: exactly a code, or ours for what is no such thing.
    static func answer(_ response: HTTPResponse) -> Answer {
        let shape =
            isShallow(response.body)
            ? try? JSONDecoder().decode(ErrorShape.self, from: Data(response.body)) : nil
        guard let shape, shape.isCode else {
            return Answer(
                code: unreadable, httpStatus: response.status, traceID: trace(response))
        }
        return Answer(
            code: shape.code, message: shape.message.map(tidy), httpStatus: response.status,
            traceID: trace(response))
    }

    /// `X-TossPayments-Trace-Id`: 32 hex digits, two of them on a replay.
    static func trace(_ response: HTTPResponse) -> String? {
        guard let text = response.header("x-tosspayments-trace-id"), !text.isEmpty else {
            return nil
        }
        if text.utf8.count <= 100, text.utf8.allSatisfy(isOfTrace) { return text }
        return String(decoding: text.utf8.filter(isOfTrace).prefix(100), as: UTF8.self)
    }

    private static func isOfTrace(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: ","), UInt8(ascii: " "),
            UInt8(ascii: "-"):
            true
        default: false
        }
    }

    /// At most 500 characters, no control characters: it goes into the ledger and to people.
    static func tidy(_ text: String) -> String {
        if isTidy(text) { return text }
        return String(
            String.UnicodeScalarView(
                text.unicodeScalars.filter { !isControl($0) }.prefix(500)))
    }

    /// The general category Cc, which Unicode never changes.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
    }

    /// Whether nothing is to be done, by the bytes: 0xC2 begins the control characters from 0x80
    /// on, and a few others. Nearly every text is so, and need not be looked up in Unicode's tables.
    private static func isTidy(_ text: String) -> Bool {
        text.utf8.count <= 500
            && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f && $0 != 0xc2 }
    }

    /// Nesting that a decoder may follow on the stack; a payment has four levels.
    static func isShallow(_ body: [UInt8]) -> Bool {
        // No more than that many brackets at all: no more levels.
        let brackets = body.reduce(0) {
            $0 &+ ($1 == UInt8(ascii: "{") || $1 == UInt8(ascii: "[") ? 1 : 0)
        }
        if brackets <= 64 { return true }
        var depth = 0
        for byte in body {
            switch byte {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                if depth > 64 { return false }
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            default: break
            }
        }
        return true
    }
}

private struct ErrorShape: Decodable {
    var code: String
    var message: String?

    var isCode: Bool {
        (1...100).contains(code.utf8.count)
            && code.utf8.allSatisfy {
                (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || $0 == UInt8(ascii: "_")
            }
    }
}
