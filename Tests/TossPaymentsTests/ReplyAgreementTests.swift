import Foundation
import HTTP
import Testing

@testable import TossPayments

/// The quick readers of an answer against the ones of the library: where they answer, they answer the
/// same.
@Suite(.timeLimit(.minutes(1))) struct ReplyAgreementTests {
    private struct Dice: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
    }

    private static let seeds: [String] = [
        paymentText(), paymentText(["receipt": "null", "card": "null", "balanceAmount": "0"]),
        paymentText(["card": #"{"number":null,"cardType":"신용","ownerType":"개인/법인","x":[]}"#]),
        paymentText(["metadata": #"{"a":[{"b":[1,-2,true,false,null,"c"]}]}"#, "failure": "null"]),
        paymentText(["failure": #"{"code":"X","message":"y"}"#, "status": #""ABORTED""#]),
        paymentText(["method": nil, "type": nil, "approvedAt": "null", "totalAmount": "-0"]),
        paymentText(["card": #"{"number":"1\/2"}"#, "orderName": #""a \"b\" \u003c""#]),
    ]

    private static let pieces: [String] = [
        ",", ":", "{", "}", "[", "]", "\"", "\\", "\\u0041", "\\/", "null", "true", "1e3", "0.5",
        "-", "00", "9999999999999999", " ", "\n", "\t", "\u{0}", "\u{1}", "\u{7f}", "\u{85}",
        "\u{feff}", "\u{212a}", "é", "\u{301}", "\"status\":\"DONE\",", "\"totalAmount\":1,",
        "\"totalAmount\":14900.0,", "\"orderId\":null,", "\"card\":{},", "\"card\":7,",
        "\"receipt\":{\"url\":7},", "\"\(String(repeating: "x", count: 600))\"", "/*", "//", "'",
    ]

    /// One to four small changes of the bytes.
    private static func mutated(_ text: String, _ dice: inout Dice) -> [UInt8] {
        var bytes = Array(text.utf8)
        for _ in 0..<Int.random(in: 1...4, using: &dice) {
            let place = Int.random(in: 0...bytes.count, using: &dice)
            let end = min(bytes.count, place + Int.random(in: 0...6, using: &dice))
            switch Int.random(in: 0..<5, using: &dice) {
            case 0 where place < bytes.count:
                bytes[place] = UInt8.random(in: 0...255, using: &dice)
            case 1: bytes.removeSubrange(place..<end)
            case 2: bytes.insert(contentsOf: bytes[place..<end], at: place)
            default:
                let piece = pieces.randomElement(using: &dice) ?? ""
                bytes.insert(contentsOf: piece.utf8, at: place)
            }
        }
        return bytes
    }

    /// Also where it counts most: that the body is a payment at all, and what it makes of the fields.
    @Test func theQuickReaderReadsAPaymentAsJSONDecoderDoes() {
        var dice = Dice(state: 7)
        var quick = 0
        for round in 0..<30_000 {
            let text = Self.seeds[round % Self.seeds.count]
            let body = round < Self.seeds.count ? Array(text.utf8) : Self.mutated(text, &dice)
            guard let plain = Reply.plainPayment(body) else { continue }
            quick += 1
            let decoded = Reply.anyPayment(body)
            #expect(plain == decoded, "\(String(decoding: body, as: UTF8.self))")
            #expect(Self.bytes(plain) == decoded.map(Self.bytes))
            if plain != decoded { return }
        }
        #expect(quick > 3_000)
    }

    /// Byte by byte: == on String takes two spellings of one character for the same.
    private static func bytes(_ shape: PaymentShape) -> [[UInt8]] {
        let card = shape.card
        return [
            shape.paymentKey, shape.orderId, shape.status, shape.type, shape.currency,
            shape.approvedAt, shape.receipt?.url, card?.number, card?.issuerCode,
            card?.acquirerCode, card?.cardType, card?.ownerType, card?.approveNo,
        ].map { Array(($0 ?? "nil").utf8) }
    }

    @Test func anOrdinaryPaymentIsReadQuickly() {
        for body in [paymentText(), paymentText(["card": "null", "x": #"[[{"y":"z"}],-1]"#])] {
            #expect(Reply.plainPayment(Array(body.utf8)) != nil)
        }
    }

    @Test(arguments: [
        #"{"orderId":"a","status":"DONE"}"#, #"{"orderId":"a","status":"DONE","totalAmount":1}x"#,
        #"{"orderId":"a","status":"DONE","totalAmount":1,}"#, "[]", "", "{", "null",
        #"{"orderId":"a","status":"DONE","totalAmount":1.0}"#,
        #"{"orderId":"a","status":"DONE","totalAmount":01}"#,
        #"{"orderId":"a","status":"DONE","totalAmount":1 2}"#,
        #"{"orderId":"a","orderId":"b","status":"DONE","totalAmount":1}"#,
        #"{"orderId":"\u0061","status":"DONE","totalAmount":1}"#,
        "{\"orderId\":\"a\tb\",\"status\":\"DONE\",\"totalAmount\":1}",
        "{\"orderId\":\"a\",\"\u{212a}\":1,\"status\":\"DONE\",\"totalAmount\":1}",
    ])
    func whatIsOddIsLeftToJSONDecoder(_ text: String) {
        #expect(Reply.plainPayment(Array(text.utf8)) == nil)
    }

    @Test func aTextThatIsNotUTF8IsLeftToJSONDecoder() {
        var body = Array(paymentText(["x": #""?""#]).utf8)
        let place = body.lastIndex(of: UInt8(ascii: "?"))
        body[place ?? 0] = 0xff
        #expect(Reply.plainPayment(body) == nil)
    }

    private struct CardShape: Encodable {
        var number: String?
        var issuerCode: String?
        var acquirerCode: String?
        var cardType: String?
        var ownerType: String?
        var approveNo: String?
    }

    @Test func theTextOfACardIsJSONEncoders() throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let values: [String?] = [
            nil, "", "12345678****000*", "신용", "a/b", "a\"b\\c", "\u{2028}\u{1f600}<>&'", "é",
            "e\u{301}", "\"\u{301}", "x\r\ny\u{0}\u{85}", String(repeating: "가", count: 501),
        ]
        var dice = Dice(state: 3)
        for _ in 0..<2_000 {
            func any() -> String? { values.randomElement(using: &dice) ?? nil }
            let card = PaymentShape.Card(
                number: any(), issuerCode: any(), acquirerCode: any(), cardType: any(),
                ownerType: any(), approveNo: any())
            let tidy = CardShape(
                number: card.number.map(Reply.tidy), issuerCode: card.issuerCode.map(Reply.tidy),
                acquirerCode: card.acquirerCode.map(Reply.tidy),
                cardType: card.cardType.map(Reply.tidy),
                ownerType: card.ownerType.map(Reply.tidy),
                approveNo: card.approveNo.map(Reply.tidy))
            let expected = try encoder.encode(tidy)
            #expect(Array(card.text.utf8) == Array(expected), "\(card)")
        }
    }

    @Test func tidyDropsWhatUnicodeCallsControl() {
        for scalar in (0...0x2fff).compactMap({ Unicode.Scalar(UInt32($0)) }) {
            let isControl = scalar.properties.generalCategory == .control
            #expect(
                Array(Reply.tidy("a\(Character(scalar))b").unicodeScalars).count
                    == (isControl ? 2 : 3), "\(scalar.value)")
        }
        #expect(Reply.tidy(String(repeating: "가\n", count: 600)).unicodeScalars.count == 500)
    }

    @Test func aTraceKeepsLettersDigitsAndItsSeparators() {
        func trace(_ text: String) -> String? {
            Reply.trace(
                HTTPResponse(
                    status: 200, headers: [("x-tosspayments-trace-id", text)], body: [],
                    duration: .zero))
        }
        #expect(trace("5f3d, 7C1a-9") == "5f3d, 7C1a-9")
        #expect(trace("a\u{0}b\u{e9}c;d") == "abcd")
        #expect(trace(String(repeating: "a;", count: 150)) == String(repeating: "a", count: 100))
        #expect(trace("") == nil)
    }
}
