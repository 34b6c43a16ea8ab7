package import Foundation

/// Where things are: the checkout that these tests were built from, and the programs built with
/// them.
package enum Checkout {
    /// The project's top folder.
    package static let root = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// A file of the project, by its path from the top.
    package static func file(_ path: String) -> URL { root.appending(path: path) }

    /// The text of a file of the project.
    package static func text(_ path: String) throws -> String {
        try String(contentsOf: file(path), encoding: .utf8)
    }

    /// A program of this package, from the folder that the running tests were built into.
    package static func program(_ name: String) -> URL {
        URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
            .deletingLastPathComponent().appending(path: name)
    }
}
