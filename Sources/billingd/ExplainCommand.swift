import ArgumentParser
import Billing
import BillingStore
import FoundationEssentials
import Postgres
import TossPayments

/// The accountant's and the operator's question: what happened, and why is it not charged?
struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract:
            "Tell what happened to a subscription, why it is not charged now, what comes next.",
        discussion: """
            Each period with every attempt, what people did by hand, how many payments the ledger \
            knows of, what stands in the way at this moment, and the next steps by the rules that \
            will take them. Writes nothing and needs a database role in billing_report only; no \
            billing key is read. Without --ask nothing is sent to the provider.

            Exit 0: told; 1: there is no such thing, or the database fails; 2: with --ask, the \
            provider does not agree or does not say; 64: bad usage.
            """)

    @Argument(help: "The subscription: billing.subscriptions.subscription_id.")
    var subscription: Int64?

    @Option(help: "Instead of a subscription: the order id of an attempt.")
    var order: String?

    @Option(help: "Instead of a subscription: the payment key of a payment.")
    var payment: String?

    @Flag(help: "All periods. (default: the newest 12)")
    var all = false

    @Flag(help: "Print one JSON object, for machines.")
    var json = false

    @Flag(
        help: """
            Ask the provider about every order id of the last period, or of the period asked for, and \
            say whether it agrees. Needs the secret key.
            """)
    var ask = false

    @OptionGroup var database: DatabaseOptions
    @OptionGroup var provider: ProviderOptions

    func validate() throws {
        let given = [subscription != nil, order != nil, payment != nil].filter(\.self).count
        guard given == 1 else {
            throw ValidationError("name one of SUBSCRIPTION, --order and --payment")
        }
        for (name, text) in [("order", order), ("payment", payment)] {
            guard let text else { continue }
            guard (1...200).contains(text.utf8.count) else {
                throw ValidationError("\(name): 1 to 200 characters, not \(text.utf8.count)")
            }
        }
    }

    private var subject: HistoryReader.Subject {
        if let order { return .order(order) }
        if let payment { return .payment(payment) }
        return .subscription(subscription ?? 0)
    }

    func run() async throws {
        let reader = HistoryReader(try database.configuration(name: "billingd explain"))
        var found: HistoryReader.Found
        do {
            // As many as a century of weeks; each is a line or two.
            found = try await reader.read(subject, limit: all ? 6_000 : 12)
        } catch let missing as HistoryReader.NotFound {
            throw Failure("\(missing)")
        } catch {
            throw Failure("the database does not answer: \(error)")
        }
        // Only what is configured anyway, as the daemon would find it; no key is no trouble here.
        if let key = try? provider.secretKey() {
            let (mode, fingerprint) = Daemon.fingerprint(key)
            found.history.fleet.keyInHand = .init(mode: mode, fingerprint: fingerprint)
        }
        let explanation = Explanation(found.history, meaning: TossCode.words)
        var agreement: Agreement?
        if ask, let period = found.history.periods.last {
            let answers = try await ProviderHand(provider).lookUp(period.attempts.map(\.order))
            agreement = Agreement(period, answers)
        }
        if json {
            try printJSON(Document(explanation: explanation, provider: agreement))
        } else {
            tell(explanation, found, agreement)
        }
        if let agreement, !agreement.agrees { throw ExitCode(2) }
    }

    private func tell(
        _ explanation: Explanation, _ found: HistoryReader.Found, _ agreement: Agreement?
    ) {
        if let period = found.period, let told = found.history.periods.last {
            let what = found.attempt.map { "Order id \(order ?? "") is attempt \($0) of" }
            print(
                "\(what ?? "Payment \(payment ?? "") is of") period \(period) of subscription "
                    + "\(explanation.subscriptionID). \(told.count)\n")
        }
        print(explanation.text)
        print("")
        if let agreement {
            print("Provider:")
            for sentence in agreement.sentences { print("  \(sentence)") }
        } else if ask {
            print("Provider: there is no order id to ask about.")
        } else {
            print("The provider was not asked: --ask asks it.")
        }
    }

    private struct Document: Encodable {
        var explanation: Explanation
        /// Null: it was not asked.
        var provider: Agreement?
    }
}

/// Prints one JSON object as `status --json` does: sorted, snake case.
func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    print(String(decoding: try encoder.encode(value), as: UTF8.self))
}
