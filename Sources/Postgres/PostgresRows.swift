/// What came back to one or more statements.
struct PostgresAnswer {
    /// Of the last one that had rows.
    var rows: PostgresRows
    /// The last command tag, such as `COMMIT`.
    var tag: String
}

/// The rows of an answer, copied out of libpq.
package struct PostgresRows: RandomAccessCollection, Sendable {
    private let cells: PostgresCells
    package let count: Int

    /// Names of the columns, in order.
    package var columns: [String] { cells.columns }

    /// `spans`: of `bytes`, for each row and column. `types`: OIDs, of an answer in the binary format.
    init(
        columns: [String], bytes: [UInt8], spans: [Range<Int32>?], types: [UInt32]? = nil,
        count: Int
    ) {
        cells = PostgresCells(columns: columns, bytes: bytes, spans: spans, types: types)
        self.count = count
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
    package subscript(index: Int) -> PostgresRow { PostgresRow(cells: cells, index: index) }

    /// (The iterator of any collection allocates once a row.)
    package struct Iterator: IteratorProtocol {
        fileprivate let rows: PostgresRows
        fileprivate var index = 0

        package mutating func next() -> PostgresRow? {
            guard index < rows.count else { return nil }
            defer { index += 1 }
            return rows[index]
        }
    }

    package func makeIterator() -> Iterator { Iterator(rows: self) }
}

/// One row. Each accessor throws a `.decoding` error that names the column when the value is NULL
/// or of another type; the `…OrNil` variants take NULL for nil.
package struct PostgresRow: Sendable {
    fileprivate let cells: PostgresCells
    fileprivate let index: Int

    package func string(_ column: String) throws(PostgresError) -> String {
        try present(stringOrNil(column), column)
    }
    package func stringOrNil(_ column: String) throws(PostgresError) -> String? {
        try read(column) { bytes, format in
            if case .binary(let type) = format, type != .text { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }
    }
    package func int64(_ column: String) throws(PostgresError) -> Int64 {
        try present(int64OrNil(column), column)
    }
    package func int64OrNil(_ column: String) throws(PostgresError) -> Int64? {
        try read(column, Self.integer)
    }
    /// By position from 0, for the hot paths.
    package func int64(_ place: Int) throws(PostgresError) -> Int64 {
        guard cells.columns.indices.contains(place), let bytes = cells.value(index, place),
            let value = Self.integer(bytes, cells.format(place))
        else { throw .decoding("column \(place) is no bigint") }
        return value
    }
    package func int(_ column: String) throws(PostgresError) -> Int {
        try present(read(column, { Self.integer($0, $1).map { Int($0) } }), column)
    }
    package func double(_ column: String) throws(PostgresError) -> Double {
        try present(doubleOrNil(column), column)
    }
    package func doubleOrNil(_ column: String) throws(PostgresError) -> Double? {
        try read(column) { bytes, format in
            switch format {
            case .text: Double(String(decoding: bytes, as: UTF8.self))
            case .binary(.double):
                PostgresType.double.integer(bytes).map {
                    Double(bitPattern: UInt64(bitPattern: $0))
                }
            case .binary: nil
            }
        }
    }
    package func bool(_ column: String) throws(PostgresError) -> Bool {
        try present(boolOrNil(column), column)
    }
    package func boolOrNil(_ column: String) throws(PostgresError) -> Bool? {
        try read(column) { bytes, format in
            guard bytes.count == 1, let byte = bytes.first else { return nil }
            switch format {
            case .text:
                return byte == UInt8(ascii: "t")
                    ? true : byte == UInt8(ascii: "f") ? false : nil
            case .binary(.bool): return byte == 1 ? true : byte == 0 ? false : nil
            case .binary: return nil
            }
        }
    }
    package func timestamp(_ column: String) throws(PostgresError) -> PostgresTimestamp {
        try present(timestampOrNil(column), column)
    }
    package func timestampOrNil(_ column: String) throws(PostgresError) -> PostgresTimestamp? {
        try read(column) { bytes, format in
            switch format {
            case .text: PostgresTimestamp(iso8601: bytes)
            case .binary(.timestamp): PostgresTimestamp(binary: bytes)
            case .binary: nil
            }
        }
    }

    private static func integer(
        _ bytes: ArraySlice<UInt8>, _ format: PostgresCells.Format
    ) -> Int64? {
        switch format {
        case .text: integer(bytes)
        case .binary(.int64): PostgresType.int64.integer(bytes)
        case .binary(.int32): PostgresType.int32.integer(bytes)
        case .binary(.int16): PostgresType.int16.integer(bytes)
        case .binary: nil
        }
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
        _ column: String, _ convert: (ArraySlice<UInt8>, PostgresCells.Format) -> Value?
    ) throws(PostgresError) -> Value? {
        let place = try cells.place(column)
        guard let bytes = cells.value(index, place) else { return nil }
        guard let value = convert(bytes, cells.format(place)) else {
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
