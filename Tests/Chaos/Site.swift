import Foundation
import Glibc
import TestSupport

/// Where a run keeps its things, and what it says.
struct Site: Sendable {
    let folder: URL

    /// One line or more on standard output, at once.
    func say(_ text: String) {
        print(text)
        fflush(nil)
    }
}

/// A disk of its own that can be full: a file system in memory. Only an administrator can have one.
struct Disk: Sendable {
    let folder: URL
    static let why = "only root can mount a disk of its own"

    /// Nil where it is not allowed.
    static func mount(_ folder: URL, megabytes: Int) async throws -> Disk? {
        guard getuid() == 0 else { return nil }
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let result = try await ChildProcess.run(
            URL(filePath: "/bin/mount"),
            ["-t", "tmpfs", "-o", "size=\(megabytes)m,mode=0755", "billing-chaos", folder.path()])
        return result.status == 0 ? Disk(folder: folder) : nil
    }

    /// Takes all the room there is.
    func fill() throws {
        let file = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw ChildProcess.Failure("no ballast: errno \(errno)") }
        defer { close(file) }
        // Others write meanwhile: what is left shrinks.
        for _ in 0..<50 {
            var room = statvfs()
            var now = stat()
            guard statvfs(folder.path(), &room) == 0, fstat(file, &now) == 0 else { break }
            if room.f_bavail == 0 { return }
            let length = off_t(now.st_size) + off_t(room.f_bavail) * off_t(room.f_frsize)
            _ = posix_fallocate(file, 0, length)
        }
        throw ChildProcess.Failure("the disk does not become full")
    }

    /// Gives it back.
    func empty() throws { try FileManager.default.removeItem(atPath: ballast) }

    func unmount() async throws {
        _ = try await ChildProcess.run(URL(filePath: "/bin/umount"), ["-l", folder.path()])
    }

    private var ballast: String { folder.appending(path: "ballast").path() }
}

/// Secrets in what the processes wrote.
struct Leaks {
    var found: [String] = []
    var bytes = 0

    var text: String {
        found.isEmpty
            ? "logs: \(bytes / 1_024) KiB of workers, database and provider hold no key"
            : "LEAKED: " + found.prefix(5).joined(separator: "; ")
    }

    /// Looks through every file below `folder` but `skipping`, which holds the database itself.
    static func scan(
        _ folder: URL, secretKey: String, keys: Set<String>, skipping: URL?
    ) throws -> Leaks {
        var leaks = Leaks()
        let secrets = [
            Array(secretKey.utf8), Array(Data((secretKey + ":").utf8).base64EncodedString().utf8),
        ]
        let keys = Set(keys.map { Array($0.utf8) })
        let files = FileManager.default.enumerator(
            at: folder, includingPropertiesForKeys: [.isRegularFileKey])
        while let file = files?.nextObject() as? URL {
            guard ["out", "err"].contains(file.lastPathComponent) else { continue }
            let data = [UInt8](try Data(contentsOf: file))
            leaks.bytes += data.count
            for word in data.split(whereSeparator: { !isLetter($0) }) {
                let word = Array(word)
                if keys.contains(word) || secrets.contains(word) {
                    leaks.found.append("a key stands in \(file.path())")
                }
            }
        }
        return leaks
    }

    private static func isLetter(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122, UInt8(ascii: "_"), UInt8(ascii: "="), UInt8(ascii: "-"):
            true
        default: false
        }
    }
}
