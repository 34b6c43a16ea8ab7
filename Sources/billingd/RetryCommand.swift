import ArgumentParser
import Billing
import BillingStore
import Postgres
import TossPayments

/// Tries a declined charge without waiting for its day.
struct RetryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retry",
        abstract: "Make the open, declined charge of a subscription due now.",
        discussion: """
            It counts as the next attempt of the plan's dunning. When it cannot be tried, the reason \
            is told and nothing is changed; what has ended as failed is never tried again. Safe \
            beside running workers and when repeated. Needs a database role in billing_admin; who \
            did it and why is noted in the ledger.

            Exit 0: it is due; 1: it cannot be, or the database fails; 64: bad usage.
            """)

    @Argument(help: "The subscription: billing.subscriptions.subscription_id.")
    var subscription: Int64

    @Option(help: "Why; it goes into the ledger beside your role's name. (default: by hand)")
    var why = "by hand"

    @OptionGroup var database: DatabaseOptions

    func run() async throws {
        let hand = OperatorHand(try database.configuration(name: "billingd retry"))
        let verdict: RetryVerdict
        let history: SubscriptionHistory
        do {
            (verdict, history) = try await hand.retry(subscription, why: why)
        } catch let refusal as OperatorHand.Refusal {
            throw Failure("\(refusal). Nothing was changed.")
        } catch {
            throw Failure("the database failed: \(error)")
        }
        switch verdict {
        case .refused(let reason):
            throw Failure(
                "subscription \(subscription) cannot be tried now: \(reason). Nothing was changed.")
        case .alreadyDue: print("subscription \(subscription) is due already; nothing was changed")
        case .due: print("subscription \(subscription) is due now")
        }
        for step in Explanation(history, meaning: TossCode.words).next {
            print("  \(step.sentence)")
        }
    }
}
