/// What came back to one or more statements.
struct PostgresAnswer {
    /// Of the last one that had rows.
    var rows: PostgresRows
    /// The last command tag, such as `COMMIT`.
    var tag: String
}

/// The rows of an answer, copied out of libpq: the bytes of all values in one piece.
package struct PostgresRows: RandomAccessCollection, Sendable {
    /// Names of the columns, in order.
    package let columns: [String]
    private let places: [String: Int]
    private let bytes: [UInt8]
    /// Where each value begins and ends in `bytes`, row by row; nil: NULL.
    private let spans: [Range<Int32>?]
    /// Types of the columns whose values are binary; nil: all are text.
    private let types: [PostgresType?]?
    package let count: Int

    /// `spans`: of `bytes`, for each row and column. `types`: OIDs, of an answer in the binary format.
    init(
        columns: [String], bytes: [UInt8], spans: [Range<Int32>?], types: [UInt32]? = nil,
        count: Int
    ) {
        self.columns = columns
        self.bytes = bytes
        self.spans = spans
        self.types = types?.map { PostgresType(rawValue: $0) }
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

    /// What a value is written in.
    enum Format {
        case text
        /// Nil: of a type that this client does not read.
        case binary(PostgresType?)
    }

    func format(_ place: Int) -> Format { types.map { .binary($0[place]) } ?? .text }

    /// The bytes of a value; nil: NULL.
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
        guard rows.columns.indices.contains(place), let bytes = rows.value(index, place),
            let value = Self.integer(bytes, rows.format(place))
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
        _ bytes: ArraySlice<UInt8>, _ format: PostgresRows.Format
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
        _ column: String, _ convert: (ArraySlice<UInt8>, PostgresRows.Format) -> Value?
    ) throws(PostgresError) -> Value? {
        let place = try rows.place(column)
        guard let bytes = rows.value(index, place) else { return nil }
        guard let value = convert(bytes, rows.format(place)) else {
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
