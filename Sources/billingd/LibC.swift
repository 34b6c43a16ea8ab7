import Glibc

/// The few calls of the C library that the daemon makes; with LibPQ.swift and LibCurl.swift the only
/// file that touches pointers.
enum LibC {
    /// Variables that change what libpq and libcurl do behind our back: commits that are not
    /// durable, TLS keys in a file, a proxy that sees or repeats requests. Removed before either
    /// library starts.
    static let harmful = [
        "PGOPTIONS", "PGSERVICE", "PGSERVICEFILE", "PGDATESTYLE", "PGTZ", "PGGEQO", "SSLKEYLOGFILE",
        "http_proxy", "https_proxy",
        "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "CURL_HOME",
    ]

    /// Call it once, first thing in `main`: the environment is not safe to change later. A closed pipe
    /// behind standard error must not end the process either.
    static func prepareProcess() {
        for name in harmful { unsafe unsetenv(name) }
        _ = signal(SIGPIPE, SIG_IGN)
    }

    /// Raises the soft limit of open files to the hard one and returns it: each request in flight
    /// takes a descriptor.
    static func raiseFileLimit() -> Int {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return 1_024
        }
        limit.rlim_cur = limit.rlim_max
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int(clamping: limit.rlim_cur)
    }

    static var processID: Int32 { getpid() }

    static var hostName: String {
        var buffer = [UInt8](repeating: 0, count: 256)
        let result = unsafe buffer.withUnsafeMutableBytes { bytes in
            guard let start = bytes.baseAddress else { return Int32(-1) }
            return unsafe gethostname(start.assumingMemoryBound(to: CChar.self), 255)
        }
        guard result == 0 else { return "unknown" }
        return String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
    }

    static var outputIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    static var inputIsTerminal: Bool { isatty(STDIN_FILENO) == 1 }

    /// Whether standard error is the stream that systemd names in JOURNAL_STREAM, `device:inode`
    /// (systemd.exec(5)): a child may have inherited the name and not the stream.
    static func errorIs(_ stream: String?) -> Bool {
        var status = stat()
        guard let stream, unsafe fstat(STDERR_FILENO, &status) == 0 else { return false }
        return stream == "\(status.st_dev):\(status.st_ino)"
    }

    /// What was printed without an end of line becomes visible, too.
    static func flushOutput() { _ = fflush(nil) }

    /// Writes to standard error in one call, so that lines of several processes stay whole. What
    /// cannot be written (a full disk, a closed pipe) is dropped: a log line never fails a charge.
    static func writeError(_ text: String) {
        let bytes = Array(text.utf8)
        _ = unsafe write(STDERR_FILENO, bytes, bytes.count)
    }

    /// Sends one datagram to systemd's notify socket, as sd_notify(3) says; no socket: does nothing.
    /// A failure is no reason to stop charging, so it is only returned.
    @discardableResult
    static func notify(_ state: String, socket path: String) -> Bool {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var name = Array(path.utf8)
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        guard !name.isEmpty, name.count < capacity else { return false }
        // A leading @ means the abstract namespace.
        if name[0] == UInt8(ascii: "@") { name[0] = 0 }
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            unsafe bytes.copyBytes(from: name)
        }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
        let descriptor = Glibc.socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        let bytes = Array(state.utf8)
        let sent = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
                unsafe sendto(
                    descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), generic, length)
            }
        }
        return sent == bytes.count
    }
}
