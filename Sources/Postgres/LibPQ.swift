import CPQ
import Glibc

/// One connection of libpq, owned and freed here. Used by one thread at a time: its actor's.
///
/// Statements go, unless they say otherwise, unprepared: that works behind a transaction
/// pooler, and a plan is made for the values at hand (a prepared claim turns generic after five
/// uses: 1.8 s instead of 1.6 ms at 10 million rows).
@safe final class LibPQ {
    private let connection: OpaquePointer
    private let notices = NoticeBox()
    private let beforeSending: (@Sendable (String) -> String)?
    private let preparesStatements: Bool

    /// Connects, blocking; `connect_timeout` bounds each host and address.
    init(_ configuration: PostgresConfiguration) throws(PostgresError) {
        beforeSending = configuration.beforeSending
        // A pooler gives each transaction another session, which has parsed nothing.
        preparesStatements = !configuration.throughPooler
        try Self.check(configuration.connectionString)
        let keywords = configuration.keywords
        var names = unsafe keywords.map { unsafe UnsafePointer(strdup($0.0)) }
        var values = unsafe keywords.map { unsafe UnsafePointer(strdup($0.1)) }
        unsafe names.append(nil)
        unsafe values.append(nil)
        // By index: the formatter joins the words of `for unsafe pointer in`.
        defer {
            for index in unsafe names.indices {
                unsafe free(UnsafeMutablePointer(mutating: names[index]))
                unsafe free(UnsafeMutablePointer(mutating: values[index]))
            }
        }
        guard let made = unsafe PQconnectdbParams(names, values, 1) else {
            throw PostgresError(kind: .connection, message: "out of memory")
        }
        unsafe connection = made
        guard unsafe PQstatus(made) == CONNECTION_OK else {
            // libpq's text names host, port, user and database, never the password.
            let text = unsafe Self.oneLine(PQerrorMessage(made))
            throw PostgresError(kind: .connection, message: text)
        }
        unsafe PQsetNoticeReceiver(
            made,
            { context, result in
                guard let context = unsafe context else { return }
                let box = unsafe Unmanaged<NoticeBox>.fromOpaque(context).takeUnretainedValue()
                box.lastState = unsafe LibPQ.field(result, billingd_pg_sqlstate)
            }, Unmanaged.passUnretained(notices).toOpaque())
    }

    deinit { unsafe PQfinish(connection) }

    /// libpq quotes a string that it cannot read, password and all: such a one is refused here. So is
    /// one whose host or port is none: there a password with a slash or an at sign was torn apart.
    private static func check(_ connectionString: String) throws(PostgresError) {
        guard !connectionString.isEmpty else { return }
        let unreadable = PostgresError(
            kind: .connection,
            message:
                "the connection string cannot be read (it is not shown: a password may be in "
                + "it); it is a URI, whose special characters are percent-encoded, or key=value "
                + "pairs")
        guard let parsed = unsafe PQconninfoParse(connectionString, nil) else { throw unreadable }
        defer { unsafe PQconninfoFree(parsed) }
        var next = unsafe parsed
        while let keyword = unsafe next.pointee.keyword {
            if let value = unsafe next.pointee.val,
                unsafe PostgresConfiguration.isTorn(
                    String(cString: value), keyword: String(cString: keyword))
            {
                throw unreadable
            }
            unsafe next += 1
        }
    }

    static var libraryVersion: Int32 { PQlibVersion() }

    /// A Unix socket, loopback, or TLS that verified the host's name.
    var isPrivate: Bool {
        if let address = unsafe PQhostaddr(connection).map({ unsafe String(cString: $0) }),
            address.hasPrefix("127.") || address == "::1"
        {
            return true
        }
        if let host = unsafe PQhost(connection).map({ unsafe String(cString: $0) }),
            host.hasPrefix("/") || host.hasPrefix("@")
        {
            return true
        }
        return unsafe PQsslInUse(connection) == 1 && option("sslmode") == "verify-full"
    }

    private func option(_ keyword: String) -> String? {
        guard let options = unsafe PQconninfo(connection) else { return nil }
        defer { unsafe PQconninfoFree(options) }
        var next = unsafe options
        while let name = unsafe next.pointee.keyword {
            if unsafe String(cString: name) == keyword {
                return unsafe next.pointee.val.map { unsafe String(cString: $0) }
            }
            unsafe next += 1
        }
        return nil
    }

    var isHealthy: Bool { unsafe PQstatus(connection) == CONNECTION_OK }
    var isIdle: Bool { unsafe PQtransactionStatus(connection) == PQTRANS_IDLE }
    /// SQLSTATE of the last notice or warning since it was cleared.
    var lastNotice: String? {
        get { notices.lastState }
        set { notices.lastState = newValue }
    }

    /// Names of the statements that this connection has parsed, by their text.
    private var names: [String: String] = [:]
    private var parses = 0

    /// Whether the server has to parse it first: ``sendPrepare(_:)``. Of a handful, at most 64.
    func needsPrepare(_ query: PostgresQuery) -> Bool {
        query.isPrepared && preparesStatements && names[query.text] == nil && names.count < 64
    }

    /// Asks the server to parse it; its answer is to be waited for.
    func sendPrepare(_ query: PostgresQuery) throws(PostgresError) -> String {
        // A name of its own for each try: one that failed may be known to the server or not.
        parses += 1
        let name = "s\(parses)"
        let types = query.parameters.map(\.oid)
        let text = beforeSending?(query.text) ?? query.text
        guard unsafe PQsendPrepare(connection, name, text, Int32(types.count), types) == 1 else {
            throw lost()
        }
        return name
    }

    func isPrepared(_ query: PostgresQuery, as name: String) { names[query.text] = name }

    /// Sends one statement with parameters (extended protocol).
    func send(_ query: PostgresQuery) throws(PostgresError) {
        // All parameters in one piece; where each begins, nil: NULL.
        var bytes: [UInt8] = []
        var starts: [Int?] = []
        var lengths: [Int32] = []
        for parameter in query.parameters {
            let start = bytes.count
            starts.append(try parameter.write(to: &bytes) ? start : nil)
            lengths.append(Int32(bytes.count - start))
            // Ends a text.
            bytes.append(0)
        }
        let formats = query.parameters.map { Int32($0.isBinary ? 1 : 0) }
        let name = query.isPrepared ? names[query.text] : nil
        // A test that stops before statements must see the prepared ones, too.
        let text = beforeSending?(query.text) ?? query.text
        let types = query.parameters.map(\.oid)
        let count = Int32(types.count)
        let answers: Int32 = query.isBinary ? 1 : 0
        let sent = unsafe bytes.withUnsafeBytes { buffer in
            let base = unsafe buffer.bindMemory(to: CChar.self).baseAddress
            let pointers = unsafe starts.map { start in
                unsafe start.flatMap { place in unsafe base.map { unsafe $0 + place } }
            }
            return if let name {
                unsafe PQsendQueryPrepared(
                    connection, name, count, pointers, lengths, formats, answers)
            } else {
                unsafe PQsendQueryParams(
                    connection, text, count, types, pointers, lengths, formats, answers)
            }
        }
        if sent == 0 { throw lost() }
    }

    /// Sends statements without parameters (simple protocol; several are allowed).
    func send(script: String) throws(PostgresError) {
        let text = beforeSending?(script) ?? script
        if unsafe PQsendQuery(connection, text) == 0 { throw lost() }
    }

    /// The rest of the answer to what was sent: the last result's rows, or the first error. Nil when
    /// `deadline` passed first; the statement is still running then.
    func answer(until deadline: ContinuousClock.Instant) throws(PostgresError) -> PostgresAnswer? {
        var answer = PostgresAnswer(rows: PostgresRows(columns: [], values: [], count: 0), tag: "")
        var failure: PostgresError?
        while true {
            while unsafe PQisBusy(connection) == 1 {
                guard try waitReadable(until: deadline, interrupt: -1) == .readable else {
                    return nil
                }
                if unsafe PQconsumeInput(connection) == 0 { throw lost() }
            }
            guard let result = unsafe PQgetResult(connection) else { break }
            defer { unsafe PQclear(result) }
            switch unsafe PQresultStatus(result) {
            case PGRES_TUPLES_OK:
                answer = PostgresAnswer(
                    rows: unsafe Self.rows(result), tag: unsafe Self.tag(result))
            case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
                // The server would wait for data, or send it, for ever; the connection is not idle any
                // more and will not be used again.
                throw PostgresError(
                    kind: .protocolViolation, message: "COPY is not supported by this client")
            case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY:
                answer.tag = unsafe Self.tag(result)
            default:
                if failure == nil { failure = unsafe error(result) }
                if !isHealthy { throw failure ?? lost() }
            }
        }
        if let failure { throw failure }
        if !isHealthy { throw lost() }
        return answer
    }

    /// Asks the server to end the running statement, on a connection of its own. False: that was not
    /// answered within `limit`, and may still arrive when another statement is running.
    func cancel(within limit: Duration) -> Bool {
        guard let cancel = unsafe PQgetCancel(connection) else { return false }
        return unsafe CancelRequest(cancel).send(within: limit)
    }

    /// The next notification that has arrived, without waiting.
    func nextNotification() throws(PostgresError) -> PostgresNotification? {
        if unsafe PQconsumeInput(connection) == 0 { throw lost() }
        guard let notify = unsafe PQnotifies(connection) else { return nil }
        defer { unsafe PQfreemem(notify) }
        return unsafe PostgresNotification(
            channel: String(cString: notify.pointee.relname),
            payload: String(cString: notify.pointee.extra))
    }

    enum Wait { case readable, interrupted, timedOut }

    /// Waits for input, for the interrupt descriptor (−1: none), or for the deadline.
    func waitReadable(
        until deadline: ContinuousClock.Instant, interrupt: Int32
    ) throws(PostgresError) -> Wait {
        let socket = unsafe PQsocket(connection)
        guard socket >= 0 else { throw lost() }
        while true {
            let left = ContinuousClock.now.duration(to: deadline) / .milliseconds(1)
            guard left > 0 else { return .timedOut }
            var descriptors = [
                pollfd(fd: socket, events: Int16(POLLIN), revents: 0),
                pollfd(fd: interrupt, events: Int16(POLLIN), revents: 0),
            ]
            let ready = unsafe poll(&descriptors, 2, Int32(min(left.rounded(.up), 60_000)))
            if ready < 0, errno != EINTR {
                throw PostgresError(kind: .connection, message: "poll failed: errno \(errno)")
            }
            if ready > 0 { return descriptors[1].revents != 0 ? .interrupted : .readable }
        }
    }

    private func lost() -> PostgresError {
        PostgresError(
            kind: .connection, message: unsafe Self.oneLine(PQerrorMessage(connection)))
    }

    private func error(_ result: OpaquePointer) -> PostgresError {
        let state = unsafe Self.field(result, billingd_pg_sqlstate)
        // Without a SQLSTATE it is libpq that speaks: the connection broke.
        var error = PostgresError(
            kind: state == nil ? .connection : .server,
            message: unsafe Self.field(result, billingd_pg_message)
                ?? Self.oneLine(PQresultErrorMessage(result)),
            sqlState: state)
        error.detail = unsafe Self.field(result, billingd_pg_detail)
        error.constraint = unsafe Self.field(result, billingd_pg_constraint)
        error.table = unsafe Self.field(result, billingd_pg_table)
        error.column = unsafe Self.field(result, billingd_pg_column)
        return error
    }

    private static func rows(_ result: OpaquePointer) -> PostgresRows {
        let width = unsafe PQnfields(result)
        let height = unsafe PQntuples(result)
        let columns = (0..<width).map { unsafe String(cString: PQfname(result, $0)) }
        var bytes: [UInt8] = []
        var spans: [Range<Int32>?] = []
        spans.reserveCapacity(Int(width) * Int(height))
        for row in 0..<height {
            for column in 0..<width {
                let length = unsafe Int(PQgetlength(result, row, column))  // of NULL: 0
                guard unsafe length > 0 || PQgetisnull(result, row, column) == 0,
                    let value = unsafe PQgetvalue(result, row, column)
                else {
                    spans.append(nil)
                    continue
                }
                let start = Int32(bytes.count)
                unsafe bytes.append(
                    contentsOf: UnsafeRawBufferPointer(start: value, count: length))
                spans.append(start..<Int32(bytes.count))
            }
        }
        let types = (0..<width).map { unsafe PQftype(result, $0) }
        return PostgresRows(
            columns: columns, bytes: bytes, spans: spans,
            types: unsafe PQbinaryTuples(result) == 1 ? types : nil, count: Int(height))
    }

    private static func tag(_ result: OpaquePointer) -> String {
        unsafe String(cString: PQcmdStatus(result))
    }

    private static func field(_ result: OpaquePointer?, _ code: Int32) -> String? {
        guard let text = unsafe PQresultErrorField(result, code) else { return nil }
        return unsafe String(cString: text)
    }

    private static func oneLine(_ text: UnsafePointer<CChar>?) -> String {
        guard let text = unsafe text else { return "no message" }
        let lines = unsafe String(cString: text).split(whereSeparator: \.isNewline)
        return lines.isEmpty ? "the connection was closed" : lines.joined(separator: " ")
    }
}

extension PostgresConnection {
    /// The actor keeps its executor alive.
    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe executor.asUnownedSerialExecutor()
    }
}

/// A request to cancel. PQcancel waits for the server's end of the connection, without a limit: so
/// it gets a thread, which a silent server may keep.
@safe private final class CancelRequest: @unchecked Sendable {
    // Used by the thread, and freed after it.
    private let cancel: OpaquePointer
    private let answered = Interrupt()

    init(_ cancel: OpaquePointer) { unsafe self.cancel = cancel }

    deinit { unsafe PQfreeCancel(cancel) }

    func send(within limit: Duration) -> Bool {
        let deadline = ContinuousClock.now + limit
        var thread = pthread_t()
        let context = unsafe Unmanaged.passRetained(self)
        let result = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                unsafe Unmanaged<CancelRequest>.fromOpaque(context).takeRetainedValue().run()
                return nil
            }, context.toOpaque())
        guard result == 0 else {
            unsafe context.release()
            return false
        }
        pthread_detach(thread)
        while true {
            let left = ContinuousClock.now.duration(to: deadline) / .milliseconds(1)
            guard left > 0 else { return false }
            var descriptor = pollfd(fd: answered.descriptor, events: Int16(POLLIN), revents: 0)
            if unsafe poll(&descriptor, 1, Int32(min(left.rounded(.up), 60_000))) > 0 {
                return true
            }
        }
    }

    private func run() {
        var buffer = [CChar](repeating: 0, count: 256)
        _ = unsafe PQcancel(cancel, &buffer, 256)
        answered.raise()
    }
}

/// A descriptor that can be signalled from any thread to end a wait (eventfd(2)).
final class Interrupt: Sendable {
    let descriptor: Int32

    init() { descriptor = billingd_eventfd() }

    deinit { close(descriptor) }

    func raise() { billingd_eventfd_raise(descriptor) }

    func clear() { billingd_eventfd_clear(descriptor) }
}

/// An executor with a thread of its own, on which its actor may block. The thread ends when
/// ``stop()`` was called and nothing is queued.
@safe final class ThreadExecutor: SerialExecutor, @unchecked Sendable {
    // Guarded by `mutex`; both live on the heap, where their address does not move.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [UnownedJob] = []
    private var isStopping = false

    init() {
        unsafe pthread_mutex_init(mutex, nil)
        unsafe pthread_cond_init(condition, nil)
    }

    deinit {
        unsafe pthread_cond_destroy(condition)
        unsafe pthread_mutex_destroy(mutex)
        unsafe condition.deallocate()
        unsafe mutex.deallocate()
    }

    /// Starts the thread, which keeps the executor alive. Throws when the system gives no thread.
    func start() throws(PostgresError) {
        var thread = pthread_t()
        let context = unsafe Unmanaged.passRetained(self)
        let result = unsafe pthread_create(
            &thread, nil,
            { context in
                guard let context = unsafe context else { return nil }
                unsafe Unmanaged<ThreadExecutor>.fromOpaque(context).takeRetainedValue().loop()
                return nil
            }, context.toOpaque())
        guard result == 0 else {
            unsafe context.release()
            throw PostgresError(kind: .connection, message: "no thread: error \(result)")
        }
        pthread_detach(thread)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        unsafe pthread_mutex_lock(mutex)
        jobs.append(unowned)
        unsafe pthread_cond_signal(condition)
        unsafe pthread_mutex_unlock(mutex)
    }

    func stop() {
        unsafe pthread_mutex_lock(mutex)
        isStopping = true
        unsafe pthread_cond_signal(condition)
        unsafe pthread_mutex_unlock(mutex)
    }

    private func loop() {
        while true {
            unsafe pthread_mutex_lock(mutex)
            while jobs.isEmpty, !isStopping { unsafe pthread_cond_wait(condition, mutex) }
            let batch = jobs
            jobs.removeAll(keepingCapacity: true)
            unsafe pthread_mutex_unlock(mutex)
            if batch.isEmpty { return }
            for job in batch { unsafe job.runSynchronously(on: asUnownedSerialExecutor()) }
        }
    }
}
