import FoundationEssentials

/// The sandbox's only clock: real time plus an offset, or an instant that stands still.
package enum SandboxClock: Sendable, Equatable {
    /// Real time plus this many milliseconds.
    case running(offsetMilliseconds: Int64)
    /// An instant in milliseconds since 1970 that only a caller moves.
    case fixed(milliseconds: Int64)

    /// A running clock that shows `seconds` (since 1970) now.
    package static func running(from seconds: Int64) -> SandboxClock {
        .running(offsetMilliseconds: seconds * 1000 - realMilliseconds())
    }

    /// Now, in milliseconds since 1970.
    package func milliseconds() -> Int64 {
        switch self {
        case .running(let offset): Self.realMilliseconds() + offset
        case .fixed(let milliseconds): milliseconds
        }
    }

    private static func realMilliseconds() -> Int64 {
        Int64(Date().timeIntervalSince1970 * 1000)
    }
}
