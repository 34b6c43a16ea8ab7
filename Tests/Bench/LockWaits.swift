/// Waits for locks of more than a millisecond, in milliseconds, by what was waited for.
struct LockWaits: Codable {
    /// A row, or the end of a transaction that had it.
    var row: [Double] = []
    /// The one lock that every transaction with a NOTIFY holds from before its COMMIT to the end of it.
    var notify: [Double] = []
    /// New pages of a table.
    var newPages: [Double] = []
    var other: [Double] = []

    /// `lock`: the server's words, such as `ShareLock on transaction 4711`.
    mutating func add(_ time: Double, for lock: Substring) {
        if lock.contains(" on transaction ") || lock.contains(" on tuple ") {
            row.append(time)
        } else if lock.contains(" on object 0 of class 1262 ") {
            notify.append(time)
        } else if lock.contains(" on extension ") {
            newPages.append(time)
        } else {
            other.append(time)
        }
    }

    /// What the slowest hundredth of `transactions` waited at least; nil: no millisecond.
    func slowest1Percent(of transactions: Double) -> Double? {
        let waits = (row + notify + newPages + other).sorted()
        let slower = Int(transactions / 100)
        return slower < waits.count ? waits[waits.count - 1 - slower] : nil
    }

    private enum CodingKeys: String, CodingKey {
        case row, notify, other
        case newPages = "new_pages"
    }
}
