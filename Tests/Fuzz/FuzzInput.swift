/// The fuzzer's bytes, read as choices: what is left unread at the end is a text. Reading past the
/// end gives zeros, so that every input means something.
struct FuzzInput {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    mutating func bool() -> Bool { byte() & 1 == 1 }

    /// Below `count`, which is at most 256.
    mutating func below(_ count: Int) -> Int { Int(byte()) % count }

    mutating func pick<Value>(_ values: [Value]) -> Value { values[below(values.count)] }

    /// Small, near a power of two, or anything.
    mutating func integer() -> Int64 {
        switch below(4) {
        case 0: Int64(byte())
        case 1: pick([.min, .max, Int64(Int32.max), Int64(Int32.min), -1, 100_000_001])
        case 2: (1 &<< Int64(below(63))) &+ Int64(below(3)) - 1
        default: (0..<8).reduce(0) { number, _ in number << 8 | Int64(byte()) }
        }
    }

    /// Up to 255 bytes, repaired where they are no UTF-8.
    mutating func text() -> String {
        let count = Int(byte())
        defer { rest = rest.dropFirst(count) }
        return String(decoding: rest.prefix(count), as: UTF8.self)
    }

    /// Everything that is left.
    mutating func remainder() -> [UInt8] {
        defer { rest = [] }
        return Array(rest)
    }
}

/// A property that did not hold. The fuzzer keeps the input and says where.
func require(_ holds: Bool, _ rule: @autoclosure () -> String) {
    if !holds { fatalError("broken: \(rule())") }
}
