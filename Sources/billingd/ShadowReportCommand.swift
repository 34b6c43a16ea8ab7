import ArgumentParser
import Billing
import BillingStore
import Postgres

/// The question before taking over: does it decide as the other system does?
struct ShadowReportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "shadow-report",
        abstract: "Compare what would be charged with what another system charged.",
        discussion: """
            In shadow mode billingd run --shadow notes what it would charge; billing.other_payments \
            holds what the other system charged, or a file with a header line and the columns \
            subscription_id (empty: a payer who is not here), paid_at (2026-01-31 00:05:00+09), \
            amount and payment_id. A payment is one for the last period for which it is not too \
            early: from a day before the period starts on, since a cron charges at midnight of the \
            day; in periods of less than four days, from a quarter of the period before. A role in \
            billing_report is enough; nothing is written.

            Exit 0: they agree; 2: they do not; 1: they, or not all of it, could not be compared.
            """)

    @Option(
        help: ArgumentHelp(
            "First day in Korea of the periods to compare. (default: the first that was noted)",
            valueName: "yyyy-mm-dd"))
    var from: String?
    @Option(help: ArgumentHelp("Last day. (default: today)", valueName: "yyyy-mm-dd"))
    var to: String?
    @Option(
        help: ArgumentHelp(
            "Read the payments from this file and not from billing.other_payments.",
            valueName: "file"))
    var csv: String?
    @Flag(help: "Print one JSON object, for machines.")
    var json = false

    @OptionGroup var database: DatabaseOptions

    func validate() throws {
        let range = try Self.midnight(from, of: "from").flatMap { first in
            try Self.midnight(to, of: "to").map { (first, $0) }
        }
        if let (first, last) = range, last < first {
            throw ValidationError("to: \(to ?? "") lies before from, \(from ?? "")")
        }
    }

    func run() async throws {
        let payments = try csv.map { try OtherPaymentsFile.read($0) }
        let first = try Self.midnight(from, of: "from") ?? Instant(microseconds: .min)
        let end = try Self.midnight(to, of: "to").map { $0 + .seconds(86_400) }
        let books = ShadowBooks(try database.configuration(name: "billingd shadow-report"))
        let report: ShadowReport
        let zone: Zone
        do {
            (report, zone) = try await books.report(
                range: first..<(end ?? Instant(microseconds: .max)), payments: payments)
        } catch {
            throw Failure("they could not be compared: \(error)")
        }
        print(
            json
                ? try ShadowReportText.json(report, zone) : ShadowReportText.plain(report, zone))
        if report.behind > 0 { throw ExitCode(1) }
        if !report.agrees { throw ExitCode(2) }
    }

    /// Midnight in Korea. Throws what is wrong with the option.
    private static func midnight(_ day: String?, of option: String) throws -> Instant? {
        guard let day else { return nil }
        guard day.utf8.count == 10, let at = PostgresTimestamp(iso8601: day + "T00:00:00+09:00")
        else {
            throw ValidationError(
                "\(option): \"\(day)\" is no day of the calendar such as 2026-07-15")
        }
        return Instant(microseconds: at.microseconds)
    }
}
