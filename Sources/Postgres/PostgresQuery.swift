/// A statement: constant text, and parameters that go beside it. An interpolated value never
/// becomes text of the statement; it becomes `$1`, `$2` … and a bind.
package struct PostgresQuery: ExpressibleByStringInterpolation, Sendable {
    package let text: String
    package let parameters: [PostgresValue]
    /// Planned once a connection instead of at each use, see ``prepared``.
    private(set) var isPrepared = false

    /// The same statement, parsed and planned once a connection: for the large statements of the hot
    /// path, whose planning costs more than ten rows of their work. Only for a shape that no plan can
    /// spoil: after five uses the plan is made for no values in particular.
    package var prepared: PostgresQuery {
        var query = self
        query.isPrepared = true
        return query
    }

    /// Whether the answer's values come in PostgreSQL's binary format, see ``binary``.
    private(set) var isBinary = false

    /// The same statement, whose answer's instants and numbers need not be written as text and read
    /// again. Its columns are of ``PostgresType``.
    package var binary: PostgresQuery {
        var query = self
        query.isBinary = true
        return query
    }

    package init(stringLiteral value: String) {
        text = value
        parameters = []
    }

    package init(stringInterpolation: StringInterpolation) {
        text = stringInterpolation.text
        parameters = stringInterpolation.parameters
    }

    package struct StringInterpolation: StringInterpolationProtocol {
        var text = ""
        var parameters: [PostgresValue] = []

        package init(literalCapacity: Int, interpolationCount: Int) {
            text.reserveCapacity(literalCapacity + interpolationCount * 3)
        }

        package mutating func appendLiteral(_ literal: String) { text += literal }

        /// A piece of the statement's own text, for a statement with variants: a literal, never a value.
        package mutating func appendInterpolation(sql piece: StaticString) { text += "\(piece)" }

        package mutating func appendInterpolation(_ value: PostgresValue) {
            parameters.append(value)
            text += "$\(parameters.count)"
        }

        package mutating func appendInterpolation(_ value: Int64?) {
            appendInterpolation(.int64(value))
        }
        package mutating func appendInterpolation(_ value: Int?) {
            appendInterpolation(.int64(value.map { Int64($0) }))
        }
        package mutating func appendInterpolation(_ value: Int32?) {
            appendInterpolation(.int32(value))
        }
        package mutating func appendInterpolation(_ value: Double?) {
            appendInterpolation(.double(value))
        }
        package mutating func appendInterpolation(_ value: Bool?) {
            appendInterpolation(.bool(value))
        }
        package mutating func appendInterpolation(_ value: String?) {
            appendInterpolation(.string(value))
        }
        package mutating func appendInterpolation(_ value: PostgresTimestamp?) {
            appendInterpolation(.timestamp(value))
        }
        package mutating func appendInterpolation(_ values: [Int64]) {
            appendInterpolation(.int64s(values))
        }
        package mutating func appendInterpolation(_ values: [Int64?]) {
            appendInterpolation(.int64s(values))
        }
        package mutating func appendInterpolation(_ values: [Int32]) {
            appendInterpolation(.int32s(values))
        }
        package mutating func appendInterpolation(_ values: [Int32?]) {
            appendInterpolation(.int32s(values))
        }
        package mutating func appendInterpolation(_ values: [Double?]) {
            appendInterpolation(.doubles(values))
        }
        package mutating func appendInterpolation(_ values: [Bool]) {
            appendInterpolation(.bools(values))
        }
        package mutating func appendInterpolation(_ values: [String]) {
            appendInterpolation(.strings(values))
        }
        package mutating func appendInterpolation(_ values: [String?]) {
            appendInterpolation(.strings(values))
        }
        package mutating func appendInterpolation(_ values: [PostgresTimestamp]) {
            appendInterpolation(.timestamps(values))
        }
    }
}
