import Foundation

/// Standard output without its buffer.
package enum ReadyLine {
    /// Writes one line to standard output at once: a parent that reads a pipe waits for it, and
    /// `print` would keep it in a buffer.
    package static func print(_ line: String) {
        FileHandle.standardOutput.write(Data((line + "\n").utf8))
    }
}
