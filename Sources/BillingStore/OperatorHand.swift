package import Billing
package import Postgres

/// What a person does to the ledger beside ending holds. Runs as a member of `billing_admin`; who and
/// why is noted by the functions of `schema.sql` that do it.
package struct OperatorHand: Sendable {
    /// Why an operator's wish cannot be done; nothing was changed.
    package struct Refusal: Error, CustomStringConvertible, Sendable {
        package let description: String
        package init(_ description: String) { self.description = description }
    }

    private let configuration: PostgresConfiguration

    package init(_ configuration: PostgresConfiguration) { self.configuration = configuration }

    /// Makes the open, declined charge of a subscription due now, if that makes sense by the rules.
    /// Returns the verdict, and what the ledger says afterwards.
    package func retry(
        _ subscription: Int64, why: String
    ) async throws -> (RetryVerdict, SubscriptionHistory) {
        try await transaction { connection in
            guard try !connection.query(OperatorSQL.lock(subscription)).isEmpty else {
                throw Refusal("there is no subscription \(subscription)")
            }
            let before = try HistoryReader.history(
                of: subscription, limit: 1, period: nil, connection)
            let verdict = before.retry
            guard verdict == .due else { return (verdict, before) }
            _ = try connection.query(OperatorSQL.retry(subscription, why))
            let after = try HistoryReader.history(
                of: subscription, limit: 1, period: nil, connection)
            return (verdict, after)
        }
    }

    // MARK: The secret key

    /// How a rotation of the secret key stands.
    package struct KeyState: Hashable, Sendable {
        package var mode: String
        package var bound: String?
        package var rotatingTo: String?
        package var paused: Bool
        package var pausedReason: String?
        /// Subscriptions in a worker's hand, and when the last of them must be given up.
        package var leases: Int64
        package var lastLeaseEnds: PostgresTimestamp?
        /// Longest that a lease stands.
        package var lease: Duration
        /// Open attempts pinned to another key than `key`.
        package var otherKeyAttempts: Int64
    }

    /// `key`: the fingerprint of the key in hand.
    package func keyState(_ key: String) async throws -> KeyState {
        try await transaction { connection in
            guard let row = try connection.query(OperatorSQL.keyState(key)).first else {
                throw PostgresError.decoding("billing.settings is empty: apply schema.sql")
            }
            return KeyState(
                mode: try row.string("mode"), bound: try row.stringOrNil("bound"),
                rotatingTo: try row.stringOrNil("rotating_to"), paused: try row.bool("paused"),
                pausedReason: try row.stringOrNil("paused_reason"),
                leases: try row.int64("leases"),
                lastLeaseEnds: try row.timestampOrNil("last_lease"),
                lease: .seconds(try row.double("lease")),
                otherKeyAttempts: try row.int64("other_key_attempts"))
        }
    }

    /// Orders of ours that were paid, newest first, at most `limit`: a key of the same shop finds them.
    /// Those that look-ups surely show by now, if there are any; else the newest.
    package func paidOrders(limit: Int) async throws -> [(order: OrderID, payment: String)] {
        try await transaction { connection in
            var rows = try connection.query(OperatorSQL.paidOrders(limit: limit, settled: true))
            if rows.isEmpty {
                rows = try connection.query(OperatorSQL.paidOrders(limit: limit, settled: false))
            }
            return try rows.map {
                (OrderID(stored: try $0.string("order_id")), try $0.string("payment_key"))
            }
        }
    }

    /// Pauses the fleet for the key with this fingerprint; called again, it goes on.
    package func beginRotation(to key: String, why: String) async throws {
        _ = try await transaction { try $0.query(OperatorSQL.beginRotation(key, why)).count }
    }

    /// Binds the key if nobody has a subscription in hand; how many still are, 0: bound.
    package func endRotation(to key: String, why: String) async throws -> Int64 {
        try await transaction { connection in
            try connection.query(OperatorSQL.endRotation(key, why)).first?.int64("leases") ?? 0
        }
    }

    /// Takes an unfinished rotation back; the fingerprint that was not bound, nil: there was none.
    package func keepKey(why: String) async throws -> String? {
        try await transaction { connection in
            try connection.query(OperatorSQL.keepKey(why)).first?.stringOrNil("kept_from")
        }
    }

    // MARK: The database

    /// Which database this is, and which one was charged before.
    package struct IdentityState: Hashable, Sendable {
        package var bound: DatabaseIdentity?
        package var present: DatabaseIdentity
        package var adoptedAt: PostgresTimestamp?
        package var adoptedReason: String?
        package var lateBound: Duration
        package var lookFirstUntil: PostgresTimestamp?
        package var liveWorkers: Int64
    }

    package func identityState() async throws -> IdentityState {
        try await transaction { connection in
            guard let row = try connection.query(OperatorSQL.identityState()).first else {
                throw PostgresError.decoding("billing.settings is empty: apply schema.sql")
            }
            return IdentityState(
                bound: try row.stringOrNil("bound").map { DatabaseIdentity($0) },
                present: DatabaseIdentity(try row.string("present")),
                adoptedAt: try row.timestampOrNil("adopted_at"),
                adoptedReason: try row.stringOrNil("adopted_reason"),
                lateBound: .seconds(try row.double("late_bound")),
                lookFirstUntil: try row.timestampOrNil("look_first_until"),
                liveWorkers: try row.int64("live_workers"))
        }
    }

    /// Vouches for this database. `lost`: how much it may have forgotten, an interval of PostgreSQL.
    package func adopt(why: String, lost: String) async throws {
        do {
            _ = try await transaction { try $0.query(OperatorSQL.adopt(why, lost)).count }
        } catch let error as PostgresError where error.isOfClass(["22"]) {
            throw Refusal("lost: \"\(lost)\" is no span of time such as '25 hours'")
        }
    }

    /// What the database refuses is told in its own words, with its hint.
    private func transaction<Result: Sendable>(
        _ body: @Sendable (isolated PostgresConnection) throws -> Result
    ) async throws -> Result {
        let connection = try await PostgresConnection.connect(configuration)
        do {
            let result = try await connection.transaction(body)
            await connection.close()
            return result
        } catch let error as PostgresError where Self.refusals.contains(error.sqlState ?? "") {
            await connection.close()
            throw Refusal(error.message)
        } catch let missing as HistoryReader.NotFound {
            await connection.close()
            throw Refusal(missing.description)
        } catch {
            await connection.close()
            throw error
        }
    }

    /// invalid_parameter_value, object_not_in_prerequisite_state, insufficient_privilege, no_data_found.
    private static let refusals = ["22023", "55000", "42501", "P0002"]
}

/// The statements of an operator's hand.
enum OperatorSQL {
    static func lock(_ subscription: Int64) -> PostgresQuery {
        """
        SELECT subscription_id FROM billing.subscriptions
        WHERE subscription_id = \(subscription) FOR NO KEY UPDATE
        """
    }

    static func retry(_ subscription: Int64, _ why: String) -> PostgresQuery {
        "SELECT billing.retry(\(subscription), \(why)) AS became_due"
    }

    static func keyState(_ key: String) -> PostgresQuery {
        """
        SELECT s.mode, s.secret_key_fingerprint AS bound, s.rotating_to, s.paused, s.paused_reason,
               extract(epoch FROM s.lease)::float8 AS lease, l.leases, l.last_lease,
               (SELECT count(*) FROM billing.attempts AS a
                WHERE a.state = 'open' AND a.finished_at IS NULL
                  AND a.secret_key_fingerprint <> \(key)) AS other_key_attempts
        FROM billing.settings AS s
        CROSS JOIN (
            SELECT count(*) AS leases, max(lease_until) AS last_lease FROM billing.subscriptions
            WHERE lease_until > now()
        ) AS l
        """
    }

    /// `settled`: paid longer ago than a look-up may take to show it.
    static func paidOrders(limit: Int, settled: Bool) -> PostgresQuery {
        """
        SELECT a.order_id, c.payment_key
        FROM billing.charges AS c JOIN billing.attempts AS a USING (charge_id)
        WHERE c.paid_at IS NOT NULL AND c.payment_key IS NOT NULL AND a.state = 'approved'
          AND (NOT \(settled)
               OR c.paid_at < billing.now() - (SELECT late_bound FROM billing.settings))
        ORDER BY c.paid_at DESC LIMIT \(limit)
        """
    }

    static func beginRotation(_ key: String, _ why: String) -> PostgresQuery {
        "SELECT billing.begin_key_rotation(\(key), \(why))"
    }

    static func endRotation(_ key: String, _ why: String) -> PostgresQuery {
        "SELECT billing.end_key_rotation(\(key), \(why)) AS leases"
    }

    static func keepKey(_ why: String) -> PostgresQuery {
        "SELECT billing.keep_secret_key(\(why)) AS kept_from"
    }

    static func identityState() -> PostgresQuery {
        """
        SELECT database_identity AS bound, billing.identity() AS present, adopted_at, adopted_reason,
               extract(epoch FROM late_bound)::float8 AS late_bound, look_first_until,
               (SELECT count(*) FROM billing.workers
                WHERE seen_at > now() - interval '20 seconds' AND state <> 'stopped')
                   AS live_workers
        FROM billing.settings
        """
    }

    static func adopt(_ why: String, _ lost: String) -> PostgresQuery {
        "SELECT billing.adopt_database(\(why), \(PostgresValue.interval(lost)))"
    }
}
