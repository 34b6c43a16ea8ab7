import Billing
import Postgres

/// What the billing keys of one claim have left of their declines (``FleetNumbers/keyDeclines``).
///
/// A key that was declined lately, or has an attempt under way, is looked at by one claim at a time;
/// within a claim each new attempt is counted. So the budget is exact from a key's first attempt on:
/// only more than fifteen subscriptions of one untried card, claimed in the same instant by several
/// workers, could go beyond it.
struct KeyBudget {
    private var used: [Int64: Int64] = [:]
    private var freeAt: [Int64: Instant] = [:]

    /// Of the rows of ``ClaimSQL/read(_:)``. Takes the locks of their keys, which the transaction
    /// keeps, in the order of their slots.
    init(_ rows: PostgresRows, _ connection: isolated PostgresConnection) throws {
        for row in rows {
            guard let key = try row.int64OrNil("card_id") else { continue }
            used[key] = try row.int64("card_used")
        }
        let tried = used.filter { $0.value > 0 }.keys.sorted()
        guard !tried.isEmpty else { return }
        let slots = Set(tried.map { $0 % 1_024 })
        guard try connection.query(ClaimSQL.lockKeys(tried)).count == slots.count else {
            throw StoreError.refused("billing.key_locks is not complete: apply schema.sql")
        }
        for row in try connection.query(ClaimSQL.keyDeclines(tried)) {
            let key = try row.int64("billing_key_id")
            used[key] = try row.int64("used")
            freeAt[key] = try row.timestampOrNil("free_at").map {
                Instant(microseconds: $0.microseconds)
            }
        }
    }

    /// When the budget of `card` has room, as of now.
    func update(_ card: inout DueSubscription.Card?) {
        guard let key = card?.id else { return }
        card?.freeAt = freeAt[key]
    }

    /// Whether the attempt that `step` opens, if it does, is within its key's budget; then it is
    /// counted. If not, the row stays due, and the next claim sees what became of the others.
    mutating func admit(_ step: Step) -> Bool {
        guard case .ask(.send(let request, _, _, _), opensAttempt: true) = step.action else {
            return true
        }
        let before = used[request.billingKeyID] ?? 0
        guard before < FleetNumbers.keyDeclines else { return false }
        used[request.billingKeyID] = before + 1
        return true
    }
}
