import Billing
import FoundationEssentials

/// A comparison as people and as machines read it.
enum ReconcileText {
    static func plain(_ report: DayReport) -> String {
        var lines = ["\(report.day.day) in Korea"]
        if report.day.isProvisional, report.trouble == nil {
            lines[0] += ", provisional: it has not ended, or less than an hour ago"
        }
        if let trouble = report.trouble {
            lines.append("could not be compared: \(trouble)")
            if report.findingsCount > 0 { lines.append("found until then:") }
        }
        lines.append("agree       \(report.payments) payments, \(report.won) won")
        for (label, count, text) in [
            ("refunds", report.refunds, "cancels of the provider's console recorded now"),
            ("undone", report.undone, "payments unknown here that went back in full"),
            ("late", report.late, "payments that the provider's list does not show yet"),
            ("under way", report.underWay, "young payments whose attempt is open"),
            ("foreign", report.foreign, "payments of another system of this merchant"),
        ] where count > 0 {
            lines.append(
                "\(label)\(String(repeating: " ", count: 12 - label.count))\(count) \(text)")
        }
        for row in report.foreignRows {
            lines.append(
                "            \(row.orderID) \(row.paymentKey) \(row.amount.map { "\($0.value)" } ?? "?") "
                    + "\(row.currency) \(row.at)")
        }
        for finding in report.findings { lines += plain(finding) }
        if report.moreFindings > 0 {
            lines.append("and \(report.moreFindings) findings more, which are not listed")
        }
        lines.append(
            report.agrees
                ? "The books agree." : "The books do not agree: \(report.findingsCount) findings.")
        if report.trouble != nil { lines.removeLast() }
        return lines.joined(separator: "\n")
    }

    private static func plain(_ finding: Finding) -> [String] {
        var parts: [String] = []
        if let subscription = finding.subscription {
            parts.append("subscription \(subscription.value)")
        }
        if let period = finding.period { parts.append("period \(period)") }
        if let charge = finding.charge { parts.append("charge \(charge.value)") }
        if let order = finding.orderID { parts.append("order \(order)") }
        parts.append("payment \(finding.paymentKey)")
        if let amount = finding.amount { parts.append("\(amount.value) won there") }
        if let amount = finding.ledgerAmount { parts.append("\(amount.value) won here") }
        parts.append(finding.at)
        return [
            "FINDING     \(finding.kind.rawValue): \(finding.detail)",
            "            \(parts.joined(separator: ", "))", "            \(finding.advice)",
        ]
    }

    static func json(_ report: DayReport) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return String(decoding: try encoder.encode(Report(report)), as: UTF8.self)
    }

    private struct Report: Encodable {
        var day: String
        var provisional: Bool
        var agrees: Bool
        var error: String?
        var payments: Int
        var won: Int64
        var refundsRecorded: Int
        var undone: Int
        var late: Int
        var underWay: Int
        var foreign: Int
        var foreignPayments: [Foreign]
        var findingsCount: Int
        var findings: [Item]

        struct Foreign: Encodable {
            var orderId: String
            var paymentKey: String
            var amount: Int64?
            var currency: String
            var at: String
        }

        struct Item: Encodable {
            var kind: String
            var subscriptionId: Int64?
            var chargeId: Int64?
            var periodIndex: Int?
            var orderId: String?
            var paymentKey: String
            var amount: Int64?
            var ledgerAmount: Int64?
            var at: String
            var detail: String
            var advice: String
        }

        init(_ report: DayReport) {
            day = report.day.day
            provisional = report.day.isProvisional
            agrees = report.agrees
            error = report.trouble
            payments = report.payments
            won = report.won
            refundsRecorded = report.refunds
            undone = report.undone
            late = report.late
            underWay = report.underWay
            foreign = report.foreign
            foreignPayments = report.foreignRows.map {
                Foreign(
                    orderId: $0.orderID.value, paymentKey: $0.paymentKey, amount: $0.amount?.value,
                    currency: $0.currency, at: $0.at)
            }
            findingsCount = report.findingsCount
            findings = report.findings.map {
                Item(
                    kind: $0.kind.rawValue, subscriptionId: $0.subscription?.value,
                    chargeId: $0.charge?.value, periodIndex: $0.period,
                    orderId: $0.orderID?.value, paymentKey: $0.paymentKey,
                    amount: $0.amount?.value, ledgerAmount: $0.ledgerAmount?.value, at: $0.at,
                    detail: $0.detail, advice: $0.advice)
            }
        }
    }
}
