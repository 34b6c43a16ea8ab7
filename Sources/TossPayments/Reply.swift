import Billing
import FoundationEssentials
import HTTP

/// Reads what the provider answers, leniently in what it does not need and strictly in what it does.
enum Reply {
    /// Our own code for what is no answer of the provider.
    static let unreadable = "UNREADABLE_ANSWER"

    /// The payment of a 200; nil when the body is not a payment we can read.
    static func payment(_ body: [UInt8]) -> Payment? {
        guard isShallow(body),
            let shape = try? JSONDecoder().decode(PaymentShape.self, from: Data(body))
        else { return nil }
        return shape.payment
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
        return String(
            text.unicodeScalars.filter {
                $0.isASCII
                    && ($0.properties.isAlphabetic
                        || ("0"..."9").contains($0) || $0 == "," || $0 == " " || $0 == "-")
            }
            .prefix(100).map { Character($0) })
    }

    /// At most 500 characters, no control characters: it goes into the ledger and to people.
    static func tidy(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.filter { $0.properties.generalCategory != .control }
                    .prefix(500)))
    }

    /// Nesting that a decoder may follow on the stack; a payment has four levels.
    static func isShallow(_ body: [UInt8]) -> Bool {
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

/// The fields of a Payment that a charge depends on, and those that the ledger keeps.
private struct PaymentShape: Decodable {
    var paymentKey: String
    var orderId: String
    var status: String
    var type: String
    var currency: String
    var totalAmount: Int64
    var balanceAmount: Int64?
    var approvedAt: String?
    var receipt: Receipt?
    var card: Card?
    var failure: Failure?

    /// Strict in what tells one payment from another, lenient in all else: a field that the provider
    /// changes or leaves out must not make every approval unreadable.
    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        orderId = try fields.decode(String.self, forKey: .orderId)
        status = try fields.decode(String.self, forKey: .status)
        totalAmount = try fields.decode(Int64.self, forKey: .totalAmount)
        paymentKey = (try? fields.decode(String.self, forKey: .paymentKey)) ?? ""
        type = (try? fields.decode(String.self, forKey: .type)) ?? ""
        currency = (try? fields.decode(String.self, forKey: .currency)) ?? ""
        balanceAmount = try? fields.decode(Int64.self, forKey: .balanceAmount)
        approvedAt = try? fields.decode(String.self, forKey: .approvedAt)
        receipt = try? fields.decode(Receipt.self, forKey: .receipt)
        card = try? fields.decode(Card.self, forKey: .card)
        failure = try? fields.decode(Failure.self, forKey: .failure)
    }

    private enum CodingKeys: String, CodingKey {
        case paymentKey, orderId, status, type, currency, totalAmount, balanceAmount, approvedAt
        case receipt, card, failure
    }

    struct Receipt: Decodable { var url: String? }
    struct Failure: Decodable {
        var code: String
        var message: String?
    }
    /// Kept for people: nothing of it decides anything, so anything missing is fine.
    struct Card: Codable {
        var number: String?
        var issuerCode: String?
        var acquirerCode: String?
        var cardType: String?
        var ownerType: String?
        var approveNo: String?

        /// Without what the ledger's jsonb does not take.
        var tidied: Card {
            Card(
                number: number.map(Reply.tidy), issuerCode: issuerCode.map(Reply.tidy),
                acquirerCode: acquirerCode.map(Reply.tidy), cardType: cardType.map(Reply.tidy),
                ownerType: ownerType.map(Reply.tidy), approveNo: approveNo.map(Reply.tidy))
        }
    }

    var payment: Payment {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let cardText = card.flatMap { try? encoder.encode($0.tidied) }
            .map { String(decoding: $0, as: UTF8.self) }
        // Longer than documented or not printable: as good as none, and no approval without one.
        let isKey = paymentKey.utf8.count <= 200 && paymentKey == Reply.tidy(paymentKey)
        return Payment(
            paymentKey: isKey ? paymentKey : "", orderID: OrderID(stored: orderId), status: state,
            isBilling: type == "BILLING", currency: currency, totalAmount: Won(totalAmount),
            // Out of all bounds: as good as not said.
            balanceAmount: balanceAmount.flatMap {
                (0...max(0, totalAmount)).contains($0) ? Won($0) : nil
            },
            approvedAt: approvedAt,
            receiptURL: receipt?.url.map(Reply.tidy), card: cardText,
            failure: failure.map {
                Answer(
                    code: Reply.tidy($0.code), message: $0.message.map(Reply.tidy), httpStatus: 200)
            }, failureClass: failure.map { DeclineClass(failure: $0.code) } ?? .soft)
    }

    private var state: Payment.Status {
        switch status {
        case "DONE": .done
        case "CANCELED": .canceled
        case "PARTIAL_CANCELED": .partialCanceled
        case "ABORTED": .aborted
        case "EXPIRED": .expired
        default: .other(String(status.prefix(40)))
        }
    }
}
