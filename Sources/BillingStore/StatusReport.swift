package import Postgres

/// How the whole fleet and its database stand at one moment, for `billingd status`.
package struct StatusReport: Sendable, Encodable {
    package var mode: String
    package var paused: Bool
    package var pausedReason: String?
    /// Fingerprint of the secret key that a rotation under way will bind.
    package var rotatingTo: String?
    /// ISO 8601, UTC.
    package var businessTime: String
    package var due: Int64
    package var oldestDueSeconds: Double
    package var inFlight: Int64
    package var openAttempts: Int64
    package var unknown: Int64
    package var held: Int64
    package var setAside: Int64
    package var pastDue: Int64
    package var suspended: Int64
    package var paidLastHour: Int64
    package var wonLastHour: Int64
    /// By the provider's code, most frequent first, at most 20.
    package var declinedLastHour: [Decline]
    package var nextDue: String?
    package var workers: [Member]
    package var books: Books

    /// The comparison with the provider's books, day by day in Korea.
    package struct Books: Sendable, Encodable {
        /// The newest day that was compared.
        package var lastDay: String?
        /// Days that should have been compared half a day ago.
        package var overdueDays: Int64
        package var findings: Int64
        /// The newest days with findings, at most 10.
        package var findingDays: [String]
        /// Why the newest day that cannot be compared cannot.
        package var error: String?
    }

    package struct Decline: Sendable, Encodable {
        package var code: String
        package var times: Int64
    }

    package struct Member: Sendable, Encodable {
        package var worker: String
        package var version: String
        package var state: String
        package var inFlight: Int64
        /// Why it claims nothing, or next to nothing, if so.
        package var reason: String?
        package var seenSecondsAgo: Double
    }

    /// Reads it in one transaction, so that the numbers belong together.
    package static func read(_ configuration: PostgresConfiguration) async throws -> StatusReport {
        let connection = try await PostgresConnection.connect(configuration)
        do {
            let report = try await connection.transaction { try Self.read($0) }
            await connection.close()
            return report
        } catch {
            await connection.close()
            throw error
        }
    }

    /// The same on a connection that is there, inside a transaction.
    static func read(_ connection: isolated PostgresConnection) throws -> StatusReport {
        guard let row = try connection.query(StatusSQL.now()).first else {
            throw PostgresError.decoding("billing.settings is empty: apply schema.sql")
        }
        var declines: [Decline] = []
        for decline in try connection.query(StatusSQL.declines()) {
            declines.append(
                Decline(code: try decline.string("code"), times: try decline.int64("times")))
        }
        var members: [Member] = []
        for member in try connection.query(StatusSQL.workers()) {
            members.append(
                Member(
                    worker: try member.string("worker_id"), version: try member.string("version"),
                    state: try member.string("state"), inFlight: try member.int64("in_flight"),
                    reason: try member.stringOrNil("reason"),
                    seenSecondsAgo: try member.double("seen_seconds_ago")))
        }
        guard let books = try connection.query(StatusSQL.books()).first else {
            throw PostgresError.decoding("the books say nothing")
        }
        return StatusReport(
            mode: try row.string("mode"), paused: try row.bool("paused"),
            pausedReason: try row.stringOrNil("paused_reason"),
            rotatingTo: try row.stringOrNil("rotating_to"),
            businessTime: try row.timestamp("business_time").description,
            due: try row.int64("due"), oldestDueSeconds: try row.double("oldest_due_seconds"),
            inFlight: try row.int64("in_flight"), openAttempts: try row.int64("open_attempts"),
            unknown: try row.int64("unknown"), held: try row.int64("held"),
            setAside: try row.int64("set_aside"), pastDue: try row.int64("past_due"),
            suspended: try row.int64("suspended"),
            paidLastHour: try row.int64("paid_last_hour"),
            wonLastHour: try row.int64("won_last_hour"), declinedLastHour: declines,
            nextDue: try row.timestampOrNil("next_due")?.description, workers: members,
            books: Books(
                lastDay: try books.stringOrNil("last_day"), overdueDays: try books.int64("overdue"),
                findings: try books.int64("findings"),
                findingDays: try books.string("finding_days").split(separator: " ")
                    .map { String($0) }, error: try books.stringOrNil("error")))
    }
}
