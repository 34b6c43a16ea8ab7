import Billing
import FoundationEssentials

/// The fields of a Payment that a charge depends on, and those that the ledger keeps.
struct PaymentShape: Hashable {
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

    struct Receipt: Hashable, Decodable { var url: String? }
    struct Failure: Hashable, Decodable {
        var code: String
        var message: String?
    }
    /// Kept for people: nothing of it decides anything, so anything missing is fine.
    struct Card: Hashable, Decodable {
        var number: String?
        var issuerCode: String?
        var acquirerCode: String?
        var cardType: String?
        var ownerType: String?
        var approveNo: String?

        enum CodingKeys: String, CodingKey, CaseIterable {
            case number, issuerCode, acquirerCode, cardType, ownerType, approveNo
        }

        /// As JSON, names in order, without what the ledger's jsonb does not take: what JSONEncoder
        /// makes of it, in a tenth of the time.
        var text: String {
            let members = [
                ("acquirerCode", acquirerCode), ("approveNo", approveNo), ("cardType", cardType),
                ("issuerCode", issuerCode), ("number", number), ("ownerType", ownerType),
            ]
            var text: [UInt8] = []
            text.reserveCapacity(255)
            for case (let name, let value?) in members {
                text.append(UInt8(ascii: text.isEmpty ? "{" : ","))
                text.append(UInt8(ascii: "\""))
                text.append(contentsOf: name.utf8)
                text.append(contentsOf: "\":\"".utf8)
                for byte in Reply.tidy(value).utf8 {
                    if Self.isEscaped(byte) { text.append(UInt8(ascii: "\\")) }
                    text.append(byte)
                }
                text.append(UInt8(ascii: "\""))
            }
            if text.isEmpty { return "{}" }
            text.append(UInt8(ascii: "}"))
            return String(decoding: text, as: UTF8.self)
        }

        private static func isEscaped(_ byte: UInt8) -> Bool {
            byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte == UInt8(ascii: "/")
        }
    }

    var payment: Payment {
        // Longer than documented or not printable: as good as none, and no approval without one.
        let isKey = paymentKey.utf8.count <= 200 && paymentKey == Reply.tidy(paymentKey)
        return Payment(
            paymentKey: isKey ? paymentKey : "", orderID: OrderID(stored: orderId), status: state,
            isBilling: type == "BILLING", currency: currency, totalAmount: Won(totalAmount),
            // Out of all bounds: as good as not said. CANCELED says itself that nothing is left: of what
            // went back in part the status is another one.
            balanceAmount: balanceAmount.flatMap {
                (0...max(0, totalAmount)).contains($0) ? Won($0) : nil
            } ?? (state == .canceled ? Won(0) : nil),
            approvedAt: approvedAt,
            receiptURL: receipt?.url.map(Reply.tidy), card: card?.text,
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

extension PaymentShape: Decodable {
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

    enum CodingKeys: String, CodingKey, CaseIterable {
        case paymentKey, orderId, status, type, currency, totalAmount, balanceAmount, approvedAt
        case receipt, card, failure
    }
}

extension PaymentShape {
    /// The same of the provider's own way of writing, without JSONDecoder. Throws for all else.
    init(plain body: [UInt8]) throws(PlainJSON.Odd) {
        var json = try PlainJSON(body)
        var shape = Self(
            paymentKey: "", orderId: "", status: "", type: "", currency: "", totalAmount: 0)
        let seen = try json.object(Self.names) { (place, value) throws(PlainJSON.Odd) in
            try shape.read(CodingKeys.allCases[place], &value)
        }
        try json.end()
        guard seen & Self.needed == Self.needed else { throw PlainJSON.Odd() }
        self = shape
    }

    private static let names = PlainJSON.Names(CodingKeys.allCases.map(\.rawValue))
    /// The places of those that a payment cannot do without.
    private static let needed = CodingKeys.allCases.enumerated().reduce(UInt32(0)) {
        [.orderId, .status, .totalAmount].contains($1.element) ? $0 | 1 << $1.offset : $0
    }

    private mutating func read(
        _ key: CodingKeys, _ value: inout PlainJSON
    ) throws(PlainJSON.Odd) {
        switch key {
        case .orderId: orderId = try value.text()
        case .status: status = try value.text()
        case .totalAmount: totalAmount = try value.whole()
        case .paymentKey: paymentKey = try value.textOrNull() ?? ""
        case .type: type = try value.textOrNull() ?? ""
        case .currency: currency = try value.textOrNull() ?? ""
        case .balanceAmount: balanceAmount = try value.isNull() ? nil : value.whole()
        case .approvedAt: approvedAt = try value.textOrNull()
        case .receipt: receipt = try value.isNull() ? nil : Receipt(plain: &value)
        case .card: card = try value.isNull() ? nil : Card(plain: &value)
        // Only of a payment that came to nothing.
        case .failure: guard try value.isNull() else { throw PlainJSON.Odd() }
        }
    }
}

extension PaymentShape.Receipt {
    fileprivate init(plain value: inout PlainJSON) throws(PlainJSON.Odd) {
        var url: String?
        _ = try value.object(Self.names) { (_, value) throws(PlainJSON.Odd) in
            url = try value.textOrNull()
        }
        self.url = url
    }

    private static let names = PlainJSON.Names(["url"])
}

extension PaymentShape.Card {
    fileprivate init(plain value: inout PlainJSON) throws(PlainJSON.Odd) {
        var card = Self()
        _ = try value.object(Self.names) { (place, value) throws(PlainJSON.Odd) in
            let text = try value.textOrNull()
            switch CodingKeys.allCases[place] {
            case .number: card.number = text
            case .issuerCode: card.issuerCode = text
            case .acquirerCode: card.acquirerCode = text
            case .cardType: card.cardType = text
            case .ownerType: card.ownerType = text
            case .approveNo: card.approveNo = text
            }
        }
        self = card
    }

    private static let names = PlainJSON.Names(CodingKeys.allCases.map(\.rawValue))
}
