/// Reads JSON as the provider writes it: members in any order, texts without escapes, whole numbers.
///
/// Whatever else there may be is ``Odd`` and for JSONDecoder to judge. So this reader is faster
/// but never of another opinion: ReplyAgreementTests hold it to that.
struct PlainJSON {
    /// Not what is read here; it may be good JSON all the same.
    struct Odd: Error {}

    private let bytes: [UInt8]
    private var place = 0

    /// Text that is UTF-8 from end to end.
    init(_ bytes: [UInt8]) throws(Odd) {
        guard (try? UTF8Span(validating: bytes.span)) != nil else { throw Odd() }
        self.bytes = bytes
    }

    /// An object: `member` is called with the place in `names` of each name that is there, and must
    /// read the value; all else is read over. Returns which of the names were there.
    mutating func object(
        _ names: Names, levels: Int = 8, _ member: (Int, inout PlainJSON) throws(Odd) -> Void
    ) throws(Odd) -> UInt32 {
        var seen: UInt32 = 0
        try take(UInt8(ascii: "{"))
        if takes(UInt8(ascii: "}")) { return seen }
        repeat {
            let name = bytes[try quoted()]
            // A name that looks otherwise may be the same to JSONDecoder.
            guard name.allSatisfy({ $0 < 0x80 }) else { throw Odd() }
            try take(UInt8(ascii: ":"))
            if let place = names.place(of: name) {
                // Which of two counts is JSONDecoder's to say.
                guard seen & 1 << place == 0 else { throw Odd() }
                seen |= 1 << place
                try member(place, &self)
            } else {
                try skip(levels: levels - 1)
            }
        } while takes(UInt8(ascii: ","))
        try take(UInt8(ascii: "}"))
        return seen
    }

    /// Up to 32 names of members.
    struct Names: Sendable {
        private let names: [[UInt8]]
        init(_ names: [String]) { self.names = names.map { Array($0.utf8) } }

        fileprivate func place(of name: ArraySlice<UInt8>) -> Int? {
            names.firstIndex {
                $0.count == name.count && $0[0] == name[name.startIndex] && $0.elementsEqual(name)
            }
        }
    }

    /// A text.
    mutating func text() throws(Odd) -> String {
        String(decoding: bytes[try quoted()], as: UTF8.self)
    }

    /// A text, or nil for `null`.
    mutating func textOrNull() throws(Odd) -> String? {
        if try isNull() { return nil }
        return try text()
    }

    /// A whole number of at most 15 digits.
    mutating func whole() throws(Odd) -> Int64 {
        skipSpace()
        let isNegative = takes(UInt8(ascii: "-"))
        let start = place
        var value: Int64 = 0
        while let digit = digit() {
            value = value * 10 + digit
            place += 1
            guard place - start <= 15 else { throw Odd() }
        }
        guard place > start, bytes[start] != UInt8(ascii: "0") || place == start + 1,
            // No fraction, no exponent; what must follow a value is its reader's to see.
            place < bytes.count, !".eE".utf8.contains(bytes[place])
        else { throw Odd() }
        return isNegative ? -value : value
    }

    /// Reads over a value of any kind, with at most `levels` levels of its own.
    mutating func skip(levels: Int = 8) throws(Odd) {
        skipSpace()
        guard place < bytes.count, levels > 0 else { throw Odd() }
        switch bytes[place] {
        case UInt8(ascii: "{"):
            _ = try object(Self.none, levels: levels) { (_, _) throws(Odd) in }
        case UInt8(ascii: "["):
            place += 1
            if takes(UInt8(ascii: "]")) { return }
            repeat { try skip(levels: levels - 1) } while takes(UInt8(ascii: ","))
            try take(UInt8(ascii: "]"))
        case UInt8(ascii: "\""): _ = try quoted()
        case UInt8(ascii: "t"): try word("true")
        case UInt8(ascii: "f"): try word("false")
        case UInt8(ascii: "n"): try word("null")
        default: _ = try whole()
        }
    }

    /// Whether `null` is next, which is then read.
    mutating func isNull() throws(Odd) -> Bool {
        skipSpace()
        guard place < bytes.count, bytes[place] == UInt8(ascii: "n") else { return false }
        try word("null")
        return true
    }

    /// Nothing may follow.
    mutating func end() throws(Odd) {
        skipSpace()
        guard place == bytes.count else { throw Odd() }
    }

    private static let none = Names([])

    // MARK: Bytes

    private mutating func skipSpace() {
        while place < bytes.count {
            switch bytes[place] {
            case 0x20, 0x0a, 0x0d, 0x09: place += 1
            default: return
            }
        }
    }

    private mutating func takes(_ byte: UInt8) -> Bool {
        skipSpace()
        guard place < bytes.count, bytes[place] == byte else { return false }
        place += 1
        return true
    }

    private mutating func take(_ byte: UInt8) throws(Odd) {
        guard takes(byte) else { throw Odd() }
    }

    private mutating func word(_ word: StaticString) throws(Odd) {
        for byte in word.description.utf8 {
            guard place < bytes.count, bytes[place] == byte else { throw Odd() }
            place += 1
        }
    }

    private func digit() -> Int64? {
        guard place < bytes.count, (0x30...0x39).contains(bytes[place]) else { return nil }
        return Int64(bytes[place] - 0x30)
    }

    /// Where the text between the next quotation marks stands.
    private mutating func quoted() throws(Odd) -> Range<Int> {
        try take(UInt8(ascii: "\""))
        let start = place
        while place < bytes.count {
            let byte = bytes[place]
            if byte == UInt8(ascii: "\"") {
                place += 1
                return start..<(place - 1)
            }
            guard byte >= 0x20, byte != UInt8(ascii: "\\") else { throw Odd() }
            place += 1
        }
        throw Odd()
    }
}
