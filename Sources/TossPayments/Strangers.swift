import Synchronization

/// Codes that are not in the table and were complained of: one error a code, not one a charge.
final class Strangers: Sendable {
    private let met = Mutex<Set<String>>([])
    /// A provider that invents codes must not fill the memory.
    private static let most = 100

    /// True the first time.
    func isNew(_ code: String) -> Bool {
        met.withLock { $0.count < Self.most && $0.insert(code).inserted }
    }
}
