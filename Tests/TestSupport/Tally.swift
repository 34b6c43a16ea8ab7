import Synchronization

/// A number that only grows, and that tests wait for.
package final class Tally: Sendable {
    private struct State {
        var count = 0
        var lastID = 0
        var waiters: [Int: (Int, CheckedContinuation<Void, Never>)] = [:]
    }

    private let state = Mutex(State())

    package init() {}

    package var count: Int { state.withLock { $0.count } }

    package func add(_ number: Int = 1) {
        let due = state.withLock { state in
            state.count += number
            let count = state.count
            let due = state.waiters.filter { $0.value.0 <= count }
            for id in due.keys { state.waiters[id] = nil }
            return due.values.map(\.1)
        }
        for waiter in due { waiter.resume() }
    }

    /// Returns once the number is at least `count`, or when the test is cancelled: a time limit
    /// must be able to end it.
    package func reaches(_ count: Int) async {
        let id = state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.count >= count || Task.isCancelled { return true }
                    state.waiters[id] = (count, continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: id) }?.1.resume()
        }
    }
}
