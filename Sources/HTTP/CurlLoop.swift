import Synchronization

/// The thread that drives libcurl: one epoll over several multi handles.
///
/// One multi is dear with thousands in flight, whichever interface drives it; shards of about 250
/// cost half of it (a bare loop, 4,000 in flight, 300 ms: 28 µs of processor time a request
/// against 52). A request goes to the first shard that has room, where the connections are warm.
final class CurlLoop: Sendable {
    private let configuration: HTTPClient.Configuration
    private let epoll: Epoll
    private let inbox = Mutex(Inbox())
    /// The loop's, while it runs.
    private let thread = Atomic<UInt>(0)
    /// Of tasks that go on because of what this thread itself did: an answer came, mostly.
    private let ownJobs = Mutex<[UnownedJob]>([])

    /// A request, and whom to tell.
    struct Submission: Sendable {
        let request: HTTPRequest
        let done: @Sendable (Result<HTTPResponse, HTTPError>) -> Void
        let began = ContinuousClock.now

        func fail(_ kind: HTTPError.Kind, curlCode: Int32) {
            done(.failure(HTTPError(kind: kind, curlCode: curlCode, mayHaveLeft: false)))
        }
    }

    private struct Inbox {
        var waiting: [Submission] = []
        /// Of tasks that run on the loop's thread and that others woke: new ones, mostly.
        var jobs: [UnownedJob] = []
        var isStopping = false
        var hasEnded = false
        var onEnd: [@Sendable () -> Void] = []
        /// The thread is about to sleep or sleeps: it must hear of news. One ring for many requests.
        var sleeps = false

        /// Whether to ring the bell.
        mutating func wakes() -> Bool {
            defer { sleeps = false }
            return sleeps
        }
    }

    /// Starts the thread. Throws an `.invalid` error if the system or libcurl refuse.
    init(_ configuration: HTTPClient.Configuration) throws(HTTPError) {
        let failure = HTTPError(kind: .invalid, curlCode: 0, mayHaveLeft: false)
        guard LibCurl.prepare(), let epoll = Epoll() else { throw failure }
        self.configuration = configuration
        self.epoll = epoll
        guard startThread({ self.run() }) else { throw failure }
    }

    /// Any thread. `done` is called once, on the loop's thread or at once.
    func submit(
        _ request: HTTPRequest, done: @escaping @Sendable (Result<HTTPResponse, HTTPError>) -> Void
    ) {
        let submission = Submission(request: request, done: done)
        let (isAccepted, rings) = inbox.withLock { inbox in
            guard !inbox.isStopping else { return (false, false) }
            inbox.waiting.append(submission)
            return (true, inbox.wakes())
        }
        guard isAccepted else { return submission.fail(.other, curlCode: 0) }
        if rings { epoll.ring() }
    }

    /// Any thread. `done` is called when the last transfer has ended.
    func stop(done: @escaping @Sendable () -> Void) {
        let (hasEnded, rings) = inbox.withLock { inbox in
            inbox.isStopping = true
            if !inbox.hasEnded { inbox.onEnd.append(done) }
            return (inbox.hasEnded, inbox.wakes())
        }
        if hasEnded { return done() }
        if rings { epoll.ring() }
    }

    // MARK: On the loop's thread

    /// Jobs of others that are run in one turn. A claim brings hundreds, each of which sends a request:
    /// begun all at once they would all be in flight together, and everything of each would be out of
    /// the processor's caches by the time its answer is read.
    private static let mostJobs = 16

    /// What the thread has taken; emptied, it is put in the place of what it takes next.
    private struct Taken {
        var jobs: [UnownedJob] = []
        var ownJobs: [UnownedJob] = []
        var waiting: [Submission] = []
    }

    private func run() {
        thread.store(currentThread, ordering: .relaxed)
        let shards = CurlShards(configuration, epoll)
        var taken = Taken()
        while true {
            let isStopping = inbox.withLock { inbox in
                inbox.sleeps = false
                if taken.jobs.isEmpty { swap(&taken.jobs, &inbox.jobs) }
                return inbox.isStopping
            }
            for job in taken.jobs.prefix(Self.mostJobs) {
                HTTP.run(job, on: self)
                goOn(shards, &taken)
            }
            taken.jobs.removeFirst(min(taken.jobs.count, Self.mostJobs))
            goOn(shards, &taken)
            shards.runTimers()
            shards.finishEnded { goOn(shards, &taken) }
            let pause = shards.pause()
            let isIdle = taken.jobs.isEmpty && ownJobs.withLock { $0.isEmpty }
            let next = inbox.withLock { inbox -> Next in
                guard isIdle, inbox.jobs.isEmpty, inbox.waiting.isEmpty else { return .look }
                if isStopping, shards.inFlight == 0 {
                    inbox.hasEnded = true
                    return .end
                }
                inbox.sleeps = inbox.isStopping == isStopping
                return inbox.sleeps ? .sleep : .look
            }
            if next == .end { break }
            epoll.wait(milliseconds: next == .look ? 0 : pause) { tag, socket, readiness in
                shards.act(tag, socket, readiness)
            }
        }
        thread.store(0, ordering: .relaxed)
        let waiters = inbox.withLock { inbox in
            defer { inbox.onEnd = [] }
            return inbox.onEnd
        }
        for waiter in waiters { waiter() }
    }

    /// Runs the tasks that can go on and starts what they ask for, while it is all at hand. What goes on
    /// because of these waits for the next time: no task keeps the thread by yielding.
    private func goOn(_ shards: CurlShards, _ taken: inout Taken) {
        ownJobs.withLock { swap(&$0, &taken.ownJobs) }
        for job in taken.ownJobs { HTTP.run(job, on: self) }
        taken.ownJobs.removeAll(keepingCapacity: true)
        inbox.withLock { swap(&$0.waiting, &taken.waiting) }
        for submission in taken.waiting { shards.start(submission) }
        taken.waiting.removeAll(keepingCapacity: true)
    }

    private enum Next { case look, sleep, end }
}

/// Tasks that mostly wait for answers may run on the loop's thread: a request and its answer then
/// change no thread. They must not block it.
extension CurlLoop: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if thread.load(ordering: .relaxed) == currentThread {
            return ownJobs.withLock { $0.append(job) }
        }
        let (isTaken, rings) = inbox.withLock { inbox in
            guard !inbox.hasEnded else { return (false, false) }
            inbox.jobs.append(job)
            return (true, inbox.wakes())
        }
        // The thread is gone; whoever comes now must still come to an end.
        guard isTaken else { return HTTP.run(job, on: self) }
        if rings { epoll.ring() }
    }
}

/// The multi handles of one loop. Lives on its thread.
final class CurlShards {
    private let configuration: HTTPClient.Configuration
    private let epoll: Epoll
    private var shards: [CurlMulti] = []
    /// Handles that carried a request and may carry another.
    private var sparePosts: [CurlEasy] = []
    private var spareGets: [CurlEasy] = []
    private var lastLook = ContinuousClock.now
    private(set) var inFlight = 0

    /// Transfers of one multi.
    private static let size = 250
    /// Handles kept for their allocations, 10 KiB each: as many as a worker has in flight.
    private static let mostSpare = 4_096
    /// Longest wait between hand-over and start, 5 s: the caller checked that the lease outlives the
    /// request, and that check must still hold.
    private static let longestWait = Duration.seconds(5)

    init(_ configuration: HTTPClient.Configuration, _ epoll: Epoll) {
        self.configuration = configuration
        self.epoll = epoll
    }

    func start(_ submission: CurlLoop.Submission) {
        guard ContinuousClock.now - submission.began < Self.longestWait else {
            return submission.fail(.timeout, curlCode: 28)
        }
        guard let easy = spare(for: submission.request.method), let shard = shard() else {
            return submission.fail(.other, curlCode: 27)
        }
        guard easy.load(submission), shard.add(easy) else {
            return submission.fail(.invalid, curlCode: 43)
        }
        inFlight += 1
    }

    private func spare(for method: HTTPRequest.Method) -> CurlEasy? {
        switch method {
        case .get: spareGets.popLast() ?? CurlEasy(configuration, isPost: false)
        case .post: sparePosts.popLast() ?? CurlEasy(configuration, isPost: true)
        }
    }

    /// The first with room, so that few connections stay warm; if all are full, the one with the
    /// fewest, where libcurl lets the request wait for a connection.
    private func shard() -> CurlMulti? {
        if let shard = shards.first(where: { $0.count < $0.capacity }) { return shard }
        let left = configuration.maximumConnections - shards.reduce(0) { $0 + $1.capacity }
        let capacity = min(Self.size, shards.isEmpty ? max(1, left) : left)
        if capacity > 0,
            let new = CurlMulti(capacity: capacity, tag: UInt32(shards.count), epoll)
        {
            shards.append(new)
            return new
        }
        return shards.min { $0.count < $1.count }
    }

    /// A socket is ready. Finishing waits for ``finishEnded()``.
    func act(_ tag: UInt32, _ socket: Int32, _ readiness: Epoll.Readiness) {
        shards[Int(tag)].act(socket, readiness)
    }

    /// Lets those whose time has come look at their timers; once a second all that carry anything,
    /// should a timer ever be lost.
    func runTimers() {
        let now = ContinuousClock.now
        let looksAtAll = now - lastLook >= .seconds(1)
        if looksAtAll { lastLook = now }
        for shard in shards {
            if let dueAt = shard.dueAt, dueAt <= now {
                shard.runTimers()
            } else if looksAtAll, shard.count > 0 {
                shard.runTimers()
            }
        }
    }

    /// Milliseconds until the next timer, rounded up; at most a second.
    func pause() -> Int32 {
        guard let dueAt = shards.compactMap(\.dueAt).min() else { return 1_000 }
        let left = dueAt - ContinuousClock.now
        if left <= .zero { return 0 }
        return left >= .seconds(1) ? 1_000 : Int32(left / .milliseconds(1)) + 1
    }

    /// Tells those whose transfers ended; `afterEach`: once for each.
    func finishEnded(_ afterEach: () -> Void) {
        for shard in shards {
            while let (easy, result) = shard.nextEnded() {
                inFlight -= 1
                let done = easy.unload()
                if easy.isReusable {
                    if easy.isPost, sparePosts.count < Self.mostSpare { sparePosts.append(easy) }
                    if !easy.isPost, spareGets.count < Self.mostSpare { spareGets.append(easy) }
                }
                done?(result)
                afterEach()
            }
        }
    }
}
