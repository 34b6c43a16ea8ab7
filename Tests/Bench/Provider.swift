import CEpoll
import Foundation
import Glibc
import TestSupport

/// A provider that spends little: one thread, one epoll, an answer of the real one's size, and books
/// (an order id is executed once, a repeat gets the same answer). It knows our own requests only.
struct Provider {
    private let poll = epoll_create1(Int32(EPOLL_CLOEXEC))
    private let listener: Int32
    let port: Int
    private let latency: UInt64
    private var connections: [Int32: Connection] = [:]
    private var books = Books()
    /// Answers that wait for their time: the latency is the same for all, so they come in order.
    private var delayed: [Delayed] = []
    private var served = 0
    private var wantsToEnd = false

    /// What was executed. Times are nanoseconds of the boot-time clock.
    private struct Books {
        var orders: [String: Int] = [:]
        var won = 0
        var repeats = 0
        var lookUps = 0
        var firstAt: UInt64 = 0
        var lastAt: UInt64 = 0
        var mostInFlight = 0
        /// Receipt of each order that was asked to be told, by its customer.
        var receipts: [String: UInt64] = [:]
    }

    private struct Connection {
        var input: [UInt8] = []
        var generation: UInt64
    }

    private struct Delayed {
        var at: UInt64
        var descriptor: Int32
        var generation: UInt64
        var answer: [UInt8]
    }

    /// `latency`: from the request's arrival to the answer, in milliseconds.
    init(latency: Int) throws {
        let (socket, port) = try Sockets.listenOnLoopback()
        listener = socket
        self.port = port
        self.latency = UInt64(latency) * 1_000_000
        watch(socket)
    }

    private func watch(_ descriptor: Int32) {
        var event = epoll_event()
        event.events = EPOLLIN.rawValue
        event.data.fd = descriptor
        epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event)
    }

    // MARK: The loop

    /// Serves until somebody asks `DELETE /`.
    mutating func run() {
        var events = [epoll_event](repeating: epoll_event(), count: 1_024)
        while !wantsToEnd {
            let count = epoll_wait(poll, &events, Int32(events.count), pause())
            for event in events.prefix(Int(max(0, count))) {
                if event.data.fd == listener { accept() } else { read(event.data.fd) }
            }
            answerDelayed()
        }
    }

    private func pause() -> Int32 {
        guard served < delayed.count else { return 1_000 }
        let now = BootClock.now
        let at = delayed[served].at
        return at <= now ? 0 : Int32((at - now) / 1_000_000) + 1
    }

    private mutating func accept() {
        while true {
            guard let descriptor = Sockets.accept(listener) else { return }
            var yes: Int32 = 1
            setsockopt(
                descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &yes,
                socklen_t(MemoryLayout<Int32>.size))
            connections[descriptor] = Connection(generation: BootClock.now)
            watch(descriptor)
        }
    }

    private mutating func read(_ descriptor: Int32) {
        var buffer = [UInt8](repeating: 0, count: 8_192)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count <= 0 {
            if count < 0, errno == EAGAIN { return }
            connections[descriptor] = nil
            close(descriptor)
            return
        }
        guard var connection = connections[descriptor] else { return }
        connection.input.append(contentsOf: buffer[..<count])
        while let (request, length) = Request.first(in: connection.input) {
            connection.input.removeFirst(length)
            let (answer, waits) = serve(request)
            if waits, latency > 0 {
                delayed.append(
                    Delayed(
                        at: BootClock.now + latency, descriptor: descriptor,
                        generation: connection.generation, answer: answer))
                books.mostInFlight = max(books.mostInFlight, delayed.count - served)
            } else {
                Self.write(answer, to: descriptor)
            }
        }
        connections[descriptor] = connection
    }

    private mutating func answerDelayed() {
        let now = BootClock.now
        while served < delayed.count, delayed[served].at <= now {
            let next = delayed[served]
            served += 1
            if connections[next.descriptor]?.generation == next.generation {
                Self.write(next.answer, to: next.descriptor)
            }
        }
        if served > 8_192, served * 2 > delayed.count {
            delayed.removeFirst(served)
            served = 0
        }
    }

    /// Two KiB always fit into an empty socket buffer.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) {
        _ = send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }

    // MARK: Answers

    private mutating func serve(_ request: Request) -> (answer: [UInt8], waits: Bool) {
        switch request.kind {
        case .approve(let order, let customer, let amount):
            let now = BootClock.now
            if books.orders[order] == nil {
                books.orders[order] = amount
                books.won += amount
                if books.firstAt == 0 { books.firstAt = now }
                books.lastAt = now
                if customer.hasPrefix("new") { books.receipts[customer] = now }
            } else {
                books.repeats += 1
            }
            return (Self.payment(order, amount), true)
        case .books: return (Self.http("200 OK", Array(booksText.utf8)), false)
        case .end:
            wantsToEnd = true
            return (Self.http("200 OK", []), false)
        case .other:
            books.lookUps += 1
            let body = #"{"code":"NOT_FOUND_PAYMENT","message":"존재하지 않는 결제 입니다."}"#
            return (Self.http("404 Not Found", Array(body.utf8)), true)
        }
    }

    private var booksText: String {
        let receipts = books.receipts.map { "\"\($0)\":\($1)" }.joined(separator: ",")
        return """
            {"orders":\(books.orders.count),"won":\(books.won),"repeats":\(books.repeats),\
            "lookUps":\(books.lookUps),"firstAt":\(books.firstAt),"lastAt":\(books.lastAt),\
            "mostInFlight":\(books.mostInFlight),"receipts":{\(receipts)}}
            """
    }

    private static func http(_ status: String, _ body: [UInt8]) -> [UInt8] {
        Array(
            """
            HTTP/1.1 \(status)\r\nContent-Type: application/json\r\n\
            X-TossPayments-Trace-Id: 5f3d7c1a9b2e4d6f8a0c1e3b5d7f9a2c\r\n\
            Content-Length: \(body.count)\r\n\r\n
            """.utf8) + body
    }

    /// The parts of a payment between its order id and its amount (docs.tosspayments.com, Payment).
    private static let parts: [[UInt8]] = {
        let before =
            #"{"mId":"tvivarepublica","lastTransactionKey":"9C62B18EEF0DE3EB7F4422EB6D14BC6E","#
            + #""paymentKey":""#
        let key = #"","orderId":""#
        let order =
            #"","orderName":"월 구독","taxExemptionAmount":0,"status":"DONE","#
            + #""requestedAt":"2026-07-15T09:30:05+09:00","approvedAt":"2026-07-15T09:30:06+09:00","#
            + #""useEscrow":false,"cultureExpense":false,"card":{"issuerCode":"71","acquirerCode":"71","#
            + #""number":"12345678****000*","installmentPlanMonths":0,"isInterestFree":false,"#
            + #""interestPayer":null,"approveNo":"00000000","useCardPoint":false,"cardType":"신용","#
            + #""ownerType":"개인","acquireStatus":"READY","receiptUrl":"https://dashboard.tosspayments"#
            + #".com/receipt/redirection?transactionId=tviva20260715&ref=PX","amount":"#
        let card =
            #"},"virtualAccount":null,"transfer":null,"mobilePhone":null,"giftCertificate":null,"#
            + #""cashReceipt":null,"cashReceipts":null,"discount":null,"cancels":null,"secret":null,"#
            + #""type":"BILLING","easyPay":null,"country":"KR","failure":null,"isPartialCancelable":true,"#
            + #""receipt":{"url":"https://dashboard.tosspayments.com/receipt/redirection?transactionId="#
            + #"tviva20260715093006&ref=PX"},"checkout":{"url":"https://api.tosspayments.com/v1/payments/"#
            + #"tviva20260715093006/checkout"},"currency":"KRW","totalAmount":"#
        let total = #","balanceAmount":"#
        let rest =
            #","suppliedAmount":13545,"vat":1355,"taxFreeAmount":0,"metadata":null,"method":"카드","#
            + #""version":"2024-06-01"}"#
        return [before, key, order, card, total, rest].map { Array($0.utf8) }
    }()

    private static func payment(_ order: String, _ amount: Int) -> [UInt8] {
        let name = Array(order.utf8)
        let won = Array("\(amount)".utf8)
        let between = [Array("tviva".utf8) + name, name, won, won, won]
        var body: [UInt8] = []
        body.reserveCapacity(2_048)
        for (index, part) in parts.enumerated() {
            body += part
            if index < between.count { body += between[index] }
        }
        return http("200 OK", body)
    }
}

/// One HTTP request of ours.
private struct Request {
    enum Kind {
        case approve(order: String, customer: String, amount: Int)
        case books, end, other
    }

    var kind: Kind

    /// The first whole request of `bytes`, and its length.
    static func first(in bytes: [UInt8]) -> (Request, Int)? {
        bytes.withUnsafeBytes { raw -> (Request, Int)? in
            guard let base = raw.baseAddress, raw.count > 16 else { return nil }
            func find(_ text: StaticString, from start: Int) -> Int? {
                let width = text.utf8CodeUnitCount
                var place = start
                while place + width <= raw.count {
                    if raw[place] == text.utf8Start[0],
                        memcmp(base + place, text.utf8Start, width) == 0
                    {
                        return place
                    }
                    place += 1
                }
                return nil
            }
            guard let headEnd = find("\r\n\r\n", from: 0) else { return nil }
            var length = headEnd + 4
            func text(after mark: StaticString, until end: UInt8) -> String {
                guard let start = find(mark, from: headEnd) else { return "" }
                let begin = start + mark.utf8CodeUnitCount
                let piece = raw[begin..<length].prefix { $0 != end }
                return String(decoding: piece, as: UTF8.self)
            }
            switch raw[0] {
            case UInt8(ascii: "G"):
                let isBooks = memcmp(base, "GET /books", 10) == 0
                return (Request(kind: isBooks ? .books : .other), length)
            case UInt8(ascii: "D"): return (Request(kind: .end), length)
            default:
                guard let mark = find("Content-Length: ", from: 0) else { return nil }
                length += Int(atoi(base.assumingMemoryBound(to: CChar.self) + mark + 16))
                guard raw.count >= length else { return nil }
                let quote = UInt8(ascii: "\"")
                let kind = Kind.approve(
                    order: text(after: "\"orderId\":\"", until: quote),
                    customer: text(after: "\"customerKey\":\"", until: quote),
                    amount: Int(text(after: "\"amount\":", until: UInt8(ascii: ","))) ?? 0)
                return (Request(kind: kind), length)
            }
        }
    }
}
