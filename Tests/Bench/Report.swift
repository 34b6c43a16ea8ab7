import Foundation

/// All that one run of the bench found: what `--json` holds, and the README's text made of it.
struct Report: Codable {
    /// Claims and records without a daemon, by one and by two at once.
    var ledger: [LedgerRun.Result] = []
    /// Requests without one.
    var http: [HTTPLimit.Result] = []
    var drains: [Drain.Result] = []
    var sizes: [Growth.Size] = []
    var snapshot: Growth.Snapshot?
    var years: Growth.Years?
    var firstPayments: [FirstPayment.Result] = []
    var life: Life?

    /// As Markdown, to be put into the README as it is.
    var text: String {
        [drainTable, growthTable, sentences.joined(separator: " ")].filter { !$0.isEmpty }
            .joined(separator: "\n\n")
    }

    // MARK: Limits and drains

    private var drainTable: String {
        var rows: [[String]] = []
        // The higher of the two is the limit.
        let limit = ledger.max { $0.perSecond < $1.perSecond }
        for ledger in ledger {
            rows.append([
                "the ledger alone, \(ledger.plan.drivers) × \(ledger.plan.batch)",
                number(ledger.perSecond),
                number(ledger.clientCPU), number(ledger.postgresCPU), number(ledger.log),
                places(ledger.statements, 3), places(ledger.commits, 3), "", "", "", "",
            ])
        }
        for http in http {
            rows.append([
                "HTTP alone, \(Self.latency(http.latency)), \(number(Double(http.inFlight)))",
                number(http.perSecond), number(http.cpu), "", "", "", "", "", "", "", "",
            ])
        }
        for drain in drains {
            let floor = http.first {
                $0.latency == drain.plan.latency && $0.inFlight == drain.plan.inFlight
            }
            let workers = drain.plan.workers
            rows.append([
                Self.latency(drain.plan.latency)
                    + (workers == 1 ? ", " : ", \(workers) workers of ")
                    + number(Double(drain.plan.inFlight)),
                number(drain.perSecond), number(drain.daemonCPU), number(drain.postgresCPU),
                number(drain.log), places(drain.statements, 3), places(drain.commits, 3),
                number(drain.memory),
                limit.map { places(drain.perSecond / $0.perSecond, 2) } ?? "",
                floor.map {
                    places(drain.perSecond / $0.perSecond, 2) + " · "
                        + places(drain.daemonCPU / $0.cpu, 1)
                } ?? "",
                drain.lockWait.map { places($0, 1) } ?? "< 1",
            ])
        }
        return Self.table(
            [
                "provider's latency, in flight", "charges/s", "worker µs", "PostgreSQL µs",
                "log bytes", "statements", "commits", "MB", "of the ledger's rate",
                "of HTTP's rate · times its µs", "lock wait ms",
            ], rows)
    }

    private static func latency(_ milliseconds: Int) -> String {
        switch milliseconds {
        case 0: "none"
        case ..<1_000: "\(milliseconds) ms"
        default: "\(milliseconds / 1_000) s"
        }
    }

    // MARK: Growth

    private var growthTable: String {
        var rows: [[String]] = []
        func add(_ name: String, _ run: LedgerRun.Result, to first: LedgerRun.Result?) {
            rows.append([
                name, number(run.postgresCPU),
                first.map { places(run.postgresCPU / $0.postgresCPU, 2) } ?? "",
                places(run.claim.median, 1), places(run.claim.slowest1Percent, 1),
                places(run.claim.last / run.claim.first, 2), places(run.record.median, 1),
                number(run.log),
            ])
        }
        for size in sizes {
            add("\(number(Double(size.subscriptions))) subscriptions", size.run, to: sizes[0].run)
        }
        if let snapshot {
            let charges = number(Double(snapshot.alone.plan.charges))
            add("\(charges) due", snapshot.alone, to: snapshot.alone)
            add("the same, a snapshot held open", snapshot.held, to: snapshot.alone)
        }
        if let years, years.months.count >= 6 {
            let first = Self.median(years.months.prefix(3))
            let charges = number(Double(first.plan.charges))
            add("months 1 to 3, \(charges) charges each", first, to: first)
            add(
                "months \(years.months.count - 2) to \(years.months.count)",
                Self.median(years.months.suffix(3)), to: first)
        }
        return Self.table(
            [
                "table", "PostgreSQL µs", "to the first", "claim ms", "slowest 1 %",
                "last tenth to first", "record ms", "log bytes",
            ], rows)
    }

    /// The one in the middle of three: another process that wakes up in one of them counts for nothing.
    private static func median(_ months: ArraySlice<Growth.Month>) -> LedgerRun.Result {
        months.map(\.run).sorted { $0.postgresCPU < $1.postgresCPU }[months.count / 2]
    }

    // MARK: Sentences

    private var sentences: [String] {
        var sentences: [String] = []
        if let years {
            let tables = years.tables.map {
                "\($0.name) \(number($0.heap)) and \(number($0.indexes)) MB"
            }
            sentences.append(
                "Autovacuum takes \(number(years.months.map(\.vacuum).max() ?? 0)) µs a charge at most "
                    + "after a month; heap and indexes at the end: \(tables.joined(separator: ", "))."
            )
        }
        for first in firstPayments {
            let times =
                "\(places(first.median, 1)) ms at the median and "
                + "\(places(first.slowest1Percent, 1)) ms at the 99th percentile"
            sentences.append(
                first.backlog <= 1
                    ? "From the COMMIT of a new subscription to the provider's receipt of its first "
                        + "payment: \(times) on an idle worker."
                    : "While \(number(Double(first.backlog))) renewals drain: \(times).")
        }
        if let life {
            sentences.append(
                "Ready \(number(life.ready)) ms after its start, stopped in \(number(life.stop)) ms; "
                    + "\(places(life.idle, 2)) % of a core (PostgreSQL \(places(life.postgresIdle, 2)) "
                    + "%) and \(number(life.memory)) MB while none of "
                    + "\(number(Double(life.subscriptions))) subscriptions is due.")
        }
        return sentences
    }

    // MARK: Text

    private static func table(_ head: [String], _ rows: [[String]]) -> String {
        guard !rows.isEmpty else { return "" }
        return ([head, head.map { _ in "---" }] + rows)
            .map { "| " + $0.joined(separator: " | ") + " |" }
            .joined(separator: "\n").replacing("| --- ", with: "|---").replacing(
                "--- |", with: "---|")
    }
}

/// Whole, in groups of three digits.
private func number(_ value: Double) -> String {
    var digits = Substring(String(Int(value.rounded())))
    var groups: [Substring] = []
    while digits.count > 3 {
        groups.insert(digits.suffix(3), at: 0)
        digits = digits.dropLast(3)
    }
    return ([digits] + groups).joined(separator: ",")
}

private func places(_ value: Double, _ count: Int) -> String {
    String(format: "%.\(count)f", value)
}
