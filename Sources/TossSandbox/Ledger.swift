/// The books: every execution, in order, with its cancels. A record takes little more than its two
/// texts, so that a million fit; what is derivable (payment key, secret, VAT) is not stored.
struct Ledger: Sendable {
    struct Payment: Sendable {
        var orderID: String
        var idempotencyKey: String
        /// Index into ``KeyRing``.
        var key: Int32
        /// Index into ``Ledger/names``.
        var name: Int32
        var amount: Int64
        var balance: Int64
        /// Seconds since 1970.
        var executedAt: Int64
        /// The row of the approval in ``Ledger/rows``.
        var row: Int32
        var answered = true
        /// The answer is still to be delivered.
        var running = false
    }

    /// What few payments have.
    struct Tax: Sendable, Equatable {
        var free: Int64 = 0
        var exemption: Int64 = 0
        var installments: Int64 = 0
    }

    struct Cancel: Sendable {
        var amount: Int64
        var reason: String
        var taxFree: Int64
        var refundable: Int64
        var at: Int64
        var row: Int32
    }

    /// An approval (cancel nil) or a cancel, as `/v1/transactions` lists them.
    struct Row: Sendable {
        var payment: Int32
        var cancel: Int32?
        var at: Int64
    }

    /// A declined approve, kept for switches 1 and 2.
    struct Declined: Sendable {
        var key: Int32
        var name: Int32
        var amount: Int64
        var at: Int64
        var code: String
    }

    private(set) var payments: [Payment] = []
    private(set) var rows: [Row] = []
    private(set) var names: [String] = []
    private(set) var taxes: [Int32: Tax] = [:]
    private(set) var cancels: [Int32: [Cancel]] = [:]
    private(set) var declined: [String: Declined] = [:]
    /// Every decline of a card, by code.
    private(set) var declinesByCode: [String: Int64] = [:]
    private var orders: [String: Int32] = [:]
    private var nameIndexes: [String: Int32] = [:]

    subscript(_ number: Int32) -> Payment {
        get { payments[Int(number)] }
        set { payments[Int(number)] = newValue }
    }

    func number(orderID: String) -> Int32? { orders[orderID] }

    /// The payment of a payment key, by the number inside of it.
    func number(paymentKey: String) -> Int32? {
        guard paymentKey.utf8.count == 24,
            let number = SandboxIDs.paymentNumber(suffix: paymentKey.utf8.suffix(5)),
            number >= 0, number < payments.count, self.paymentKey(number) == paymentKey
        else { return nil }
        return number
    }

    /// Five characters of the merchant id, Korean `yyyyMMddHHmmss`, five of the payment's number.
    func paymentKey(_ number: Int32) -> String {
        var out: [UInt8] = []
        out.reserveCapacity(24)
        out.append(contentsOf: "sandb".utf8)
        let f = KoreanTime.fields(self[number].executedAt)
        for (value, width) in [(f.year, 4), (f.month, 2), (f.day, 2), (f.hour, 2), (f.minute, 2)] {
            Self.pad(value, width, &out)
        }
        Self.pad(f.second, 2, &out)
        out.append(contentsOf: SandboxIDs.paymentSuffix(number))
        return String(decoding: out, as: UTF8.self)
    }

    private static func pad(_ value: Int, _ width: Int, _ out: inout [UInt8]) {
        var divisor = width == 4 ? 1000 : 10
        while divisor > 0 {
            out.append(48 + UInt8(value / divisor % 10))
            divisor /= 10
        }
    }

    mutating func nameIndex(_ name: String) -> Int32 {
        if let index = nameIndexes[name] { return index }
        let index = Int32(names.count)
        names.append(name)
        nameIndexes[name] = index
        return index
    }

    /// Books an execution and returns its number.
    mutating func approve(_ payment: Payment, tax: Tax) -> Int32 {
        let number = Int32(payments.count)
        var payment = payment
        payment.row = Int32(rows.count)
        rows.append(Row(payment: number, cancel: nil, at: payment.executedAt))
        payments.append(payment)
        orders[payment.orderID] = number
        if tax != Tax() { taxes[number] = tax }
        return number
    }

    /// Books a cancel that was found valid.
    mutating func cancel(
        _ number: Int32, amount: Int64, reason: String, taxFree: Int64, at: Int64
    ) {
        self[number].balance -= amount
        let list = cancels[number] ?? []
        let row = Row(payment: number, cancel: Int32(list.count), at: at)
        cancels[number] =
            list + [
                Cancel(
                    amount: amount, reason: reason, taxFree: taxFree,
                    refundable: self[number].balance, at: at, row: Int32(rows.count))
            ]
        rows.append(row)
    }

    mutating func decline(orderID: String, _ record: Declined) {
        declined[orderID] = record
        declinesByCode[record.code, default: 0] += 1
    }

    /// DONE, CANCELED (one cancel over all) or PARTIAL_CANCELED, which stays when the rest follows.
    func status(_ number: Int32) -> String {
        guard let list = cancels[number], let first = list.first else { return "DONE" }
        return first.amount == self[number].amount ? "CANCELED" : "PARTIAL_CANCELED"
    }
}
