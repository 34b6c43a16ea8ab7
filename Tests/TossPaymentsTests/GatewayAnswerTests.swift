import Billing
import HTTP
import TestSupport
import Testing

@testable import TossPayments

/// What raw bytes of the provider, or of anything that stands in its place, are taken for.
@Suite struct GatewayAnswerTests {
    /// A case and its bytes, named in failures.
    struct Answered: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let step: WireStep

        init(_ name: String, _ step: WireStep) {
            testDescription = name
            self.step = step
        }

        /// A 200 with this body.
        init(_ name: String, _ body: String) { self.init(name, .status(200, body: body)) }

        init(_ name: String, bytes: [UInt8]) {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
            self.init(name, .bytes(Array("\(head)\(bytes.count)\r\n\r\n".utf8) + bytes))
        }

        init(_ changes: [String: String?]) {
            self.init("\(changes)", paymentText(changes))
        }
    }

    private func charge(_ answered: Answered) async throws -> (Outcome, Calls) {
        let server = try WireServer { _ in answered.step }
        let calls = try Calls("http://127.0.0.1:\(server.port)")
        let outcome = await calls.charge()
        await calls.client.shutdown()
        return (outcome, calls)
    }

    /// What the ledger is told after this outcome of a first send.
    private func written(_ outcome: Outcome) -> Transition.AttemptChange? {
        let request = AttemptRequest.sample()
        let work = Work(
            subscription: SubscriptionID(1), lease: LeaseNumber(1), charge: ChargeID(1),
            task: .send(request, earlier: [], isRepeat: false, tries: 0))
        return work.after(outcome, of: request, isRepeat: false, tries: 0, jitter: 0).attempt
    }

    /// 200 and something is missing, different or unreadable: the money may have moved.
    private static let noApprovals: [Answered] =
        [
            ["status": #""READY""#], ["status": #""IN_PROGRESS""#], ["status": #""ABORTED""#],
            ["status": #""CANCELED""#], ["status": #""PARTIAL_CANCELED""#], ["status": #""done""#],
            ["status": #""EXPIRED""#], ["status": #""DONE ""#], ["status": "true"], ["status": nil],
            ["type": #""NORMAL""#], ["type": #""BRANDPAY""#], ["type": nil], ["type": "null"],
            ["orderId": #""order-0007-2""#], ["orderId": #""ORDER-0007-1""#], ["orderId": nil],
            ["orderId": "7"], ["totalAmount": "14901"], ["totalAmount": "0"],
            ["totalAmount": #""14900""#], ["totalAmount": "14900.5"], ["totalAmount": "-14900"],
            ["totalAmount": "1e400"], ["totalAmount": "18446744073709566516"],
            ["totalAmount": nil], ["totalAmount": "null"], ["currency": #""USD""#],
            ["currency": nil], ["paymentKey": nil], ["paymentKey": #""""#], ["paymentKey": "5"],
            ["paymentKey": "\"\(String(repeating: "k", count: 201))\""],
            ["paymentKey": #""line\nbreak""#], ["paymentKey": #""nul\u0000""#],
        ].map { Answered($0) } + [
            Answered("empty", ""), Answered("null", "null"), Answered("array", "[]"),
            Answered("empty object", "{}"), Answered("text", "OK"), Answered("number", "200"),
            Answered("HTML", "<html><body>OK</body></html>"),
            Answered("truncated", String(paymentText().dropLast())),
            Answered("half", String(paymentText().prefix(paymentText().count / 2))),
            Answered("two values", paymentText() + paymentText()),
            Answered("an error object", #"{"code":"REJECT_CARD_PAYMENT","message":"x"}"#),
            Answered("nested 10,000 deep", #"{"a":"# + String(repeating: "[", count: 10_000)),
            Answered(
                "a payment with 10,000 deep beside it",
                paymentText([
                    "metadata": String(repeating: "[", count: 10_000)
                        + String(repeating: "]", count: 10_000)
                ])),
            Answered("NULs before it", bytes: [0, 0] + Array(paymentText().utf8)),
            Answered(
                "Latin-1",
                bytes: Array(
                    paymentText(["orderId": "\"order-0007-\u{e9}\""]).unicodeScalars.map {
                        UInt8(truncatingIfNeeded: $0.value)
                    })),
            Answered(
                "another order first",
                "{\"orderId\":\"order-0007-2\"," + paymentText(["orderId": nil]).dropFirst()),
            Answered(
                "2 MiB", paymentText(["pad": "\"\(String(repeating: "x", count: 2 << 20))\""])),
            Answered(
                "cut by the connection",
                .bytes(Array("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{".utf8))),
            Answered("201", .status(201, body: paymentText())),
            Answered("202", .status(202, body: paymentText())),
            Answered("204", .status(204)), Answered("302", .status(302, body: paymentText())),
            Answered("400 with a payment", .status(400, body: paymentText())),
            Answered("500 with a payment", .status(500, body: paymentText())),
        ]

    @Test(arguments: noApprovals)
    func whateverIsNoApprovalIsUnknown(answered: Answered) async throws {
        // A server that announces more than it sends would keep the line open for ever.
        let isCut = answered.testDescription.hasPrefix("cut")
        let server = try WireServer { _ in isCut ? .answerAndClose("{") : answered.step }
        let calls = try Calls("http://127.0.0.1:\(server.port)")
        let outcome = await calls.charge()
        await calls.client.shutdown()
        guard case .unknown = written(outcome) else {
            Issue.record("\(answered.testDescription): \(outcome)")
            return
        }
    }

    /// What must not make an approval unreadable: the provider adds fields and changes values.
    @Test(
        arguments: [
            [:], ["card": nil], ["card": "5"], ["card": #"{"number":5}"#], ["receipt": "null"],
            ["approvedAt": "null"], ["balanceAmount": nil], ["balanceAmount": #""x""#],
            ["failure": #"{"code":5}"#], ["unheardOf": #"{"a":[1,2,{"b":null}]}"#],
            ["method": #""Card""#], ["totalAmount": "14900.0"], ["totalAmount": "1.49e4"],
            ["orderId": #""order\u002d0007-1""#], ["metadata": "[[[[[[[[[[]]]]]]]]]]"],
        ] as [[String: String?]])
    func anApprovalIsReadLeniently(changes: [String: String?]) async throws {
        let (outcome, _) = try await charge(Answered(changes))
        guard case .approved(1, let payment, _) = written(outcome) else {
            Issue.record("\(changes): \(outcome)")
            return
        }
        #expect(payment.paymentKey == "sandb20260715093004Qk7Zp")
        #expect(payment.totalAmount == Won(14_900) && payment.balanceAmount == Won(14_900))
    }

    /// CANCELED is a whole cancel: what was given back in part has another status.
    @Test(
        arguments: [
            ("CANCELED", nil, 0), ("CANCELED", "null", 0), ("CANCELED", "14901", 0),
            ("CANCELED", "0", 0), ("CANCELED", "400", 400), ("CANCELED", "14900", 14_900),
            ("PARTIAL_CANCELED", nil, 14_900), ("PARTIAL_CANCELED", "400", 400),
            ("DONE", nil, 14_900),
        ] as [(String, String?, Int64)])
    func whatIsLeftAfterACancel(_ status: String, _ said: String?, _ left: Int64) {
        let text = paymentText(["status": "\"\(status)\"", "balanceAmount": said])
        #expect(Reply.payment(Array(text.utf8))?.balanceAmount == Won(left))
    }

    /// A byte-order mark and a wrong charset in the header change nothing of UTF-8 bytes that can be
    /// read; if they cannot, the outcome is unknown, never a decline.
    @Test func theCharsetOfTheHeaderDecidesNothing() async throws {
        let body = Array(paymentText().utf8)
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=EUC-KR\r\nContent-Length: "
        let plain = Answered("EUC-KR", .bytes(Array("\(head)\(body.count)\r\n\r\n".utf8) + body))
        guard case .approved = written(try await charge(plain).0) else {
            Issue.record("a wrong charset hides an approval")
            return
        }
        let wide = Array(paymentText().utf16).flatMap { [UInt8($0 & 0xFF), UInt8($0 >> 8)] }
        for marked in [
            Answered("BOM", bytes: [0xEF, 0xBB, 0xBF] + body), Answered("UTF-16", bytes: wide),
        ] {
            switch written(try await charge(marked).0) {
            case .approved, .unknown: break
            case let other: Issue.record("\(marked): \(String(describing: other))")
            }
        }
    }

    /// Two members of one name: whichever is taken, a lie about the order or the amount is not
    /// adopted silently as somebody else's payment.
    @Test func aDuplicateMemberIsNeverAnotherOrdersApproval() async throws {
        let twice = paymentText(["totalAmount": "14900,\"totalAmount\":99"])
        switch written(try await charge(Answered("twice", twice)).0) {
        case .unknown: break
        case .approved(_, let payment, _): #expect(payment.totalAmount == Won(14_900))
        case let other: Issue.record("\(String(describing: other))")
        }
    }

    @Test func aBodyOfExactlyOneMebibyteIsStillRead() async throws {
        let empty = paymentText(["pad": #""""#]).utf8.count
        for (extra, isRead) in [(0, true), (1, false)] {
            let pad = String(repeating: "x", count: (1 << 20) - empty + extra)
            let (outcome, _) = try await charge(Answered(["pad": "\"\(pad)\""]))
            switch written(outcome) {
            case .approved: #expect(isRead)
            case .unknown(_, let answer): #expect(!isRead && answer.code == "ANSWER_TOO_LARGE")
            case let other: Issue.record("\(String(describing: other))")
            }
        }
    }

    // MARK: Look-ups

    private func lookUp(_ step: WireStep) async throws -> LookUp {
        let server = try WireServer { _ in step }
        let calls = try Calls("http://127.0.0.1:\(server.port)")
        let answer = await calls.lookUp()
        await calls.client.shutdown()
        return answer
    }

    private static let notFound = #"{"code":"NOT_FOUND_PAYMENT","message":"존재하지 않는 결제 정보 입니다."}"#

    @Test func onlyA404WithItsCodeIsNotFound() async throws {
        guard case .notFound = try await lookUp(.status(404, body: Self.notFound)) else {
            Issue.record("404 NOT_FOUND_PAYMENT is no not-found")
            return
        }
    }

    @Test(arguments: [
        WireStep.status(200, body: notFound), .status(400, body: notFound),
        .status(403, body: notFound), .status(410, body: notFound), .status(500, body: notFound),
        .status(503, body: notFound), .status(404), .status(404, body: "NOT_FOUND_PAYMENT"),
        .status(404, body: #"{"code":"NOT_FOUND"}"#), .status(404, body: "[\(notFound)]"),
        .status(404, body: #"{"code":"NOT_FOUND_BILLING"}"#),
        .status(404, body: #"{"code":"not_found_payment"}"#),
        .status(404, body: #"{"error":{"code":"NOT_FOUND_PAYMENT"}}"#),
        .status(404, body: "<html>404</html>"), .status(404, body: String(notFound.dropLast())),
        .status(404, body: #"{"code":["NOT_FOUND_PAYMENT"]}"#), .status(429), .close, .reset,
        .status(200, body: "{}"), .status(200, body: ""),
    ])
    func nothingElseIsNotFound(step: WireStep) async throws {
        switch try await lookUp(step) {
        case .unclear, .faultOfAll: break
        case let other: Issue.record("\(step): \(other)")
        }
    }

    // MARK: Secrets

    /// Whatever the provider says, and however it fails, nothing prints a key.
    @Test func nothingPrintsAKey() async throws {
        let echo = #"{"code":"SOMETHING_NEW","message":"no"}"#
        let steps: [WireStep] = [
            .status(200, body: paymentText()), .status(500, body: echo), .status(404), .close,
            .status(200, body: "{"), .status(403, body: #"{"code":"REJECT_CARD_PAYMENT"}"#),
        ]
        var texts: [String] = []
        for step in steps {
            let (outcome, calls) = try await charge(Answered("step", step))
            texts += [
                "\(outcome)", String(reflecting: outcome), "\(written(outcome) as Any)",
                String(reflecting: calls.gateway), "\(calls.gateway)", calls.log.text, "\(calls)",
            ]
            var dumped = ""
            dump(outcome, to: &dumped)
            dump(calls.gateway, to: &dumped)
            texts.append(dumped)
        }
        let request = AttemptRequest.sample()
        var dumped = ""
        dump(request, to: &dumped)
        texts += ["\(request)", String(reflecting: request), dumped]
        let key = try SecretKey(parsing: Secret.secretKey)
        texts += [
            "\(key)", String(reflecting: key), "\(Mirror(reflecting: key).children.map { $0 })",
        ]
        texts.append(key.fingerprint)
        #expect(texts.contains { $0.contains("SOMETHING_NEW") }, "nothing was logged or printed")
        for part in Secret.parts {
            let leak = texts.first { $0.contains(part) }
            #expect(leak == nil, "\(part)")
        }
    }

    @Test(arguments: [
        "test_sk_a b", "test_gsk_Qx7mVw2Rk9LpTz4N", "sk_Qx7mVw2Rk9LpTz4N",
        "\u{FEFF}test_sk_Qx7mVw2Rk9LpTz4N",
    ])
    func aWrongKeyIsRefusedWithoutBeingQuoted(text: String) {
        let error = #expect(throws: SecretKeyError.self) { try SecretKey(parsing: text) }
        #expect("\(error as Any)".contains("7mVw2Rk9") == false)
    }
}
