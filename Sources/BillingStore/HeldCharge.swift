package import Billing
package import Postgres

/// A held charge, for the operator who ends its hold. Runs as a member of `billing_admin`.
package struct HeldCharge: Sendable {
    package var id: ChargeID
    package var subscription: SubscriptionID
    package var periodIndex: Int
    package var amount: Won
    package var reason: String
    /// All names under which money may have been asked for, oldest first.
    package var orders: [OrderID]
    /// Its attempt is open and too old to be sent again: it ends first, and the charge a gap later.
    package var hasOldAttempt: Bool

    /// Why an operator's wish cannot be done.
    package struct Refusal: Error, CustomStringConvertible, Sendable {
        package let description: String
        package init(_ description: String) { self.description = description }
    }

    /// Reads it; throws a ``Refusal`` when there is no such charge or it is not held.
    package static func read(
        _ id: ChargeID, _ configuration: PostgresConfiguration
    ) async throws -> HeldCharge {
        try await withConnection(configuration) { connection in
            guard let row = try connection.query(HoldSQL.charge(id)).first else {
                throw Refusal("there is no charge \(id.value)")
            }
            let state = try row.string("state")
            guard state == "held" else {
                throw Refusal("charge \(id.value) is \(state), not held")
            }
            return HeldCharge(
                id: id, subscription: SubscriptionID(try row.int64("subscription_id")),
                periodIndex: try row.int("period_index"), amount: Won(try row.int64("amount")),
                reason: try row.string("reason"),
                orders: try connection.query(HoldSQL.orders(id)).map {
                    OrderID(stored: try $0.string("order_id"))
                }, hasOldAttempt: try row.bool("has_old_attempt"))
        }
    }

    /// How a hold ends.
    package enum End: Sendable {
        case open
        case failed
        /// Not yet: its old attempt ends as never executed.
        case attemptEnded
        /// Paid under this order id.
        case paid(Payment)
    }

    /// Ends the hold; the database refuses what breaks a promise, and its words say which.
    package func end(
        _ end: End, why: String, _ configuration: PostgresConfiguration
    ) async throws {
        try await Self.withConnection(configuration) { connection in
            do {
                _ = try connection.query(HoldSQL.end(id, end, why: why))
            } catch let error as PostgresError where error.kind == .server {
                throw Refusal(error.message)
            }
        }
    }

    private static func withConnection<Result: Sendable>(
        _ configuration: PostgresConfiguration,
        _ body: @Sendable (isolated PostgresConnection) throws -> Result
    ) async throws -> Result {
        let connection = try await PostgresConnection.connect(configuration)
        do {
            let result = try await connection.transaction(body)
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }
}

/// The statements of an operator's hand.
enum HoldSQL {
    static func charge(_ id: ChargeID) -> PostgresQuery {
        """
        SELECT subscription_id, period_index, amount, state, coalesce(reason, '') AS reason,
               EXISTS (SELECT FROM billing.attempts AS a
                       WHERE a.charge_id = c.charge_id AND a.state = 'open'
                         AND a.opened_at + (SELECT last_send_age FROM billing.settings)
                             <= billing.now()) AS has_old_attempt
        FROM billing.charges AS c WHERE charge_id = \(id.value)
        """
    }

    static func orders(_ id: ChargeID) -> PostgresQuery {
        """
        SELECT order_id FROM billing.attempts WHERE charge_id = \(id.value) ORDER BY attempt_no
        """
    }

    static func end(_ id: ChargeID, _ end: HeldCharge.End, why: String) -> PostgresQuery {
        switch end {
        case .open: "SELECT billing.end_hold(\(id.value), 'open', \(why))"
        case .failed: "SELECT billing.end_hold(\(id.value), 'failed', \(why))"
        case .attemptEnded: "SELECT billing.end_hold(\(id.value), 'held', \(why))"
        case .paid(let payment):
            """
            SELECT billing.end_hold(\(id.value), 'paid', \(why), \(payment.orderID.value),
                \(payment.paymentKey),
                \(payment.approvedAt.flatMap { PostgresTimestamp(iso8601: $0) }),
                \(payment.receiptURL))
            """
        }
    }
}
