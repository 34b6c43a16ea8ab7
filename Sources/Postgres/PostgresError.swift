/// What went wrong, with PostgreSQL's own code where it gave one.
package struct PostgresError: Error, Sendable, CustomStringConvertible,
    CustomDebugStringConvertible
{
    package enum Kind: String, Sendable {
        /// Not connected, or the connection broke.
        case connection
        /// The server answered with an error.
        case server
        /// Our own deadline passed.
        case deadline
        /// An answer that makes no sense here.
        case protocolViolation
        /// A value is not of the type that was asked for.
        case decoding
    }

    package var kind: Kind
    /// Five characters (PostgreSQL manual, appendix A); nil: the server did not say.
    package var sqlState: String?
    package var message: String
    /// May quote values of the row: never in `description`.
    package var detail: String?
    package var constraint: String?
    package var table: String?
    package var column: String?
    /// A COMMIT that may or may not have happened.
    package var outcomeUnknown = false

    package init(kind: Kind, message: String, sqlState: String? = nil) {
        self.kind = kind
        self.message = message
        self.sqlState = sqlState
    }

    package static func decoding(_ message: String) -> PostgresError {
        PostgresError(kind: .decoding, message: message)
    }

    /// The connection is gone: the server went away, or never was.
    package var isConnectionLost: Bool {
        guard kind == .server else { return kind == .connection }
        return sqlState.map { $0.hasPrefix("08") || Self.shutdown.contains($0) } ?? false
    }

    /// The same call may succeed later: conflicts, a restart, a read-only or full server.
    package var isRetryable: Bool {
        if isConnectionLost || kind == .deadline { return true }
        guard let sqlState else { return false }
        return sqlState.hasPrefix("53") || Self.passing.contains(sqlState)
    }

    /// Whether the SQLSTATE is of one of these classes (its first two characters).
    package func isOfClass(_ classes: [String]) -> Bool {
        sqlState.map { state in classes.contains { state.hasPrefix($0) } } ?? false
    }

    // admin_shutdown, crash_shutdown, cannot_connect_now, database_dropped
    private static let shutdown: Set<String> = ["57P01", "57P02", "57P03", "57P05"]
    // serialization, deadlock, lock_not_available, query_canceled (our own timeouts),
    // read_only_sql_transaction, idle_in_transaction_session_timeout
    private static let passing: Set<String> = [
        "40001", "40P01", "55P03", "57014", "25006", "25P03",
    ]

    /// For logs: no values of rows, no connection string.
    package var description: String {
        var text = "\(kind.rawValue)"
        if let sqlState { text += " \(sqlState)" }
        text += ": \(message)"
        if let constraint { text += " [constraint \(constraint)]" }
        if outcomeUnknown { text += " (whether it was committed is not known)" }
        return text
    }

    package var debugDescription: String {
        description + (detail.map { "; detail: \($0)" } ?? "")
            + (table.map { "; table: \($0)" } ?? "") + (column.map { "; column: \($0)" } ?? "")
    }
}

/// Where the notice receiver leaves what it heard; the receiver runs on the connection's thread.
final class NoticeBox {
    var lastState: String?
}
