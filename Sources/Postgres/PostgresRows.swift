/// The rows of an answer, copied out of libpq: text values, nil for NULL.
package struct PostgresRows: RandomAccessCollection, Sendable {
    /// Names of the columns, in order.
    package let columns: [String]
    private let places: [String: Int]
    private let values: [String?]
    package let count: Int

    init(columns: [String], values: [String?], count: Int) {
        self.columns = columns
        self.values = values
        self.count = count
        places = Dictionary(
            zip(columns, 0..<columns.count), uniquingKeysWith: { first, _ in first })
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

    func value(_ row: Int, _ place: Int) -> String? { values[row * columns.count + place] }
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
        rows.value(index, try rows.place(column))
    }
    package func int64(_ column: String) throws(PostgresError) -> Int64 {
        try present(int64OrNil(column), column)
    }
    package func int64OrNil(_ column: String) throws(PostgresError) -> Int64? {
        try read(column, Int64.init)
    }
    /// By position from 0, for the hot paths.
    package func int64(_ place: Int) throws(PostgresError) -> Int64 {
        guard rows.columns.indices.contains(place), let text = rows.value(index, place),
            let value = Int64(text)
        else { throw .decoding("column \(place) is no bigint") }
        return value
    }
    package func int(_ column: String) throws(PostgresError) -> Int {
        try present(read(column, { Int($0) }), column)
    }
    package func double(_ column: String) throws(PostgresError) -> Double {
        try present(doubleOrNil(column), column)
    }
    package func doubleOrNil(_ column: String) throws(PostgresError) -> Double? {
        try read(column, { Double($0) })
    }
    package func bool(_ column: String) throws(PostgresError) -> Bool {
        try present(boolOrNil(column), column)
    }
    package func boolOrNil(_ column: String) throws(PostgresError) -> Bool? {
        try read(column) { $0 == "t" ? true : $0 == "f" ? false : nil }
    }
    package func timestamp(_ column: String) throws(PostgresError) -> PostgresTimestamp {
        try present(timestampOrNil(column), column)
    }
    package func timestampOrNil(_ column: String) throws(PostgresError) -> PostgresTimestamp? {
        try read(column) { PostgresTimestamp(iso8601: $0) }
    }

    private func read<Value>(
        _ column: String, _ convert: (String) -> Value?
    ) throws(PostgresError) -> Value? {
        guard let text = try stringOrNil(column) else { return nil }
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
