/// JSON under construction, as UTF-8 bytes. Written by hand because a million Payments are.
struct JSONBuffer {
    var bytes: [UInt8] = []

    init(capacity: Int = 256) { bytes.reserveCapacity(capacity) }

    /// Appends finished JSON as it stands.
    mutating func raw(_ json: String) { bytes.append(contentsOf: json.utf8) }

    /// Appends finished JSON as it stands.
    mutating func raw(_ json: [UInt8]) { bytes.append(contentsOf: json) }

    mutating func integer(_ value: Int64) {
        guard value >= 0 else { return raw(String(value)) }
        var digits: (UInt64, count: Int) = (UInt64(value), 0)
        var rest = digits.0
        repeat {
            rest /= 10
            digits.count += 1
        } while rest > 0
        let start = bytes.count
        bytes.append(contentsOf: repeatElement(48, count: digits.count))
        for position in stride(from: start + digits.count - 1, through: start, by: -1) {
            bytes[position] = 48 + UInt8(digits.0 % 10)
            digits.0 /= 10
        }
    }

    /// Appends a quoted string with its escapes.
    mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): raw("\\\"")
            case UInt8(ascii: "\\"): raw("\\\\")
            case 0..<0x20:
                raw("\\u00")
                for digit in [byte >> 4, byte & 15] {
                    bytes.append(digit < 10 ? 48 + digit : 87 + digit)
                }
            default: bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}

extension JSONValue {
    /// The value as JSON text, the members of objects in alphabetical order.
    package var json: [UInt8] {
        var out = JSONBuffer()
        write(to: &out)
        return out.bytes
    }

    private func write(to out: inout JSONBuffer) {
        switch self {
        case .null: out.raw("null")
        case .bool(let value): out.raw(value ? "true" : "false")
        case .integer(let value): out.integer(value)
        case .number(let value): out.raw(String(value))
        case .string(let text): out.string(text)
        case .array(let elements):
            out.raw("[")
            for (index, element) in elements.enumerated() {
                if index > 0 { out.raw(",") }
                element.write(to: &out)
            }
            out.raw("]")
        case .object(let members):
            out.raw("{")
            for (index, member) in members.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { out.raw(",") }
                out.string(member.key)
                out.raw(":")
                member.value.write(to: &out)
            }
            out.raw("}")
        }
    }
}
