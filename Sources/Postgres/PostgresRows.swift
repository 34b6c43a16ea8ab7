/// What came back to one or more statements.
struct PostgresAnswer {
    /// Of the last one that had rows.
    var rows: PostgresRows
    /// The last command tag, such as `COMMIT`.
    var tag: String
}

/// The rows of an answer, copied out of libpq: the text of all values in one piece.
package struct PostgresRows: RandomAccessCollection, Sendable {
    /// Names of the columns, in order.
    package let columns: [String]
    private let places: [String: Int]
    private let bytes: [UInt8]
    /// Where each value begins and ends in `bytes`, row by row; nil: NULL.
    private let spans: [Range<Int32>?]
    package let count: Int

    /// `spans`: of `bytes`, for each row and column.
    init(columns: [String], bytes: [UInt8], spans: [Range<Int32>?], count: Int) {
        self.columns = columns
        self.bytes = bytes
        self.spans = spans
        self.count = count
        places = Dictionary(
            zip(columns, 0..<columns.count), uniquingKeysWith: { first, _ in first })
    }

    /// Of values at hand.
    init(columns: [String], values: [String?], count: Int) {
        var bytes: [UInt8] = []
        var spans: [Range<Int32>?] = []
        for value in values {
            let start = Int32(bytes.count)
            if let value { bytes += Array(value.utf8) }
            spans.append(value == nil ? nil : start..<Int32(bytes.count))
        }
        self.init(columns: columns, bytes: bytes, spans: spans, count: count)
    }

    package var startIndex: Int { 0 }
    package var endIndex: Int { count }
    package subscript(index: Int) -> PostgresRow { PostgresRow(rows: self, index: index) }

    func place(_ column: String) throws(PostgresError) -> Int {
        guard let place = places[column] else {
            throw .decoding("there is no column \(column)")
        }
        return place
    }

    /// The text of a value; nil: NULL.
    func value(_ row: Int, _ place: Int) -> ArraySlice<UInt8>? {
        spans[row * columns.count + place].map { bytes[Int($0.lowerBound)..<Int($0.upperBound)] }
    }
}

/// One row. Each accessor throws a `.decoding` error that names the column when the value is NULL
/// or of another type; the `…OrNil` variants take NULL for nil.
package struct PostgresRow: Sendable {
    fileprivate let rows: PostgresRows
    fileprivate let index: Int

    package func string(_ column: String) throws(PostgresError) -> String {
        try present(stringOrNil(column), column)
    }
    package func stringOrNil(_ column: String) throws(PostgresError) -> String? {
        try bytes(column).map { String(decoding: $0, as: UTF8.self) }
    }
    package func int64(_ column: String) throws(PostgresError) -> Int64 {
        try present(int64OrNil(column), column)
    }
    package func int64OrNil(_ column: String) throws(PostgresError) -> Int64? {
        try read(column, Self.integer)
    }
    /// By position from 0, for the hot paths.
    package func int64(_ place: Int) throws(PostgresError) -> Int64 {
        guard rows.columns.indices.contains(place), let text = rows.value(index, place),
            let value = Self.integer(text)
        else { throw .decoding("column \(place) is no bigint") }
        return value
    }
    package func int(_ column: String) throws(PostgresError) -> Int {
        try present(read(column, { Self.integer($0).map { Int($0) } }), column)
    }
    package func double(_ column: String) throws(PostgresError) -> Double {
        try present(doubleOrNil(column), column)
    }
    package func doubleOrNil(_ column: String) throws(PostgresError) -> Double? {
        try read(column, { Double(String(decoding: $0, as: UTF8.self)) })
    }
    package func bool(_ column: String) throws(PostgresError) -> Bool {
        try present(boolOrNil(column), column)
    }
    package func boolOrNil(_ column: String) throws(PostgresError) -> Bool? {
        try read(column) { text in
            guard text.count == 1, let letter = text.first else { return nil }
            return letter == UInt8(ascii: "t") ? true : letter == UInt8(ascii: "f") ? false : nil
        }
    }
    package func timestamp(_ column: String) throws(PostgresError) -> PostgresTimestamp {
        try present(timestampOrNil(column), column)
    }
    package func timestampOrNil(_ column: String) throws(PostgresError) -> PostgresTimestamp? {
        try read(column) { PostgresTimestamp(iso8601: $0) }
    }

    private func bytes(_ column: String) throws(PostgresError) -> ArraySlice<UInt8>? {
        rows.value(index, try rows.place(column))
    }

    /// A decimal integer of 64 bits, with an optional minus; anything else is none.
    private static func integer(_ text: ArraySlice<UInt8>) -> Int64? {
        let isNegative = text.first == UInt8(ascii: "-")
        let digits = isNegative ? text.dropFirst() : text
        guard !digits.isEmpty else { return nil }
        var value: Int64 = 0
        for byte in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            let digit = Int64(byte &- UInt8(ascii: "0"))
            let (tens, isTooFar) = value.multipliedReportingOverflow(by: 10)
            // Downwards when negative: the smallest number has no positive twin.
            let (sum, isBeyond) =
                isNegative
                ? tens.subtractingReportingOverflow(digit) : tens.addingReportingOverflow(digit)
            guard !isTooFar, !isBeyond else { return nil }
            value = sum
        }
        return value
    }

    private func read<Value>(
        _ column: String, _ convert: (ArraySlice<UInt8>) -> Value?
    ) throws(PostgresError) -> Value? {
        guard let text = try bytes(column) else { return nil }
        guard let value = convert(text) else {
            throw .decoding("column \(column) is no \(Value.self)")
        }
        return value
    }

    private func present<Value>(
        _ value: Value?, _ column: String
    ) throws(PostgresError) -> Value {
        guard let value else { throw .decoding("column \(column) is null") }
        return value
    }
}
