import FoundationEssentials
import HTTPTypes
import HummingbirdCore
package import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Synchronization

/// Answers those who look at the daemon, over HTTP/1.1. It only reads, and whatever becomes of it,
/// charging goes on: it never throws and never ends before it is told to.
package final class Listener: Service {
    /// What somebody asks for.
    package struct Question: Sendable {
        package var path: String
        /// What follows the question mark.
        package var query: String
        package var acceptLanguage: String
    }

    /// What he gets.
    package struct Reply: Sendable {
        package var status: Int
        package var contentType: String
        package var body: String

        package init(status: Int = 200, contentType: String, body: String) {
            self.status = status
            self.contentType = contentType
            self.body = body
        }

        static func text(_ status: Int, _ body: String) -> Reply {
            Reply(status: status, contentType: "text/plain; charset=utf-8", body: body + "\n")
        }
    }

    /// Those who look are few: a scraper, a probe, some browsers. Others wait in the kernel's queue.
    static let mostConnections = 32
    /// A browser sends about 1 KiB.
    static let mostHeaderBytes = 16 * 1024
    static let mostHeaders = 100
    /// A connection serves one request and ends, however slowly its client reads or writes.
    static let longestConnection = TimeAmount.seconds(15)
    /// Between two tries to listen.
    static let pause = Duration.seconds(5)

    private struct State {
        var trouble: String?
        var address: ListenAddress?
    }

    private let address: ListenAddress
    private let token: BearerToken?
    private let log: Logger
    private let answer: @Sendable (Question) async -> Reply
    private let state = Mutex(State())

    /// `token`: asked of everybody; nil: of nobody, which is for loopback addresses alone. `answer` is
    /// called for each GET.
    package init(
        _ address: ListenAddress, token: BearerToken?, log: Logger,
        answer: @escaping @Sendable (Question) async -> Reply
    ) {
        precondition(token != nil || address.isLoopback, "an open address needs a token")
        self.address = address
        self.token = token
        self.log = log
        self.answer = answer
    }

    /// Why nobody can look, if so.
    package var trouble: String? { state.withLock { $0.trouble } }

    /// Why an address cannot be listened on.
    package struct Refusal: Error, CustomStringConvertible {
        /// Somebody listens there already.
        package var isTaken: Bool
        package var description: String
    }

    /// Throws why the address cannot be listened on. Leaves it free.
    package static func probe(_ address: ListenAddress) async throws(Refusal) {
        do {
            let channel = try await ServerBootstrap(group: Self.group)
                .serverChannelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
                .bind(host: address.host, port: address.port).get()
            try await channel.close()
        } catch {
            let code = (error as? IOError)?.errnoCode
            throw Refusal(
                isTaken: code == POSIXErrorCode.EADDRINUSE.rawValue, description: "\(error)")
        }
    }

    /// Listens until a graceful shutdown or cancellation; tries again when it cannot.
    package func run() async throws {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await self.listenForever() }
            try? await gracefulShutdown()
            group.cancelAll()
        }
    }

    // MARK: Serving

    /// One thread is plenty, and more of them on a large machine would pass the unit's TasksMax.
    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private func listenForever() async {
        while !Task.isCancelled {
            var reason = "the server ended"
            do {
                try await serve()
            } catch {
                reason = "\(error)"
            }
            guard !Task.isCancelled, !Task.isShuttingDownGracefully else { return }
            fail(reason)
            try? await Task.sleep(for: Self.pause)
        }
    }

    private func fail(_ reason: String) {
        let isNew = state.withLock { state in
            defer { state = State(trouble: reason) }
            return state.trouble != reason
        }
        guard isNew else { return }
        log.error(
            "health, metrics and the page cannot be reached: charging goes on",
            metadata: [
                "address": "\(address)", "reason": "\(reason)",
                "action": "give this worker an address of its own with --listen or BILLINGD_LISTEN",
            ])
    }

    private func opened(_ port: Int) {
        let address = ListenAddress(host: address.host, port: port)
        state.withLock { $0 = State(address: address) }
        log.notice("listening", metadata: ["address": "\(address)"])
    }

    private func serve() async throws {
        // Ending by cancellation is the plan, and clients that go away are no news.
        var quiet = log
        quiet.logLevel = max(log.logLevel, .critical)
        let configuration = HTTP1Channel.Configuration(
            additionalChannelHandlers: [LifetimeLimit(Self.longestConnection)],
            httpDecoderConfiguration: .init(
                maxHeaderFieldSize: Self.mostHeaderBytes, maxHeaderListSize: Self.mostHeaderBytes,
                maxHeaderFieldCount: Self.mostHeaders))
        let server = try HTTPServerBuilder.http1(configuration: configuration).buildServer(
            configuration: .init(
                address: .hostname(address.host, port: address.port), backlog: 64,
                availableConnectionsDelegate: MaximumAvailableConnections(
                    Self.mostConnections, logger: quiet)),
            eventLoopGroup: Self.group, logger: quiet,
            responder: { request, writer, _ in try await self.respond(request, writer) },
            onServerRunning: { channel in self.opened(channel.localAddress?.port ?? 0) })
        try await server.run()
    }

    @concurrent private func respond(
        _ request: Request, _ writer: consuming ResponseWriter
    ) async throws {
        let reply = await reply(to: request)
        var fields: HTTPFields = [
            .contentType: reply.contentType, .contentLength: String(reply.body.utf8.count),
            .cacheControl: "no-store", .connection: "close",
            .xContentTypeOptions: "nosniff",
            .contentSecurityPolicy: """
            default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
            frame-ancestors 'none'
            """,
        ]
        if reply.status == 401 { fields[.wwwAuthenticate] = "Bearer" }
        if reply.status == 405 { fields[.allow] = "GET, HEAD" }
        let head = HTTPResponse(status: .init(code: reply.status), headerFields: fields)
        let body = request.method == .head ? "" : reply.body
        try await writer.write(
            response: head, body: .init(byteBuffer: ByteBuffer(string: body)))
    }

    private func reply(to request: Request) async -> Reply {
        if let token {
            guard token.isCarried(by: request.headers[.authorization]) else {
                return .text(401, "give the token of BILLINGD_TOKEN_FILE: Authorization: Bearer …")
            }
        } else if !ListenAddress.isLocal(host: request.head.authority ?? "") {
            return .text(421, "without a token only requests for this machine are answered")
        }
        guard request.method == .get || request.method == .head else {
            return .text(405, "this address is for reading")
        }
        let target = request.head.path ?? "/"
        let path = target.prefix { $0 != "?" }
        let query = target.dropFirst(path.count + 1)
        return await answer(
            Question(
                path: String(path), query: String(query),
                acceptLanguage: request.headers[.acceptLanguage] ?? ""))
    }
}

/// Ends a connection when its time is over, whatever it does.
private final class LifetimeLimit: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny
    private let limit: TimeAmount
    private var timer: Scheduled<Void>?

    init(_ limit: TimeAmount) { self.limit = limit }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        timer = context.eventLoop.scheduleTask(in: limit) {
            channel.close(mode: .all, promise: nil)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }
}
