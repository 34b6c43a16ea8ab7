import FoundationEssentials
import Testing

@testable import TossSandbox

@Suite struct AuthorizationTests {
    let client = SandboxClient(secretKeys: ["test_sk_sandbox", "live_sk_real"])

    private func basic(_ text: String) -> String {
        "Basic " + Data(text.utf8).base64EncodedString()
    }

    private func ask(_ authorization: String) -> SandboxReply {
        client.call(
            "GET", "/v1/payments/orders/order-1", headers: ["Authorization": authorization])
    }

    @Test func onlyTheKeyAndAColonAreAccepted() {
        #expect(ask(basic("test_sk_sandbox:")).outcome == "NOT_FOUND_PAYMENT")
        #expect(ask(basic("live_sk_real:")).outcome == "NOT_FOUND_PAYMENT")
        for wrong in [
            basic("test_sk_sandbox"), basic("test_sk_sandbox:password"), basic(""),
            basic("\u{FEFF}test_sk_sandbox:"), "Bearer test_sk_sandbox", "Basic !!!",
            "Basic test_sk_sandbox:",
        ] {
            let reply = ask(wrong)
            #expect(reply.outcome == "INCORRECT_BASIC_AUTH_FORMAT", "\(wrong)")
            #expect(reply.status == 403)
        }
        #expect(basic("\u{FEFF}test_sk_sandbox:").hasPrefix("Basic 77u/"))
    }

    /// As after a rotation: refused, and taken again when it is taken back.
    @Test func aRevokedKeyIsRefused() {
        let key = basic("live_sk_real:")
        #expect(client.call("PUT", "/_sandbox/revoked-keys", #"["live_sk_real"]"#).status == 200)
        #expect(ask(key).outcome == "UNAUTHORIZED_KEY")
        #expect(ask(basic("test_sk_sandbox:")).outcome == "NOT_FOUND_PAYMENT")
        #expect(client.call("PUT", "/_sandbox/revoked-keys", #"["test_sk_other"]"#).status == 400)
        #expect(ask(key).outcome == "UNAUTHORIZED_KEY")
        #expect(client.call("PUT", "/_sandbox/revoked-keys", "[]").status == 200)
        #expect(ask(key).outcome == "NOT_FOUND_PAYMENT")
    }

    @Test func otherKeysAreRefused() {
        #expect(ask(basic("test_sk_wrong:")).status == 401)
        #expect(ask(basic("test_sk_wrong:")).outcome == "UNAUTHORIZED_KEY")
        #expect(ask("").outcome == "UNAUTHORIZED_KEY")
        #expect(ask(basic("test_gsk_widget:")).outcome == "INVALID_API_KEY")
        client.provider.switches.wrongSecretStatus = 403
        #expect(ask(basic("test_sk_wrong:")).status == 403)
    }

    @Test func theTestCodeWorksForTestKeysOnly() {
        let billingKey = client.provider.issue(customerKey: "cust-1")
        func approve(_ code: String, _ secret: String) -> SandboxReply {
            client.approve(
                billingKey, order: "order-\(secret)", key: "k-\(secret)",
                headers: [
                    "TossPayments-Test-Code": code, "Authorization": basic(secret + ":"),
                    "Accept-Language": "en-US",
                ])
        }
        for _ in 0..<2 {
            let declined = approve("REJECT_CARD_PAYMENT", "test_sk_sandbox")
            #expect(declined.status == 403)
            #expect(
                declined.text == """
                    {"code":"REJECT_CARD_PAYMENT","message":"한도초과 혹은 잔액부족으로 결제에 실패했습니다."}
                    """)
            #expect(approve("IDEMPOTENT_REQUEST_PROCESSING", "test_sk_sandbox").status == 409)
        }
        #expect(approve("NOT_ENOUGH_BALANCE", "test_sk_sandbox").outcome == "INVALID_TEST_CODE")
        let live = approve("REJECT_CARD_PAYMENT", "live_sk_real")
        #expect(live.status == 200 && live.json["method"]?.string == "카드")
    }

    @Test(arguments: [
        ("GET", "/v1/nothing", "NOT_FOUND"), ("GET", "/", "NOT_FOUND"),
        ("GET", "/v1/billing/x", "NOT_FOUND_HTTP_METHOD"),
        ("POST", "/v1/transactions", "NOT_FOUND_HTTP_METHOD"),
        ("DELETE", "/v1/payments/x", "NOT_FOUND_HTTP_METHOD"),
        ("POST", "/v1/billing/authorizations/other", "NOT_FOUND"),
    ])
    func wrongAddressesAre404(method: String, path: String, code: String) {
        let reply = client.call(method, path)
        #expect(reply.outcome == code && reply.status == 404)
    }

    @Test func theRateLimitCountsByMinuteAndAPI() {
        client.provider.switches.callsPerMinute = 2
        #expect(ask(SandboxClient.authorization).status == 404)
        #expect(ask(SandboxClient.authorization).status == 404)
        let third = ask(SandboxClient.authorization)
        #expect(third.outcome == "TOO_MANY_REQUESTS" && third.status == 429)
        #expect(third.header("Retry-After") == nil)
        #expect(client.call("GET", "/v1/payments/x").status == 404)
        client.provider.switches.tooManyBody = .empty
        client.provider.switches.retryAfterSeconds = 30
        let fourth = ask(SandboxClient.authorization)
        #expect(fourth.body.isEmpty && fourth.header("Retry-After") == "30")
        client.advance(seconds: 60)
        #expect(ask(SandboxClient.authorization).status == 404)
    }
}
