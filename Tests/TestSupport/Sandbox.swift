package import Foundation
import Glibc

/// The provider's stand-in as a process of its own, and the hand of whoever runs the test.
package struct Sandbox: Sendable {
    /// The totals of `/_sandbox/books`.
    package struct Books: Decodable {
        package var approvals: Int
        package var won: Int
        /// Executed, and the answer is still on its way or was lost.
        package var unanswered: Int
        package var declines: [String: Int]
        /// Calls by name: approve, order, ...
        package var requests: [String: Int]
        /// Error answers by code.
        package var errors: [String: Int]
        /// Requests that a fault rule has still to let arrive.
        package var lateRequestsToCome: Int
        /// Order-id prefixes, subscription and period, that were charged more than once.
        package var duplicates: [String: Int]
    }

    /// One execution, a line of `/_sandbox/books.csv`.
    package struct Payment: Hashable, Sendable {
        package var paymentKey: String
        package var orderID: String
        package var customerKey: String
        package var amount: String

        package init(paymentKey: String, orderID: String, customerKey: String, amount: String) {
            self.paymentKey = paymentKey
            self.orderID = orderID
            self.customerKey = customerKey
            self.amount = amount
        }
    }

    package let process: ChildProcess
    package let port: UInt16
    package var address: String { "http://127.0.0.1:\(port)" }

    /// `otherKeys`: further secret keys of the same shop. `books`: a file in which its books
    /// survive it. `folder`: as for ``ChildProcess``.
    package init(
        secretKey: String, otherKeys: [String] = [], latencyMilliseconds: Int = 0,
        books: String? = nil, into folder: URL? = nil
    ) async throws {
        let process = try await ChildProcess(
            Checkout.program("toss-sandbox"),
            ([secretKey] + otherKeys).flatMap { ["--secret-key", $0] }
                + ["--latency-ms", "\(latencyMilliseconds)"]
                + (books.map { ["--books", $0] } ?? []),
            into: folder)
        self.process = process
        try await eventually("the sandbox listens") { process.output.hasSuffix("\n") }
        let number = process.output.split(separator: ":").last?.dropLast()
        guard let port = number.flatMap({ UInt16($0) }) else {
            throw ChildProcess.Failure("toss-sandbox: \(process.output)")
        }
        self.port = port
    }

    package func books() throws -> Books {
        try JSONDecoder().decode(Books.self, from: Data(call("GET", "books").utf8))
    }

    package func payments() throws -> [Payment] {
        try call("GET", "books.csv").split(separator: "\n").dropFirst().map { line in
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            return Payment(
                paymentKey: String(fields[0]), orderID: String(fields[1]),
                customerKey: String(fields[2]), amount: String(fields[3]))
        }
    }

    /// The idempotency keys of all executions, as the provider read them from the header.
    package func idempotencyKeys() throws -> [String] {
        try call("GET", "books.csv").split(separator: "\n").dropFirst().map { line in
            String(line.split(separator: ",", omittingEmptySubsequences: false)[6])
        }
    }

    /// Replaces the fault rules; JSON as in `FaultRule`.
    package func faults(_ rules: String) throws { _ = try call("PUT", "faults", rules) }

    /// One call of `/_sandbox`; the body of its answer. Throws unless it answers 200.
    @discardableResult
    package func call(_ method: String, _ path: String, _ body: String = "") throws -> String {
        let answer = try exchange(
            """
            \(method) /_sandbox/\(path) HTTP/1.1\r
            Host: 127.0.0.1\r
            Connection: close\r
            Content-Length: \(body.utf8.count)\r
            \r
            \(body)
            """)
        let parts = answer.split(separator: "\r\n\r\n", maxSplits: 1)
        guard answer.hasPrefix("HTTP/1.1 200"), let head = parts.first else {
            throw ChildProcess.Failure("sandbox, \(method) \(path): \(answer.prefix(500))")
        }
        guard !head.lowercased().contains("transfer-encoding") else {
            throw ChildProcess.Failure("sandbox, \(method) \(path): a chunked answer")
        }
        return parts.count > 1 ? String(parts[1]) : ""
    }

    /// A conversation on a connection of its own.
    package func exchange(_ request: String) throws -> String {
        try Self.exchange(request, port: port)
    }

    /// A blocking conversation with a server of this machine, on a connection of its own: it takes
    /// a millisecond, and so tells when something happened better than a process would.
    package static func exchange(_ request: String, port: UInt16) throws -> String {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(O_CLOEXEC), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let connected = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw ChildProcess.Failure("the server is gone: \(errno)") }
        var left = Array(request.utf8)[...]
        while !left.isEmpty {
            let sent = left.withUnsafeBytes {
                send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard sent > 0 else { throw ChildProcess.Failure("the server hung up: \(errno)") }
            left = left.dropFirst(sent)
        }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count >= 0 else { throw ChildProcess.Failure("the server broke off: \(errno)") }
            if count == 0 { return String(decoding: answer, as: UTF8.self) }
            answer += buffer[..<count]
        }
    }
}
