import CCurl
import CEpoll
import Foundation
import Glibc

/// What the requests cost without anything around them: the same bytes, the same provider, as many in
/// flight, by libcurl's multi interface alone, in one thread. Several multis of 250 transfers under one
/// epoll, because that was the cheapest of the ways to drive it. All that differs from one request to
/// the next is written over the digits of the last.
final class HTTPLimit {
    struct Result: Codable {
        var charges: Int
        /// The provider's, in milliseconds.
        var latency: Int
        var inFlight: Int
        /// From the first execution at the provider to the last.
        var perSecond: Double
        /// Microseconds of processor time a request, of this thread.
        var cpu: Double
    }

    /// Measures `charges` requests beside a provider of its own.
    static func measure(charges: Int, latency: Int, inFlight: Int) async throws -> Result {
        let provider = try await CheapProvider(latency: latency)
        let limit = try HTTPLimit(port: provider.port, charges: charges, inFlight: inFlight)
        let cpu = try limit.run()
        let books = try provider.books()
        await provider.end()
        guard books.orders == charges, books.repeats == 0, books.won == charges * 14_900 else {
            throw BenchFailure("HTTP alone: \(books.orders) orders for \(charges) requests")
        }
        return Result(
            charges: charges, latency: latency, inFlight: inFlight,
            perSecond: Double(charges) * 1e9 / Double(max(1, books.lastAt - books.firstAt)),
            cpu: cpu / Double(charges))
    }

    private let charges: Int
    private let epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    private var shards: [Shard] = []
    private var transfers: [Transfer] = []
    private var started = 0
    private var ended = 0
    private var bad = 0

    /// Transfers of one multi.
    private static let size = 250

    private init(port: UInt16, charges: Int, inFlight: Int) throws {
        self.charges = charges
        guard curl_global_init(Int(CURL_GLOBAL_ALL)) == CURLE_OK else {
            throw BenchFailure("libcurl cannot be used")
        }
        for first in stride(from: 0, to: inFlight, by: Self.size) {
            let capacity = min(Self.size, inFlight - first)
            shards.append(try Shard(UInt32(shards.count), epoll, capacity))
            for _ in 0..<capacity { transfers.append(try Transfer(port, shards.count - 1)) }
        }
    }

    deinit {
        for transfer in transfers {
            curl_multi_remove_handle(shards[transfer.shard].multi, transfer.easy)
        }
        transfers = []
        shards = []
        close(epoll)
    }

    /// Microseconds of processor time, all told.
    private func run() throws -> Double {
        let before = Self.threadTime
        for index in transfers.indices where started < charges { start(index) }
        var events = [epoll_event](repeating: epoll_event(), count: 1_024)
        let end = BootClock.now + 600_000_000_000
        while ended < charges {
            guard BootClock.now < end else { throw BenchFailure("HTTP alone: not within 600 s") }
            let count = epoll_wait(epoll, &events, Int32(events.count), pause())
            for event in events.prefix(Int(max(0, count))) {
                var running: Int32 = 0
                var what: Int32 = 0
                if event.events & EPOLLIN.rawValue != 0 { what |= CURL_CSELECT_IN }
                if event.events & EPOLLOUT.rawValue != 0 { what |= CURL_CSELECT_OUT }
                if event.events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0 {
                    what |= CURL_CSELECT_ERR
                }
                let shard = shards[Int(event.data.u64 >> 32)]
                curl_multi_socket_action(
                    shard.multi, Int32(truncatingIfNeeded: event.data.u64), what, &running)
            }
            let now = BootClock.now
            for shard in shards {
                if let dueAt = shard.dueAt, dueAt <= now {
                    shard.dueAt = nil
                    _ = billingd_curl_multi_timeout_action(shard.multi)
                }
                finish(shard)
            }
        }
        guard bad == 0 else { throw BenchFailure("HTTP alone: \(bad) requests failed") }
        return Self.threadTime - before
    }

    private func start(_ index: Int) {
        started += 1
        transfers[index].load(number: started, index: index)
        curl_multi_add_handle(shards[transfers[index].shard].multi, transfers[index].easy)
    }

    private func finish(_ shard: Shard) {
        var left: Int32 = 0
        while let message = curl_multi_info_read(shard.multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let easy = message.pointee.easy_handle else {
                continue
            }
            var status = 0
            billingd_curl_get_long(easy, CURLINFO_RESPONSE_CODE, &status)
            if billingd_curl_result(message) != CURLE_OK || status != 200 { bad += 1 }
            curl_multi_remove_handle(shard.multi, easy)
            ended += 1
            if started < charges { start(Int(bitPattern: billingd_curl_get_private(easy)) - 1) }
        }
    }

    private func pause() -> Int32 {
        guard let dueAt = shards.compactMap(\.dueAt).min() else { return 1_000 }
        let now = BootClock.now
        return dueAt <= now ? 0 : Int32(min(1_000, (dueAt - now) / 1_000_000 + 1))
    }

    private static var threadTime: Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e6 + Double(time.tv_nsec) / 1e3
    }
}

/// A multi handle whose sockets stand in the epoll.
private final class Shard {
    let multi: UnsafeMutableRawPointer
    let tag: UInt32
    let epoll: Int32
    /// Nanoseconds of the boot-time clock.
    var dueAt: UInt64?

    init(_ tag: UInt32, _ epoll: Int32, _ capacity: Int) throws {
        guard let multi = curl_multi_init() else { throw BenchFailure("libcurl has no memory") }
        self.multi = multi
        self.tag = tag
        self.epoll = epoll
        let result = billingd_curl_multi_set_callbacks(
            multi,
            { _, socket, what, context, assigned in
                guard let context else { return -1 }
                let shard = Unmanaged<Shard>.fromOpaque(context).takeUnretainedValue()
                shard.watch(socket, what, isNew: assigned == nil)
                return 0
            },
            { _, milliseconds, context in
                guard let context else { return -1 }
                let shard = Unmanaged<Shard>.fromOpaque(context).takeUnretainedValue()
                shard.dueAt =
                    milliseconds < 0 ? nil : BootClock.now + UInt64(milliseconds) * 1_000_000
                return 0
            }, Unmanaged.passUnretained(self).toOpaque())
        guard result == CURLM_OK,
            billingd_curl_multi_set_long(multi, CURLMOPT_MAXCONNECTS, capacity) == CURLM_OK
        else { throw BenchFailure("libcurl refuses an option") }
    }

    deinit { curl_multi_cleanup(multi) }

    private func watch(_ socket: Int32, _ what: Int32, isNew: Bool) {
        var event = epoll_event()
        if what == CURL_POLL_REMOVE {
            epoll_ctl(epoll, EPOLL_CTL_DEL, socket, &event)
            return
        }
        if what & CURL_POLL_IN != 0 { event.events |= EPOLLIN.rawValue }
        if what & CURL_POLL_OUT != 0 { event.events |= EPOLLOUT.rawValue }
        event.data.u64 = UInt64(tag) << 32 | UInt64(UInt32(bitPattern: socket))
        epoll_ctl(epoll, isNew ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event)
        if isNew { curl_multi_assign(multi, socket, Unmanaged.passUnretained(self).toOpaque()) }
    }
}

/// An easy handle with the texts of its request.
private final class Transfer {
    let easy: UnsafeMutableRawPointer
    let shard: Int
    private let url: Template
    private let body: Template
    private let key: UnsafeMutablePointer<curl_slist>
    private let keyDigits: Int

    init(_ port: UInt16, _ shard: Int) throws {
        guard let easy = curl_easy_init() else { throw BenchFailure("libcurl has no memory") }
        self.easy = easy
        self.shard = shard
        url = Template(
            "http://127.0.0.1:\(port)/v1/billing/Z_c4ca4238a0b923820dcc509a", after: "%3D")
        body = Template(
            #"{"amount":14900,"customerKey":"customer.00000001","orderId":"c4ca4238a0b9"#,
            after: #"-0-1","orderName":"월 구독"}"#)
        let ownLine = "Idempotency-Key: c4ca4238a0b9"
        keyDigits = ownLine.utf8.count
        var list = curl_slist_append(nil, "\(ownLine)000000000000-0-1")
        guard let key = list else { throw BenchFailure("libcurl has no memory") }
        self.key = key
        let credentials = Data((Site.secretKey + ":").utf8).base64EncodedString()
        for line in [
            "Expect:", "Authorization: Basic \(credentials)", "Content-Type: application/json",
        ] {
            list = curl_slist_append(list, line)
        }
        let taken = billingd_curl_set_callback(
            easy, CURLOPT_WRITEFUNCTION, { _, size, count, _ in size * count },
            CURLOPT_WRITEDATA, nil)
        guard taken == CURLE_OK, billingd_curl_set_long(easy, CURLOPT_POST, 1) == CURLE_OK,
            billingd_curl_set_long(easy, CURLOPT_HTTP_VERSION, billingd_curl_http_1_1) == CURLE_OK,
            billingd_curl_set_long(easy, CURLOPT_NOSIGNAL, 1) == CURLE_OK,
            billingd_curl_set_text(easy, CURLOPT_PROXY, "") == CURLE_OK,
            billingd_curl_set_list(easy, CURLOPT_HTTPHEADER, key) == CURLE_OK,
            billingd_curl_set_long(easy, CURLOPT_POSTFIELDSIZE, body.length) == CURLE_OK,
            billingd_curl_set_text(easy, CURLOPT_POSTFIELDS, body.text) == CURLE_OK
        else { throw BenchFailure("libcurl refuses an option") }
    }

    deinit {
        curl_easy_cleanup(easy)
        curl_slist_free_all(key)
    }

    /// Makes it request `number`; `index` comes back with it.
    func load(number: Int, index: Int) {
        url.write(number)
        body.write(number)
        Template.write(number, to: key.pointee.data + keyDigits)
        billingd_curl_set_private(easy, UnsafeMutableRawPointer(bitPattern: index + 1))
        billingd_curl_set_text(easy, CURLOPT_URL, url.text)
    }
}

/// A text with twelve digits in it.
private final class Template {
    let text: UnsafeMutablePointer<CChar>
    let length: Int
    private let place: Int

    init(_ before: String, after: String) {
        place = before.utf8.count
        text = strdup(before + "000000000000" + after)
        length = strlen(text)
    }

    deinit { free(text) }

    func write(_ number: Int) { Self.write(number, to: text + place) }

    static func write(_ number: Int, to digits: UnsafeMutablePointer<CChar>) {
        var rest = number
        for place in stride(from: 11, through: 0, by: -1) {
            digits[place] = CChar(48 + rest % 10)
            rest /= 10
        }
    }
}
