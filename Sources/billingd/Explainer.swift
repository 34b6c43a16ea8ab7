import Billing
import BillingStore
import Postgres
import Synchronization
import TossPayments

/// What `billingd explain` says of a subscription, for whoever looks at the page. One at a time: each
/// takes a connection of its own.
final class Explainer: Sendable {
    private let reader: HistoryReader
    private let isBusy = Mutex(false)

    init(_ database: PostgresConfiguration) {
        var configuration = database
        configuration.applicationName = "billingd explain"
        reader = HistoryReader(configuration)
    }

    /// The newest 12 periods as text, with an HTTP status. `id`: a subscription's, as it was typed.
    func tell(_ id: Substring) async -> (status: Int, text: String) {
        guard let id = Int64(id), id > 0 else { return (404, "a subscription is a number") }
        let isFree = isBusy.withLock { busy in
            defer { busy = true }
            return !busy
        }
        guard isFree else { return (503, "somebody else is being told; load this again") }
        defer { isBusy.withLock { $0 = false } }
        do {
            var history = try await reader.read(.subscription(id), limit: 12).history
            // The address of a receipt opens to whoever knows it.
            for place in history.periods.indices { history.periods[place].receiptURL = nil }
            return (200, Explanation(history, meaning: TossCode.words).text)
        } catch let missing as HistoryReader.NotFound {
            return (404, missing.description)
        } catch {
            return (503, "the database does not answer: \(error)")
        }
    }
}
