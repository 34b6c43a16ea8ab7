package import Billing
package import Postgres

/// Compares what shadow mode noted with what another system charged. A role in `billing_report` is
/// enough; nothing is written.
package struct ShadowBooks: Sendable {
    private let configuration: PostgresConfiguration

    package init(_ configuration: PostgresConfiguration) {
        var configuration = configuration
        // A million subscriptions take a while.
        configuration.statementTimeout = .seconds(120)
        self.configuration = configuration
    }

    /// What another system charged, in place of `billing.other_payments`.
    package struct Payments: Sendable {
        package var bySubscription: [Int64: [OtherPayment]] = [:]
        /// Of payers who are not here.
        package var strangers: [OtherPayment] = []
        package init() {}
    }

    /// Subscriptions that are read at one time.
    private static let page = 2_000

    /// `payments`: nil: those of `billing.other_payments`. Throws a ``PostgresError``.
    package func report(
        range: Range<Instant>, payments: Payments? = nil
    ) async throws -> (report: ShadowReport, zone: Zone) {
        let connection = try await PostgresConnection.connect(configuration)
        do {
            let result = try await connection.run { connection in
                // One snapshot for all pages.
                try connection.execute(script: ExplainSQL.begin)
                return try Self.read(range, payments, connection)
            }
            // Nothing was written: the end of the connection ends the transaction.
            await connection.close()
            return result
        } catch {
            await connection.close()
            throw error
        }
    }

    private static func read(
        _ range: Range<Instant>, _ payments: Payments?, _ connection: isolated PostgresConnection
    ) throws -> (ShadowReport, Zone) {
        guard
            let outline = try connection.query(ShadowSQL.outline(), deadline: .seconds(120)).first
        else { throw PostgresError.decoding("billing.settings is empty: apply schema.sql") }
        var report = ShadowReport(now: try outline.moment("now"), range: range)
        report.isOn = try outline.bool("shadow")
        report.behind = try outline.int64("behind")
        let zone = Zone(offsetSeconds: try outline.int64("zone_offset"))
        var unknown = payments?.bySubscription ?? [:]
        var last: Int64 = 0
        while true {
            let positions = try connection.query(
                ShadowSQL.positions(after: last, limit: page), deadline: .seconds(120))
            guard let first = try positions.first?.int64("subscription_id") else { break }
            for row in positions { last = try row.int64("subscription_id") }
            let periods = try Self.periods(from: first, through: last, connection)
            let paid =
                try payments?.bySubscription
                ?? Self.payments(from: first, through: last, connection)
            for row in positions {
                let id = try row.int64("subscription_id")
                unknown[id] = nil
                let line = ShadowLine(
                    subscription: SubscriptionID(id), periods: periods[id] ?? [],
                    next: ShadowLine.Next(
                        index: try row.int("period_index"), start: try row.moment("period_at"),
                        payableFrom: try row.moment("payable_from"),
                        stopped: try row.stringOrNil("stopped")))
                report.add(line, paid[id] ?? [])
            }
        }
        for (id, some) in unknown.sorted(by: { $0.key < $1.key }) {
            for payment in some {
                report.addStranger(payment, detail: "there is no subscription \(id) here")
            }
        }
        let strangers =
            try payments?.strangers
            ?? connection.query(ShadowSQL.strangers(limit: 10_000)).map { try $0.payment() }
        for payment in strangers {
            report.addStranger(payment, detail: "it names no subscription of here")
        }
        return (report, zone)
    }

    private static func periods(
        from first: Int64, through last: Int64, _ connection: isolated PostgresConnection
    ) throws -> [Int64: [ShadowLine.Period]] {
        var periods: [Int64: [ShadowLine.Period]] = [:]
        let query = ShadowSQL.periods(from: first, through: last)
        for row in try connection.query(query, deadline: .seconds(120)) {
            let word = try row.string("decision")
            guard let decision = ShadowDecision.Kind(rawValue: word) else {
                throw PostgresError.decoding("decision \"\(word)\" is not known to this program")
            }
            periods[try row.int64("subscription_id"), default: []].append(
                ShadowLine.Period(
                    index: try row.int("period_index"), start: try row.moment("period_start"),
                    payableFrom: try row.moment("payable_from"), decision: decision,
                    reason: try row.stringOrNil("reason"), amount: Won(try row.int64("amount"))))
        }
        return periods
    }

    private static func payments(
        from first: Int64, through last: Int64, _ connection: isolated PostgresConnection
    ) throws -> [Int64: [OtherPayment]] {
        var payments: [Int64: [OtherPayment]] = [:]
        let query = ShadowSQL.payments(from: first, through: last)
        for row in try connection.query(query, deadline: .seconds(120)) {
            payments[try row.int64("subscription_id"), default: []].append(try row.payment())
        }
        return payments
    }
}

extension PostgresRow {
    fileprivate func moment(_ column: String) throws(PostgresError) -> Instant {
        Instant(microseconds: try timestamp(column).microseconds)
    }

    fileprivate func payment() throws(PostgresError) -> OtherPayment {
        OtherPayment(
            id: try string("payment_id"), at: try moment("paid_at"),
            amount: Won(try int64("amount")))
    }
}
