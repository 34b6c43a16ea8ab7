import CCurl
import Glibc

/// libcurl as a whole. This file is the one place that touches it.
enum LibCurl {
    static var version: String { unsafe String(cString: curl_version()) }

    /// Before any handle is made; any number of times. False: libcurl refuses.
    static func prepare() -> Bool {
        // Debian's libcurl writes TLS keys to the file that this variable names.
        unsafe unsetenv("SSLKEYLOGFILE")
        return billingd_curl_global_init() == CURLE_OK
    }
}

/// A multi handle, driven by `curl_multi_socket_action` (curl manual, libcurl-multi). It says which
/// sockets to watch and when to look at its timers. One thread's.
@safe final class CurlMulti {
    private let multi: UnsafeMutableRawPointer
    private let tag: UInt32
    private let epoll: Epoll
    /// Most connections.
    let capacity: Int
    /// Transfers that it carries.
    private(set) var count = 0
    /// When its timers want to be looked at.
    private(set) var dueAt: ContinuousClock.Instant?
    /// Something may have ended.
    private var hasNews = false

    init?(capacity: Int, tag: UInt32, _ epoll: Epoll) {
        guard let multi = unsafe curl_multi_init() else { return nil }
        unsafe self.multi = multi
        self.capacity = capacity
        self.tag = tag
        self.epoll = epoll
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        let callbacks = unsafe billingd_curl_multi_set_callbacks(
            multi,
            { _, socket, what, context, assigned in
                guard let context = unsafe context else { return -1 }
                let multi = unsafe Unmanaged<CurlMulti>.fromOpaque(context).takeUnretainedValue()
                unsafe multi.watch(socket, what, isNew: assigned == nil)
                return 0
            },
            { _, milliseconds, context in
                guard let context = unsafe context else { return -1 }
                let multi = unsafe Unmanaged<CurlMulti>.fromOpaque(context).takeUnretainedValue()
                multi.dueAt =
                    milliseconds < 0 ? nil : .now.advanced(by: .milliseconds(milliseconds))
                return 0
            }, context)
        let most = [CURLMOPT_MAXCONNECTS, CURLMOPT_MAX_TOTAL_CONNECTIONS].map {
            unsafe billingd_curl_multi_set_long(multi, $0, capacity)
        }
        guard callbacks == CURLM_OK, most == [CURLM_OK, CURLM_OK] else { return nil }
    }

    deinit { unsafe curl_multi_cleanup(multi) }

    private func watch(_ socket: Int32, _ what: Int32, isNew: Bool) {
        if what == CURL_POLL_REMOVE { return epoll.forget(socket) }
        var readiness: Epoll.Readiness = []
        if what & CURL_POLL_IN != 0 { readiness.insert(.reading) }
        if what & CURL_POLL_OUT != 0 { readiness.insert(.writing) }
        epoll.watch(socket, for: readiness, tag: tag, isNew: isNew)
        // Anything but nil: known from now on, until libcurl removes it.
        if isNew {
            unsafe curl_multi_assign(multi, socket, Unmanaged.passUnretained(self).toOpaque())
        }
    }

    /// Takes `easy` until ``nextEnded()`` gives it back; false: libcurl refuses.
    func add(_ easy: CurlEasy) -> Bool {
        guard unsafe curl_multi_add_handle(multi, easy.handle) == CURLM_OK else { return false }
        _ = unsafe Unmanaged.passRetained(easy)
        count += 1
        return true
    }

    func act(_ socket: Int32, _ readiness: Epoll.Readiness) {
        var what: Int32 = 0
        if readiness.contains(.reading) { what |= CURL_CSELECT_IN }
        if readiness.contains(.writing) { what |= CURL_CSELECT_OUT }
        if !readiness.isDisjoint(with: .broken) { what |= CURL_CSELECT_ERR }
        var running: Int32 = 0
        unsafe curl_multi_socket_action(multi, socket, what, &running)
        hasNews = true
    }

    func runTimers() {
        // libcurl sets it anew if there is another one.
        dueAt = nil
        unsafe billingd_curl_multi_timeout_action(multi)
        hasNews = true
    }

    /// A transfer that ended, with its result. It is no longer this multi's.
    func nextEnded() -> (CurlEasy, Result<HTTPResponse, HTTPError>)? {
        guard hasNews else { return nil }
        var left: Int32 = 0
        while let message = unsafe curl_multi_info_read(multi, &left) {
            guard unsafe message.pointee.msg == CURLMSG_DONE,
                let handle = unsafe message.pointee.easy_handle,
                let context = unsafe billingd_curl_get_private(handle)
            else { continue }
            let easy = unsafe Unmanaged<CurlEasy>.fromOpaque(context).takeRetainedValue()
            let result = unsafe easy.result(billingd_curl_result(message))
            // Its buffers are libcurl's until here.
            unsafe curl_multi_remove_handle(multi, handle)
            count -= 1
            return (easy, result)
        }
        hasNews = false
        return nil
    }
}

/// An easy handle and the one request that it carries at a time. It is made for POSTs or for GETs, and
/// its options are set once: what changes from request to request is the URL, the headers, the
/// size of the body and the timeout, and those are set for each.
@safe final class CurlEasy {
    let handle: UnsafeMutableRawPointer
    let isPost: Bool
    /// False after a request for which an option was set that others must not have.
    private(set) var isReusable = true
    private let configuration: HTTPClient.Configuration
    private var submission: CurlLoop.Submission?
    /// Lines of the headers that its requests have in common, and what they were made of.
    private var common: UnsafeMutablePointer<curl_slist>?
    private var commonHeaders: [(name: String, value: String)] = []
    /// Lines of this request alone; the last one goes on with `common`.
    private var own: UnsafeMutablePointer<curl_slist>?
    private var lastOwn: UnsafeMutablePointer<curl_slist>?
    /// Connections on which libcurl began to send it.
    private var starts = 0
    private var body: [UInt8] = []
    private var head: [UInt8] = []
    private var isTooLarge = false

    /// Nil: libcurl refuses an option, or there is no memory.
    init?(_ configuration: HTTPClient.Configuration, isPost: Bool) {
        guard let handle = unsafe curl_easy_init() else { return nil }
        unsafe self.handle = handle
        self.isPost = isPost
        self.configuration = configuration
        guard setOptions(), setCallbacks() else { return nil }
    }

    deinit {
        unsafe curl_easy_cleanup(handle)
        freeOwn()
        unsafe curl_slist_free_all(common)
    }

    /// The options that no request changes; false if libcurl refuses one.
    private func setOptions() -> Bool {
        var isFine = true
        func set(_ option: CURLoption, _ value: Int) { isFine = self.set(option, value) && isFine }
        func set(_ option: CURLoption, _ value: String) {
            isFine = self.set(option, value) && isFine
        }
        isFine =
            unsafe billingd_curl_set_protocols(handle, configuration.allowsPlainHTTP ? 1 : 0)
            == CURLE_OK
        // A transfer that times out must not wait for its resolver's thread: that would stop all.
        unsafe billingd_curl_set_quick_exit(handle)
        // HTTP/2 repeats refused streams by itself, and one broken connection would make every
        // charge on it unknown.
        set(CURLOPT_HTTP_VERSION, billingd_curl_http_1_1)
        set(CURLOPT_FOLLOWLOCATION, 0)
        set(CURLOPT_NOSIGNAL, 1)
        set(CURLOPT_CONNECTTIMEOUT_MS, milliseconds(configuration.connectTimeout))
        set(CURLOPT_SSL_VERIFYPEER, 1)
        set(CURLOPT_SSL_VERIFYHOST, 2)
        set(CURLOPT_SSLVERSION, billingd_curl_tls_1_2)
        set(CURLOPT_TCP_KEEPALIVE, 1)
        set(CURLOPT_MAXAGE_CONN, milliseconds(configuration.maximumConnectionAge) / 1_000)
        // An answer has 2 KiB. libcurl's own 16 KiB for each in flight would be most of the memory.
        set(CURLOPT_BUFFERSIZE, 4_096)
        // With TLS each in flight has one: the least that libcurl takes, instead of 64 KiB.
        set(CURLOPT_UPLOAD_BUFFERSIZE, 16_384)
        if let file = configuration.caFile {
            set(CURLOPT_CAINFO, file)
            // The distribution's folder of certificates would be trusted beside it.
            isFine =
                unsafe billingd_curl_set_text(handle, CURLOPT_CAPATH, nil) == CURLE_OK && isFine
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
        set(isPost ? CURLOPT_POST : CURLOPT_HTTPGET, 1)
        return isFine
    }

    private func setCallbacks() -> Bool {
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        // Each connection that libcurl would send it on asks here first.
        let start = unsafe billingd_curl_set_before_request(
            handle,
            { context, _, _, _, _ in
                guard let context = unsafe context else { return 1 }
                let easy = unsafe Unmanaged<CurlEasy>.fromOpaque(context).takeUnretainedValue()
                return easy.mayStart() ? 0 : 1
            }, context)
        let write = unsafe billingd_curl_set_callback(
            handle, CURLOPT_WRITEFUNCTION,
            { bytes, size, count, context in
                guard let bytes = unsafe bytes, let context = unsafe context else { return 0 }
                let easy = unsafe Unmanaged<CurlEasy>.fromOpaque(context).takeUnretainedValue()
                return unsafe easy.take(
                    body: UnsafeRawBufferPointer(start: bytes, count: size * count))
            }, CURLOPT_WRITEDATA, context)
        let header = unsafe billingd_curl_set_callback(
            handle, CURLOPT_HEADERFUNCTION,
            { bytes, size, count, context in
                guard let bytes = unsafe bytes, let context = unsafe context else { return 0 }
                let easy = unsafe Unmanaged<CurlEasy>.fromOpaque(context).takeUnretainedValue()
                return unsafe easy.take(
                    header: UnsafeRawBufferPointer(start: bytes, count: size * count))
            }, CURLOPT_HEADERDATA, context)
        return unsafe start == CURLE_OK && write == CURLE_OK && header == CURLE_OK
            && billingd_curl_set_private(handle, context) == CURLE_OK
    }

    private func set(_ option: CURLoption, _ value: Int) -> Bool {
        unsafe billingd_curl_set_long(handle, option, value) == CURLE_OK
    }

    private func set(_ option: CURLoption, _ value: String) -> Bool {
        // (As an argument it would be copied first.)
        unsafe value.withCString { value in
            unsafe billingd_curl_set_text(handle, option, value) == CURLE_OK
        }
    }

    // MARK: One request

    /// Takes a request of its own method; false if libcurl refuses it, and then the handle is to be
    /// thrown away.
    func load(_ submission: CurlLoop.Submission) -> Bool {
        let request = submission.request
        self.submission = submission
        starts = 0
        isTooLarge = false
        // The lines of an ordinary answer; grown line by line it was allocated five times.
        head.reserveCapacity(512)
        let timeout = request.timeout ?? configuration.requestTimeout
        guard set(CURLOPT_URL, request.url), set(CURLOPT_TIMEOUT_MS, milliseconds(timeout)),
            setHeaders(request)
        else { return false }
        switch request.method {
        case .get: return !isPost
        case .post(let bytes):
            return unsafe isPost
                && bytes.withUnsafeBytes { bytes in
                    unsafe billingd_curl_set_body(
                        handle, bytes.baseAddress, curl_off_t(bytes.count)) == CURLE_OK
                }
        }
    }

    private func setHeaders(_ request: HTTPRequest) -> Bool {
        if unsafe common == nil || !commonHeaders.elementsEqual(request.headers, by: ==) {
            unsafe curl_slist_free_all(common)
            // An empty Expect keeps libcurl from waiting for "100 Continue".
            unsafe common = curl_slist_append(nil, "Expect:")
            guard unsafe common != nil else { return false }
            for (name, value) in request.headers {
                guard unsafe Self.append(name, value, to: common) != nil else { return false }
            }
            commonHeaders = request.headers
        }
        for (name, value) in request.ownHeaders {
            guard let line = unsafe Self.append(name, value, to: nil) else { return false }
            if let last = unsafe lastOwn {
                unsafe last.pointee.next = line
            } else {
                unsafe own = line
            }
            unsafe lastOwn = line
        }
        unsafe lastOwn?.pointee.next = common
        return unsafe billingd_curl_set_list(handle, CURLOPT_HTTPHEADER, own ?? common) == CURLE_OK
    }

    private static func append(
        _ name: String, _ value: String, to list: UnsafeMutablePointer<curl_slist>?
    ) -> UnsafeMutablePointer<curl_slist>? {
        var line = name
        line += value.isEmpty ? ":" : ": "
        line += value
        return unsafe line.withCString { unsafe curl_slist_append(list, $0) }
    }

    private func freeOwn() {
        unsafe lastOwn?.pointee.next = nil
        unsafe curl_slist_free_all(own)
        unsafe own = nil
        unsafe lastOwn = nil
    }

    /// What libcurl's `code` means for the request.
    func result(_ code: CURLcode) -> Result<HTTPResponse, HTTPError> {
        let duration = submission.map { ContinuousClock.now - $0.began } ?? .zero
        guard code == CURLE_OK else {
            return .failure(
                HTTPError(
                    // A GET that was sent again and failed then failed as it did.
                    kind: isTooLarge
                        ? .tooLarge : isPost && starts > 1 ? .resendRefused : Self.kind(code),
                    curlCode: Int32(code.rawValue), mayHaveLeft: starts > 0, duration: duration))
        }
        var status = 0
        unsafe billingd_curl_get_long(handle, CURLINFO_RESPONSE_CODE, &status)
        return .success(HTTPResponse(status: status, head: head, body: body, duration: duration))
    }

    /// Lets go of the request and of what only it has; returns whom to tell. Not while in a multi.
    func unload() -> (@Sendable (Result<HTTPResponse, HTTPError>) -> Void)? {
        let done = submission?.done
        submission = nil
        body = []
        head = []
        let isCleared =
            unsafe billingd_curl_set_text(handle, CURLOPT_URL, nil) == CURLE_OK
            && billingd_curl_set_list(handle, CURLOPT_HTTPHEADER, nil) == CURLE_OK
            // (It would make a POST of a GET.)
            && (!isPost || billingd_curl_set_body(handle, nil, 0) == CURLE_OK)
        if !isCleared { isReusable = false }
        freeOwn()
        return done
    }

    /// libcurl sends a request again when the reused connection that it was sent on dies without an
    /// answer. A GET may; a POST may have moved money.
    private func mayStart() -> Bool {
        starts += 1
        return !isPost || starts == 1
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
        guard head.count + bytes.count <= configuration.maximumHeaderBytes else {
            isTooLarge = true
            return 0
        }
        unsafe head.append(contentsOf: bytes)
        return bytes.count
    }

    private static func kind(_ code: CURLcode) -> HTTPError.Kind {
        switch code {
        case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: .resolve
        case CURLE_COULDNT_CONNECT: .connect
        case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CERTPROBLEM,
            CURLE_SSL_CACERT_BADFILE:
            .tls
        case CURLE_OPERATION_TIMEDOUT: .timeout
        case CURLE_GOT_NOTHING, CURLE_RECV_ERROR, CURLE_SEND_ERROR, CURLE_PARTIAL_FILE: .reset
        case CURLE_UNSUPPORTED_PROTOCOL, CURLE_URL_MALFORMAT: .invalid
        default: .other
        }
    }

    private func milliseconds(_ duration: Duration) -> Int {
        max(1, Int(duration / .milliseconds(1)))
    }
}
