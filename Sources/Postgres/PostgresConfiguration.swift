/// Where to connect and which limits hold. Never prints its connection string: a password may be
/// in it.
package struct PostgresConfiguration: Sendable, CustomStringConvertible, CustomReflectable {
    /// A URI or conninfo string of libpq; empty: the `PG*` environment.
    package var connectionString: String
    package var applicationName: String
    /// For one attempt at one host; several hosts multiply it.
    package var connectTimeout: Duration = .seconds(5)
    package var statementTimeout: Duration = .seconds(5)
    package var lockTimeout: Duration = .seconds(3)
    package var idleInTransactionTimeout: Duration = .seconds(10)
    /// Behind a transaction pooler start-up options are dropped or refused: none are sent. What
    /// safety needs is set inside each transaction in any case.
    package var throughPooler: Bool
    /// For tests that stop a session between two statements, or put a mistake into one: called on the
    /// connection's own thread with each statement's text; what it answers is sent. The daemon never
    /// sets it (TidyTests).
    package var beforeSending: (@Sendable (String) -> String)?

    package init(
        connectionString: String, applicationName: String = "billingd", throughPooler: Bool = false
    ) {
        self.connectionString = connectionString
        self.applicationName = applicationName
        self.throughPooler = throughPooler
    }

    package var description: String { "PostgresConfiguration(\(applicationName))" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }

    /// Keywords for PQconnectStartParams: the caller's string first, ours after it, so that ours
    /// win (PostgreSQL manual, 34.1.2 and 34.1).
    var keywords: [(String, String)] {
        var list = [
            ("dbname", connectionString),
            ("application_name", applicationName),
            ("connect_timeout", "\(max(2, connectTimeout.components.seconds))"),
            ("target_session_attrs", "read-write"),
            ("client_encoding", "UTF8"),
            ("keepalives", "1"), ("keepalives_idle", "10"), ("keepalives_interval", "5"),
            ("keepalives_count", "3"), ("tcp_user_timeout", "15000"),
        ]
        if connectionString.isEmpty { list.removeFirst() }
        if !throughPooler {
            // Beats PGOPTIONS in the environment, which could make commits forgetful.
            list.append(
                (
                    "options",
                    "-c synchronous_commit=on -c statement_timeout=\(milliseconds(statementTimeout))"
                        + " -c lock_timeout=\(milliseconds(lockTimeout))"
                        + " -c idle_in_transaction_session_timeout="
                        + "\(milliseconds(idleInTransactionTimeout))"
                        + " -c search_path= -c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres"
                ))
        }
        return list
    }

    /// Whether a host or port is none: there a password with a slash or an at sign was torn apart.
    static func isTorn(_ value: String, keyword: String) -> Bool {
        switch keyword {
        case "port":
            !value.allSatisfy { $0 == "," || $0.isWhitespace || ("0"..."9").contains($0) }
        case "host":
            // A path is a folder of sockets; a leading @ is an abstract one.
            value.split(separator: ",").contains {
                !$0.hasPrefix("/") && $0.dropFirst().contains("@")
            }
        default: false
        }
    }

    private func milliseconds(_ duration: Duration) -> Int64 {
        Int64(duration / .milliseconds(1))
    }
}
