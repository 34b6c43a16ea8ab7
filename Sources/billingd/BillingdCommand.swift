import ArgumentParser
import BillingStore

/// The program: charges subscriptions that are due.
@main
struct BillingdCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "billingd",
        abstract: "Charges due subscriptions of a PostgreSQL database through Toss Payments.",
        discussion: """
            Every option can also be given as the environment variable named beside it; an option \
            beats the variable. The numbers that all workers of a fleet must share (request \
            timeout, lease, gap, ages) stand in billing.settings.
            """,
        version: Version.text,
        subcommands: [
            RunCommand.self, OnceCommand.self, CheckCommand.self, StatusCommand.self,
            ForecastCommand.self, ExplainCommand.self, ReconcileCommand.self, RetryCommand.self,
            ReleaseCommand.self,
            FailCommand.self, RotateKeyCommand.self, AdoptDatabaseCommand.self,
            ShadowReportCommand.self, VersionCommand.self,
        ])

    static func main() async {
        LibC.prepareProcess()
        do {
            var command = try parseAsRoot()
            if var asyncCommand = command as? any AsyncParsableCommand {
                try await asyncCommand.run()
            } else {
                try command.run()
            }
        } catch {
            exit(withError: error)
        }
    }
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the version of the program and of its schema.")

    func run() {
        print("billingd \(Version.text), schema \(PostgresStore.schemaVersion)")
    }
}
