import Billing
import FoundationEssentials

@testable import TossPayments

/// A page of the provider's list is read without a trap and wholly or not at all: a row that is left
/// out, or read as something else, would be money that nobody compares. Half of the inputs are raw
/// bytes, half are pages whose verdict is known from how they were made.
enum TransactionsFuzz {
    static func run(_ input: inout FuzzInput) {
        let limit = 1 + input.below(8)
        if input.bool() {
            guard let rows = try? TransactionsReply.rows(input.remainder(), limit: limit) else {
                return
            }
            check(rows, limit)
            compare(rows, &input)
            return
        }
        let made = (0..<input.below(10)).map { row($0, &input) }
        let text = "[" + made.map(\.text).joined(separator: ",") + "]"
        let isRight =
            made.count <= limit && made.allSatisfy(\.isRight)
            && Set(made.map(\.key)).count == made.count
        let rows = try? TransactionsReply.rows(Array(text.utf8), limit: limit)
        require((rows != nil) == isRight, "a page is read when each row of it is right: \(text)")
        guard let rows else { return }
        check(rows, limit)
        require(rows.count == made.count, "no row is left out: \(text)")
        for (row, made) in zip(rows, made) {
            require(row.kind == made.kind, "\(made.text) is \(made.kind), not \(row.kind)")
            require(row.amount?.value == made.amount, "the amount of \(made.text)")
            require(row.transactionKey == made.key, "the key of \(made.text)")
        }
        compare(rows, &input)
    }

    /// What the caller relies on, whatever came.
    private static func check(_ rows: [BooksRow], _ limit: Int) {
        require(rows.count <= limit, "no more rows than were asked for")
        require(
            Set(rows.map(\.transactionKey)).count == rows.count,
            "each row once: the last one's key begins the next page")
        for row in rows {
            for name in [row.transactionKey, row.paymentKey, row.orderID.value] {
                require((1...200).contains(name.utf8.count), "a name of 1 to 200 bytes")
            }
            require(row.at.hasSuffix("+09:00") && row.at.utf8.count >= 25, "Korean time")
        }
    }

    /// Held against a ledger that may say anything legal: no sum overflows, and what differs is no
    /// payment that agrees.
    private static func compare(_ rows: [BooksRow], _ input: inout FuzzInput) {
        let day = BooksDay(
            day: "2026-07-15", next: "2026-07-16", isProvisional: input.bool(),
            recent: "2026-07-15T23:05:00")
        var comparison = DayComparison(day)
        var agreeing: Int64 = 0
        let pairs = rows.map { row -> (BooksRow, LedgerEntry?) in
            guard input.bool() else { return (row, nil) }
            let amount = Won(input.bool() ? row.amount.map(legal) ?? 100 : legal(input.integer()))
            let charge = LedgerEntry.Charge(
                id: ChargeID(Int64(input.byte())), state: "paid", amount: amount,
                paymentKey: input.bool() ? row.paymentKey : nil, refunded: Won(Int64(input.byte())))
            if row.kind == .approval, row.isOf(day), charge.paymentKey != nil,
                row.currency == "KRW",
                row.amount == amount
            {
                agreeing += 1
            }
            return (
                row,
                LedgerEntry(
                    subscription: SubscriptionID(1), period: 0, charge: charge, attempt: nil)
            )
        }
        for question in comparison.compare(pairs) {
            let payment = Payment(
                paymentKey: input.bool() ? rows[0].paymentKey : "another",
                orderID: rows[0].orderID, status: input.pick([.done, .canceled, .aborted]),
                totalAmount: Won(input.integer()), balanceAmount: Won(input.integer()))
            guard let refund = comparison.answer(question, input.bool() ? payment : nil) else {
                continue
            }
            require(refund.amount.value > 0, "a refund takes something back")
            comparison.recorded(refund, question, .recorded)
        }
        require(
            comparison.report.payments == agreeing,
            "\(comparison.report.payments) payments agree, not \(agreeing)")
    }

    private static func legal(_ amount: Won) -> Int64 { legal(amount.value) }
    private static func legal(_ amount: Int64) -> Int64 { min(max(amount, 100), 100_000_000) }

    // MARK: Making a row

    private struct Row {
        var text: String
        var isRight = true
        var key = ""
        var kind = BooksRow.Kind.other
        var amount: Int64?
    }

    /// The fields, each right, or now and then wrong in a way that was thought of, or missing.
    private static func row(_ index: Int, _ input: inout FuzzInput) -> Row {
        var row = Row(text: "")
        var parts: [String] = []
        func name(_ field: String, _ right: String) -> String? {
            switch input.below(16) {
            case 0: return nil
            case 1:
                return "\"\(field)\":"
                    + input.pick(["null", "\"\"", "7", "\"a\\u0000b\"", "\"\(long)\"", "[]"])
            default: return "\"\(field)\":\"\(right)\""
            }
        }
        // Now and then the key of the row before.
        row.key = "key-\(input.below(16) == 0 ? max(0, index - 1) : index)"
        for (field, right) in [
            ("transactionKey", row.key), ("paymentKey", "pay-\(index)"),
            ("orderId", "0123456789abcdef01234567-1-\(index)"),
        ] {
            let part = name(field, right)
            if part != "\"\(field)\":\"\(right)\"" { row.isRight = false }
            if let part { parts.append(part) }
        }
        let status = input.pick([
            "\"DONE\"", "\"CANCELED\"", "\"PARTIAL_CANCELED\"", "\"ABORTED\"", "\"done\"", "null",
            "1",
        ])
        parts.append("\"status\":\(status)")
        switch status {
        case "\"DONE\"": row.kind = .approval
        case "\"CANCELED\"", "\"PARTIAL_CANCELED\"": row.kind = .cancel
        case "null", "1": row.isRight = false
        default: row.kind = .other
        }
        let (time, isTime) = input.pick(times)
        parts.append("\"transactionAt\":\(time)")
        if !isTime { row.isRight = false }
        // What is not whole is no reason not to read the page: it is told as a difference.
        switch input.below(4) {
        case 0: parts.append("\"amount\":\(input.pick(["null", "1.5", "1e400", "\"9900\"", "{}"]))")
        case 1: break
        default:
            let amount = input.integer()
            row.amount = amount
            parts.append("\"amount\":\(amount)")
        }
        if input.bool() {
            parts.append("\"currency\":\"\(input.pick(["KRW", "USD", "", "₩₩₩₩"]))\"")
        }
        if input.bool() { parts.append("\"extra\":{\"a\":[1,{\"b\":null}]}") }
        row.text = "{" + parts.joined(separator: ",") + "}"
        return row
    }

    private static let long = String(repeating: "k", count: 201)
    private static let times = [
        ("\"2026-07-15T09:30:04+09:00\"", true), ("\"2026-07-15T23:30:04.123+09:00\"", true),
        ("\"2026-07-16T00:00:00+09:00\"", true), ("\"2026-07-15T09:30:04Z\"", false),
        ("\"2026-07-15T09:30:04.+09:00\"", false), ("\"2026-07-15 09:30:04+09:00\"", false),
        ("\"yesterday\"", false), ("null", false), ("1", false),
    ]
}
