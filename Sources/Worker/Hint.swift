import Synchronization

/// Whether somebody asked for a claim that has not started yet. Taken just before the claim is
/// sent: what is given during the claim asks for another one.
final class Hint: Sendable {
    private let flag = Atomic(false)

    var isGiven: Bool { flag.load(ordering: .acquiring) }
    func give() { flag.store(true, ordering: .releasing) }
    func take() { flag.store(false, ordering: .releasing) }
}
