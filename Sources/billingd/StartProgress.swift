import Synchronization

/// What the start waits for, told to those who look meanwhile. Any task, any time.
final class StartProgress: Sendable {
    private struct State {
        var waitsFor: String? = "the checks of the database"
        var at = ContinuousClock.now
    }
    private let state = Mutex(State())

    /// What it waits for; nil: the start is over.
    var waitsFor: String? { state.withLock { $0.waitsFor } }

    /// Since it last said anything: a start that waits says so again and again.
    var sinceSign: Duration { state.withLock { ContinuousClock.now - $0.at } }

    func waits(for text: String) { state.withLock { $0 = State(waitsFor: text) } }

    func isOver() { state.withLock { $0 = State(waitsFor: nil) } }
}
