import Synchronization

/// A flag that one task waits for. A raise while nobody waits is kept for the next wait, so that
/// news which arrives between looking and waiting is not lost; several raises are one.
final class Signal: Sendable {
    private struct State {
        var isRaised = false
        var waiter: CheckedContinuation<Void, Never>?
        /// Counts waits: a timer of an earlier one must not end this one.
        var turn = 0
    }

    private let state = Mutex(State())

    func raise() { raise(onlyIn: nil) }

    /// Returns when raised or, at the latest, at `limit` on the clock. Deaf to cancellation: whoever wants
    /// it to end raises it. One waiter at a time.
    func wait(until limit: Duration? = nil, by time: Timepiece) async {
        let turn = state.withLock { $0.turn }
        var timer: Task<Void, Never>?
        if let limit {
            timer = Task {
                do { try await time.sleepUntil(limit) } catch { return }
                self.raise(onlyIn: turn)
            }
        }
        await withCheckedContinuation { continuation in
            let isRaised = state.withLock { state in
                if state.isRaised {
                    state.isRaised = false
                    return true
                }
                precondition(state.waiter == nil, "a signal has one waiter")
                state.waiter = continuation
                return false
            }
            if isRaised { continuation.resume() }
        }
        timer?.cancel()
        state.withLock { $0.turn += 1 }
    }

    private func raise(onlyIn turn: Int?) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if let turn, turn != state.turn { return nil }
            guard let waiter = state.waiter else {
                state.isRaised = true
                return nil
            }
            state.waiter = nil
            return waiter
        }
        waiter?.resume()
    }
}
