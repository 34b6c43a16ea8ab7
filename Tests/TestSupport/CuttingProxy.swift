import Foundation
import Glibc
import Synchronization

/// Stands between a client and a server and breaks the connection where a test says: above all,
/// when that is PostgreSQL, around COMMIT. Listens on a Unix socket and on the same port of
/// 127.0.0.1.
package final class CuttingProxy: Sendable {
    /// What happens to the next COMMIT.
    package enum Cut: String, Sendable, CaseIterable {
        /// It does not arrive; both sides are closed.
        case beforeForwarding
        /// It is passed on and both sides are closed at once: it may be committed or not.
        case afterForwarding
        /// It is passed on; the answer is swallowed, then both sides are closed.
        case afterAnswer
        /// It is passed on; to the client the stream ends there, though it may still write.
        case halfClose
        /// It is passed on; the answer never comes, and nothing is closed.
        case stall
    }

    /// What happens to the next bytes that any client sends, whatever they say.
    package enum Damage: Sendable, Equatable {
        /// Only so many of them are passed on, then both sides are closed.
        case cutRequest(bytes: Int)
        /// They are passed on, and only so many bytes of the answer; then both sides are closed.
        case cutAnswer(bytes: Int)
        /// They are passed on; to the client the stream ends there, though it may still write.
        case halfClose
        /// They are passed on; the answer never comes, and nothing is closed.
        case stall
    }

    struct State {
        var armed: [Cut] = []
        var damages: [Damage] = []
        var endsStalled = false
        var isStalled = false
        var cutsAll = false
        var isStopping = false
        var startups: [[String: String]] = []
    }

    /// What the proxy's thread shares with its owner.
    final class Shared: Sendable {
        let state = Mutex(State())
        let waker: Waker
        let connections = Tally()
        let commits = Tally()
        let cuts = Tally()
        init() throws { waker = try Waker() }
    }

    private let folder: URL
    private let shared: Shared
    package let port: Int

    package convenience init(_ server: TemporaryPostgres.Server) throws {
        try self.init(.postgres(socket: "\(server.socket)/.s.PGSQL.\(server.port)"))
    }

    /// Where the bytes go.
    package enum Upstream: Sendable {
        /// A PostgreSQL's Unix socket: COMMITs are recognised.
        case postgres(socket: String)
        /// Any server on this port of 127.0.0.1.
        case tcp(port: Int)
    }

    package init(_ upstream: Upstream) throws {
        folder = FileManager.default.temporaryDirectory
            .appending(path: "billingd-cut-\(UUID().uuidString.prefix(8))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let (tcp, port) = try Sockets.listenOnLoopback()
        self.port = port
        let path = folder.appending(path: ".s.PGSQL.\(port)").path()
        let unix = try Sockets.listen(unixPath: path)
        // A standby, which runs as another user, may come this way, too.
        chmod(path, 0o777)
        let shared = try Shared()
        self.shared = shared
        let loop = ProxyLoop(
            listeners: [tcp, unix], upstream: upstream, shared: shared)
        Thread.detachNewThread {
            var loop = loop
            loop.run()
        }
    }

    deinit {
        tell { $0.isStopping = true }
        try? FileManager.default.removeItem(at: folder)
    }

    /// Connections taken so far, those for cancel requests included.
    package var connections: Tally { shared.connections }
    /// COMMITs seen so far.
    package var commits: Tally { shared.commits }
    /// Cuts made so far.
    package var cuts: Tally { shared.cuts }
    /// The parameters of each start-up message, in order.
    package var startups: [[String: String]] { shared.state.withLock { $0.startups } }

    /// A conninfo string for `database` by way of the proxy.
    package func connectionString(
        to database: TestDatabase, as role: TemporaryPostgres.Role = .owner,
        throughTCP: Bool = false
    ) -> String {
        (throughTCP ? "host=127.0.0.1 port=\(port)" : address)
            + " dbname=\(database.name) user=\(role.rawValue)"
    }

    /// The beginning of a conninfo string: its Unix socket.
    package var address: String { "host=\(folder.path()) port=\(port)" }

    /// The next COMMIT meets this; each later call arms one more.
    package func arm(_ cut: Cut) { tell { $0.armed.append(cut) } }

    /// The next bytes of a client meet this; each later call arms one more.
    package func arm(_ damage: Damage) { tell { $0.damages.append(damage) } }

    /// Nothing that was armed happens any more.
    package func disarm() {
        tell {
            $0.armed = []
            $0.damages = []
        }
    }

    /// Closes the connections that a `stall` holds.
    package func endStalled() { tell { $0.endsStalled = true } }

    /// From now on nothing moves and no connection is taken; nothing is closed.
    package func stall() { tell { $0.isStalled = true } }

    package func resume() { tell { $0.isStalled = false } }

    /// Closes every connection.
    package func cutAll() { tell { $0.cutsAll = true } }

    private func tell(_ change: (inout State) -> Void) {
        shared.state.withLock { change(&$0) }
        shared.waker.wake()
    }
}

/// The proxy's thread.
private struct ProxyLoop: Sendable {
    let listeners: [Int32]
    let upstream: CuttingProxy.Upstream
    let shared: CuttingProxy.Shared
    private var pairs: [Pair] = []

    init(
        listeners: [Int32], upstream: CuttingProxy.Upstream, shared: CuttingProxy.Shared
    ) {
        self.listeners = listeners
        self.upstream = upstream
        self.shared = shared
    }

    private struct Pair: Sendable {
        let client: Int32
        let server: Int32
        /// Nil: what is said is no business of ours.
        var reader: FrontendReader?
        var toServer: [UInt8] = []
        var toClient: [UInt8] = []
        var hasEnded = false
        /// Met a COMMIT, or other bytes, that are to end so.
        var cut: CuttingProxy.Cut?
        /// Bytes that may still go to the client before both sides are closed.
        var answerLeft: Int?

        func close() {
            Sockets.end(client)
            Sockets.end(server)
        }
    }

    mutating func run() {
        while true {
            let (isStalled, cutsAll, isStopping, endsStalled) = shared.state.withLock { state in
                defer {
                    state.cutsAll = false
                    state.endsStalled = false
                }
                return (state.isStalled, state.cutsAll, state.isStopping, state.endsStalled)
            }
            if endsStalled {
                for index in pairs.indices where pairs[index].cut == .stall {
                    pairs[index].hasEnded = true
                }
            }
            if cutsAll || isStopping {
                shared.cuts.add(pairs.count)
                for pair in pairs { pair.close() }
                pairs = []
            }
            if isStopping { break }
            if !isStalled {
                acceptAll()
                for index in pairs.indices { move(&pairs[index]) }
                pairs.removeAll { pair in
                    if pair.hasEnded { pair.close() }
                    return pair.hasEnded
                }
            }
            wait(isStalled: isStalled)
        }
        for listener in listeners { close(listener) }
    }

    private func wait(isStalled: Bool) {
        var waits = [pollfd(fd: shared.waker.descriptor, events: Int16(POLLIN), revents: 0)]
        if !isStalled {
            waits += listeners.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            for pair in pairs {
                waits.append(interest(pair.client, pair.toClient, ofClient: true, pair))
                waits.append(interest(pair.server, pair.toServer, ofClient: false, pair))
            }
        }
        _ = poll(&waits, nfds_t(waits.count), -1)
        shared.waker.clear()
    }

    private func interest(
        _ descriptor: Int32, _ waiting: [UInt8], ofClient: Bool, _ pair: Pair
    ) -> pollfd {
        // A stalled pair is looked at only for its client's end.
        if pair.cut == .stall, !ofClient { return pollfd(fd: -1, events: 0, revents: 0) }
        let events = waiting.isEmpty ? POLLIN : POLLIN | POLLOUT
        return pollfd(fd: descriptor, events: Int16(events), revents: 0)
    }

    private mutating func acceptAll() {
        for listener in listeners {
            while let client = Sockets.accept(listener) {
                shared.connections.add()
                guard var pair = connect(client) else {
                    Sockets.end(client)
                    continue
                }
                if case .postgres = upstream { pair.reader = FrontendReader() }
                pairs.append(pair)
            }
        }
    }

    private func connect(_ client: Int32) -> Pair? {
        let server: Int32?
        switch upstream {
        case .postgres(let socket): server = try? Sockets.connect(unixPath: socket)
        case .tcp(let port): server = try? Sockets.beginConnecting(port: port)
        }
        return server.map { Pair(client: client, server: $0) }
    }

    /// Moves what has arrived on either side.
    private func move(_ pair: inout Pair) {
        var clientEnded = false
        switch Sockets.read(pair.client) {
        case .bytes(let bytes): take(bytes, &pair)
        case .nothing: break
        case .ended: clientEnded = true
        }
        if !pair.hasEnded, !Sockets.write(pair.server, &pair.toServer) { pair.hasEnded = true }
        if pair.cut == .afterForwarding, !pair.hasEnded { end(&pair) }
        if pair.cut != .stall, !pair.hasEnded { moveBack(&pair) }
        if clientEnded { pair.hasEnded = true }
    }

    private func moveBack(_ pair: inout Pair) {
        switch Sockets.read(pair.server) {
        case .bytes(let bytes):
            if pair.cut == .afterAnswer { return end(&pair) }
            if let left = pair.answerLeft {
                pair.toClient += bytes.prefix(left)
                pair.answerLeft = left - min(left, bytes.count)
            } else if pair.cut != .halfClose {
                pair.toClient += bytes
            }
        case .nothing: break
        case .ended: pair.hasEnded = true
        }
        if !Sockets.write(pair.client, &pair.toClient) { pair.hasEnded = true }
        if pair.answerLeft == 0, pair.toClient.isEmpty, !pair.hasEnded { end(&pair) }
    }

    private func take(_ bytes: [UInt8], _ pair: inout Pair) {
        if pair.cut == nil, pair.answerLeft == nil {
            let damage = shared.state.withLock {
                $0.damages.isEmpty ? nil : $0.damages.removeFirst()
            }
            switch damage {
            case .cutRequest(let count):
                pair.toServer += bytes.prefix(count)
                pair.cut = .afterForwarding
                return
            case .cutAnswer(let count): pair.answerLeft = count
            case .halfClose: pair.cut = .halfClose
            case .stall: pair.cut = .stall
            case nil: break
            }
            atOnce(&pair)
        }
        guard pair.reader != nil else {
            pair.toServer += bytes
            return
        }
        for message in pair.reader?.messages(bytes) ?? [] { take(message, &pair) }
    }

    /// What a cut does before anything is passed on.
    private func atOnce(_ pair: inout Pair) {
        if pair.cut == .halfClose {
            // Counted first: who sees the cut sees the count.
            shared.cuts.add()
            shutdown(pair.client, Int32(SHUT_WR))
        }
        if pair.cut == .stall { shared.cuts.add() }
    }

    private func take(_ message: FrontendReader.Message, _ pair: inout Pair) {
        if let startup = message.startup { shared.state.withLock { $0.startups.append(startup) } }
        guard message.isCommit, !pair.hasEnded, pair.cut == nil else {
            pair.toServer += message.bytes
            return
        }
        shared.commits.add()
        pair.cut = shared.state.withLock { $0.armed.isEmpty ? nil : $0.armed.removeFirst() }
        if pair.cut == .beforeForwarding { return end(&pair) }
        pair.toServer += message.bytes
        atOnce(&pair)
    }

    private func end(_ pair: inout Pair) {
        pair.hasEnded = true
        shared.cuts.add()
    }
}
