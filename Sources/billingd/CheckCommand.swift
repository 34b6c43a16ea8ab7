import ArgumentParser
import BillingStore
import HTTP
import TossPayments
import Worker

/// The installer's question: would it charge?
struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Look at everything that charging needs; charges nothing, writes nothing.",
        discussion: """
            Configuration, the address to be looked at, database version and role, schema version, mode against key prefix, \
            whether the provider can be reached and takes the key. Each problem is printed with its \
            mend. Exit 0: it would charge; 1: it would not.
            """)

    @OptionGroup var database: DatabaseOptions
    @OptionGroup var provider: ProviderOptions
    @OptionGroup var worker: WorkerOptions
    @OptionGroup var listen: ListenOptions

    func run() async throws {
        var isBad = false
        func tell(_ subject: String, _ text: String, mend: String? = nil) {
            print("\(mend == nil ? "ok  " : "FAIL") \(subject): \(text)")
            if let mend {
                print("     mend: \(mend)")
                isBad = true
            }
        }

        do {
            _ = try worker.configuration()
            tell("options", "make sense")
        } catch {
            tell("options", "\(error)", mend: "billingd run --help shows what is allowed")
        }
        let look = await ListenCheck(listen).run()
        tell("listen", look.text, mend: look.mend)
        do {
            let key = try provider.secretKey()
            let (mode, fingerprint) = Daemon.fingerprint(key)
            tell("secret key", "a \(mode) key, fingerprint \(fingerprint)")
            let configuration = try database.configuration(name: "billingd check")
            let findings = await Preflight(
                configuration, mode: mode, fingerprint: fingerprint,
                stopTimeout: WorkerConfiguration().stopTimeout
            ).run()
            for finding in findings { tell(finding.subject, finding.text, mend: finding.mend) }
            let endpoint = try TossEndpoint(provider.address, mode: key.mode)
            let client = try Daemon.client(provider, endpoint)
            let gateway = TossGateway(
                endpoint: endpoint, secretKey: key, client: client, log: nil)
            let probe = await gateway.probe()
            tell("provider", probe.text, mend: probe.mend)
            await client.shutdown()
        } catch {
            tell("configuration", "\(error)", mend: "billingd run --help names every setting")
        }
        print(isBad ? "billingd would not charge." : "billingd would charge.")
        if isBad { throw ExitCode.failure }
    }
}
