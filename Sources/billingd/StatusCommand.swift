import ArgumentParser
import BillingStore
import FoundationEssentials

/// The operator's question: how does it stand?
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show what is due, in flight, open and held, the last hour, and the workers.")

    @OptionGroup var database: DatabaseOptions
    @Flag(help: "Print one JSON object, for machines.")
    var json = false

    func run() async throws {
        let report: StatusReport
        do {
            report = try await StatusReport.read(database.configuration(name: "billingd status"))
        } catch {
            throw Failure("the database does not answer: \(error)")
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            encoder.keyEncodingStrategy = .convertToSnakeCase
            print(String(decoding: try encoder.encode(report), as: UTF8.self))
        } else {
            print(Self.text(report))
        }
    }

    private static func books(_ books: StatusReport.Books) -> [String] {
        var words = [books.lastDay.map { "compared to \($0)" } ?? "no day compared yet"]
        if books.findings > 0 {
            words.append(
                "\(books.findings) FINDINGS on \(books.findingDays.joined(separator: ", ")): "
                    + "billingd reconcile --day")
        }
        if books.overdueDays > 0 { words.append("\(books.overdueDays) days OVERDUE") }
        var lines = ["books       " + words.joined(separator: "; ")]
        if let error = books.error { lines.append("            not compared, \(error)") }
        return lines
    }

    private static func text(_ report: StatusReport) -> String {
        var lines = [
            "mode        \(report.mode)\(report.paused ? ", PAUSED: \(report.pausedReason ?? "no reason given")" : "")",
            "business    \(report.businessTime)",
            """
            due         \(report.due), oldest for \(Int(report.oldestDueSeconds)) s; \
            \(report.inFlight) in flight; next at \(report.nextDue ?? "nothing is planned")
            """,
            """
            open        \(report.openAttempts) attempts, \(report.unknown) of them of unknown outcome
            """,
            """
            held        \(report.held) charges, \(report.setAside) rows set aside
            """,
            "dunning     \(report.pastDue) past due, \(report.suspended) suspended",
            "last hour   \(report.paidLastHour) paid, \(report.wonLastHour) won",
        ]
        if let key = report.rotatingTo {
            lines.insert(
                "            a rotation of the secret key, to fingerprint \(key), is under way",
                at: 1)
        }
        for decline in report.declinedLastHour {
            lines.append("            \(decline.times) declined with \(decline.code)")
        }
        lines += Self.books(report.books)
        if report.workers.isEmpty { lines.append("workers     none seen in the last day") }
        for worker in report.workers {
            lines.append(
                """
                worker      \(worker.worker) \(worker.version) \(worker.state), \
                \(worker.inFlight) in flight, seen \(Int(worker.seenSecondsAgo)) s ago
                """)
            if let reason = worker.reason {
                lines.append("            it does not claim: \(reason)")
            }
        }
        return lines.joined(separator: "\n")
    }
}
