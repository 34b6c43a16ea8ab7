import Foundation
import Glibc
import TestSupport

/// Somebody who looks at a worker.
struct Looker {
    let port: UInt16

    struct Answer {
        var status: Int
        var head: String
        var body: String
    }

    init(port: UInt16) { self.port = port }

    /// Finds the port of a worker that was started with port 0.
    init(_ worker: ChildProcess) async throws {
        var found: UInt16?
        try await eventually("it listens") {
            let line = worker.errors.split(separator: "\n").first {
                $0.contains("\"message\":\"listening\"")
            }
            let digits = line?.firstMatch(of: /"address":"[^"]*:(\d+)"/)?.output.1
            found = digits.flatMap { UInt16($0) }
            return found != nil
        }
        port = found ?? 0
    }

    func get(
        _ path: String, method: String = "GET", host: String = "localhost",
        fields: [String] = []
    ) throws -> Answer {
        let lines =
            ["\(method) \(path) HTTP/1.1", "Host: \(host)", "Connection: close"] + fields + [
                "", "",
            ]
        let answer = try Sandbox.exchange(lines.joined(separator: "\r\n"), port: port)
        let parts = answer.split(separator: "\r\n\r\n", maxSplits: 1)
        let head = parts.first.map { String($0) } ?? ""
        let status = head.split(separator: " ").dropFirst().first.flatMap { Int($0) }
        guard let status else { throw ChildProcess.Failure("no answer: \(answer.prefix(200))") }
        return Answer(
            status: status, head: head.lowercased(), body: parts.count > 1 ? String(parts[1]) : "")
    }

    /// All samples by their name and labels.
    func metrics() throws -> [String: Double] {
        let answer = try get("/metrics")
        guard answer.status == 200 else { throw ChildProcess.Failure(answer.head) }
        var samples: [String: Double] = [:]
        for line in answer.body.split(separator: "\n") where !line.hasPrefix("#") {
            guard let space = line.lastIndex(of: " "),
                let value = Double(line[line.index(after: space)...])
            else { throw ChildProcess.Failure("no sample: \(line)") }
            samples[String(line[..<space])] = value
        }
        return samples
    }
}

/// A connection on which nothing is said.
final class SilentClient {
    private let descriptor: Int32

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(O_CLOEXEC), 0)
        let status = Loopback.with(port) { connect(descriptor, $0, $1) }
        guard status == 0 else { throw ChildProcess.Failure("connect: \(errno)") }
    }

    deinit { close(descriptor) }
}

/// Somebody else who has a port.
final class PortHolder {
    private let descriptor: Int32

    init(port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(O_CLOEXEC), 0)
        let status = Loopback.with(port) { bind(descriptor, $0, $1) }
        guard status == 0, listen(descriptor, 1) == 0 else {
            close(descriptor)
            throw ChildProcess.Failure("bind: \(errno)")
        }
    }

    deinit { close(descriptor) }
}

private enum Loopback {
    static func with(
        _ port: UInt16, _ call: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                call($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }
}
