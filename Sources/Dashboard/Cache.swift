/// A value that is expensive to read: read again when somebody asks and it is old, once for all who
/// ask, and never more often than that, also when it fails.
package actor Cache<Value: Sendable> {
    /// What whoever asked gets.
    package struct Reading: Sendable {
        /// The last one that could be read.
        package var value: Value?
        /// Its age.
        package var age: Duration?
        /// Why the last try brought none.
        package var trouble: String?
    }

    private let lifetime: Duration
    private let patience: Duration
    private let load: @Sendable () async throws -> Value
    private let clock = ContinuousClock()
    private var value: (value: Value, at: ContinuousClock.Instant)?
    private var trouble: String?
    private var triedAt: ContinuousClock.Instant?
    private var isLoading = false
    private var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
    private var turn = 0

    /// `lifetime`: how old it may be; `patience`: how long somebody waits for a newer one before he
    /// gets the old one, or none.
    package init(
        lifetime: Duration, patience: Duration, load: @escaping @Sendable () async throws -> Value
    ) {
        self.lifetime = lifetime
        self.patience = patience
        self.load = load
    }

    package func read() async -> Reading {
        if triedAt.map({ clock.now - $0 >= lifetime }) ?? true {
            if !isLoading {
                isLoading = true
                Task { await self.reload() }
            }
            await loaded()
        }
        return Reading(
            value: value?.value, age: value.map { clock.now - $0.at },
            trouble: isLoading ? trouble ?? "it takes too long" : trouble)
    }

    private func reload() async {
        let start = clock.now
        do {
            value = (try await load(), start)
            trouble = nil
        } catch {
            trouble = "\(error)"
        }
        triedAt = clock.now
        isLoading = false
        for waiter in waiters.values { waiter.resume() }
        waiters = [:]
    }

    private func loaded() async {
        turn += 1
        let mine = turn
        let timer = Task {
            try? await clock.sleep(for: patience)
            self.giveUp(mine)
        }
        await withCheckedContinuation { waiters[mine] = $0 }
        timer.cancel()
    }

    private func giveUp(_ turn: Int) { waiters.removeValue(forKey: turn)?.resume() }
}
