import CEpoll
import Glibc

/// Which sockets are ready (epoll(7)), and a bell that any thread may ring (eventfd(2)).
final class Epoll: Sendable {
    /// What a socket is, or is wanted, ready for.
    struct Readiness: OptionSet {
        var rawValue: UInt32
        static let reading = Readiness(rawValue: EPOLLIN.rawValue)
        static let writing = Readiness(rawValue: EPOLLOUT.rawValue)
        /// Closed or broken: whoever looks finds out.
        static let broken = Readiness(rawValue: EPOLLERR.rawValue | EPOLLHUP.rawValue)
    }

    private let poll: Int32
    private let bell: Int32
    private static let tagOfBell = UInt32.max
    /// Handled in one turn; more wait in the kernel.
    private static let most = 512

    /// Nil: the process has no descriptor left.
    init?() {
        poll = epoll_create1(Int32(EPOLL_CLOEXEC))
        bell = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard poll >= 0, bell >= 0,
            watch(bell, for: .reading, tag: Self.tagOfBell, isNew: true)
        else { return nil }
    }

    deinit {
        if bell >= 0 { close(bell) }
        if poll >= 0 { close(poll) }
    }

    /// Ends a ``wait(milliseconds:_:)`` of now or, if there is none, the next one.
    func ring() {
        var one: UInt64 = 1
        _ = unsafe write(bell, &one, 8)
    }

    /// Watches a socket, or changes what it is watched for. `tag` comes back with its events.
    @discardableResult
    func watch(
        _ socket: Int32, for readiness: Readiness, tag: UInt32, isNew: Bool
    ) -> Bool {
        var event = unsafe epoll_event()
        unsafe event.events = readiness.rawValue
        unsafe event.data.u64 = UInt64(tag) << 32 | UInt64(UInt32(bitPattern: socket))
        return unsafe epoll_ctl(poll, isNew ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, socket, &event) == 0
    }

    func forget(_ socket: Int32) {
        var event = unsafe epoll_event()
        _ = unsafe epoll_ctl(poll, EPOLL_CTL_DEL, socket, &event)
    }

    /// Waits until a socket is ready, the bell rings or the time is over; calls `ready` for each
    /// socket.
    func wait(
        milliseconds: Int32, _ ready: (_ tag: UInt32, _ socket: Int32, Readiness) -> Void
    ) {
        unsafe withUnsafeTemporaryAllocation(of: epoll_event.self, capacity: Self.most) { events in
            let count = unsafe epoll_wait(
                poll, events.baseAddress, Int32(Self.most), milliseconds)
            for index in 0..<Int(max(0, count)) {
                let event = unsafe events[index]
                let tag = unsafe UInt32(truncatingIfNeeded: event.data.u64 >> 32)
                let socket = unsafe Int32(truncatingIfNeeded: event.data.u64)
                if tag == Self.tagOfBell {
                    var rings: UInt64 = 0
                    _ = unsafe read(bell, &rings, 8)
                } else {
                    unsafe ready(tag, socket, Readiness(rawValue: event.events))
                }
            }
        }
    }
}

/// Tells this thread from all others that run.
var currentThread: UInt { UInt(pthread_self()) }

/// Runs `body` on a thread of its own; false: the system gives none.
func startThread(_ body: @escaping @Sendable () -> Void) -> Bool {
    final class Context: Sendable {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    var thread = pthread_t()
    let context = unsafe Unmanaged.passRetained(Context(body))
    let result = unsafe pthread_create(
        &thread, nil,
        { context in
            guard let context = unsafe context else { return nil }
            unsafe Unmanaged<Context>.fromOpaque(context).takeRetainedValue().body()
            return nil
        }, context.toOpaque())
    guard result == 0 else {
        unsafe context.release()
        return false
    }
    pthread_detach(thread)
    return true
}

/// Runs a job of `executor` on this thread.
func run(_ job: UnownedJob, on executor: some TaskExecutor) {
    unsafe job.runSynchronously(on: executor.asUnownedTaskExecutor())
}
