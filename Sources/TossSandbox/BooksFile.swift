// FileHandle is the one safe way to append to a file, and FoundationEssentials has none.
import Foundation
import Synchronization

/// An append-only file of JSON lines. Each line is handed to the kernel before the answer that it
/// books is sent, so that killing the sandbox loses nothing that a client was told.
package final class BooksFile: Sendable {
    private let handle: Mutex<FileHandle>
    /// The lines that were there when the file was opened.
    package let lines: [JSONValue]

    /// Opens or creates the file. Throws what the file system says.
    package init(path: String) throws {
        let url = URL(filePath: path)
        if !FileManager.default.fileExists(atPath: path) { try Data().write(to: url) }
        let bytes = [UInt8](try Data(contentsOf: url))
        lines = bytes.split(separator: UInt8(ascii: "\n")).compactMap { JSONValue(Array($0)) }
        let handle = try FileHandle(forWritingTo: url)
        try handle.seekToEnd()
        // A killed writer may leave half a line behind; the next must not be glued to it.
        if let last = bytes.last, last != UInt8(ascii: "\n") {
            try handle.write(contentsOf: Data([UInt8(ascii: "\n")]))
        }
        self.handle = Mutex(handle)
    }

    /// Appends a line. A full disk ends the process: books that lie are worse than none.
    package func append(_ line: [UInt8]) {
        handle.withLock {
            do {
                try $0.write(contentsOf: Data(line + [UInt8(ascii: "\n")]))
            } catch {
                fatalError("the books cannot be written: \(error)")
            }
        }
    }
}
