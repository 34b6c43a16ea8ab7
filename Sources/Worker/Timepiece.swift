import Synchronization

/// Elapsed time, sleep and dice, handed in so that tests own all three.
///
/// The clock must go on while the machine sleeps: a send deadline that stands still during a VM
/// freeze is none. `ContinuousClock` does; `SuspendingClock` does not.
package struct Timepiece: Sendable {
    /// Time since this value was made.
    let now: @Sendable () -> Duration
    /// Throws `CancellationError` when the task is cancelled, and nothing else.
    let sleep: @Sendable (Duration) async throws -> Void
    /// The same, until ``now`` says so: what was computed from an older reading stays exact.
    let sleepUntil: @Sendable (Duration) async throws -> Void
    /// 0 ..< 1.
    let jitter: @Sendable () -> Double

    /// Reads and sleeps on `clock`; `jitter` answers 0 ..< 1 and may be called from any task.
    package init<C: Clock>(
        _ clock: C = ContinuousClock(),
        jitter: @escaping @Sendable () -> Double = Timepiece.dice()
    ) where C.Duration == Duration {
        let origin = clock.now
        now = { origin.duration(to: clock.now) }
        sleepUntil = {
            try await clock.sleep(until: origin.advanced(by: $0), tolerance: nil)
        }
        sleep = { try await clock.sleep(until: clock.now.advanced(by: $0), tolerance: nil) }
        self.jitter = jitter
    }

    /// Dice for spreading, not for secrets (SplitMix64): the system's cost a system call a throw, and a
    /// charge throws three times.
    static func dice() -> @Sendable () -> Double {
        final class Dice: Sendable {
            let state = Atomic(UInt64.random(in: 0 ... .max))
        }
        let dice = Dice()
        return {
            let step: UInt64 = 0x9e37_79b9_7f4a_7c15
            var bits = dice.state.wrappingAdd(step, ordering: .relaxed).newValue
            bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
            bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
            return Double((bits ^ (bits >> 31)) >> 11) * 0x1p-53
        }
    }

    /// Half to all of `step`, so that a fleet does not knock at once.
    func spread(_ step: Duration) -> Duration { step * (0.5 + 0.5 * jitter()) }
}
