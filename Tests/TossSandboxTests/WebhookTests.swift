import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import TossSandbox

/// Messages of cancels and deleted keys, the only ones that concern billing.
@Suite struct WebhookTests {
    let client = SandboxClient()
    let billingKey: String
    let paymentKey: String

    init() throws {
        billingKey = client.provider.issue(customerKey: "cust-1")
        paymentKey = try #require(client.approve(billingKey).json["paymentKey"]?.string)
    }

    private func register(_ url: String = "http://127.0.0.1:9/hook") {
        #expect(client.call("PUT", "/_sandbox/webhooks", "{\"url\":\"\(url)\"}").status == 200)
    }

    private func cancel(_ amount: Int = 100) {
        let reply = client.call(
            "POST", "/_sandbox/cancel/\(paymentKey)", "{\"cancelAmount\":\(amount)}")
        #expect(reply.status == 200)
    }

    /// The numbers of what is to be delivered now.
    private func due() -> [Int64] { client.provider.takeDueWebhooks().map(\.number) }

    @Test func anApprovalSendsNone() {
        register()
        #expect(due() == [] && client.provider.webhooks.isEmpty)
    }

    @Test func aCancelIsAnnouncedWithItsPayment() throws {
        register()
        cancel()
        let delivery = try #require(client.provider.takeDueWebhooks().first)
        let body = try #require(JSONValue(delivery.body))
        #expect(body["eventType"]?.string == "PAYMENT_STATUS_CHANGED")
        #expect(body["createdAt"]?.string == "2026-07-15T09:30:04.000000")
        let payment = client.call("GET", "/v1/payments/\(paymentKey)").json
        #expect(body["data"] == payment && payment["status"]?.string == "PARTIAL_CANCELED")
        #expect(payment["secret"]?.string != nil)
        let headers = Dictionary(delivery.headers.map { ($0.name, $0.value) }) { $1 }
        let prefix = "tosspayments-webhook-transmission-"
        #expect(headers[prefix + "time"] == "2026-07-15T09:30:04+09:00")
        #expect(headers[prefix + "retried-count"] == "0")
        #expect(headers[prefix + "id"]?.hasPrefix("whtrans_") == true)
        #expect(delivery.url.text == "http://127.0.0.1:9/hook")
    }

    @Test func aDeletedKeyIsAnnouncedWithoutItsCustomer() throws {
        let other = client.provider.issue(customerKey: "cust-1")
        #expect(client.call("DELETE", "/v1/billing/\(billingKey)").status == 200)
        #expect(client.call("POST", "/_sandbox/delete/\(other)").status == 200)
        let list = client.call("GET", "/_sandbox/webhooks").json.array ?? []
        let data = list.map { $0["body"]?["data"] }
        #expect(
            list.map { $0["body"]?["eventType"]?.string } == ["BILLING_DELETED", "BILLING_DELETED"])
        #expect(data[0]?["billingKey"]?.string == KeyRing.bare(billingKey))
        #expect(data[0]?["reason"]?.string == "삭제 API 요청")
        #expect(data[1]?["reason"] == nil && data[1]?["customerKey"] == nil)
        #expect(client.approve(other).outcome == "ALREADY_REMOVED_BILLING_KEY")
    }

    /// What comes at once and what a second later and ten minutes later, for two cancels in a row.
    @Test(arguments: [
        (Switches.WebhookMode.sent, [1, 2], [Int64]()), (.late, [], [1, 2]),
        (.twice, [1, 2, 3, 4], []), (.outOfOrder, [2], [1]), (.never, [], []),
    ])
    func webhooksComeBySwitch(
        mode: Switches.WebhookMode, atOnce: [Int64], later: [Int64]
    ) {
        register()
        client.provider.switches.webhooks = mode
        cancel()
        cancel()
        #expect(due() == atOnce)
        client.advance(seconds: 599)
        #expect(due() == [], "what is under way is handed out once")
        client.advance(seconds: 1)
        #expect(due() == later)
        let ids = client.provider.webhooks.map(\.transmissionID)
        #expect(Set(ids).count == ids.count)
    }

    @Test func aDeliveryIsTriedEightTimes() {
        register()
        cancel()
        for (tried, minutes) in [1, 4, 16, 64, 256, 1024, 4096].enumerated() {
            #expect(due() == [1], "delivery \(tried + 1)")
            client.provider.webhookEnded(1, status: tried == 0 ? 0 : 500)
            client.advance(seconds: Int64(minutes) * 60 - 1)
            #expect(due() == [])
            client.advance(seconds: 1)
        }
        let last = client.provider.takeDueWebhooks()
        #expect(last.first?.headers.contains { $0.value == "7" } == true)
        client.provider.webhookEnded(1, status: 404)
        client.advance(seconds: 86_400 * 30)
        #expect(due() == [])
        #expect(client.provider.webhooks[0].state == .givenUp)
        #expect(client.provider.webhooks[0].answers == [0, 500, 500, 500, 500, 500, 500, 404])
    }

    @Test(arguments: [
        "https://127.0.0.1:1/", "http://example.com:80/", "http://127.0.0.1/",
        "http://10.0.0.1:80/",
        "http://127.0.0.1:0/", "http://127.0.0.1:99999/", "http://localhost:80/a b", "",
    ])
    func onlyThisMachineIsWrittenTo(url: String) {
        let reply = client.call("PUT", "/_sandbox/webhooks", "{\"url\":\"\(url)\"}")
        #expect(reply.status == 400 && reply.text.contains("url: "))
    }

    /// Over a real connection: the receiver refuses the first delivery, and takes the second.
    @Test func aServedSandboxDeliversOverHTTP() async throws {
        let received = Mutex<[String]>([])
        let receiver = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .bind(host: "127.0.0.1", port: 0) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel)
                }
            }
        let port = receiver.channel.localAddress?.port ?? 0
        let provider = client.provider
        register("http://127.0.0.1:\(port)/hook")
        let server = try SandboxServer(
            provider: provider, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { _ in }
        try await withThrowingTaskGroup { group in
            group.addTask { try await server.run() }
            cancel()
            try await receiver.executeThenClose { connections in
                for try await connection in connections {
                    try await connection.executeThenClose { inbound, outbound in
                        var text = ""
                        for try await part in inbound {
                            text += String(buffer: part)
                            if text.hasSuffix("}") { break }
                        }
                        let isFirst = received.withLock {
                            $0.append(text)
                            return $0.count == 1
                        }
                        let status = isFirst ? "503 Unavailable" : "200 OK"
                        try await outbound.write(
                            ByteBuffer(string: "HTTP/1.1 \(status)\r\nContent-Length: 0\r\n\r\n"))
                    }
                    if received.withLock({ $0.count }) == 2 { break }
                    while provider.webhooks[0].answers.isEmpty { await Task.yield() }
                    client.advance(seconds: 60)
                }
            }
            while provider.webhooks[0].state == .pending { await Task.yield() }
            group.cancelAll()
            while let result = await group.nextResult() {
                if case .failure(let error) = result, !(error is CancellationError) { throw error }
            }
        }
        let texts = received.withLock { $0 }
        #expect(texts.count == 2 && provider.webhooks[0].answers == [503, 200])
        #expect(texts[0].hasPrefix("POST /hook HTTP/1.1\r\n"))
        #expect(texts[0].contains("\r\ntosspayments-webhook-transmission-retried-count: 0\r\n"))
        #expect(texts[1].contains("\r\ntosspayments-webhook-transmission-retried-count: 1\r\n"))
        #expect(texts[1].contains("PAYMENT_STATUS_CHANGED"))
    }
}
