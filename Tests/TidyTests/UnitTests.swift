import Foundation
import TestSupport
import Testing

/// The unit, the package's scripts and what they say of the program.
@Suite struct UnitTests {
    private static let unit = "deploy/systemd/billingd.service"

    private static func tool(_ name: String) -> URL? {
        ["/usr/bin/", "/bin/"].map { URL(filePath: $0 + name) }
            .first { FileManager.default.isExecutableFile(atPath: $0.path()) }
    }

    /// The unit under both names that the package gives it, with a program that exists here.
    private static func installed() throws -> URL {
        let folder = FileManager.default.temporaryDirectory
            .appending(path: "billingd-units-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let text = try Checkout.text(unit).replacingOccurrences(
            of: "/usr/bin/billingd", with: Checkout.program("billingd").path())
        for name in ["billingd.service", "billingd@.service"] {
            try text.write(to: folder.appending(path: name), atomically: true, encoding: .utf8)
        }
        return folder
    }

    @Test(
        .enabled(if: tool("systemd-analyze") != nil),
        arguments: ["billingd.service", "billingd@.service"])
    func systemdTakesIt(_ name: String) async throws {
        let folder = try Self.installed()
        defer { try? FileManager.default.removeItem(at: folder) }
        let analyze = try #require(Self.tool("systemd-analyze"))
        let path = folder.appending(path: name).path()
        let words = try await ChildProcess.run(
            analyze, ["verify", "--man=no", "--recursive-errors=no", path])
        #expect(words.status == 0 && words.errors.isEmpty, "\(words.errors)")
        // 1.0 of 10: what is left is named in the unit.
        let exposure = try await ChildProcess.run(
            analyze, ["security", "--offline=true", "--no-pager", "--threshold=10", path])
        #expect(exposure.status == 0, "\(exposure.output.suffix(200))")
    }

    /// The statuses that the program ends with mean to systemd what they mean to it.
    @Test func theStatusesAreTheProgramsOwn() throws {
        let text = try Checkout.text(Self.unit)
        #expect(text.contains("\nRestartForceExitStatus=75 SIGHUP\n"))
        #expect(text.contains("\nExecReload=/bin/sh -c 'kill -HUP $MAINPID'\n"))
        #expect(text.contains("\nRestartPreventExitStatus=64\n"))
        let signals = try Checkout.text("Sources/billingd/SecondSignal.swift")
        #expect(signals.contains("reload: Int32 = 75"))
    }

    /// A variable of the template that the program does not know would be a setting without effect.
    @Test func theTemplateOfTheEnvironmentNamesWhatHelpNames() async throws {
        let help = try await ChildProcess.run(
            Checkout.program("billingd"), ["run", "--help"], environment: ["COLUMNS": "1000"]
        ).output
        let template = try Checkout.text("deploy/debian/billingd.env")
        let names = template.matches(of: /(?m)^#([A-Z][A-Z_]+)='.+'$/).map { String($0.1) }
        #expect(names.count >= 6)
        for name in names { #expect(help.contains("env: \(name)"), "\(name)") }
        // As delivered it sets nothing.
        for line in template.split(separator: "\n") { #expect(line.hasPrefix("#"), "\(line)") }
    }

    @Test(arguments: ["postinst", "prerm", "postrm"])
    func thePackagesScriptsParse(_ name: String) async throws {
        let check = try await ChildProcess.run(
            URL(filePath: "/bin/sh"), ["-n", Checkout.file("deploy/debian/\(name)").path()])
        #expect(check.status == 0, "\(check.errors)")
    }
}
