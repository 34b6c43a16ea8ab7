import Glibc

/// Raw sockets for scripted servers, non-blocking and closed on exec.
package enum Sockets {
    package struct Failure: Error, CustomStringConvertible {
        package var description: String
        package init(_ call: String) { description = "\(call) failed: errno \(errno)" }
    }

    /// What a read brought.
    package enum Arrival {
        case bytes([UInt8])
        case nothing
        /// The peer closed or reset its side.
        case ended
    }

    private static let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    private static let stream = Int32(SOCK_STREAM.rawValue) | flags

    /// Listens on a free port of 127.0.0.1.
    package static func listenOnLoopback(
        backlog: Int32 = 4_096
    ) throws -> (listener: Int32, port: Int) {
        let (listener, port) = try reserveOnLoopback()
        guard Glibc.listen(listener, backlog) == 0 else { throw Failure("listen") }
        return (listener, port)
    }

    /// A port of 127.0.0.1 that refuses connections for as long as the socket is not closed.
    package static func reserveOnLoopback() throws -> (holder: Int32, port: Int) {
        let listener = socket(AF_INET, stream, 0)
        guard listener >= 0 else { throw Failure("socket") }
        var address = loopback(port: 0)
        try withAddress(&address) { address, length in
            guard Glibc.bind(listener, address, length) == 0 else { throw Failure("bind") }
        }
        var bound = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = withUnsafeMutablePointer(to: &bound) { bound in
            bound.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                getsockname(listener, $0, &length)
            }
        }
        return (listener, Int(in_port_t(bigEndian: bound.sin_port)))
    }

    package static func listen(unixPath path: String) throws -> Int32 {
        let listener = socket(AF_UNIX, stream, 0)
        guard listener >= 0 else { throw Failure("socket") }
        var address = try unix(path)
        try withAddress(&address) { address, length in
            guard Glibc.bind(listener, address, length) == 0 else { throw Failure("bind") }
        }
        guard Glibc.listen(listener, 128) == 0 else { throw Failure("listen") }
        return listener
    }

    package static func connect(unixPath path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, stream, 0)
        guard descriptor >= 0 else { throw Failure("socket") }
        var address = try unix(path)
        do {
            try withAddress(&address) { address, length in
                guard Glibc.connect(descriptor, address, length) == 0 else {
                    throw Failure("connect")
                }
            }
        } catch {
            close(descriptor)
            throw error
        }
        return descriptor
    }

    /// Begins to connect to a port of 127.0.0.1, and does not wait until that is done.
    package static func beginConnecting(port: Int) throws -> Int32 {
        let descriptor = socket(AF_INET, stream, 0)
        guard descriptor >= 0 else { throw Failure("socket") }
        var address = loopback(port: in_port_t(port))
        _ = withAddress(&address) { Glibc.connect(descriptor, $0, $1) }
        return descriptor
    }

    /// The next connection that waits; nil: none does.
    package static func accept(_ listener: Int32) -> Int32? {
        let descriptor = Glibc.accept(listener, nil, nil)
        guard descriptor >= 0 else { return nil }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        return descriptor
    }

    /// Ends a connection, though a program that was started just now may have inherited it.
    package static func end(_ descriptor: Int32) {
        shutdown(descriptor, Int32(SHUT_RDWR))
        close(descriptor)
    }

    package static func read(_ descriptor: Int32) -> Arrival {
        var result = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: 65_536) { buffer, count in
            result = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            count = max(0, result)
        }
        if result > 0 { return .bytes(bytes) }
        return result < 0 && errno == EAGAIN ? .nothing : .ended
    }

    /// Writes what the socket takes and removes it from `bytes`. False: the peer is gone.
    package static func write(_ descriptor: Int32, _ bytes: inout [UInt8]) -> Bool {
        while !bytes.isEmpty {
            let count = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            guard count >= 0 else { return errno == EAGAIN }
            bytes.removeFirst(count)
        }
        return true
    }

    /// Closes with a reset instead of an orderly end.
    package static func reset(_ descriptor: Int32) {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(
            descriptor, SOL_SOCKET, SO_LINGER, &linger,
            socklen_t(MemoryLayout.size(ofValue: linger)))
        close(descriptor)
    }

    private static func loopback(port: in_port_t) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        return address
    }

    private static func unix(_ path: String) throws -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        try withUnsafeMutableBytes(of: &address.sun_path) { field in
            guard path.utf8.count < field.count else {
                errno = ENAMETOOLONG
                throw Failure("sockaddr_un")
            }
            field.copyBytes(from: path.utf8)
        }
        return address
    }

    private static func withAddress<Address, Result>(
        _ address: inout Address,
        _ body: (UnsafePointer<sockaddr>, socklen_t) throws -> Result
    ) rethrows -> Result {
        try withUnsafePointer(to: &address) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                try body($0, socklen_t(MemoryLayout<Address>.size))
            }
        }
    }
}

/// Wakes a thread that polls `descriptor`.
package final class Waker: Sendable {
    package let descriptor: Int32
    private let writing: Int32

    package init() throws {
        var ends: [Int32] = [0, 0]
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else { throw Sockets.Failure("socketpair") }
        descriptor = ends[0]
        writing = ends[1]
    }

    deinit {
        close(descriptor)
        close(writing)
    }

    package func wake() {
        var byte: UInt8 = 1
        _ = write(writing, &byte, 1)
    }

    package func clear() {
        var bytes = [UInt8](repeating: 0, count: 512)
        while Glibc.read(descriptor, &bytes, bytes.count) > 0 {}
    }
}
