import Glibc
import UnixSignals

/// The operator's way out of a graceful stop that takes too long: a second SIGTERM or SIGINT ends
/// the process at once, with status 130. What was in flight is resolved by the next worker.
enum SecondSignal {
    /// Counts from now on; cancel the task when the graceful stop is over.
    static func arm() -> Task<Void, Never> {
        Task {
            var seen = 0
            for await _ in await UnixSignalsSequence(trapping: [.sigterm, .sigint]) {
                seen += 1
                if seen > 1 { _exit(130) }
            }
        }
    }
}
