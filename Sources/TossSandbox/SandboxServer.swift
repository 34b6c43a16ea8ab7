import HTTPTypes
import Hummingbird
import HummingbirdCore
package import Logging
import NIOCore
import ServiceLifecycle

/// The provider over HTTP/1.1 on a loopback address, as a service.
///
/// It stands on Hummingbird's server but below its router: one closure answers everything, and a
/// closure that throws closes the connection without a byte, which the router could not do.
package struct SandboxServer: Service {
    /// Why a server does not start.
    package enum Failure: Error, Equatable, CustomStringConvertible {
        /// The sandbox has no authentication of its own: it never leaves the machine.
        case notLoopback(String)

        /// The host and what is wrong with it.
        package var description: String {
            switch self {
            case .notLoopback(let host): "\(host) is no loopback address"
            }
        }
    }

    private let provider: SandboxProvider
    private let host: String
    private let port: Int
    private let logger: Logger
    private let onListening: @Sendable (Int) async -> Void

    /// - Parameters:
    ///   - host: a loopback address; anything else throws ``Failure``.
    ///   - port: 0 takes any free port.
    ///   - onListening: called once with the port, when connections are accepted.
    package init(
        provider: SandboxProvider, host: String = "127.0.0.1", port: Int = 0, logger: Logger,
        onListening: @escaping @Sendable (Int) async -> Void
    ) throws {
        guard Self.isLoopback(host) else { throw Failure.notLoopback(host) }
        self.provider = provider
        self.host = host
        self.port = port
        self.logger = logger
        self.onListening = onListening
    }

    static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// Serves until the task is cancelled or a graceful shutdown is asked for.
    package func run() async throws {
        let provider = provider
        let logger = logger
        let hungUp = HungUpClients()
        // Ending by cancellation is the plan here, and the server would log it as an error.
        var serverLogger = logger
        serverLogger.logLevel = max(logger.logLevel, .critical)
        let server = try HTTPServerBuilder.http1(
            configuration: .init(additionalChannelHandlers: [hungUp.makeWatcher()])
        ).buildServer(
            configuration: .init(address: .hostname(host, port: port)),
            eventLoopGroup: EventLoopGroupProvider.singleton.eventLoopGroup, logger: serverLogger,
            responder: { request, writer, channel in
                try await Self.respond(request, writer, provider, logger) {
                    hungUp.contains(channel)
                }
            },
            onServerRunning: { [onListening] channel in
                await onListening(channel.localAddress?.port ?? 0)
            })
        try await withThrowingTaskGroup { group in
            group.addTask { try await server.run() }
            group.addTask { try await WebhookSender(provider: provider, logger: logger).run() }
            // The server ends when it is told to; then nothing more is delivered.
            try await group.next()
            group.cancelAll()
        }
    }

    /// Thrown to make the server close the connection.
    private struct ConnectionDropped: Error {}

    private static let maxBody = 64 << 20

    @concurrent private static func respond(
        _ request: Request, _ writer: consuming ResponseWriter, _ provider: SandboxProvider,
        _ logger: Logger, hasHungUp: () -> Bool
    ) async throws {
        var request = request
        let body = try await request.collectBody(upTo: maxBody)
        let reply = provider.handle(read(request, body))
        logger.debug(
            "answered", metadata: ["status": "\(reply.status)", "method": "\(request.method)"])
        do {
            if reply.delayMilliseconds > 0 {
                try await Task.sleep(for: .milliseconds(reply.delayMilliseconds))
                if hasHungUp() { throw ConnectionDropped() }
            }
            switch reply.delivery {
            case .send:
                // The request counts as over before its answer leaves: whoever has the answer
                // must find the order settled.
                if let ticket = reply.ticket { provider.finish(ticket, delivered: true) }
                try await writer.write(
                    response: head(reply), body: .init(byteBuffer: ByteBuffer(bytes: reply.body)))
            case .drop: throw ConnectionDropped()
            case .hang:
                _ = try await request.body.consumeWithCancellationOnInboundClose { _ in
                    try await Task.sleep(for: .seconds(86_400))
                }
                throw ConnectionDropped()
            case .cut(let bytes):
                var writer = try await writer.writeHead(head(reply))
                try await writer.write(ByteBuffer(bytes: reply.body.prefix(bytes)))
                throw ConnectionDropped()
            }
        } catch {
            if let ticket = reply.ticket { provider.finish(ticket, delivered: false) }
            if let payment = reply.payment { provider.lost(payment: payment) }
            throw error
        }
    }

    private static func read(_ request: Request, _ body: ByteBuffer) -> SandboxRequest {
        let target = request.head.path ?? "/"
        let mark = target.utf8.firstIndex(of: UInt8(ascii: "?"))
        var plain = SandboxRequest(
            method: request.method.rawValue, path: String(target[..<(mark ?? target.endIndex)]),
            query: mark.map { String(target[target.index(after: $0)...]) } ?? "",
            body: Array(body.readableBytesView))
        for field in request.headers {
            switch field.name.canonicalName {
            case "authorization": plain.authorization = field.value
            case "content-type": plain.contentType = field.value
            case "idempotency-key": plain.idempotencyKey = field.value
            case "tosspayments-test-code": plain.testCode = field.value
            default: break
            }
        }
        return plain
    }

    private static func head(_ reply: SandboxReply) -> HTTPResponse {
        var fields = HTTPFields()
        for (name, value) in reply.headers {
            guard let name = HTTPField.Name(name) else { continue }
            fields.append(HTTPField(name: name, value: value))
        }
        fields[.contentLength] = String(reply.body.count)
        return HTTPResponse(status: .init(code: reply.status), headerFields: fields)
    }
}
