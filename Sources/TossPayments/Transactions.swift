package import Billing
import FoundationEssentials
import HTTP

extension TossGateway: ProviderBooks {
    /// `GET /v1/transactions` from the day's first second to the next day's, both in Korean time
    /// without a zone, as the call wants them; whether its end belongs to it is not documented, so the
    /// caller drops rows of the next day.
    package func transactions(
        of day: BooksDay, after transactionKey: String?, limit: Int, timeout: Duration
    ) async -> TransactionsPage {
        var path = "/v1/transactions?startDate=\(day.day)T00:00:00&endDate=\(day.next)T00:00:00"
        path += "&limit=\(limit)"
        if let transactionKey {
            guard Self.isLegal(transactionKey, 1...200, extra: "_-") else {
                return .refused(Answer(code: "ILLEGAL_PAGING_KEY"))
            }
            path += "&startingAfter=\(transactionKey)"
        }
        do {
            return page(try await get(path, timeout), limit: limit)
        } catch {
            return .unavailable(Self.answer(error))
        }
    }

    private func page(_ response: HTTPResponse, limit: Int) -> TransactionsPage {
        guard response.status == 200 else {
            let answer = Reply.answer(response)
            return switch TossCode.classify(answer.code, status: response.status) {
            case .transient, .unknown: .unavailable(answer)
            default: .refused(answer)
            }
        }
        do {
            return .rows(try TransactionsReply.rows(response.body, limit: limit))
        } catch {
            return .refused(
                Answer(code: "UNREADABLE_ANSWER", message: error.description, httpStatus: 200))
        }
    }
}

/// Reads a page of the list: strict in what tells payments apart, lenient in all else.
package enum TransactionsReply {
    /// Why a page cannot be read; names the row and the field, and quotes nothing.
    package struct Unreadable: Error, CustomStringConvertible {
        package let description: String
        init(_ description: String) { self.description = description }
    }

    /// The rows of a page that was asked for at most `limit`.
    package static func rows(_ body: [UInt8], limit: Int) throws(Unreadable) -> [BooksRow] {
        guard Reply.isShallow(body) else { throw Unreadable("it is nested too deeply") }
        let shapes: [RowShape]
        do {
            shapes = try JSONDecoder().decode([RowShape].self, from: Data(body))
        } catch {
            throw Unreadable("it is no JSON array of objects")
        }
        guard shapes.count <= limit else {
            throw Unreadable("\(shapes.count) rows came, \(limit) were asked for")
        }
        var rows: [BooksRow] = []
        var keys: Set<String> = []
        for (index, shape) in shapes.enumerated() {
            let row = try shape.row(index)
            guard keys.insert(row.transactionKey).inserted else {
                throw Unreadable("row \(index): its transactionKey was in the page already")
            }
            rows.append(row)
        }
        return rows
    }
}

private struct RowShape: Decodable {
    var transactionKey: String?
    var paymentKey: String?
    var orderId: String?
    var status: String?
    var transactionAt: String?
    var customerKey: String?
    var currency: String?
    var amount: Int64?

    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        func text(_ key: CodingKeys) -> String? { try? fields.decode(String.self, forKey: key) }
        transactionKey = text(.transactionKey)
        paymentKey = text(.paymentKey)
        orderId = text(.orderId)
        status = text(.status)
        transactionAt = text(.transactionAt)
        customerKey = text(.customerKey)
        currency = text(.currency)
        amount = try? fields.decode(Int64.self, forKey: .amount)
    }

    private enum CodingKeys: String, CodingKey {
        case transactionKey, paymentKey, orderId, status, transactionAt, customerKey, currency
        case amount
    }

    func row(_ index: Int) throws(TransactionsReply.Unreadable) -> BooksRow {
        guard let status, let at = transactionAt, Self.isKoreanTime(at) else {
            throw TransactionsReply.Unreadable(
                status == nil
                    ? "row \(index): no status"
                    : "row \(index): transactionAt is no time such as 2026-07-15T09:30:04+09:00")
        }
        let kind: BooksRow.Kind =
            switch status {
            case "DONE": .approval
            case "CANCELED", "PARTIAL_CANCELED": .cancel
            default: .other
            }
        return BooksRow(
            transactionKey: try Self.name(transactionKey, "transactionKey", index),
            paymentKey: try Self.name(paymentKey, "paymentKey", index),
            orderID: OrderID(stored: try Self.name(orderId, "orderId", index)), kind: kind,
            customerKey: customerKey.map { CustomerKey($0) },
            currency: String(Reply.tidy(currency ?? "").prefix(10)),
            amount: amount.map { Won($0) }, at: at)
    }

    /// The documented lengths are 64 and 200; what is longer, empty or not printable is no name.
    private static func name(
        _ text: String?, _ field: String, _ index: Int
    ) throws(TransactionsReply.Unreadable) -> String {
        guard let text, (1...200).contains(text.utf8.count), text == Reply.tidy(text) else {
            throw TransactionsReply.Unreadable("row \(index): no \(field) of 1 to 200 characters")
        }
        return text
    }

    /// `2026-07-15T09:30:04+09:00`, perhaps with a fraction of a second. The zone is part of the
    /// contract: days are told from the text.
    private static func isKoreanTime(_ text: String) -> Bool {
        let shape = "0000-00-00T00:00:00"
        let bytes = Array(text.utf8)
        let zone = Array("+09:00".utf8)
        guard bytes.count >= 25, bytes.count <= 35, Array(bytes.suffix(6)) == zone else {
            return false
        }
        func isDigit(_ byte: UInt8) -> Bool {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
        }
        guard
            zip(bytes, shape.utf8).allSatisfy({
                $1 == UInt8(ascii: "0") ? isDigit($0) : $0 == $1
            })
        else { return false }
        let fraction = bytes[19..<(bytes.count - 6)]
        return fraction.isEmpty
            || fraction.count > 1 && fraction.first == UInt8(ascii: ".")
                && fraction.dropFirst().allSatisfy(isDigit)
    }
}
