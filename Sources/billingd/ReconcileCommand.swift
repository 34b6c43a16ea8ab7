import ArgumentParser
import Billing
import BillingStore
import FoundationEssentials
import HTTP
import Postgres
import TossPayments
import Worker

/// The accountant's question: do the books agree?
struct ReconcileCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reconcile",
        abstract: "Compare one Korean day of the provider's books with the ledger.",
        discussion: """
            Asks for all transactions of the day in Asia/Seoul and prints what does not agree: paid \
            there and unknown here, paid here and missing there, paid twice for one period, other \
            amounts or customers. Cancels made in the provider's console are recorded as refunds, \
            for which the database role must be in billing_admin (or billing_worker); \
            billing_report suffices to compare. Nothing else is changed, and nothing is ever \
            charged. Safe at any time and beside running daemons, which compare every day by \
            themselves. A day that has not ended, or less than an hour ago, is provisional. \
            Payments of another system of the same merchant are counted as foreign, and no finding.

            Exit 0: the books agree; 2: they do not; 1: they could not be compared.
            """)

    @Option(help: ArgumentHelp("The day in Korea, such as 2026-07-15.", valueName: "yyyy-mm-dd"))
    var day: String
    @Flag(help: "Print one JSON object, for machines.")
    var json = false

    @OptionGroup var database: DatabaseOptions
    @OptionGroup var provider: ProviderOptions

    func validate() throws {
        guard day.utf8.count == 10, PostgresTimestamp(iso8601: day + "T00:00:00+09:00") != nil
        else {
            throw ValidationError("day: \"\(day)\" is no day of the calendar such as 2026-07-15")
        }
    }

    func run() async throws {
        let report = try await compare()
        if json {
            print(try ReconcileText.json(report))
        } else {
            print(ReconcileText.plain(report))
        }
        if report.trouble != nil { throw ExitCode(1) }
        if !report.agrees { throw ExitCode(2) }
    }

    private func compare() async throws -> DayReport {
        let key = try provider.secretKey()
        let endpoint = try TossEndpoint(provider.address, mode: key.mode)
        let (mode, fingerprint) = Daemon.fingerprint(key)
        let ledger = PostgresBooks(
            try database.configuration(name: "billingd reconcile"),
            identity: .init(worker: nil, mode: mode, fingerprint: fingerprint))
        let client = try Daemon.client(provider, endpoint)
        let books = TossGateway(endpoint: endpoint, secretKey: key, client: client, log: nil)
        let reconciler = Reconciler(ledger: ledger, provider: books)
        do throws(StoreError) {
            guard let bounds = try await ledger.day(day) else {
                throw StoreError.refused("\(day) has not begun in Korea")
            }
            let report = try? await reconciler.compare(bounds)
            await client.shutdown()
            await ledger.close()
            guard let report else { throw StoreError.refused("it was interrupted") }
            return report
        } catch {
            var report = DayReport(
                day: BooksDay(day: day, next: day, isProvisional: true, recent: ""))
            report.trouble = error.text
            return report
        }
    }
}
