import Synchronization

/// A clock that moves only when a test says so. Sleepers wake in the order of their deadlines.
package struct ManualClock: Clock {
    package struct Instant: InstantProtocol {
        package var offset: Duration
        package func advanced(by duration: Duration) -> Self { Self(offset: offset + duration) }
        package func duration(to other: Self) -> Duration { other.offset - offset }
        package static func < (left: Self, right: Self) -> Bool { left.offset < right.offset }
    }

    private final class Face: Sendable {
        struct State {
            var now = Instant(offset: .zero)
            var lastID = 0
            var sleepers: [Int: (Instant, CheckedContinuation<Void, any Error>)] = [:]
            var watchers: [Int: (ClosedRange<Duration>, CheckedContinuation<Void, Never>)] = [:]
        }
        let state = Mutex(State())
    }

    private let face = Face()

    package init() {}

    package var now: Instant { face.state.withLock { $0.now } }
    package var minimumResolution: Duration { .nanoseconds(1) }

    /// Sleeps until the test advanced the clock so far. Throws `CancellationError` on cancellation.
    package func sleep(until deadline: Instant, tolerance: Duration?) async throws {
        let id = face.state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                // Asked under the lock that the cancellation takes too: it comes before and is
                // seen here, or after and finds the sleeper.
                let (end, watchers) = face.state.withLock {
                    state -> (Result<Void, any Error>?, [CheckedContinuation<Void, Never>]) in
                    if Task.isCancelled { return (.failure(CancellationError()), []) }
                    if deadline <= state.now { return (.success(()), []) }
                    state.sleepers[id] = (deadline, continuation)
                    let length = state.now.duration(to: deadline)
                    let told = state.watchers.filter { $0.value.0.contains(length) }
                    for id in told.keys { state.watchers[id] = nil }
                    return (nil, told.values.map(\.1))
                }
                if let end { continuation.resume(with: end) }
                for watcher in watchers { watcher.resume() }
            }
        } onCancel: {
            let sleeper = face.state.withLock { $0.sleepers.removeValue(forKey: id) }
            sleeper?.1.resume(throwing: CancellationError())
        }
    }

    /// Moves the clock and wakes whoever is due by then.
    package func advance(by duration: Duration) {
        let due = face.state.withLock { state in
            state.now = state.now.advanced(by: duration)
            let due = state.sleepers.filter { $0.value.0 <= state.now }
            for id in due.keys { state.sleepers[id] = nil }
            return due.values.sorted { $0.0 < $1.0 }
        }
        for sleeper in due { sleeper.1.resume() }
    }

    /// Returns once somebody sleeps who wakes in exactly `duration` from now, or when the test is
    /// cancelled: a time limit must be able to end it.
    package func untilSomebodySleeps(for duration: Duration) async {
        await untilSomebodySleeps(duration...duration)
    }

    /// The same for somebody who wakes at the latest in `duration` from now.
    package func untilSomebodySleeps(within duration: Duration) async {
        await untilSomebodySleeps(.zero...duration)
    }

    private func untilSomebodySleeps(_ span: ClosedRange<Duration>) async {
        let id = face.state.withLock { state in
            state.lastID += 1
            return state.lastID
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = face.state.withLock { state in
                    let isThere = state.sleepers.values.contains {
                        span.contains(state.now.duration(to: $0.0))
                    }
                    if isThere || Task.isCancelled { return true }
                    state.watchers[id] = (span, continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            face.state.withLock { $0.watchers.removeValue(forKey: id) }?.1.resume()
        }
    }

    /// How many sleep now.
    package var sleepers: Int { face.state.withLock { $0.sleepers.count } }
}
