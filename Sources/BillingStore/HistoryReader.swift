package import Billing
package import Postgres

/// Reads what ``Explanation`` is made of. A role in `billing_report` is enough: no billing key is read.
package struct HistoryReader: Sendable {
    /// How somebody names what is to be explained.
    package enum Subject: Hashable, Sendable {
        case subscription(Int64)
        case order(String)
        case payment(String)
    }

    /// What was found under it.
    package struct Found: Sendable {
        package var history: SubscriptionHistory
        /// The one period that the subject belongs to.
        package var period: Int?
        package var attempt: Int?
    }

    /// There is nothing of that name.
    package struct NotFound: Error, CustomStringConvertible, Sendable {
        package let description: String
    }

    private let configuration: PostgresConfiguration

    package init(_ configuration: PostgresConfiguration) { self.configuration = configuration }

    /// The newest `limit` periods of a subscription, or the period of an order or payment. Throws
    /// ``NotFound``, or a ``PostgresError``.
    package func read(_ subject: Subject, limit: Int) async throws -> Found {
        let connection = try await PostgresConnection.connect(configuration)
        do {
            let found = try await connection.run { connection in
                try connection.execute(script: ExplainSQL.begin)
                return try Self.find(subject, limit: limit, connection)
            }
            // Nothing was written: the end of the connection ends the transaction.
            await connection.close()
            return found
        } catch {
            await connection.close()
            throw error
        }
    }

    private static func find(
        _ subject: Subject, limit: Int, _ connection: isolated PostgresConnection
    ) throws -> Found {
        switch subject {
        case .subscription(let id):
            return Found(history: try history(of: id, limit: limit, period: nil, connection))
        case .order(let order):
            guard let row = try connection.query(ExplainSQL.ofOrder(order)).first else {
                throw NotFound(
                    description: "no attempt of this ledger has the order id \"\(order)\"")
            }
            return try found(row, connection)
        case .payment(let key):
            guard let row = try connection.query(ExplainSQL.ofPayment(key)).first else {
                throw NotFound(
                    description: "no charge of this ledger has the payment key \"\(key)\"")
            }
            return try found(row, connection)
        }
    }

    private static func found(
        _ row: PostgresRow, _ connection: isolated PostgresConnection
    ) throws -> Found {
        let period = try row.int("period_index")
        let history = try history(
            of: row.int64("subscription_id"), limit: 1, period: period, connection)
        return Found(history: history, period: period, attempt: try? row.int("attempt_no"))
    }

    /// Inside a transaction, whoever began it.
    static func history(
        of id: Int64, limit: Int, period: Int?, _ connection: isolated PostgresConnection
    ) throws -> SubscriptionHistory {
        guard let row = try connection.query(ExplainSQL.row(id)).first else {
            throw NotFound(description: "there is no subscription \(id)")
        }
        var history = SubscriptionHistory(
            fleet: try fleet(connection), due: try due(id, connection), row: try facts(row))
        history.due.silentClaims = history.row.claims + 1
        if let card = history.due.card {
            history.row.cardNumber = try connection.query(ExplainSQL.cardNumber(card.id)).first?
                .stringOrNil("card_number")
        }
        try readPeriods(
            connection.query(ExplainSQL.charges(id, limit: limit, period: period)), of: id,
            into: &history, connection)
        if period != nil { history.olderPeriods = 0 }
        return history
    }

    /// As a claim reads it; a row that breaks that is read as far as it goes.
    private static func due(
        _ id: Int64, _ connection: isolated PostgresConnection
    ) throws -> DueSubscription {
        try connection.execute(script: "SAVEPOINT claimable")
        do {
            let rows = try connection.query(ClaimSQL.read([id], keys: false))
            guard let row = rows.first else { throw NotFound(description: "no row \(id)") }
            return try row.dueSubscription()
        } catch let error as PostgresError where error.kind == .server {
            try connection.execute(script: "ROLLBACK TO SAVEPOINT claimable")
            guard let row = try connection.query(ExplainSQL.bareRow(id)).first else { throw error }
            var due = try row.dueSubscription()
            due.problem = error.message
            return due
        }
    }

    private static func facts(
        _ row: PostgresRow
    ) throws -> SubscriptionHistory.RowFacts {
        var facts = SubscriptionHistory.RowFacts(nextChargeAt: try row.instant("next_charge_at"))
        facts.planID = try row.string("plan_id")
        facts.planName = try row.string("plan_name")
        facts.cycle = try row.string("cycle")
        facts.onExhausted = try row.string("on_exhausted")
        facts.leaseUntil = try row.instant("lease_until")
        facts.leaseOwner = try row.stringOrNil("lease_owner")
        facts.claims = try row.int("claims")
        facts.heldReason = try row.stringOrNil("held_reason")
        facts.quietUntil = try row.instant("quiet_until")
        facts.lastCardState = try row.stringOrNil("card_state")
        facts.lastCardCode = try row.stringOrNil("dead_code")
        return facts
    }

    private static func fleet(
        _ connection: isolated PostgresConnection
    ) throws -> SubscriptionHistory.FleetFacts {
        guard let row = try connection.query(ExplainSQL.fleet()).first,
            let now = try row.instant("business_now")
        else { throw PostgresError.decoding("billing.settings is empty: apply schema.sql") }
        var fleet = SubscriptionHistory.FleetFacts(now: now, realNow: try row.instant("real_now"))
        fleet.numbers = try row.fleetNumbers()
        fleet.zone = Zone(offsetSeconds: try row.int64("zone_offset"))
        fleet.mode = try row.string("mode")
        fleet.paused = try row.bool("paused")
        fleet.pausedReason = try row.stringOrNil("paused_reason")
        fleet.rotatingTo = try row.stringOrNil("rotating_to")
        fleet.boundKey = try row.stringOrNil("secret_key_fingerprint")
        fleet.boundIdentity = try row.stringOrNil("database_identity")
        fleet.identity = try row.string("identity")
        fleet.schemaVersion = try row.int("schema_version")
        fleet.programSchemaVersion = PostgresStore.schemaVersion
        fleet.adoptedUntil = try row.instant("adopted_until")
        fleet.lookFirstUntil = try row.instant("look_first_until")
        fleet.lookFirstBefore = try row.instant("look_first_before")
        fleet.wonPerDay = try row.int64OrNil("max_won_per_day")
        if fleet.wonPerDay != nil {
            fleet.wonLeft = try connection.query(LimitSQL.wonLeft()).first?.int64OrNil("won_left")
        }
        fleet.requestsPerMinute = try row.int64OrNil("max_requests_per_minute")
        if let limit = fleet.requestsPerMinute {
            let rate = ClaimLimits.rate(limit)
            let left = min(
                ClaimLimits.burst(limit),
                try row.double("requests") + max(0, try row.double("refilled_ago")) * rate)
            let limits = ClaimLimits(won: nil, requests: left, perMinute: limit)
            fleet.requestWait = limits.untilNextRequest ?? .zero
        }
        for worker in try connection.query(ExplainSQL.workers()) {
            fleet.workers.append(
                SubscriptionHistory.FleetFacts.Worker(
                    id: try worker.string("worker_id"), state: try worker.string("state"),
                    reason: try worker.stringOrNil("reason"),
                    seenAgo: .seconds(try worker.double("seen_seconds_ago"))))
        }
        return fleet
    }
}

// MARK: The ledger

extension HistoryReader {
    private static func readPeriods(
        _ rows: PostgresRows, of id: Int64, into history: inout SubscriptionHistory,
        _ connection: isolated PostgresConnection
    ) throws {
        var periods: [Int64: SubscriptionHistory.Period] = [:]
        for row in rows {
            let period = try Self.period(row)
            periods[period.charge] = period
            history.olderPeriods = try row.int("total") - rows.count
        }
        let charges = Array(periods.keys)
        guard !charges.isEmpty else { return }
        for row in try connection.query(ExplainSQL.attempts(charges)) {
            periods[try row.int64("charge_id")]?.attempts.append(try attempt(row))
        }
        for row in try connection.query(ExplainSQL.deeds(id, charges)) {
            periods[try row.int64("charge_id")]?.byHand.append(
                SubscriptionHistory.Deed(
                    at: try row.present("occurred_at"), type: try row.string("type"),
                    by: try row.string("by"), why: try row.stringOrNil("why") ?? "no reason given"))
        }
        history.periods = periods.values.sorted { $0.index < $1.index }
    }

    private static func period(_ row: PostgresRow) throws -> SubscriptionHistory.Period {
        var period = SubscriptionHistory.Period(
            charge: try row.int64("charge_id"), index: try row.int("period_index"),
            start: try row.present("period_start"), end: try row.present("period_end"),
            amount: Won(try row.int64("amount")), state: try row.string("state"))
        period.reason = try row.stringOrNil("reason")
        period.paidAt = try row.instant("paid_at")
        period.paymentKey = try row.stringOrNil("payment_key")
        period.receiptURL = try row.stringOrNil("receipt_url")
        period.refunded = try row.int64OrNil("refunded_amount").map { Won($0) }
        return period
    }

    private static func attempt(_ row: PostgresRow) throws -> SubscriptionHistory.Attempt {
        var attempt = SubscriptionHistory.Attempt(
            number: try row.int("attempt_no"), order: OrderID(stored: try row.string("order_id")),
            amount: Won(try row.int64("amount")), cardID: try row.int64("billing_key_id"),
            state: try row.string("state"), openedAt: try row.present("opened_at"))
        attempt.cardNumber = try row.stringOrNil("card_number")
        attempt.code = try row.stringOrNil("code")
        attempt.message = try row.stringOrNil("message")
        attempt.httpStatus = try row.int64OrNil("http_status").map { Int($0) }
        attempt.traceID = try row.stringOrNil("trace_id")
        attempt.sentAt = try row.instant("sent_at")
        attempt.finishedAt = try row.instant("finished_at")
        attempt.lookups = try row.int("lookups")
        attempt.sends = try row.int("sends")
        attempt.unknownSince = try row.instant("unknown_since")
        attempt.inDoubt = try row.bool("in_doubt")
        attempt.contradiction = try row.stringOrNil("contradiction")
        return attempt
    }
}

extension PostgresRow {
    fileprivate func instant(_ column: String) throws(PostgresError) -> Instant? {
        try timestampOrNil(column).map { Instant(microseconds: $0.microseconds) }
    }

    fileprivate func present(_ column: String) throws(PostgresError) -> Instant {
        Instant(microseconds: try timestamp(column).microseconds)
    }
}
