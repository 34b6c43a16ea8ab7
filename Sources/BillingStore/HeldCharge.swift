package import Billing
package import Postgres

/// A held charge, for the operator who ends its hold. Runs as a member of `billing_admin`.
package struct HeldCharge: Sendable {
    package var id: ChargeID
    package var subscription: SubscriptionID
    package var periodIndex: Int
    package var reason: String
    /// What of it decides how the hold may end.
    package var hold: Hold

    package typealias Refusal = Hold.Refusal

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
            let recorded = try connection.query(HoldSQL.orders(id)).map {
                OrderID(stored: try $0.string("order_id"))
            }
            let period = try row.int("period_index")
            return HeldCharge(
                id: id, subscription: SubscriptionID(try row.int64("subscription_id")),
                periodIndex: period, reason: try row.string("reason"),
                hold: Hold(
                    amount: Won(try row.int64("amount")),
                    names: Hold.names(
                        prefix: try row.string("order_prefix"), period: period, recorded: recorded),
                    recorded: Set(recorded),
                    openAttempt: try row.stringOrNil("open_attempt").map { OrderID(stored: $0) },
                    isOld: try row.boolOrNil("is_old") ?? false,
                    paymentKey: try row.stringOrNil("payment_key"),
                    maximumAttempts: try row.int("maximum_attempts")))
        }
    }

    /// Ends the hold; the database refuses what breaks a promise, and its words say which.
    package func end(
        _ end: Hold.End, why: String, _ configuration: PostgresConfiguration
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
        SELECT c.subscription_id, s.order_prefix, c.period_index, c.amount, c.state,
               coalesce(c.reason, '') AS reason,
               c.payment_key, a.order_id AS open_attempt,
               a.opened_at + (SELECT last_send_age FROM billing.settings) <= billing.now()
                   AS is_old,
               (SELECT maximum_attempts FROM billing.settings) AS maximum_attempts
        FROM billing.charges AS c JOIN billing.subscriptions AS s USING (subscription_id)
        LEFT JOIN billing.attempts AS a ON a.charge_id = c.charge_id AND a.state = 'open'
        WHERE c.charge_id = \(id.value)
        """
    }

    static func orders(_ id: ChargeID) -> PostgresQuery {
        """
        SELECT order_id FROM billing.attempts WHERE charge_id = \(id.value) ORDER BY attempt_no
        """
    }

    static func end(_ id: ChargeID, _ end: Hold.End, why: String) -> PostgresQuery {
        switch end {
        case .open: "SELECT billing.end_hold(\(id.value), 'open', \(why))"
        case .failed: "SELECT billing.end_hold(\(id.value), 'failed', \(why))"
        case .attemptEnded: "SELECT billing.end_hold(\(id.value), 'held', \(why))"
        case .paid(let payment): paid(id, "paid", why, payment, refunded: nil)
        case .refunded(let payment):
            paid(
                id, "refunded", why, payment,
                refunded: payment.totalAmount.value - payment.balanceAmount.value)
        }
    }

    private static func paid(
        _ id: ChargeID, _ becomes: String, _ why: String, _ payment: Payment, refunded: Int64?
    ) -> PostgresQuery {
        """
        SELECT billing.end_hold(\(id.value), \(becomes), \(why), \(payment.orderID.value),
            \(payment.paymentKey),
            \(payment.approvedAt.flatMap { PostgresTimestamp(iso8601: $0) }),
            \(payment.receiptURL), \(refunded))
        """
    }
}
