import Logging
import NIOCore
import NIOPosix

/// Carries webhooks to the registered address, as they fall due.
struct WebhookSender {
    let provider: SandboxProvider
    let logger: Logger

    /// How often due webhooks are looked for; a look costs a lock.
    private static let pause = Duration.milliseconds(50)
    /// The provider's patience with a receiver (guides, webhooks).
    private static let patience = Duration.seconds(10)

    /// Delivers until the task is cancelled. Deliveries of one look go out one after another, so that
    /// their order is that of the list.
    func run() async throws {
        while true {
            for delivery in provider.takeDueWebhooks() {
                let status = await deliver(delivery)
                logger.debug(
                    "webhook", metadata: ["number": "\(delivery.number)", "status": "\(status)"])
                provider.webhookEnded(delivery.number, status: status)
            }
            try await Task.sleep(for: Self.pause)
        }
    }

    /// The HTTP status of the answer, 0 when there was none in time.
    private func deliver(_ delivery: Webhook.Delivery) async -> Int {
        await withTaskGroup(of: Int.self) { group in
            group.addTask { (try? await exchange(delivery)) ?? 0 }
            group.addTask {
                try? await Task.sleep(for: Self.patience)
                return 0
            }
            let first = await group.next() ?? 0
            group.cancelAll()
            return first
        }
    }

    private func exchange(_ delivery: Webhook.Delivery) async throws -> Int {
        let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .connect(host: delivery.url.host, port: delivery.url.port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    try NIOAsyncChannel<ByteBuffer, ByteBuffer>(
                        wrappingChannelSynchronously: channel)
                }
            }
        return try await channel.executeThenClose { inbound, outbound in
            try await outbound.write(ByteBuffer(bytes: Self.request(delivery)))
            var answer: [UInt8] = []
            for try await part in inbound {
                answer += part.readableBytesView
                // "HTTP/1.1 200": the rest decides nothing.
                if answer.count >= 12 { break }
            }
            guard answer.count >= 12, answer.starts(with: "HTTP/1.".utf8) else { return 0 }
            return Int(String(decoding: answer[9..<12], as: UTF8.self)) ?? 0
        }
    }

    private static func request(_ delivery: Webhook.Delivery) -> [UInt8] {
        var head = "POST \(delivery.url.path) HTTP/1.1\r\n"
        head += "Host: \(delivery.url.host):\(delivery.url.port)\r\nConnection: close\r\n"
        for (name, value) in delivery.headers { head += "\(name): \(value)\r\n" }
        head += "Content-Length: \(delivery.body.count)\r\n\r\n"
        return Array(head.utf8) + delivery.body
    }
}
