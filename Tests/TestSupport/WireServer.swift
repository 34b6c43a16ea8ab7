import Foundation
import Glibc
import Synchronization

/// One request as it came over the wire, complete.
package struct WireRequest: Sendable {
    package var method: String
    package var target: String
    package var head: String
    package var body: [UInt8]
    /// Which of the server's connections, from 1.
    package var connection: Int
    /// Which request on that connection, from 1.
    package var ordinal: Int
}

/// What the server does about a request that it has read to its last byte and counted.
package enum WireStep: Sendable {
    case answer(String)
    /// An answer that need be no text.
    case bytes([UInt8])
    /// Answers when the test releases.
    case hold
    /// Answers 200 with this body, and closes without having said so.
    case answerAndClose(String)
    case close
    /// Closes with a reset.
    case reset
    case closeAndStopListening

    package static func status(
        _ status: Int, headers: [String] = [], body: String = ""
    ) -> WireStep {
        let lines = ["HTTP/1.1 \(status) X", "Content-Length: \(body.utf8.count)"] + headers
        return .answer(lines.joined(separator: "\r\n") + "\r\n\r\n" + body)
    }

    /// What is written of an answer.
    fileprivate var written: [UInt8] {
        switch self {
        case .answer(let text): Array(text.utf8)
        case .bytes(let bytes): bytes
        default: []
        }
    }
}

/// An HTTP server on a raw socket that follows a script and counts what was executed: a request
/// that was read whole may have been carried out, whatever comes back.
package final class WireServer: Sendable {
    package typealias Script = @Sendable (WireRequest) -> WireStep

    struct State {
        var isReleased = false
        var isStopping = false
        var heads: [String] = []
    }

    /// What the server's thread shares with its owner.
    final class Shared: Sendable {
        let state = Mutex(State())
        let waker: Waker
        let connections = Tally()
        let endings = Tally()
        let requests = Tally()
        let posts = Tally()
        init() throws { waker = try Waker() }
    }

    private let shared: Shared
    package let port: Int

    /// `closesAtFirstByte`: whatever the client says, the connection is closed then.
    package init(closesAtFirstByte: Bool = false, _ script: @escaping Script = { _ in .hold })
        throws
    {
        let (listener, port) = try Sockets.listenOnLoopback()
        self.port = port
        let shared = try Shared()
        self.shared = shared
        Thread.detachNewThread {
            var loop = WireLoop(
                listener: listener, closesAtFirstByte: closesAtFirstByte, script: script,
                shared: shared)
            loop.run()
        }
    }

    deinit {
        shared.state.withLock { $0.isStopping = true }
        shared.waker.wake()
    }

    /// Connections taken.
    package var connections: Tally { shared.connections }
    /// Connections ended, by either side.
    package var endings: Tally { shared.endings }
    /// Requests read whole.
    package var requests: Tally { shared.requests }
    /// POSTs among them: each one is an execution.
    package var posts: Tally { shared.posts }
    /// The heads of the requests, in order.
    package var heads: [String] { shared.state.withLock { $0.heads } }

    package func url(_ path: String = "/", scheme: String = "http") -> String {
        "\(scheme)://127.0.0.1:\(port)\(path)"
    }

    /// Answers all that is held with 200, and from now on holds nothing.
    package func release() {
        shared.state.withLock { $0.isReleased = true }
        shared.waker.wake()
    }
}

/// The server's thread.
private struct WireLoop {
    private final class Connection {
        let descriptor: Int32
        let number: Int
        var input: [UInt8] = []
        var output: [UInt8] = []
        var requests = 0
        var isHeld = false
        var hasEnded = false

        init(_ descriptor: Int32, _ number: Int) {
            self.descriptor = descriptor
            self.number = number
        }
    }

    private var listener: Int32
    private let closesAtFirstByte: Bool
    private let script: WireServer.Script
    private let shared: WireServer.Shared
    private var connections: [Connection] = []
    private var accepted = 0

    init(
        listener: Int32, closesAtFirstByte: Bool, script: @escaping WireServer.Script,
        shared: WireServer.Shared
    ) {
        self.listener = listener
        self.closesAtFirstByte = closesAtFirstByte
        self.script = script
        self.shared = shared
    }

    mutating func run() {
        let held = WireStep.status(200, body: "held").written
        while true {
            var waits = [
                pollfd(fd: shared.waker.descriptor, events: Int16(POLLIN), revents: 0),
                pollfd(fd: listener, events: Int16(POLLIN), revents: 0),
            ]
            for connection in connections {
                let events = connection.output.isEmpty ? POLLIN : POLLIN | POLLOUT
                waits.append(
                    pollfd(fd: connection.descriptor, events: Int16(events), revents: 0))
            }
            _ = poll(&waits, nfds_t(waits.count), -1)
            shared.waker.clear()
            let (isReleased, isStopping) = shared.state.withLock { ($0.isReleased, $0.isStopping) }
            if isStopping { break }
            for (connection, wait) in zip(connections, waits.dropFirst(2)) {
                if wait.revents != 0 { serve(connection) }
                if isReleased, connection.isHeld { answer(connection, held) }
            }
            let ended = connections.filter(\.hasEnded).count
            connections.removeAll(where: \.hasEnded)
            shared.endings.add(ended)
            acceptAll()
        }
        for connection in connections { Sockets.end(connection.descriptor) }
        if listener >= 0 { close(listener) }
    }

    private mutating func acceptAll() {
        while listener >= 0, let descriptor = Sockets.accept(listener) {
            accepted += 1
            connections.append(Connection(descriptor, accepted))
            shared.connections.add()
        }
    }

    private mutating func serve(_ connection: Connection) {
        switch Sockets.read(connection.descriptor) {
        case .bytes(let bytes):
            connection.input += bytes
            if closesAtFirstByte { return end(connection) }
            while !connection.hasEnded, !connection.isHeld, let request = next(connection) {
                shared.state.withLock { $0.heads.append(request.head) }
                if request.method == "POST" { shared.posts.add() }
                shared.requests.add()
                carryOut(script(request), connection)
            }
        case .nothing: break
        case .ended: return end(connection)
        }
        if !connection.hasEnded, !Sockets.write(connection.descriptor, &connection.output) {
            end(connection)
        }
    }

    private mutating func carryOut(_ step: WireStep, _ connection: Connection) {
        switch step {
        case .answer(let text): answer(connection, Array(text.utf8))
        case .bytes(let bytes): answer(connection, bytes)
        case .hold: connection.isHeld = true
        case .answerAndClose(let body):
            answer(connection, WireStep.status(200, body: body).written)
            end(connection)
        case .close: end(connection)
        case .reset:
            connection.hasEnded = true
            Sockets.reset(connection.descriptor)
        case .closeAndStopListening:
            close(listener)
            listener = -1
            end(connection)
        }
    }

    private func answer(_ connection: Connection, _ bytes: [UInt8]) {
        connection.isHeld = false
        connection.output += bytes
        if !Sockets.write(connection.descriptor, &connection.output) { end(connection) }
    }

    private func end(_ connection: Connection) {
        guard !connection.hasEnded else { return }
        connection.hasEnded = true
        Sockets.end(connection.descriptor)
    }

    /// The next request that is complete, removed from the input.
    private func next(_ connection: Connection) -> WireRequest? {
        guard let end = connection.input.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
        let head = String(decoding: connection.input[..<end.lowerBound], as: UTF8.self)
        let lines = head.split(separator: "\r\n")
        let length = lines.lazy.compactMap { line -> Int? in
            let words = line.lowercased().split(separator: ":", maxSplits: 1)
            guard words.count == 2, words[0] == "content-length" else { return nil }
            return Int(words[1].trimmingCharacters(in: .whitespaces))
        }.first
        let body = connection.input[end.upperBound...].prefix(length ?? 0)
        guard body.count == length ?? 0 else { return nil }
        connection.input.removeSubrange(..<body.endIndex)
        connection.requests += 1
        let words = lines[0].split(separator: " ")
        return WireRequest(
            method: String(words[0]), target: String(words[1]), head: head, body: Array(body),
            connection: connection.number, ordinal: connection.requests)
    }
}
