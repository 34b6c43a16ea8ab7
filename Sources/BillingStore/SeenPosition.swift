import Synchronization

/// How far the database's log had come when it last took something from this worker. A restored
/// snapshot of a volume or a machine keeps the identity (`billing.identity()`), but its log is shorter:
/// what was charged since is forgotten.
struct SeenPosition: Hashable, Sendable {
    /// `pg_current_wal_insert_lsn()` before a claim that was then committed: whatever happens to the
    /// server, its log never again ends before it.
    var log: String
    /// `settings.adopted_at` at that time: somebody who vouches since has looked.
    var adopted: String?
}

/// The last one of a worker.
final class SeenPositions: Sendable {
    private let last = Mutex<SeenPosition?>(nil)

    var current: SeenPosition? { last.withLock { $0 } }
    func set(_ position: SeenPosition) { last.withLock { $0 = position } }
}
