import Glibc
import ServiceLifecycle
import Synchronization
import UnixSignals

/// What signals ask for beyond the first graceful stop.
///
/// A second SIGTERM or SIGINT is the operator's way out of a stop that takes too long: it ends the
/// process at once, with status 130, and what was in flight is resolved by the next worker. SIGHUP
/// stops as gracefully, with status 75 (EX_TEMPFAIL) for the supervisor to start it anew: a process
/// cannot read its environment or a systemd credential again.
final class SecondSignal: Sendable {
    /// The status that asks for a new start, in the unit's RestartForceExitStatus=.
    static let reload: Int32 = 75

    private struct Seen {
        var stops = 0
        var reloads = 0
    }
    private let seen = Mutex(Seen())

    /// SIGHUP came, and no order to stop: the last word counts.
    var wantsReload: Bool { seen.withLock { $0.reloads > 0 && $0.stops == 0 } }

    /// Counts from now on; cancel the task when the graceful stop is over.
    func arm(_ group: ServiceGroup) -> Task<Void, Never> {
        Task {
            for await signal in await UnixSignalsSequence(trapping: [.sigterm, .sigint, .sighup]) {
                if signal == .sighup {
                    // Noted before the group stops, so that its end finds it.
                    seen.withLock { $0.reloads += 1 }
                    await group.triggerGracefulShutdown()
                } else if seen.withLock({
                    $0.stops += 1
                    return $0.stops > 1
                }) {
                    _exit(130)
                }
            }
        }
    }
}
