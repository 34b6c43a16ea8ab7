import Glibc

private typealias Original = @convention(thin) (UnownedJob) -> Void
private typealias Hook = @convention(thin) (UnownedJob, Original) -> Void

/// A thin function captures nothing: the list it appends to is a global.
nonisolated(unsafe) private var ready: [UnownedJob] = []

/// Where the tasks of the simulated workers run: one thread, one list of ready jobs, and dice that
/// pick the next. The hook of the Swift runtime hands every job to this list instead of a pool.
///
/// (swift/stdlib/public/Concurrency/GlobalExecutor.cpp, `swift_task_enqueueGlobal_hook`.)
enum Stage {
    /// The runtime's `SerialExecutorRef::generic()`: no actor, any thread.
    private static let anywhere = unsafeBitCast(
        (UInt(0), UInt(0)), to: UnownedSerialExecutor.self)

    /// Takes over all jobs of this process. Once, before the first task.
    static func takeOver() {
        guard let hook = dlsym(dlopen(nil, RTLD_LAZY), "swift_task_enqueueGlobal_hook") else {
            fatalError("this Swift runtime has no swift_task_enqueueGlobal_hook")
        }
        hook.assumingMemoryBound(to: Hook?.self).pointee = { job, _ in ready.append(job) }
    }

    /// Runs jobs until none is ready; `pick` chooses among so many. Returns how many ran.
    @discardableResult
    static func run(pick: (Int) -> Int) -> Int {
        var count = 0
        while !ready.isEmpty {
            let index = ready.count == 1 ? 0 : pick(ready.count)
            ready.swapAt(index, ready.count - 1)
            let job = ready.removeLast()
            job.runSynchronously(on: anywhere)
            count += 1
            precondition(count < 10_000_000, "the workers never rest")
        }
        return count
    }

    /// Jobs of workers that are gone do not run in the next history.
    static func clear() { ready.removeAll() }
}
