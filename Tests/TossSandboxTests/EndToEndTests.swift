import Logging
import NIOCore
import NIOPosix
import Testing

@testable import TossSandbox

@Suite struct EndToEndTests {
    /// Runs `body` against a served sandbox; the server is cancelled in any case.
    private func serving(
        _ provider: SandboxProvider, _ body: @Sendable (Int) async throws -> Void
    ) async throws {
        let (ports, source) = AsyncStream.makeStream(of: Int.self)
        let server = try SandboxServer(
            provider: provider, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { port in
            source.yield(port)
        }
        try await withThrowingTaskGroup { group in
            group.addTask { try await server.run() }
            for await port in ports {
                try await body(port)
                break
            }
            group.cancelAll()
            while let result = await group.nextResult() {
                if case .failure(let error) = result, !(error is CancellationError) {
                    throw error
                }
            }
        }
    }

    /// Sends one request on a connection of its own and returns all that came back.
    private func exchange(_ port: Int, _ request: String) async throws -> String {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(string: request))
            var answer = ByteBuffer()
            for try await var part in inbound { answer.writeBuffer(&part) }
            return String(buffer: answer)
        }
    }

    private func approval(_ billingKey: String, _ order: String) -> String {
        let body = """
            {"amount":14900,"customerKey":"cust-1","orderId":"\(order)","orderName":"plan"}
            """
        return """
            POST /v1/billing/\(billingKey.dropLast())%3D HTTP/1.1\r
            Host: localhost\r
            Connection: close\r
            Authorization: \(SandboxClient.authorization)\r
            Content-Type: application/json\r
            Idempotency-Key: \(order)\r
            Content-Length: \(body.utf8.count)\r
            \r
            \(body)
            """
    }

    private func isExecuted(_ order: String, _ provider: SandboxProvider) -> Bool {
        provider.handle(
            SandboxRequest(
                method: "GET", path: "/v1/payments/orders/\(order)",
                headers: ["Authorization": SandboxClient.authorization])
        ).status == 200
    }

    @Test func overRealHTTPAnAnswerComesAndAnotherIsLost() async throws {
        let provider = SandboxProvider()
        let billingKey = provider.issue(customerKey: "cust-1")
        try await serving(provider) { port in
            let first = try await exchange(port, approval(billingKey, "order-0001-1"))
            #expect(first.hasPrefix("HTTP/1.1 200 OK\r\n"))
            #expect(first.contains("\r\nidempotency-key: order-0001-1\r\n"))
            #expect(first.contains("\"status\":\"DONE\""))

            var drop = FaultRule(.executeAndDrop)
            drop.count = 1
            provider.faults = [drop]
            #expect(try await exchange(port, approval(billingKey, "order-0002-1")) == "")
            let replay = try await exchange(port, approval(billingKey, "order-0002-1"))
            #expect(replay.contains("\"orderId\":\"order-0002-1\""))

            var late = FaultRule(.cut)
            late.count = 1
            provider.faults = [FaultRule(latency: 1), late]
            let cut = try await exchange(port, approval(billingKey, "order-0003-1"))
            #expect(cut.hasPrefix("HTTP/1.1 200 OK\r\n") && !cut.hasSuffix("}"))

            let csv = try await exchange(
                port,
                "GET /_sandbox/books.csv HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            let answered = csv.split(separator: "\n").filter { $0.hasPrefix("sandb") }
                .map { $0.hasSuffix("true") }
            #expect(answered == [true, false, false])
        }
    }

    @Test(arguments: [FaultRule(.hang), FaultRule(latency: 2_000)])
    func aClientThatHangsUpHasNoAnswer(fault: FaultRule) async throws {
        let provider = SandboxProvider()
        let billingKey = provider.issue(customerKey: "cust-1")
        provider.faults = [fault]
        try await serving(provider) { port in
            let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .connect(host: "127.0.0.1", port: port).get()
            try await channel.writeAndFlush(
                ByteBuffer(string: approval(billingKey, "order-0001-1")))
            while !isExecuted("order-0001-1", provider) { await Task.yield() }
            try await channel.close()
            provider.faults = []
            // While the first counts as running, its repeat is a 409; then it replays.
            var again = ""
            repeat {
                again = try await exchange(port, approval(billingKey, "order-0001-1"))
            } while again.hasPrefix("HTTP/1.1 409")
            #expect(again.hasPrefix("HTTP/1.1 200"))
            let books = provider.handle(SandboxRequest(method: "GET", path: "/_sandbox/books"))
            #expect(books.json["unanswered"]?.integer == 1)
            #expect(books.json["approvals"]?.integer == 1)
        }
    }

    @Test func aHangingAnswerEndsWithTheServer() async throws {
        let provider = SandboxProvider()
        let billingKey = provider.issue(customerKey: "cust-1")
        provider.faults = [FaultRule(.hang)]
        let (events, source) = AsyncStream.makeStream(of: String.self)
        try await serving(provider) { port in
            let request = approval(billingKey, "order-0001-1")
            // The hung call outlives this closure: only the server's end can end it.
            Task { source.yield((try? await exchange(port, request)) ?? "reset") }
            while !isExecuted("order-0001-1", provider) { await Task.yield() }
        }
        for await answer in events {
            #expect(answer == "" || answer == "reset")
            break
        }
    }

    @Test(arguments: ["0.0.0.0", "192.168.0.1", "example.com", "::", "127.0.0.1.evil.example"])
    func anythingButLoopbackIsRefused(host: String) {
        #expect(throws: SandboxServer.Failure.notLoopback(host)) {
            try SandboxServer(
                provider: SandboxProvider(), host: host,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            ) { _ in }
        }
    }
}
