import Foundation

/// Stops a session before its statements until it is told to go on, and may put a mistake into them.
final class Gate: @unchecked Sendable {
    /// Guards the rest.
    private let condition = NSCondition()
    private var isClosed = false
    private var permits = 0
    private var next: String?
    private let stops: @Sendable (String) -> Bool
    private let mistake: @Sendable (String) -> String

    /// `stops`: whether the session stops before such a statement.
    init(
        mistake: @escaping @Sendable (String) -> String = { $0 },
        stops: @escaping @Sendable (String) -> Bool = Gate.changesSomething
    ) {
        self.mistake = mistake
        self.stops = stops
    }

    /// For `PostgresConfiguration.beforeSending`: on the session's own thread.
    func pass(_ text: String) -> String {
        condition.lock()
        defer { condition.unlock() }
        if isClosed, stops(text) {
            next = text
            while permits == 0 { condition.wait() }
            permits -= 1
            next = nil
        }
        return mistake(text)
    }

    /// The statement before which the session stands, if it does.
    var waiting: String? { condition.withLock { next } }

    /// From now on it stops.
    func close() { condition.withLock { isClosed = true } }

    /// Lets one statement go.
    func step() {
        condition.withLock {
            permits += 1
            next = nil
        }
        condition.signal()
    }

    /// Lets all go.
    func open() {
        condition.withLock {
            isClosed = false
            if next != nil { permits += 1 }
            next = nil
        }
        condition.signal()
    }

    /// Where two sessions can get into each other's way: after the lock, before the write and before
    /// COMMIT. BEGIN, the permission and the lock itself, the look for the next date, and
    /// the announcement, go on.
    static let changesSomething: @Sendable (String) -> Bool = { text in
        let goesOn = [
            "BEGIN", "ROLLBACK", "NOTIFY", "SELECT billing.", "UPDATE billing.subscriptions SET",
            "UPDATE billing.billing_keys SET", "UPDATE billing.plans SET",
        ].contains { text.hasPrefix($0) }
        return !goesOn
            && !["AS refusal", "SKIP LOCKED", "min(next_charge_at)", lockOfRecord]
                .contains { text.contains($0) }
    }

    /// Before every statement but the first.
    static let everywhere: @Sendable (String) -> Bool = { !$0.hasPrefix("BEGIN") }

    private static let lockOfRecord = "ORDER BY subscription_id\nFOR NO KEY UPDATE"
}
