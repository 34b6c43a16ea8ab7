/// The secret that opens the listener to those who have it. It cannot print itself.
package struct BearerToken: Sendable, CustomStringConvertible, CustomReflectable {
    private let bytes: [UInt8]

    /// 16 to 512 visible characters; nil: it is not. White space around it is left out, as a file
    /// ends with a line break.
    package init?(parsing text: String) {
        var bytes = Array(text.utf8)[...]
        while let last = bytes.last, last <= 0x20 { bytes.removeLast() }
        while let first = bytes.first, first <= 0x20 { bytes.removeFirst() }
        guard (16...512).contains(bytes.count), bytes.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            return nil
        }
        self.bytes = Array(bytes)
    }

    package var description: String { "BearerToken" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }

    /// Whether an Authorization field carries it. The time it takes depends on what was sent alone, and
    /// not on how much of it is right.
    func isCarried(by field: String?) -> Bool {
        let given = Array((field ?? "").utf8)
        let wanted = Array("Bearer ".utf8) + bytes
        var difference = given.count ^ wanted.count
        for (place, byte) in given.enumerated() {
            difference |= Int(byte ^ wanted[place % wanted.count])
        }
        return difference == 0
    }
}
