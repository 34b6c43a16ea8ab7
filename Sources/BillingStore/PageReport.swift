import Postgres

/// What the page shows of the ledger. A part that took too long is nil.
package struct PageReport: Sendable {
    package struct Hour: Hashable, Sendable {
        package var hour: Int
        package var paid: Int64
        package var declined: Int64
        package var held: Int64

        package init(hour: Int, paid: Int64, declined: Int64, held: Int64) {
            self.hour = hour
            self.paid = paid
            self.declined = declined
            self.held = held
        }
    }

    package struct Code: Hashable, Sendable {
        package var code: String
        package var times: Int64
    }

    /// Charges that were declined so many times.
    package struct Rung: Hashable, Sendable {
        package var declines: Int
        package var recovered: Int64
        package var failed: Int64
        package var waiting: Int64

        package init(declines: Int, recovered: Int64, failed: Int64, waiting: Int64) {
            self.declines = declines
            self.recovered = recovered
            self.failed = failed
            self.waiting = waiting
        }
    }

    /// A charge that waits, or a row that was set aside (without a charge).
    package struct Waiting: Hashable, Sendable {
        package enum State: Hashable, Sendable { case held, unknown, open, setAside }
        package var subscription: Int64
        package var charge: Int64?
        package var state: State
        package var amount: Int64?
        package var period: String?
        package var next: String?
        /// Why it is held or waits; of others the code of the last answer.
        package var reason: String?
    }

    package struct Month: Hashable, Sendable {
        /// As in 2026-07.
        package var month: String
        package var charges: Int64
        package var won: Int64
    }

    package var zone: String
    /// Business time, to the minute.
    package var time: String
    package var hours: [Hour]?
    package var codes: [Code]?
    package var rungs: [Rung]?
    package var waiting: [Waiting]?
    package var forecast: ForecastReport?
    package var months: [Month]?

    /// Most rows of ``waiting`` of one kind.
    package static let most = PageSQL.most
}

extension PostgresStore {
    /// Reads the page, part by part, on the connection that also reports, which comes between two
    /// parts. Throws a ``PostgresError`` when there is no database at all.
    package func page(forecastDays: Int = 30) async throws -> PageReport {
        let clock = try await part { try $0.query(PageSQL.clock()) }
        guard let clock = clock.first else {
            throw PostgresError.decoding("billing.settings is empty: apply schema.sql")
        }
        var report = PageReport(
            zone: try clock.string("time_zone"), time: try clock.string("local_time"))
        report.hours = try? await part { connection in
            try connection.query(PageSQL.hours()).map { row in
                PageReport.Hour(
                    hour: try row.int("hour"), paid: try row.int64("paid"),
                    declined: try row.int64("declined"), held: try row.int64("held"))
            }
        }
        report.codes = try? await part { connection in
            try connection.query(PageSQL.codes()).map { row in
                PageReport.Code(code: try row.string("code"), times: try row.int64("times"))
            }
        }
        report.rungs = try? await part { connection in
            try connection.query(PageSQL.steps()).map { row in
                PageReport.Rung(
                    declines: try row.int("step"), recovered: try row.int64("recovered"),
                    failed: try row.int64("failed"), waiting: try row.int64("waiting"))
            }
        }
        report.waiting = try? await part { connection in
            try connection.query(PageSQL.setAside()).map(PageReport.Waiting.init(setAside:))
                + connection.query(PageSQL.charges()).map(PageReport.Waiting.init(charge:))
        }
        report.forecast = try? await part { try ForecastReport.read($0, days: forecastDays) }
        report.months = try? await part { connection in
            try connection.query(PageSQL.months()).map { row in
                PageReport.Month(
                    month: try row.string("month"), charges: try row.int64("charges"),
                    won: try row.int64("won"))
            }
        }
        return report
    }

    private func part<Result: Sendable>(
        _ body: @Sendable (isolated PostgresConnection) throws -> Result
    ) async throws -> Result {
        try await reports.withConnection { connection in
            try connection.transaction { connection in
                _ = try connection.query(FiguresSQL.begin)
                return try body(connection)
            }
        }
    }
}

extension PageReport.Waiting {
    fileprivate init(setAside row: PostgresRow) throws {
        self.init(
            subscription: try row.int64("subscription_id"), state: .setAside,
            reason: try row.string("held_reason"))
    }

    fileprivate init(charge row: PostgresRow) throws {
        let isHeld = try row.string("state") == "held"
        let isUnknown = try row.boolOrNil("is_unknown") ?? false
        let reason = try row.stringOrNil("reason")
        self.init(
            subscription: try row.int64("subscription_id"), charge: try row.int64("charge_id"),
            state: isHeld ? .held : isUnknown ? .unknown : .open,
            amount: try row.int64("amount"), period: try row.string("period"),
            next: try row.stringOrNil("next"), reason: try reason ?? row.stringOrNil("code"))
    }
}
