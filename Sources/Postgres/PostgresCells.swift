import Synchronization

/// The bytes of all values of an answer, in one piece, and what finds them.
final class PostgresCells: Sendable {
    let columns: [String]
    private let places: [String: Int]
    private let bytes: [UInt8]
    /// Where each value begins and ends in `bytes`, row by row; nil: NULL.
    private let spans: [Range<Int32>?]
    /// Types of the columns whose values are binary; nil: all are text.
    private let types: [PostgresType?]?
    /// The column behind the last that was asked for: mostly they are asked for in order, row by row,
    /// and need not be looked up.
    private let likely = Atomic<Int>(0)

    init(
        columns: [String], bytes: [UInt8], spans: [Range<Int32>?], types: [UInt32]?
    ) {
        self.columns = columns
        self.bytes = bytes
        self.spans = spans
        self.types = types?.map { PostgresType(rawValue: $0) }
        places = Dictionary(
            zip(columns, 0..<columns.count), uniquingKeysWith: { first, _ in first })
    }

    func place(_ column: String) throws(PostgresError) -> Int {
        var place = likely.load(ordering: .relaxed)
        // Of two columns of one name it is the first.
        if place >= columns.count || columns[place] != column || places.count < columns.count {
            guard let known = places[column] else {
                throw .decoding("there is no column \(column)")
            }
            place = known
        }
        likely.store(place + 1, ordering: .relaxed)
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
