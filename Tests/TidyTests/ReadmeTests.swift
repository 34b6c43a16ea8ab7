import Foundation
import TestSupport
import Testing

/// What the README tells a newcomer to type exists.
@Suite struct ReadmeTests {
    private static func matches(_ pattern: String, in text: String) throws -> Set<String> {
        let expression = try NSRegularExpression(pattern: pattern)
        let range = NSRange(text.startIndex..., in: text)
        return Set(
            expression.matches(in: text, range: range).compactMap { match in
                Range(match.range(at: 1), in: text).map { String(text[$0]) }
            })
    }

    @Test func itsFilesExist() throws {
        let readme = try Checkout.text("README.md")
        let paths = try Self.matches(
            #"\b((?:deploy|Sources|Tests)/[A-Za-z0-9_./-]*[a-z])"#, in: readme)
        #expect(paths.contains("deploy/quickstart"))
        for path in paths {
            #expect(FileManager.default.fileExists(atPath: Checkout.file(path).path()), "\(path)")
        }
    }

    @Test(arguments: [
        "deploy/quickstart", "deploy/test", "deploy/private-postgres", ".ci/run", "deploy/package",
        "deploy/test-systemd", "deploy/bench",
    ])
    func itsScriptsRunAndParse(_ path: String) async throws {
        #expect(FileManager.default.isExecutableFile(atPath: Checkout.file(path).path()))
        let check = try await ChildProcess.run(
            URL(filePath: "/bin/bash"), ["-n", Checkout.file(path).path()])
        #expect(check.status == 0, "\(check.errors)")
    }

    /// Whoever is woken by an alert finds what to do, in either language.
    @Test(arguments: ["deploy/README.md", "deploy/README.ko.md"])
    func everyAlertHasARunbook(_ guide: String) throws {
        let alerts = try Self.matches(
            #"alert: (Billingd[A-Za-z]+)"#,
            in: try Checkout.text("deploy/prometheus/billingd.rules.yml"))
        #expect(alerts.count >= 20)
        #expect(
            try Self.matches(#"(?m)^\| (Billingd[A-Za-z]+) \|"#, in: try Checkout.text(guide))
                == alerts)
    }

    /// A command of a guide's code blocks, lines that are continued joined, and its mark.
    private struct Command: Equatable {
        var text: String
        var mark: String
    }

    private static func commands(_ guide: String) throws -> [Command] {
        var commands: [Command] = []
        var begun = ""
        var isCode = false
        for line in try Checkout.text(guide).split(separator: "\n") {
            if line.hasPrefix("```") {
                isCode = line == "```sh"
                continue
            }
            guard isCode, !line.hasPrefix("#") else { continue }
            let parts = line.split(separator: "  # ", maxSplits: 1)
            begun += parts[0].trimmingCharacters(in: .whitespaces) + " "
            // A backslash or an open quotation goes on.
            let isOpen = begun.count { $0 == "'" } % 2 == 1 && begun.contains("sh -c '")
            if begun.hasSuffix("\\ ") || isOpen { continue }
            let mark = parts.count > 1 ? String(parts[1].prefix { $0 != "]" }) + "]" : ""
            commands.append(Command(text: begun, mark: mark))
            begun = ""
        }
        return commands
    }

    /// Who reads either guide types the same, and knows who typed it before.
    @Test func theGuidesGiveTheSameCommandsEachRunBySomebody() throws {
        let english = try Self.commands("deploy/README.md")
        #expect(english == (try Self.commands("deploy/README.ko.md")))
        #expect(english.count >= 25)
        let runs = [
            "[S]": try Checkout.text("deploy/test-systemd"),
            "[T]": try [
                "Tests/BillingStoreTests/RoleTests.swift", "Tests/billingdTests/PageTests.swift",
                "Tests/billingdTests/ShadowCommandTests.swift",
            ]
            .map { try Checkout.text($0) }.joined(),
            "[C]": try ["Stand", "Restore", "Failover"]
                .map { try Checkout.text("Tests/Chaos/\($0).swift") }.joined(),
        ]
        for command in english {
            let run = try #require(runs[command.mark], "nobody ran: \(command.text)")
            let core = try #require(
                command.text.firstMatch(
                    of:
                        #/
                    systemctl\ [a-z-]+ | billingd\ (check | rotate-key) | adopt-database | deploy/package
                    | createdb | dropdb | pg_dump | pg_restore | schema\.sql | CREATE\ ROLE\ [a-z_]+
                    | install\ -m\ 600\ /dev/stdin | dpkg\ -i | apt-get\ install | paused\ =\ [a-z]+
                    | (begin | end)_shadow | shadow-report | mode\ =\ 'live' | tee\ -a\ /etc/billingd/billingd\.env | tee\ /etc/billingd/billingd@
                    /#
                )?.output.0, "\(command.text)")
            #expect(run.contains(core), "\(command.mark) \(command.text)")
        }
    }

    @Test func theGuidesHaveTheSameParts() throws {
        let parts = try ["deploy/README.md", "deploy/README.ko.md"].map { guide in
            try Checkout.text(guide).split(separator: "\n").map { line in
                line.hasPrefix("## ")
                    ? "part" : line.hasPrefix("```") ? "code" : line.hasPrefix("|") ? "row" : ""
            }.filter { !$0.isEmpty }
        }
        #expect(parts[0] == parts[1])
        #expect(parts[0].count { $0 == "part" } >= 10)
    }

    @Test func itsCommandsExist() async throws {
        let help = try await ChildProcess.run(Checkout.program("billingd"), ["--help"]).output
        let commands = try Self.matches(
            #"(?m)^billingd ([a-z-]+)"#, in: try Checkout.text("README.md"))
        #expect(commands.count >= 4)
        for command in commands { #expect(help.contains("  \(command) "), "billingd \(command)") }
    }

    @Test func itsTableOfOptionsIsWhatHelpSays() async throws {
        let readme = try Checkout.text("README.md")
        let help = try await ChildProcess.run(
            Checkout.program("billingd"), ["run", "--help"], environment: ["COLUMNS": "1000"]
        ).output.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        let documented = try Self.matches(#"(?m)^\| `(--[a-z-]+)` \|"#, in: readme)
        let offered = try Self.matches(#"(--[a-z][a-z-]+)"#, in: help)
            .subtracting(["--version", "--help"])
        #expect(documented == offered)
        let variables = try Self.matches(#"(?m)^\| `--[a-z-]+` \| `([A-Z_]+)` \|"#, in: readme)
        #expect(variables.count == documented.count)
        for variable in variables { #expect(help.contains(variable), "\(variable)") }
    }

    @Test func quickstartExplainsItself() async throws {
        let help = try await ChildProcess.run(Checkout.file("deploy/quickstart"), ["--help"])
        #expect(help.status == 0)
        for option in ["--subscriptions", "--months", "--workers", "--keep"] {
            #expect(help.output.contains(option))
        }
        let wrong = try await ChildProcess.run(
            Checkout.file("deploy/quickstart"), ["--months", "0"])
        #expect(wrong.status == 1)
        #expect(wrong.errors.contains("--months: a number from 1 to 36, not \"0\""))
    }
}
