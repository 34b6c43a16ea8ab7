import Billing
import Testing

@testable import TossPayments

/// What comes of a page of the provider's list, good, odd and hostile.
@Suite struct TransactionsReplyTests {
    /// A row as documented; `changes` replace members, nil takes one away.
    private static func row(_ changes: [String: String?] = [:]) -> String {
        var members: [String: String?] = [
            "mId": "\"sandbox01\"", "transactionKey": "\"txrd_a01\"", "paymentKey": "\"pay1\"",
            "orderId": "\"0123456789abcdef01234567-0-1\"", "method": "\"카드\"",
            "customerKey": "\"customer-1\"", "useEscrow": "false", "receiptUrl": "\"https://x\"",
            "status": "\"DONE\"", "transactionAt": "\"2026-07-15T09:30:04+09:00\"",
            "currency": "\"KRW\"", "amount": "14900",
        ]
        members.merge(changes) { $1 }
        return "{"
            + members.compactMap { name, value in value.map { "\"\(name)\":\($0)" } }
            .joined(separator: ",") + "}"
    }

    private static func rows(
        _ text: String, limit: Int = 500
    ) throws(TransactionsReply.Unreadable) -> [BooksRow] {
        try TransactionsReply.rows(Array(text.utf8), limit: limit)
    }

    @Test func aRowAsDocumented() throws {
        #expect(
            try Self.rows("[\(Self.row())]") == [
                BooksRow(
                    transactionKey: "txrd_a01", paymentKey: "pay1",
                    orderID: OrderID(stored: "0123456789abcdef01234567-0-1"), kind: .approval,
                    customerKey: CustomerKey("customer-1"), amount: Won(14_900),
                    at: "2026-07-15T09:30:04+09:00")
            ])
        #expect(try Self.rows("[]").isEmpty)
        #expect(try Self.rows(" [ ] ").isEmpty)
    }

    @Test(arguments: [
        ("DONE", BooksRow.Kind.approval), ("CANCELED", .cancel), ("PARTIAL_CANCELED", .cancel),
        ("ABORTED", .other), ("WAITING_FOR_DEPOSIT", .other), ("", .other), ("done", .other),
    ])
    func aStatusTellsWhetherMoneyMoved(_ status: String, _ kind: BooksRow.Kind) throws {
        #expect(try Self.rows("[\(Self.row(["status": "\"\(status)\""]))]")[0].kind == kind)
    }

    /// Rows of another system of the merchant have what ours never have.
    @Test func whatDecidesNothingMayBeMissingOrOdd() throws {
        let odd = try Self.rows(
            "[\(Self.row(["customerKey": "null", "amount": "10.5", "currency": "\"USD\"", "mId": nil, "method": "7"]))]"
        )[0]
        #expect(odd.customerKey == nil && odd.amount == nil && odd.currency == "USD")
        let bare = try Self.rows(
            "[\(Self.row(["customerKey": nil, "amount": nil, "currency": nil]))]")
        #expect(bare[0].amount == nil && bare[0].currency == "")
        let negative = try Self.rows("[\(Self.row(["amount": "-4900"]))]")
        #expect(negative[0].amount == Won(-4_900))
        let huge = try Self.rows("[\(Self.row(["amount": "99999999999999999999"]))]")
        #expect(huge[0].amount == nil)
        let fraction = try Self.rows(
            "[\(Self.row(["transactionAt": "\"2026-07-15T09:30:04.123+09:00\""]))]")
        #expect(fraction[0].at.hasPrefix("2026-07-15T09:30:04.123"))
    }

    @Test(
        arguments: [
            ("", "no JSON array"), ("{}", "no JSON array"), ("null", "no JSON array"),
            ("[1]", "no JSON array"), ("[null]", "no JSON array"),
            ("<html></html>", "no JSON array"),
            ("[", "no JSON array"), ("{\"transactions\":[]}", "no JSON array"),
            (String(repeating: "[", count: 100_000), "too deeply"),
            (String(repeating: "{\"a\":", count: 100) + "1", "too deeply"),
            ("[\(row()),\(row())]", "row 1: its transactionKey"),
            (
                "[\((0..<501).map { row(["transactionKey": "\"k\($0)\""]) }.joined(separator: ","))]",
                "501 rows came, 500 were asked for"
            ),
        ] as [(String, String)])
    func whatIsNoPage(_ text: String, _ words: String) {
        do throws(TransactionsReply.Unreadable) {
            let rows = try Self.rows(text)
            Issue.record("taken as \(rows.count) rows")
        } catch {
            #expect(error.description.contains(words), "\(error)")
        }
    }

    private static let wrong: [(String, String?, String)] = [
        ("transactionKey", nil, "no transactionKey"), ("transactionKey", "7", "no transactionKey"),
        ("transactionKey", "\"\"", "no transactionKey"),
        ("paymentKey", "null", "no paymentKey"), ("paymentKey", "\"a\\u0000b\"", "no paymentKey"),
        ("paymentKey", "\"\(String(repeating: "p", count: 201))\"", "no paymentKey"),
        ("orderId", "{}", "no orderId"), ("orderId", "\"a\\nb\"", "no orderId"),
        ("status", nil, "no status"), ("status", "1", "no status"),
        ("transactionAt", nil, "transactionAt"),
        ("transactionAt", "\"2026-07-15\"", "transactionAt"),
        ("transactionAt", "\"2026-07-15T09:30:04Z\"", "transactionAt"),
        ("transactionAt", "\"2026-07-15T00:30:04+00:00\"", "transactionAt"),
        ("transactionAt", "\"2026-07-15T09:30:04\"", "transactionAt"),
        ("transactionAt", "\"2026-07-15 09:30:04+09:00\"", "transactionAt"),
        ("transactionAt", "\"2026-07-15T09:30:04.+09:00\"", "transactionAt"),
        ("transactionAt", "\"2026-07-15T09:30:04x1+09:00\"", "transactionAt"),
        ("transactionAt", "1784075404", "transactionAt"),
    ]

    @Test(arguments: wrong)
    func aRowThatCannotBeTold(_ field: String, _ value: String?, _ words: String) {
        let good = Self.row(["transactionKey": "\"other\""])
        var changes: [String: String?] = [:]
        changes.updateValue(value, forKey: field)
        do throws(TransactionsReply.Unreadable) {
            _ = try Self.rows("[\(good),\(Self.row(changes))]")
            Issue.record("taken")
        } catch {
            #expect(error.description.hasPrefix("row 1: "), "\(error)")
            #expect(error.description.contains(words), "\(error)")
        }
    }
}
