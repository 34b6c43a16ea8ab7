/// An HTTP/1.1 client on libcurl: thousands of requests in flight on one thread.
///
/// A POST leaves once: a callback before each send refuses the second, so that libcurl's silent
/// re-send on a reused connection that dies becomes an error (42) that means "may have left". No
/// redirects, no proxy from the environment, no cookies, no compression, TLS verified.
package struct HTTPClient: Sendable {
    package struct Configuration: Sendable {
        package var connectTimeout: Duration = .seconds(5)
        package var requestTimeout: Duration = .seconds(65)
        package var maximumBodyBytes = 1 << 20
        package var maximumHeaderBytes = 64 << 10
        /// Plain http is refused unless set.
        package var allowsPlainHTTP = false
        /// Only by explicit option; it must tunnel (CONNECT), so that it sees the host but not the
        /// path. Whatever the environment says is ignored.
        package var proxy: String?
        package var caFile: String?
        /// Connections that idled longer are the ones that die on reuse.
        package var maximumConnectionAge: Duration = .seconds(20)
        /// A new connection for every request, at one TLS handshake each.
        package var freshConnections = false
        /// Connections kept, and the most that are open at once.
        package var maximumConnections = 10_000

        package init() {}
    }

    private let loop: CurlLoop

    /// libcurl's own words for itself and its TLS library, for the log.
    package static var libraryVersion: String { LibCurl.version }

    /// The client's own thread, for tasks that do little but wait for answers: a request and its answer
    /// then change no thread. What runs there must not block.
    package var executor: any TaskExecutor { loop }

    /// Starts the thread. Throws an `.invalid` error if libcurl refuses the configuration.
    package init(_ configuration: Configuration) throws(HTTPError) {
        loop = try CurlLoop(configuration)
    }

    /// Sends one request. Cancelling the task does not end a transfer: what is on the wire ends in
    /// an answer or an error.
    package func send(_ request: HTTPRequest) async throws(HTTPError) -> HTTPResponse {
        guard request.isLegal else {
            throw HTTPError(kind: .invalid, curlCode: 0, mayHaveLeft: false)
        }
        let result = await withCheckedContinuation { continuation in
            loop.submit(request) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Waits for what is in flight, then ends the thread. Later requests fail as not sent.
    package func shutdown() async {
        await withCheckedContinuation { continuation in
            loop.stop { continuation.resume() }
        }
    }
}

extension HTTPRequest {
    /// No line break or NUL anywhere that goes into the head of the request.
    fileprivate var isLegal: Bool {
        func isClean(_ text: String) -> Bool {
            text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
        }
        func areClean(_ headers: [(name: String, value: String)]) -> Bool {
            headers.allSatisfy {
                isClean($0.name) && isClean($0.value) && !$0.name.utf8.contains(UInt8(ascii: ":"))
            }
        }
        return !url.isEmpty && isClean(url)
            && areClean(headers) && areClean(ownHeaders)
    }
}
