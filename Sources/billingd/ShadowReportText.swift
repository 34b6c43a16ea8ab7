import Billing
import FoundationEssentials

/// A comparison with another system as people and as machines read it.
enum ShadowReportText {
    static func plain(_ report: ShadowReport, _ zone: Zone) -> String {
        var lines: [String] = []
        if !report.isOn { lines.append("Shadow mode is not on: this is what was noted.") }
        lines.append("agree       \(report.agree) periods, \(report.won) won, charged there once")
        for (label, count, text) in [
            ("neither", Int64(report.neither), "periods that neither charges"),
            ("waiting", Int64(report.waiting), "periods just begun and not paid there yet"),
            ("early", Int64(report.early), "payments there for periods that are not noted yet"),
            ("before", Int64(report.before), "payments there of times before shadow mode"),
            (
                "behind", report.behind,
                "subscriptions with periods not noted: is billingd run --shadow running?"
            ),
        ] where count > 0 {
            lines.append(
                "\(label)\(String(repeating: " ", count: 12 - label.count))\(count) \(text)")
        }
        for finding in report.findings { lines += plain(finding, zone) }
        if report.moreFindings > 0 {
            lines.append("and \(report.moreFindings) findings more, which are not listed")
        }
        if report.findingsCount > 0 {
            lines.append("They do not decide alike: \(report.findingsCount) findings.")
        }
        if report.behind > 0 { lines.append("Not everything could be compared.") }
        if report.agrees { lines.append("Both decide alike.") }
        return lines.joined(separator: "\n")
    }

    private static func plain(_ finding: ShadowFinding, _ zone: Zone) -> [String] {
        var parts: [String] = []
        if let subscription = finding.subscription {
            parts.append("subscription \(subscription.value)")
        }
        if let period = finding.period {
            parts.append("period \(period) from \(zone.text(finding.at))")
        } else {
            parts.append("at \(zone.text(finding.at))")
        }
        if let here = finding.here { parts.append("\(here) won here") }
        if !finding.payments.isEmpty {
            parts.append("\(finding.there) won there")
            let shown = finding.payments.prefix(5).joined(separator: ", ")
            let more = finding.payments.count - 5
            parts.append(
                (finding.payments.count == 1 ? "payment " : "payments ") + shown
                    + (more > 0 ? " and \(more) more" : ""))
        }
        return [
            "FINDING     \(finding.kind.rawValue): \(finding.detail)",
            "            \(parts.joined(separator: "; "))", "            \(finding.advice)",
        ]
    }

    static func json(_ report: ShadowReport, _ zone: Zone) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return String(decoding: try encoder.encode(Report(report, zone)), as: UTF8.self)
    }

    private struct Report: Encodable {
        var shadow: Bool
        var agrees: Bool
        var agree: Int
        var won: Int64
        var neither: Int
        var waiting: Int
        var early: Int
        var before: Int
        var behind: Int64
        var findingsCount: Int
        var findings: [Item]

        struct Item: Encodable {
            var kind: String
            var subscriptionId: Int64?
            var periodIndex: Int?
            var at: String
            var payments: [String]
            var wonThere: Int64
            var wonHere: Int64?
            var detail: String
            var advice: String
        }

        init(_ report: ShadowReport, _ zone: Zone) {
            shadow = report.isOn
            agrees = report.agrees
            agree = report.agree
            won = report.won
            neither = report.neither
            waiting = report.waiting
            early = report.early
            before = report.before
            behind = report.behind
            findingsCount = report.findingsCount
            findings = report.findings.map {
                Item(
                    kind: $0.kind.rawValue, subscriptionId: $0.subscription?.value,
                    periodIndex: $0.period, at: zone.text($0.at), payments: $0.payments,
                    wonThere: $0.there, wonHere: $0.here, detail: $0.detail, advice: $0.advice)
            }
        }
    }
}
