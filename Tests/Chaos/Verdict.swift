import Foundation
import Postgres
import TestSupport

/// The ledger against the provider's books.
struct Verdict: Sendable {
    var payments = 0
    var won: Int64 = 0
    /// Periods that were charged more than once.
    var double: [String] = []
    /// Executed, and no charge is paid by it.
    var lost: [String] = []
    /// Paid in the ledger, and never executed.
    var phantom: [String] = []
    /// Another amount or customer than the ledger says.
    var wrong: [String] = []
    /// Open, leased or due after all is over.
    var stuck: [String] = []
    /// Held, with reasons.
    var held: [String] = []
    var audit: [String] = []
    /// States of all charges.
    var states: [String: Int] = [:]

    var isSound: Bool {
        payments > 0
            && [double, lost, phantom, wrong, stuck, held, audit].allSatisfy(\.isEmpty)
    }

    /// One line, and below it the first findings of each kind.
    var text: String {
        let kinds = [
            ("double", double), ("lost", lost), ("phantom", phantom), ("wrong", wrong),
            ("stuck", stuck), ("held", held), ("audit", audit),
        ]
        let counts = kinds.map { "\($0.1.count) \($0.0)" }.joined(separator: ", ")
        let states = states.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
        var lines = [
            "\(payments) payments, \(won) won; \(counts); charges: "
                + states.joined(separator: ", ")
        ]
        for (name, findings) in kinds {
            lines += findings.prefix(5).map { "  \(name): \($0)" }
        }
        return lines.joined(separator: "\n")
    }

    /// One paid charge of the ledger, as the provider must know it.
    private struct Paid {
        var payment: Sandbox.Payment
        var place: String
    }

    static func compare(_ database: Cluster, _ sandbox: Sandbox) async throws -> Verdict {
        var verdict = Verdict()
        let books = try sandbox.payments()
        verdict.payments = books.count
        verdict.won = books.reduce(0) { $0 + (Int64($1.amount) ?? 0) }
        var periods: [Substring: Int] = [:]
        for payment in books { periods[period(payment.orderID), default: 0] += 1 }
        verdict.double = periods.filter { $0.value > 1 }
            .map { "\($0.key): \($0.value) executions" }.sorted()
        verdict.match(books, try await ledger(database))
        try await verdict.readRest(database)
        return verdict
    }

    /// Subscription and period: all of an order id before the attempt's number.
    private static func period(_ orderID: String) -> Substring {
        orderID[..<(orderID.lastIndex(of: "-") ?? orderID.endIndex)]
    }

    /// Keyed by payment key. The order id is that of the attempt that was paid, even if it had ended
    /// otherwise.
    private static func ledger(_ database: Cluster) async throws -> [String: Paid] {
        let rows = try await database.run(
            """
            SELECT c.charge_id, c.payment_key, coalesce(a.order_id, '') AS order_id,
                   s.customer_key, c.amount
            FROM billing.charges AS c
            JOIN billing.subscriptions AS s USING (subscription_id)
            LEFT JOIN billing.attempts AS a ON a.charge_id = c.charge_id
                AND (a.state = 'approved' OR a.contradiction = c.payment_key)
            WHERE c.state IN ('paid', 'refunded')
            """)
        var ledger: [String: Paid] = [:]
        for row in rows {
            let key = try row.string("payment_key")
            ledger[key] = Paid(
                payment: Sandbox.Payment(
                    paymentKey: key, orderID: try row.string("order_id"),
                    customerKey: try row.string("customer_key"), amount: try row.string("amount")),
                place: "charge \(try row.string("charge_id"))")
        }
        return ledger
    }

    private mutating func match(_ books: [Sandbox.Payment], _ ledger: [String: Paid]) {
        var unmatched = ledger
        for payment in books {
            guard let paid = unmatched.removeValue(forKey: payment.paymentKey) else {
                lost.append("payment \(payment.paymentKey), order \(payment.orderID)")
                continue
            }
            var known = paid.payment
            // A database that forgot attempts may know the payment by another name of the period.
            if Self.period(known.orderID) == Self.period(payment.orderID) {
                known.orderID = payment.orderID
            }
            if known != payment {
                wrong.append("\(paid.place): \(paid.payment), the provider: \(payment)")
            }
        }
        phantom = unmatched.values.map { "\($0.place), payment \($0.payment.paymentKey)" }
    }

    private mutating func readRest(_ database: Cluster) async throws {
        let left = try await database.run(
            """
            SELECT 'stuck' AS kind, 'charge ' || c.charge_id || ' of subscription '
                || c.subscription_id || ' is open, attempt ' || coalesce(
                    a.attempt_no || ' ' || a.state || ' ' || coalesce(a.code, ''), 'none')
                || ', next ' || coalesce(s.next_charge_at::text, 'never') AS what
            FROM billing.charges AS c JOIN billing.subscriptions AS s USING (subscription_id)
            LEFT JOIN billing.attempts AS a
                ON a.charge_id = c.charge_id AND a.attempt_no = c.attempt_no
            WHERE c.state = 'open'
            UNION ALL
            SELECT 'stuck', 'subscription ' || subscription_id || ' is leased'
            FROM billing.subscriptions WHERE lease_until > now()
            UNION ALL
            SELECT 'stuck', 'subscription ' || subscription_id || ' was set aside: ' || held_reason
            FROM billing.subscriptions WHERE held_reason IS NOT NULL
            UNION ALL
            SELECT 'held', 'charge ' || charge_id || ': ' || reason
            FROM billing.charges WHERE state = 'held'
            UNION ALL
            SELECT 'audit', a::text FROM billing.audit() AS a
            UNION ALL
            SELECT state, count(*)::text FROM billing.charges GROUP BY state
            """)
        for row in left {
            let what = try row.string("what")
            switch try row.string("kind") {
            case "stuck": stuck.append(what)
            case "held" where Int(what) == nil: held.append(what)
            case "audit": audit.append(what)
            case let state: states[state] = Int(what)
            }
        }
    }
}
