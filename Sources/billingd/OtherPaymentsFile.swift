import Billing
import BillingStore
import FoundationEssentials
import Postgres

/// Payments of another system in a file of comma-separated values, as spreadsheets write them.
enum OtherPaymentsFile {
    private static let mostBytes = 256 << 20
    private static let mostLineBytes = 4_096
    private static let columns = ["subscription_id", "paid_at", "amount", "payment_id"]

    /// Throws a ``Failure`` that names the line, the column and the rule.
    static func read(_ path: String) throws -> ShadowBooks.Payments {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw Failure("csv: \(path) cannot be read by this user")
        }
        guard data.count <= mostBytes else {
            throw Failure("csv: \(path) is longer than \(mostBytes >> 20) MB")
        }
        return try parse([UInt8](data))
    }

    static func parse(_ bytes: [UInt8]) throws -> ShadowBooks.Payments {
        var payments = ShadowBooks.Payments()
        var places: [Int] = []
        var count = 0
        var lineOf: [String: Int] = [:]
        let text = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes[3...] : bytes[...]
        for (index, line) in text.split(
            separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false
        ).enumerated() {
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            if line.isEmpty { continue }
            let number = index + 1
            guard line.count <= mostLineBytes else {
                throw Failure("csv: line \(number) is longer than \(mostLineBytes) bytes")
            }
            guard let fields = fields(line) else {
                throw Failure("csv: line \(number): a quotation mark is not closed, or not doubled")
            }
            guard count > 0 else {
                places = try self.places(fields, line: number)
                count = fields.count
                continue
            }
            guard fields.count == count else {
                throw Failure(
                    "csv: line \(number) has \(fields.count) columns, the header has \(count)")
            }
            let row = try Row(places.map { fields[$0] }, line: number)
            if let first = lineOf.updateValue(number, forKey: row.payment.id) {
                throw Failure(
                    "csv: line \(number), payment_id: \"\(row.payment.id)\" stands on line \(first)"
                )
            }
            if let subscription = row.subscription {
                payments.bySubscription[subscription, default: []].append(row.payment)
            } else {
                payments.strangers.append(row.payment)
            }
        }
        guard count > 0 else {
            throw Failure(
                "csv: the file is empty; its first line is \(columns.joined(separator: ","))")
        }
        return payments
    }

    /// Where the columns stand; others are left alone.
    private static func places(_ header: [String], line: Int) throws -> [Int] {
        let names = header.map { $0.lowercased() }
        return try columns.map { column in
            let found = names.indices.filter { names[$0] == column }
            guard found.count == 1 else {
                throw Failure(
                    "csv: line \(line): the header names \(column) "
                        + (found.isEmpty ? "nowhere" : "\(found.count) times")
                        + "; it needs \(columns.joined(separator: ","))")
            }
            return found[0]
        }
    }

    private struct Row {
        var subscription: Int64?
        var payment: OtherPayment

        /// Of the four columns' texts, in their order.
        init(_ texts: [String], line: Int) throws {
            func wrong(_ column: Int, _ rule: String) -> Failure {
                Failure(
                    "csv: line \(line), \(columns[column]): \(rule), not \"\(texts[column].prefix(80))\""
                )
            }
            if !texts[0].isEmpty {
                guard let id = Int64(texts[0]), id > 0 else {
                    throw wrong(0, "a subscription's number, or nothing")
                }
                subscription = id
            }
            guard let at = PostgresTimestamp(iso8601: texts[1]) else {
                throw wrong(1, "a time with its zone, as in 2026-01-31 00:05:00+09")
            }
            guard let amount = Int64(texts[2]), (1...1_000_000_000_000).contains(amount) else {
                throw wrong(2, "whole won, 1 or more, digits alone")
            }
            guard (1...200).contains(texts[3].count) else {
                throw wrong(3, "1 to 200 characters")
            }
            payment = OtherPayment(
                id: texts[3], at: Instant(microseconds: at.microseconds), amount: Won(amount))
        }
    }

    /// The fields of a line, blanks around them dropped; nil: its quotation marks make no sense.
    private static func fields(_ line: ArraySlice<UInt8>) -> [String]? {
        let quote = UInt8(ascii: "\"")
        var fields: [String] = []
        var field: [UInt8] = []
        var isQuoted = false
        var rest = line
        func end() {
            let text = String(decoding: field, as: UTF8.self)
            fields.append(String(text.trimmed))
            field = []
        }
        while let byte = rest.popFirst() {
            if isQuoted, byte == quote {
                if rest.first == quote {
                    field.append(quote)
                    rest.removeFirst()
                } else {
                    isQuoted = false
                    guard rest.isEmpty || rest.first == UInt8(ascii: ",") else { return nil }
                }
            } else if isQuoted {
                field.append(byte)
            } else if byte == UInt8(ascii: ",") {
                end()
            } else if byte == quote {
                guard field.isEmpty else { return nil }
                isQuoted = true
            } else {
                field.append(byte)
            }
        }
        guard !isQuoted else { return nil }
        end()
        return fields
    }
}

extension String {
    fileprivate var trimmed: Substring {
        var text = self[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}
