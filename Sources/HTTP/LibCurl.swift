import CCurl
import Glibc
import Synchronization

/// libcurl's event loop on a thread of its own: the one place that touches libcurl.
///
/// Requests are handed over through a locked queue and `curl_multi_wakeup`, the one function of a
/// multi handle that another thread may call (curl manual, libcurl-thread).
@safe final class CurlLoop: @unchecked Sendable {
    // Touched by the loop's thread only, after `init`.
    private let multi: UnsafeMutableRawPointer
    private let configuration: HTTPClient.Configuration
    private var transfers: [UnsafeMutableRawPointer: Transfer] = unsafe [:]
    private var spare: [UnsafeMutableRawPointer] = unsafe []

    private let inbox = Mutex(Inbox())

    private struct Inbox {
        var waiting: [Transfer] = []
        var isStopping = false
        var hasEnded = false
        var onEnd: [@Sendable () -> Void] = []
    }

    static var libraryVersion: String { unsafe String(cString: curl_version()) }

    init(_ configuration: HTTPClient.Configuration) throws(HTTPError) {
        // Debian's libcurl writes TLS keys to the file that this variable names.
        unsafe unsetenv("SSLKEYLOGFILE")
        let failure = HTTPError(kind: .invalid, curlCode: 0, mayHaveLeft: false)
        guard billingd_curl_global_init() == CURLE_OK, let multi = unsafe curl_multi_init() else {
            throw failure
        }
        unsafe self.multi = multi
        self.configuration = configuration
        let most = configuration.maximumConnections
        unsafe billingd_curl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, most)
        unsafe billingd_curl_multi_set_long(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, most)
        var thread = pthread_t()
        let context = unsafe Unmanaged.passRetained(self)
        let result = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                unsafe Unmanaged<CurlLoop>.fromOpaque(context).takeRetainedValue().run()
                return nil
            }, context.toOpaque())
        guard result == 0 else {
            unsafe context.release()
            throw failure
        }
        pthread_detach(thread)
    }

    deinit {
        while let easy = unsafe spare.popLast() { unsafe curl_easy_cleanup(easy) }
        unsafe curl_multi_cleanup(multi)
    }

    /// Any thread. `done` is called once, on the loop's thread or at once.
    func submit(
        _ request: HTTPRequest, done: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) {
        let transfer = Transfer(request, configuration, done)
        let isAccepted = inbox.withLock { inbox in
            guard !inbox.isStopping else { return false }
            inbox.waiting.append(transfer)
            return true
        }
        guard isAccepted else { return transfer.fail(.other, curlCode: 0, mayHaveLeft: false) }
        unsafe curl_multi_wakeup(multi)
    }

    /// Any thread. `done` is called when the last transfer has ended.
    func stop(done: @escaping @Sendable () -> Void) {
        let hasEnded = inbox.withLock { inbox in
            inbox.isStopping = true
            if !inbox.hasEnded { inbox.onEnd.append(done) }
            return inbox.hasEnded
        }
        if hasEnded { return done() }
        unsafe curl_multi_wakeup(multi)
    }

    // MARK: On the loop's thread

    private func run() {
        while true {
            let (new, isStopping) = inbox.withLock { inbox in
                defer { inbox.waiting.removeAll() }
                return (inbox.waiting, inbox.isStopping)
            }
            for transfer in new { start(transfer) }
            var running: Int32 = 0
            unsafe curl_multi_perform(multi, &running)
            finishEnded()
            if isStopping, unsafe transfers.isEmpty { break }
            unsafe curl_multi_poll(multi, nil, 0, 1_000, nil)
        }
        let waiters = inbox.withLock { inbox in
            inbox.hasEnded = true
            defer { inbox.onEnd.removeAll() }
            return inbox.onEnd
        }
        for waiter in waiters { waiter() }
    }

    /// Longest wait between hand-over and start, 5 s: the caller checked that the lease outlives the
    /// request, and that check must still hold.
    private static let longestWait = Duration.seconds(5)

    private func start(_ transfer: Transfer) {
        guard transfer.age < Self.longestWait else {
            return transfer.fail(.timeout, curlCode: 28, mayHaveLeft: false)
        }
        guard let easy = unsafe spare.popLast() ?? curl_easy_init() else {
            return transfer.fail(.other, curlCode: 27, mayHaveLeft: false)
        }
        guard unsafe transfer.configure(easy), unsafe curl_multi_add_handle(multi, easy) == CURLM_OK
        else {
            unsafe curl_easy_cleanup(easy)
            return transfer.fail(.invalid, curlCode: 43, mayHaveLeft: false)
        }
        unsafe transfers[easy] = transfer
    }

    private func finishEnded() {
        var left: Int32 = 0
        while let message = unsafe curl_multi_info_read(multi, &left) {
            guard unsafe message.pointee.msg == CURLMSG_DONE,
                let easy = unsafe message.pointee.easy_handle
            else { continue }
            let code = unsafe billingd_curl_result(message)
            let transfer = unsafe transfers.removeValue(forKey: easy)
            unsafe transfer?.finish(easy, code)
            // Its buffers are libcurl's until here.
            withExtendedLifetime(transfer) {
                _ = unsafe curl_multi_remove_handle(multi, easy)
            }
            // Handles are kept for their allocations; connections belong to the multi.
            if unsafe spare.count < 1_024 {
                unsafe curl_easy_reset(easy)
                unsafe spare.append(easy)
            } else {
                unsafe curl_easy_cleanup(easy)
            }
        }
    }
}

/// One request on its way. Handed to the loop's thread once; only that thread touches it then.
@safe private final class Transfer: @unchecked Sendable {
    private let request: HTTPRequest
    private let configuration: HTTPClient.Configuration
    private let done: @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    private let began = ContinuousClock.now
    private var list: UnsafeMutablePointer<curl_slist>?
    private var sent = 0
    private var body: [UInt8] = []
    private var headers: [(name: String, value: String)] = []
    private var headerBytes = 0
    private var isTooLarge = false

    init(
        _ request: HTTPRequest, _ configuration: HTTPClient.Configuration,
        _ done: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) {
        self.request = request
        self.configuration = configuration
        self.done = done
    }

    deinit { unsafe curl_slist_free_all(list) }

    /// Since the hand-over.
    var age: Duration { ContinuousClock.now - began }

    /// Sets every option explicitly; false if libcurl refuses one.
    func configure(_ easy: UnsafeMutableRawPointer) -> Bool {
        var isFine = true
        func set(_ option: CURLoption, _ value: Int) {
            isFine = unsafe billingd_curl_set_long(easy, option, value) == CURLE_OK && isFine
        }
        func set(_ option: CURLoption, _ value: String) {
            isFine = unsafe billingd_curl_set_text(easy, option, value) == CURLE_OK && isFine
        }
        set(CURLOPT_URL, request.url)
        isFine =
            unsafe billingd_curl_set_protocols(easy, configuration.allowsPlainHTTP ? 1 : 0)
            == CURLE_OK
            && isFine
        // A transfer that times out must not wait for its resolver's thread: that would stop all.
        unsafe billingd_curl_set_quick_exit(easy)
        // HTTP/2 repeats refused streams by itself, and one broken connection would make every
        // charge on it unknown.
        set(CURLOPT_HTTP_VERSION, billingd_curl_http_1_1)
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_CONNECTTIMEOUT_MS, milliseconds(configuration.connectTimeout))
        set(CURLOPT_TIMEOUT_MS, milliseconds(request.timeout ?? configuration.requestTimeout))
        set(CURLOPT_SSL_VERIFYPEER, 1)
        set(CURLOPT_SSL_VERIFYHOST, 2)
        set(CURLOPT_SSLVERSION, billingd_curl_tls_1_2)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_MAXAGE_CONN, milliseconds(configuration.maximumConnectionAge) / 1_000)
        if let file = configuration.caFile {
            set(CURLOPT_CAINFO, file)
            // The distribution's folder of certificates would be trusted beside it.
            isFine = unsafe billingd_curl_set_text(easy, CURLOPT_CAPATH, nil) == CURLE_OK && isFine
        }
        if let proxy = configuration.proxy {
            set(CURLOPT_PROXY, proxy)
            set(CURLOPT_HTTPPROXYTUNNEL, 1)
        } else {
            // An empty proxy beats the environment's.
            set(CURLOPT_PROXY, "")
            set(CURLOPT_NOPROXY, "*")
        }
        if configuration.freshConnections {
            set(CURLOPT_FRESH_CONNECT, 1)
            set(CURLOPT_FORBID_REUSE, 1)
        }
        if case .post(let bytes) = request.method {
            set(CURLOPT_POST, 1)
            // Without a body there is nothing to rewind: libcurl would send it again.
            if bytes.isEmpty { set(CURLOPT_FRESH_CONNECT, 1) }
            isFine =
                unsafe billingd_curl_set_size(
                    easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(bytes.count)) == CURLE_OK
                && isFine
        } else {
            set(CURLOPT_HTTPGET, 1)
        }
        return unsafe isFine && addHeaders(easy) && addCallbacks(easy)
    }

    private func addHeaders(_ easy: UnsafeMutableRawPointer) -> Bool {
        // An empty Expect keeps libcurl from waiting for "100 Continue".
        for (name, value) in request.headers + [("Expect", "")] {
            let line = value.isEmpty ? "\(name):" : "\(name): \(value)"
            guard let longer = unsafe curl_slist_append(list, line) else { return false }
            unsafe list = longer
        }
        return unsafe billingd_curl_set_list(easy, CURLOPT_HTTPHEADER, list) == CURLE_OK
    }

    private func addCallbacks(_ easy: UnsafeMutableRawPointer) -> Bool {
        // The loop keeps the transfer in its table until it is finished.
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        // No seek and no ioctl callback: libcurl cannot rewind the body, so it cannot send it again.
        let read = unsafe billingd_curl_set_callback(
            easy, CURLOPT_READFUNCTION,
            { bytes, size, count, context in
                guard let bytes = unsafe bytes, let context = unsafe context else { return 0 }
                let transfer = unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
                return unsafe transfer.read(
                    into: UnsafeMutableRawBufferPointer(start: bytes, count: size * count))
            }, CURLOPT_READDATA, context)
        let write = unsafe billingd_curl_set_callback(
            easy, CURLOPT_WRITEFUNCTION,
            { bytes, size, count, context in
                guard let bytes = unsafe bytes, let context = unsafe context else { return 0 }
                let transfer = unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
                return unsafe transfer.take(
                    body: UnsafeRawBufferPointer(start: bytes, count: size * count))
            }, CURLOPT_WRITEDATA, context)
        let header = unsafe billingd_curl_set_callback(
            easy, CURLOPT_HEADERFUNCTION,
            { bytes, size, count, context in
                guard let bytes = unsafe bytes, let context = unsafe context else { return 0 }
                let transfer = unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
                return unsafe transfer.take(
                    header: UnsafeRawBufferPointer(start: bytes, count: size * count))
            }, CURLOPT_HEADERDATA, context)
        return read == CURLE_OK && write == CURLE_OK && header == CURLE_OK
    }

    private func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        guard case .post(let bytes) = request.method else { return 0 }
        let piece = bytes[sent...].prefix(buffer.count)
        unsafe buffer.copyBytes(from: piece)
        sent += piece.count
        return piece.count
    }

    /// Fewer bytes taken than offered makes libcurl end the transfer.
    private func take(body bytes: UnsafeRawBufferPointer) -> Int {
        guard body.count + bytes.count <= configuration.maximumBodyBytes else {
            isTooLarge = true
            return 0
        }
        unsafe body.append(contentsOf: bytes)
        return bytes.count
    }

    private func take(header bytes: UnsafeRawBufferPointer) -> Int {
        headerBytes += bytes.count
        guard headerBytes <= configuration.maximumHeaderBytes else {
            isTooLarge = true
            return 0
        }
        let line = unsafe String(decoding: bytes, as: UTF8.self)
        if let colon = line.firstIndex(of: ":") {
            let value = line[line.index(after: colon)...]
            headers.append((line[..<colon].lowercased(), value.trimmed))
        }
        return bytes.count
    }

    func finish(_ easy: UnsafeMutableRawPointer, _ code: CURLcode) {
        let duration = ContinuousClock.now - began
        var status = 0
        var pretransfer: curl_off_t = 0
        unsafe billingd_curl_get_long(easy, CURLINFO_RESPONSE_CODE, &status)
        unsafe billingd_curl_get_size(easy, CURLINFO_PRETRANSFER_TIME_T, &pretransfer)
        guard code == CURLE_OK else {
            return done(
                .failure(
                    HTTPError(
                        kind: isTooLarge ? .tooLarge : Self.kind(code),
                        curlCode: Int32(code.rawValue), mayHaveLeft: pretransfer != 0,
                        duration: duration)))
        }
        done(
            .success(
                HTTPResponse(status: status, headers: headers, body: body, duration: duration)))
    }

    func fail(_ kind: HTTPError.Kind, curlCode: Int32, mayHaveLeft: Bool) {
        done(.failure(HTTPError(kind: kind, curlCode: curlCode, mayHaveLeft: mayHaveLeft)))
    }

    private static func kind(_ code: CURLcode) -> HTTPError.Kind {
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: .resolve
        case CURLE_COULDNT_CONNECT: .connect
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM,
            CURLE_SSL_CACERT_BADFILE:
            .tls
        case CURLE_OPERATION_TIMEDOUT: .timeout
        case CURLE_SEND_FAIL_REWIND: .resendRefused
        case CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_PARTIAL_FILE: .reset
        case CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT: .invalid
        default: .other
        }
    }

    private func milliseconds(_ duration: Duration) -> Int {
        max(1, Int(duration / .milliseconds(1)))
    }
}

extension Substring {
    /// Without the white space around it.
    fileprivate var trimmed: String {
        let start = drop { $0.isWhitespace }
        return String(start.reversed().drop { $0.isWhitespace }.reversed())
    }
}
