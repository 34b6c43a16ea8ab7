/// Types that are read in the binary format, by their OIDs (pg_type.dat of the PostgreSQL sources).
enum PostgresType: UInt32 {
    case bool = 16
    case int64 = 20
    case int16 = 21
    case int32 = 23
    case text = 25
    case double = 701
    case timestamp = 1184

    /// Integers and instants are big-endian, of the type's own width; anything else is none.
    func integer(_ bytes: ArraySlice<UInt8>) -> Int64? {
        let width =
            switch self {
            case .int64, .timestamp, .double: 8
            case .int32: 4
            case .int16: 2
            case .bool, .text: 0
            }
        guard width > 0, bytes.count == width, let first = bytes.first else { return nil }
        return bytes.dropFirst().reduce(Int64(Int8(bitPattern: first))) { $0 << 8 | Int64($1) }
    }
}
