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

    /// Appends the value in PostgreSQL's text format, UTF-8; false: NULL, and nothing is appended.
    func write(to bytes: inout [UInt8]) -> Bool {
        switch self {
        case .int64(let value): return Self.write(value, &bytes) { Self.write($0, &$1) }
        case .int32(let value): return Self.write(value, &bytes) { Self.write(Int64($0), &$1) }
        case .double(let value): return Self.write(value, &bytes) { $1 += Array("\($0)".utf8) }
        case .bool(let value): return Self.write(value, &bytes, Self.write)
        case .string(let value), .json(let value), .uuid(let value), .interval(let value):
            return Self.write(value, &bytes) { $1 += Array($0.utf8) }
        case .timestamp(let value): return Self.write(value, &bytes) { $0.write(to: &$1) }
        case .int64s(let values): Self.write(values, &bytes) { Self.write($0, &$1) }
        case .int32s(let values): Self.write(values, &bytes) { Self.write(Int64($0), &$1) }
        case .doubles(let values): Self.write(values, &bytes) { $1 += Array("\($0)".utf8) }
        case .bools(let values): Self.write(values, &bytes, Self.write)
        case .timestamps(let values): Self.write(values, &bytes) { $0.write(to: &$1) }
        case .strings(let values), .jsons(let values): Self.write(values, &bytes, Self.quote)
        }
        return true
    }

    private static func write<Value>(
        _ value: Value?, _ bytes: inout [UInt8], _ write: (Value, inout [UInt8]) -> Void
    ) -> Bool {
        guard let value else { return false }
        write(value, &bytes)
        return true
    }

    private static func write<Element>(
        _ values: [Element?], _ bytes: inout [UInt8], _ write: (Element, inout [UInt8]) -> Void
    ) {
        bytes.append(UInt8(ascii: "{"))
        for (index, value) in values.enumerated() {
            if index > 0 { bytes.append(UInt8(ascii: ",")) }
            if let value { write(value, &bytes) } else { bytes += [0x4e, 0x55, 0x4c, 0x4c] }
        }
        bytes.append(UInt8(ascii: "}"))
    }

    private static func write(_ value: Bool, _ bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: value ? "t" : "f"))
    }

    private static func write(_ value: Int64, _ bytes: inout [UInt8]) {
        var rest = value.magnitude
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        let start = bytes.count
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }

    /// An array element in quotes; only quotes and backslashes need an escape there.
    private static func quote(_ text: String, _ bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
                bytes.append(UInt8(ascii: "\\"))
            }
            bytes.append(byte)
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
