import Foundation
import TestSupport
import Testing

/// House rules that no compiler checks, as tests of the repository itself.
@Suite struct TidyTests {
    /// One line of a source file that is not a comment.
    struct Line: CustomStringConvertible {
        var file: String
        var number: Int
        var text: String
        var description: String { "\(file):\(number): \(text)" }
    }

    /// The files that may hold pointers: one for each C library, and one for the C library itself.
    private static let interop = ["LibPQ.swift", "LibCurl.swift", "LibC.swift"]

    private static func files(under folder: String, named ending: String) throws -> [URL] {
        let all = try #require(
            FileManager.default.enumerator(
                at: Checkout.file(folder), includingPropertiesForKeys: nil))
        return all.compactMap { $0 as? URL }.filter { $0.lastPathComponent.hasSuffix(ending) }
    }

    private static func lines(under folder: String) throws -> [Line] {
        var lines: [Line] = []
        for file in try files(under: folder, named: ".swift") {
            let text = try String(contentsOf: file, encoding: .utf8)
            let place = String(file.path().dropFirst(Checkout.root.path().count))
            for (index, line) in text.split(
                separator: "\n", omittingEmptySubsequences: false
            ).enumerated() {
                let code = line.drop { $0 == " " }
                if code.hasPrefix("//") { continue }
                lines.append(Line(file: place, number: index + 1, text: String(code)))
            }
        }
        #expect(!lines.isEmpty)
        return lines
    }

    private static func contains(_ line: Line, _ pattern: String) -> Bool {
        line.text.range(of: pattern, options: .regularExpression) != nil
    }

    @Test func pointersAndCStandInTheInteropFilesAlone() throws {
        let bad = try Self.lines(under: "Sources").filter { line in
            !Self.interop.contains { line.file.hasSuffix("/" + $0) }
                && Self.contains(line, #"\bunsafe\b|@unchecked|@safe\b|import (CPQ|CCurl|Glibc)\b"#)
                // The process's own exit, in a signal's second coming.
                && !line.file.hasSuffix("/SecondSignal.swift")
        }
        #expect(bad.isEmpty, "\(bad)")
    }

    @Test(arguments: [("LibPQ.swift", "CPQ"), ("LibCurl.swift", "CCurl")])
    func eachCLibraryHasOneDoor(_ file: String, _ module: String) throws {
        let doors = Set(
            try Self.lines(under: "Sources")
                .filter { Self.contains($0, "import \(module)\\b") }.map(\.file))
        #expect(doors.count == 1 && doors.allSatisfy { $0.hasSuffix("/" + file) }, "\(doors)")
    }

    @Test func statementsStandInBillingStoreAlone() throws {
        let bad = try Self.lines(under: "Sources").filter { line in
            !line.file.hasPrefix("Sources/BillingStore/")
                && Self.contains(
                    // A function of the contract, named to a person, is no statement of ours.
                    line,
                    #"\b(SELECT (?!billing\.)[a-z*(]|INSERT INTO|UPDATE [a-z]+\.|DELETE FROM)"#)
                // BEGIN and the settings of a transaction: the client's own plumbing.
                && !line.text.hasPrefix("SELECT set_config(")
        }
        #expect(bad.isEmpty, "\(bad)")
    }

    /// Any role of the database can take an advisory lock, and hold it.
    @Test func nothingWaitsForAnAdvisoryLock() throws {
        let schema = try String(contentsOf: Checkout.file("schema.sql"), encoding: .utf8)
        #expect(!schema.contains("pg_advisory"))
        let bad = try Self.lines(under: "Sources").filter { $0.text.contains("pg_advisory") }
        #expect(bad.isEmpty, "\(bad)")
    }

    @Test func theRulesImportNothing() throws {
        let imports = try Self.lines(under: "Sources/Billing/")
            .filter { $0.file.hasPrefix("Sources/Billing/") && Self.contains($0, #"\bimport "#) }
        #expect(imports.allSatisfy { $0.text.contains("FoundationEssentials") }, "\(imports)")
    }

    @Test(arguments: [
        #"\btry!"#, #"Task\.detached"#, "DispatchQueue", "DispatchSemaphore",
        #"print\(.*(billing|secret|customer)Key\b"#, #"^public "#,
    ])
    func whatIsNeverWritten(_ pattern: String) throws {
        let bad = try Self.lines(under: "Sources").filter { Self.contains($0, pattern) }
        #expect(bad.isEmpty, "\(bad)")
    }

    @Test(arguments: [#"Task\.sleep"#, #"\busleep\("#, #"\bThread\.sleep"#])
    func testsDoNotSleep(_ pattern: String) throws {
        let bad = try Self.lines(under: "Tests").filter {
            !$0.file.hasSuffix("/TidyTests.swift") && Self.contains($0, pattern)
        }
        #expect(bad.isEmpty, "\(bad)")
    }

    @Test func theDaemonSendsItsStatementsAsTheyAre() throws {
        let bad = try Self.lines(under: "Sources").filter {
            Self.contains($0, "beforeSending *=") && !$0.file.hasSuffix("/LibPQ.swift")
        }
        #expect(bad.isEmpty, "\(bad)")
    }

    /// Whoever is woken by a line reads in it what to do. ChargerTests look at what ChargeLog.swift says.
    @Test func eachIncidentSaysWhatToDo() throws {
        var calls = 0
        let lines = try Self.lines(under: "Sources").filter {
            !$0.file.hasPrefix("Sources/TossSandbox/") && !$0.file.hasSuffix("/ChargeLog.swift")
        }
        for (place, line) in lines.enumerated()
        where Self.contains(line, #"\b(log|logger)\.(warning|error|critical)\("#) {
            calls += 1
            let around = lines[max(0, place - 4)..<min(lines.count, place + 12)]
            #expect(around.contains { $0.text.contains("\"action\"") }, "\(line)")
        }
        #expect(calls >= 15)
    }

    @Test func filesFitInAHead() throws {
        let long = try Self.files(under: "Sources", named: ".swift").filter {
            try String(contentsOf: $0, encoding: .utf8).split(
                separator: "\n", omittingEmptySubsequences: false
            ).count > 450
        }
        #expect(long.isEmpty, "\(long)")
    }

    @Test func theTopLevelIsTheFixedSet() throws {
        let fixed: Set = ["Package.swift", "README.md", "Sources", "Tests", "deploy", "schema.sql"]
        let found = try FileManager.default.contentsOfDirectory(atPath: Checkout.root.path())
            .filter { !$0.hasPrefix(".") && $0 != "Package.resolved" }
        #expect(Set(found).isSubset(of: fixed), "\(found)")
    }
}
