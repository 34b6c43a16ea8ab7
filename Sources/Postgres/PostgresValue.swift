/// A parameter of a statement, sent with its type, so that `unnest($1)` needs no cast. Arrays go in
/// PostgreSQL's binary format, which costs both sides half of what their text does; single values go
/// as text.
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

    /// Whether ``write(to:)`` writes it in binary format.
    var isBinary: Bool { element != nil }

    /// The OID of an array's elements; nil: it is none.
    private var element: UInt32? {
        switch self {
        case .bools: Self.bool(nil).oid
        case .int64s: Self.int64(nil).oid
        case .int32s: Self.int32(nil).oid
        case .strings: Self.string(nil).oid
        case .doubles: Self.double(nil).oid
        case .timestamps: Self.timestamp(nil).oid
        case .jsons: Self.json(nil).oid
        case .bool, .int64, .int32, .string, .double, .timestamp, .json, .uuid, .interval: nil
        }
    }

    /// Appends the value, texts in UTF-8; false: NULL, and nothing is appended. Throws for a text with a
    /// NUL, which PostgreSQL does not take.
    func write(to bytes: inout [UInt8]) throws(PostgresError) -> Bool {
        switch self {
        case .int64(let value): return Self.write(value, &bytes) { Self.write($0, &$1) }
        case .int32(let value): return Self.write(value, &bytes) { Self.write(Int64($0), &$1) }
        case .double(let value): return Self.write(value, &bytes) { $1 += Array("\($0)".utf8) }
        case .bool(let value):
            return Self.write(value, &bytes) { $1.append(UInt8(ascii: $0 ? "t" : "f")) }
        case .string(let value), .json(let value), .uuid(let value), .interval(let value):
            guard let value else { return false }
            try Self.write(value, &bytes)
        case .timestamp(let value): return Self.write(value, &bytes) { $0.write(to: &$1) }
        case .int64s(let values): pack(values, &bytes) { Self.pack($0, &$1) }
        case .int32s(let values): pack(values, &bytes) { Self.pack($0, &$1) }
        case .doubles(let values): pack(values, &bytes) { Self.pack($0.bitPattern, &$1) }
        case .bools(let values): pack(values, &bytes) { $1.append($0 ? 1 : 0) }
        case .timestamps(let values): pack(values, &bytes) { Self.pack($0.binary, &$1) }
        case .strings(let values):
            try pack(values, &bytes) { (value, bytes) throws(PostgresError) in
                try Self.write(value, &bytes)
            }
        case .jsons(let values):
            try pack(values, &bytes) { (value, bytes) throws(PostgresError) in
                // The version of jsonb's binary format, which is text (jsonb_recv).
                bytes.append(1)
                try Self.write(value, &bytes)
            }
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

    private static func write(_ text: String, _ bytes: inout [UInt8]) throws(PostgresError) {
        let start = bytes.count
        bytes.append(contentsOf: text.utf8)
        var hasNUL = false
        // Without an end before the end: so the processor looks at many at once.
        for place in start..<bytes.count { hasNUL = hasNUL || bytes[place] == 0 }
        if hasNUL {
            // What the server would say of it: character_not_in_repertoire.
            throw PostgresError(
                kind: .server, message: "a text parameter contains a NUL character",
                sqlState: "22021")
        }
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

    // MARK: Binary

    /// An array as array_recv reads it: the number of dimensions, whether there are NULLs, the
    /// elements' type, then size and first index of the dimension, then each element behind its length.
    private func pack<Element, Failure>(
        _ values: [Element?], _ bytes: inout [UInt8],
        _ write: (Element, inout [UInt8]) throws(Failure) -> Void
    ) throws(Failure) {
        Self.pack(Int32(values.isEmpty ? 0 : 1), &bytes)
        // It only says that there may be some.
        Self.pack(Int32(1), &bytes)
        Self.pack(element ?? 0, &bytes)
        if values.isEmpty { return }
        Self.pack(Int32(values.count), &bytes)
        Self.pack(Int32(1), &bytes)
        for value in values {
            guard let value else {
                Self.pack(Int32(-1), &bytes)
                continue
            }
            let start = bytes.count
            Self.pack(Int32(0), &bytes)
            try write(value, &bytes)
            let length = UInt32(bytes.count - start - 4)
            for place in 0..<4 {
                bytes[start + place] = UInt8(truncatingIfNeeded: length >> (24 - 8 * place))
            }
        }
    }

    /// The most significant byte first.
    private static func pack<Number: FixedWidthInteger>(_ number: Number, _ bytes: inout [UInt8]) {
        var shift = Number.bitWidth
        while shift > 0 {
            shift -= 8
            bytes.append(UInt8(truncatingIfNeeded: number >> shift))
        }
    }
}
