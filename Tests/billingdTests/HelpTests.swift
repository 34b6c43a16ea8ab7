import Foundation
import TestSupport
import Testing

extension ProcessTests {
    /// What the program tells of itself.
    @Suite struct HelpTests {
        private func billingd(_ arguments: [String]) async throws -> String {
            let result = try await ChildProcess.run(Checkout.program("billingd"), arguments)
            #expect(result.status == 0, "\(result.errors)")
            return result.output
        }

        @Test func theVersionIsTold() async throws {
            let text = try await billingd(["version"])
            #expect(
                text.wholeMatch(of: /billingd \d+\.\d+\.\d+\S*, schema \d+\n/) != nil, "\(text)")
            let short = try await billingd(["--version"])
            #expect(text.contains(short.trimmingCharacters(in: .newlines)))
        }

        @Test func everyCommandIsNamed() async throws {
            let text = try await billingd(["--help"])
            for command in [
                "run", "once", "check", "status", "forecast", "explain", "reconcile", "retry",
                "release",
                "fail", "rotate-key", "adopt-database", "shadow-report", "version",
            ] {
                #expect(text.contains("\n  \(command) "), "\(text)")
            }
        }

        /// An option without its variable and its default is one that nobody can set in a unit.
        @Test(arguments: ["run", "once", "check"])
        func everyOptionNamesItsVariableAndDefault(command: String) async throws {
            let text = try await billingd([command, "--help"])
            let list = try #require(text.split(separator: "OPTIONS:").last)
            let words = list.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            // An option begins at two spaces and a dash; its text goes on in the lines below.
            var options: [String] = []
            for line in list.split(separator: "\n") {
                if line.hasPrefix("  -") {
                    options.append(String(line))
                } else if let last = options.indices.last {
                    options[last] += " " + line.trimmingCharacters(in: .whitespaces)
                }
            }
            #expect(options.count >= 8)
            #expect(options.contains { $0.hasPrefix("  --toss-api-url ") }, "as in TOSS_API_URL")
            for option in options where !option.hasPrefix("  --version") {
                if option.hasPrefix("  -h, --help") { continue }
                let flat = option.split(separator: " ").joined(separator: " ")
                #expect(flat.contains(/\(env: [A-Z_]+(=true)?; default: .+\)/), "\(flat)")
            }
            for name in [
                "DATABASE_URL", "BILLINGD_POOLED", "TOSS_API_URL", "TOSS_SECRET_KEY_FILE",
                "BILLINGD_PROXY", "BILLINGD_CA_FILE", "BILLINGD_MAX_IN_FLIGHT",
                "BILLINGD_POLL_INTERVAL",
            ] + (command == "check" ? [] : ["LOG_LEVEL", "LOG_FORMAT"])
                + (command == "once" ? [] : ["BILLINGD_LISTEN", "BILLINGD_TOKEN_FILE"])
                + (command == "run" ? ["BILLINGD_SHADOW"] : [])
            {
                #expect(words.contains("(env: \(name)"), "\(words)")
            }
        }
    }
}
