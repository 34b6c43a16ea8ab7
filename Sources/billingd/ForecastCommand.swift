import ArgumentParser
import BillingStore
import Dashboard
import FoundationEssentials

/// The bookkeeper's question: what will come in?
struct ForecastCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forecast",
        abstract: "Show what will be charged on the coming days, by count and won.",
        discussion: """
            As things stand and if every charge succeeds; what is overdue counts to today. Days are \
            those of settings.time_zone. Charges nothing.
            """)

    @OptionGroup var database: DatabaseOptions
    @Option(help: "How many days, today included, 1 to 366.")
    var days = 30
    @Flag(help: "Print one JSON object, for machines.")
    var json = false
    @Flag(help: "Print comma-separated values with a header, for spreadsheets.")
    var csv = false

    func validate() throws {
        guard (1...366).contains(days) else {
            throw ValidationError("days: 1 to 366, not \(days)")
        }
        guard !json || !csv else { throw ValidationError("--json or --csv, not both") }
    }

    func run() async throws {
        let report: ForecastReport
        do {
            report = try await ForecastReport.read(
                database.configuration(name: "billingd forecast"), days: days)
        } catch {
            throw Failure("the database does not answer: \(error)")
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else if csv {
            print("day,charges,won")
            for day in report.days { print("\(day.day),\(day.charges),\(day.won)") }
        } else {
            print(Self.table(report))
        }
    }

    /// Widest bar, in characters: the table fits into 80 columns.
    private static let barWidth = 36

    private static func table(_ report: ForecastReport) -> String {
        let most = max(1, report.days.map(\.won).max() ?? 1)
        var lines = [line("day", "charges", "won", "")]
        for day in report.days {
            // Eighths of a character; whatever is charged shows.
            let eighths =
                day.won == 0
                ? 0 : max(1, Int(Double(day.won) / Double(most) * Double(barWidth * 8)))
            lines.append(
                line(day.day, grouped(day.charges), grouped(day.won), bar(eighths)))
        }
        lines.append(line("total", grouped(report.charges), grouped(report.won), ""))
        return lines.joined(separator: "\n")
    }

    private static func line(
        _ day: String, _ charges: String, _ won: String, _ bar: String
    ) -> String {
        let text =
            day + padding(day, to: 10) + padding(charges, to: 11) + charges
            + padding(won, to: 16) + won
        return bar.isEmpty ? text : text + "  " + bar
    }

    private static func padding(_ text: String, to width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count))
    }

    private static func bar(_ eighths: Int) -> String {
        let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
        return String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
    }
}
