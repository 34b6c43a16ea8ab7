import Foundation
import Glibc
import TestSupport

/// ``Provider`` as a process of its own.
struct CheapProvider {
    let process: ChildProcess
    let port: UInt16

    struct Books: Decodable {
        var orders: Int
        var won: Int
        var repeats: Int
        var lookUps: Int
        /// Nanoseconds of the boot-time clock.
        var firstAt: UInt64
        var lastAt: UInt64
        var mostInFlight: Int
        var receipts: [String: UInt64]
    }

    init(latency: Int) async throws {
        let process = try await ChildProcess(
            URL(filePath: "/proc/self/exe").resolvingSymlinksInPath(),
            ["provider", "--latency", "\(latency)"], lastSignal: "KILL")
        self.process = process
        try await eventually("the provider listens") { process.output.hasSuffix("\n") }
        guard let port = UInt16(process.output.dropLast()) else {
            throw BenchFailure("provider: \(process.output)")
        }
        self.port = port
    }

    func books() throws -> Books {
        let connection = try Sockets.beginConnecting(port: Int(port))
        defer { close(connection) }
        var state = pollfd(fd: connection, events: Int16(POLLOUT), revents: 0)
        poll(&state, 1, 1_000)
        var text = Array("GET /books HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
        guard Sockets.write(connection, &text) else { throw BenchFailure("no provider") }
        var answer: [UInt8] = []
        while true {
            state.events = Int16(POLLIN)
            guard poll(&state, 1, 5_000) == 1 else { break }
            guard case .bytes(let bytes) = Sockets.read(connection) else { break }
            answer += bytes
            if let books = Self.books(in: answer) { return books }
        }
        throw BenchFailure("the provider does not tell its books")
    }

    private static func books(in answer: [UInt8]) -> Books? {
        let text = String(decoding: answer, as: UTF8.self)
        guard let body = text.range(of: "\r\n\r\n")?.upperBound else { return nil }
        return try? JSONDecoder().decode(Books.self, from: Data(text[body...].utf8))
    }

    func end() async {
        process.kill(SIGKILL)
        await process.ended()
    }
}
