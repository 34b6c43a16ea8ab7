@testable import TossSandbox

/// Calls a provider in the same process, at an instant that stands still unless a test moves it.
struct SandboxClient {
    let provider: SandboxProvider
    /// 2026-07-15T09:30:04+09:00 in seconds since 1970.
    static let start: Int64 = 1_784_075_404
    /// `test_sk_sandbox:` in Base64.
    static let authorization = "Basic dGVzdF9za19zYW5kYm94Og=="

    init(acceptsAnyKey: Bool = false, secretKeys: [String] = ["test_sk_sandbox"]) {
        var settings = SandboxProvider.Settings()
        settings.clock = .fixed(milliseconds: Self.start * 1000)
        settings.acceptsAnyKey = acceptsAnyKey
        settings.secretKeys = secretKeys
        provider = SandboxProvider(settings)
    }

    init(_ provider: SandboxProvider) { self.provider = provider }

    func advance(seconds: Int64) {
        provider.clock = .fixed(milliseconds: provider.clock.milliseconds() + seconds * 1000)
    }

    func call(
        _ method: String, _ path: String, query: String = "", key: String? = nil,
        headers extra: [String: String] = [:], _ body: String = ""
    ) -> SandboxReply {
        var headers = [
            "Authorization": Self.authorization, "Content-Type": "application/json",
        ]
        headers["Idempotency-Key"] = key
        headers.merge(extra) { $1 }
        return provider.handle(
            SandboxRequest(
                method: method, path: path, query: query, headers: headers,
                body: Array(body.utf8)))
    }

    func approve(
        _ billingKey: String, customer: String = "cust-1", order: String = "order-0001-1",
        amount: String = "14900", name: String = "Standard plan", key: String? = nil,
        headers: [String: String] = [:], extra: String = ""
    ) -> SandboxReply {
        call(
            "POST", "/v1/billing/\(billingKey)", key: key, headers: headers,
            """
            {"amount":\(amount),"customerKey":"\(customer)","orderId":"\(order)",\
            "orderName":"\(name)"\(extra)}
            """)
    }
}

extension SandboxReply {
    var text: String { String(decoding: body, as: UTF8.self) }
    var json: JSONValue { JSONValue(body) ?? .null }
    /// The code of an error body, or the HTTP status of anything else.
    var outcome: String { json["code"]?.string ?? "\(status)" }
}
