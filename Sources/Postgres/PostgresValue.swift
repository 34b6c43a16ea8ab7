/// A parameter of a statement, sent as text with its type, so that `unnest($1)` needs no cast.
package enum PostgresValue: Sendable {
    case int64(Int64?)
    case int32(Int32?)
    case double(Double?)
    case bool(Bool?)
    case string(String?)
    case timestamp(PostgresTimestamp?)
    case json(String?)
    case uuid(String?)
    case interval(String?)
    case int64s([Int64?])
    case int32s([Int32?])
    case doubles([Double?])
    case bools([Bool?])
    case strings([String?])
    case timestamps([PostgresTimestamp?])
    case jsons([String?])

    /// The type's OID (pg_type.dat of the PostgreSQL sources).
    var oid: UInt32 {
        switch self {
        case .bool: 16
        case .int64: 20
        case .int32: 23
        case .string: 25
        case .double: 701
        case .timestamp: 1184
        case .interval: 1186
        case .uuid: 2950
        case .json: 3802
        case .bools: 1000
        case .int32s: 1007
        case .strings: 1009
        case .int64s: 1016
        case .doubles: 1022
        case .timestamps: 1185
        case .jsons: 3807
        }
    }

    /// The value in PostgreSQL's text format; nil: NULL.
    var text: String? {
        switch self {
        case .int64(let value): value.map { "\($0)" }
        case .int32(let value): value.map { "\($0)" }
        case .double(let value): value.map { "\($0)" }
        case .bool(let value): value.map { $0 ? "t" : "f" }
        case .string(let value), .json(let value), .uuid(let value), .interval(let value): value
        case .timestamp(let value): value?.description
        case .int64s(let values): Self.array(values) { "\($0)" }
        case .int32s(let values): Self.array(values) { "\($0)" }
        case .doubles(let values): Self.array(values) { "\($0)" }
        case .bools(let values): Self.array(values) { $0 ? "t" : "f" }
        case .timestamps(let values): Self.array(values) { $0.description }
        case .strings(let values), .jsons(let values): Self.array(values, Self.quoted)
        }
    }

    private static func array<Element>(
        _ values: [Element?], _ write: (Element) -> String
    ) -> String {
        var text = "{"
        for (index, value) in values.enumerated() {
            if index > 0 { text += "," }
            text += value.map(write) ?? "NULL"
        }
        return text + "}"
    }

    /// An array element in quotes; only quotes and backslashes need an escape there.
    private static func quoted(_ text: String) -> String {
        var bytes: [UInt8] = [UInt8(ascii: "\"")]
        bytes.reserveCapacity(text.utf8.count + 2)
        for byte in text.utf8 {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                bytes.append(UInt8(ascii: "\\"))
            }
            bytes.append(byte)
        }
        bytes.append(UInt8(ascii: "\""))
        return String(decoding: bytes, as: UTF8.self)
    }
}
