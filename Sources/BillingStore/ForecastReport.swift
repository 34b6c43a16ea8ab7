package import Postgres

/// What will be charged on the coming days, as things stand and if every charge succeeds
/// (`billing.forecast`).
package struct ForecastReport: Sendable, Encodable {
    /// One day in the settings' time zone.
    package struct Day: Sendable, Encodable {
        /// ISO 8601, as in 2026-07-15.
        package var day: String
        package var charges: Int64
        package var won: Int64
    }

    /// From today on, without gaps.
    package var days: [Day]
    package var charges: Int64
    package var won: Int64

    init(_ days: [Day]) {
        self.days = days
        charges = days.map(\.charges).reduce(0, +)
        won = days.map(\.won).reduce(0, +)
    }

    /// Reads `days` days, 1 or more, on a connection of its own. Throws a ``PostgresError``.
    package static func read(
        _ configuration: PostgresConfiguration, days: Int
    ) async throws -> ForecastReport {
        var configuration = configuration
        // A million subscriptions take a while, and nobody waits for this one.
        configuration.statementTimeout = .seconds(120)
        let connection = try await PostgresConnection.connect(configuration)
        do {
            let report = try await connection.run { try Self.read($0, days: days) }
            await connection.close()
            return report
        } catch {
            await connection.close()
            throw error
        }
    }

    static func read(
        _ connection: isolated PostgresConnection, days: Int
    ) throws -> ForecastReport {
        ForecastReport(
            try connection.query(ForecastSQL.days(days)).map { row in
                Day(
                    day: try row.string("day"), charges: try row.int64("charges"),
                    won: try row.int64("won"))
            })
    }
}
