import Billing
import HTTP
import Synchronization
import TestSupport
import Testing

@testable import TossPayments

/// What leaves, to the byte.
@Suite struct GatewayRequestTests {
    private static let done = WireStep.status(200, body: paymentText())

    /// Serves `step` and returns the requests that came.
    private func requests(
        _ step: WireStep = done, _ body: (Calls) async throws -> Void
    ) async throws -> [WireRequest] {
        let seen = Mutex<[WireRequest]>([])
        let server = try WireServer { request in
            seen.withLock { $0.append(request) }
            return step
        }
        let calls = try Calls("http://127.0.0.1:\(server.port)")
        try await body(calls)
        await calls.client.shutdown()
        return seen.withLock { $0 }
    }

    /// Header lines, in lower case before the colon.
    private func headers(_ request: WireRequest) -> [String: String] {
        Dictionary(
            request.head.split(separator: "\r\n").dropFirst().map { line in
                let parts = line.split(separator: ":", maxSplits: 1)
                return (parts[0].lowercased(), String(parts[1].dropFirst()))
            }
        ) { first, _ in first }
    }

    @Test func anApproveIsExactlyThis() async throws {
        let sent = try await requests { _ = await $0.charge() }
        let request = try #require(sent.first)
        #expect(sent.count == 1 && request.method == "POST")
        #expect(
            request.target == "/v1/billing/Zk3vXw8_Bt5nHq1-Lm7pRd2sYc6uGf9jAe4oKi0xWbE%3D")
        #expect(
            String(decoding: request.body, as: UTF8.self) == """
                {"amount":14900,"customerKey":"cust.Ph8Ks2Wd@Vq5Nj","orderId":"order-0007-1",\
                "orderName":"Standard plan"}
                """)
        let headers = headers(request)
        #expect(headers["authorization"] == "Basic " + base64(Array("\(Secret.secretKey):".utf8)))
        #expect(headers["content-type"] == "application/json")
        #expect(headers["idempotency-key"] == "order-0007-1")
        #expect(headers["content-length"] == "\(request.body.count)")
        // No Accept-Language, which changes the answer, no test code, no cookie, no "Expect".
        #expect(
            Set(headers.keys) == [
                "host", "accept", "authorization", "content-type", "idempotency-key",
                "content-length",
            ])
    }

    @Test func aLookUpIsExactlyThis() async throws {
        let sent = try await requests { _ = await $0.lookUp() }
        let request = try #require(sent.first)
        #expect(sent.count == 1 && request.method == "GET" && request.body.isEmpty)
        #expect(request.target == "/v1/payments/orders/order-0007-1")
        #expect(Set(headers(request).keys) == ["host", "accept", "authorization"])
    }

    @Test(arguments: [
        ("한글 요금제", #""한글 요금제""#), (#"a"b\c"#, #""a\"b\\c""#), ("tab\there", #""tab\u0009here""#),
        ("\u{0}\u{1f}\u{7f}", #""\u0000\u001f\u007f""#), ("😀", #""😀""#),
        ("</script>", #""</script>""#),
    ])
    func anOrderNameIsQuoted(name: String, json: String) async throws {
        let sent = try await requests { _ = await $0.charge(.sample(name: name)) }
        let body = String(decoding: try #require(sent.first).body, as: UTF8.self)
        #expect(body.hasSuffix(#","orderName":"# + json + "}"))
    }

    @Test func aRepeatIsTheSameToTheByte() async throws {
        let sent = try await requests { calls in
            for _ in 0..<2 { _ = await calls.charge(.sample(taxFree: 1000)) }
        }
        #expect(sent.count == 2 && sent[0].body == sent[1].body && sent[0].head == sent[1].head)
        #expect(String(decoding: sent[0].body, as: UTF8.self).hasSuffix(#","taxFreeAmount":1000}"#))
    }

    /// Nothing of this may become part of a path or a header.
    @Test(arguments: [
        "../../v1/payments", "key/../x", "key?x=1", "ключ-ключ", "a b c d e", "short",
        "\r\nX: y-y-y",
    ])
    func whatIsNoKeyIsNotSent(key: String) async throws {
        let sent = try await requests { calls in
            let wrongKey = await calls.charge(.sample(billingKey: key))
            guard case .faultOfRow = wrongKey else { return #expect(Bool(false), "\(wrongKey)") }
            let wrongOrder = await calls.charge(.sample(order: key + "/"))
            guard case .faultOfRow = wrongOrder else { return #expect(Bool(false)) }
            guard case .unclear = await calls.lookUp(key + "/") else { return #expect(Bool(false)) }
        }
        #expect(sent.isEmpty)
    }

    /// One call is one request, whatever comes back, or does not.
    @Test(arguments: [
        WireStep.status(500), .status(502), .status(429, headers: ["Retry-After: 0"]),
        .status(408), .status(425), .status(301, headers: ["Location: /elsewhere"]),
        .status(307, headers: ["Location: /elsewhere"]), .status(401), .status(100), .close, .reset,
        .answerAndClose("{"), done,
    ])
    func nothingIsTriedAgain(step: WireStep) async throws {
        let step: WireStep =
            if case .answer(let text) = step, text.contains(" 100 ") {
                .answer(text + "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
            } else { step }
        let posts = try await requests(step) { _ = await $0.charge() }
        #expect(posts.count == 1)
        let gets = try await requests(step) { _ = await $0.lookUp() }
        #expect(gets.count == 1)
    }

    /// A live key has one address, over TLS; and never the header that makes charges fail.
    @Test func aLiveKeySpeaksToTheProviderOnly() throws {
        let live = "live_sk_Qx7mVw2Rk9LpTz4N"
        #expect(throws: TossEndpointError.self) {
            try Calls("http://127.0.0.1:8080", secretKey: live)
        }
        #expect(throws: TossEndpointError.self) {
            try Calls("https://api.tosspayments.com.evil.example", secretKey: live)
        }
        _ = try Calls(TossEndpoint.official, secretKey: live)
    }
}
