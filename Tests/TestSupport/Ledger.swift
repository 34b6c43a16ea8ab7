package import Billing

/// The tables of `schema.sql` and what claim and record do to them, as a value: a copy is a
/// snapshot, and going back to an older copy is a failover that lost what was committed since.
///
/// Statement by statement the SQL of BillingStore, with the constraints and triggers as
/// ``Violation``s. Two clocks come with every transaction, as in PostgreSQL.
package struct Ledger: Sendable {
    /// The clocks of one transaction.
    package struct Clocks: Sendable {
        /// `billing.now()`: due, ladders, gaps, ages.
        package var business: Instant
        /// `now()`: leases and quiet times.
        package var real: Instant
        package init(business: Instant, real: Instant) {
            self.business = business
            self.real = real
        }
    }

    package struct Plan: Sendable {
        package var amount: Won
        package var taxFree = Won(0)
        package var cycle: Cycle
        package var dunning: [Duration]
        package var cancelsWhenExhausted = false
        package var catchUp = DueSubscription.CatchUp.latest

        package init(amount: Won, cycle: Cycle, dunning: [Duration]) {
            self.amount = amount
            self.cycle = cycle
            self.dunning = dunning
        }
    }

    package struct Card: Sendable {
        package enum State: Sendable { case active, dead, deleted }
        package var id: Int64
        package var customer: Int
        package var key: BillingKey
        package var createdAt: Instant
        package var state = State.active
        /// The code that killed it.
        package var deadCode: String?
    }

    package struct Subscription: Sendable, Equatable {
        package var id: Int64
        package var customer: Int
        package var plan: Int
        package var amount: Won?
        package var card: Int64?
        package var state = DueSubscription.State.active
        package var anchorAt: Instant
        package var anchorIndex = 0
        package var cycle: Cycle
        package var periodIndex = 0
        package var periodAt: Instant
        package var nextChargeAt: Instant?
        package var cancelAt: Instant?
        package var resumedAt: Instant?
        package var askedAt: Instant?
        package var openCharge: Int64?
        package var attemptOpen = false
        package var lease: Int64 = 0
        package var leaseUntil: Instant?
        package var leaseOwner: Int?
        package var claims = 0
        /// Why the row makes no sense, if it does not.
        package var problem: String?

        package var orderPrefix: String { "sub\(id)" }
        package var customerKey: CustomerKey { CustomerKey("customer\(customer)") }
    }

    package struct Charge: Sendable, Equatable {
        package enum State: String, Sendable { case open, paid, failed, skipped, held, refunded }
        package var id: Int64
        package var subscription: Int64
        package var period: Int
        package var start: Instant
        package var end: Instant
        package var terms: DueSubscription.Terms
        package var openedAt: Instant
        package var state = State.open
        package var reason: String?
        /// `updated_at` of the record that wrote `reason`, when it waits.
        package var waitsSince: Instant?
        package var paymentKey: String?
        package var refunded: Won?
        package var declines = 0
        package var attempts: [Attempt] = []

        /// Ended without money: nothing may be approved for it any more.
        package var isUnpaid: Bool { state == .failed || state == .skipped }
    }

    package struct Attempt: Sendable, Equatable {
        /// Pinned.
        package let request: AttemptRequest
        package var fingerprint: Int
        package let openedAt: Instant
        package var state = DueSubscription.LastAttempt.State.open
        package var code: String?
        package var traceID: String?
        package var finishedAt: Instant?
        package var unknownSince: Instant?
        package var inDoubt = true
        package var absent = false
        package var sends = 1
        package var lookups = 0
        package var notFounds = 0
        package var notSents = 0
        package var quietUntil: Instant?
        package var contradiction: String?
    }

    /// A constraint or a trigger of the schema said no: a wrong program, not a fault.
    package struct Violation: Error, Sendable {
        package var rule: String
        /// A rule about time: a clock that goes back may break it.
        package var isByClock = false
    }

    package var numbers = FleetNumbers()
    package var pausedReason: String?
    /// Why no worker may claim: another schema version, mode or database.
    package var refusal: String?
    package var limits = Limits()
    /// When somebody vouched for a changed identity, on the real clock.
    package var adoptedAt: Instant?
    /// Until then every name is looked up before it is sent, on the real clock.
    package var lookFirstUntil: Instant?
    /// The names of a period that began before, on the business clock, are looked up until it ends.
    package var lookFirstBefore: Instant?
    /// Of the secret key the fleet is bound to.
    package var fingerprint = 1
    package var plans: [Plan] = []
    /// Ids are positions, from 1.
    package var cards: [Card] = []
    /// Part of new billing keys: ids are issued again after a loss, the provider's keys are not.
    package var cardSeries = 1
    package var subscriptions: [Subscription] = []
    package var charges: [Charge] = []
    /// The outbox; nil: not kept, for those who play many histories and never read it.
    package var events: [Event]?

    package init() {}

    package subscript(subscription id: Int64) -> Subscription {
        get { subscriptions[Int(id) - 1] }
        set { subscriptions[Int(id) - 1] = newValue }
    }

    package subscript(charge id: Int64) -> Charge {
        get { charges[Int(id) - 1] }
        set { charges[Int(id) - 1] = newValue }
    }

    /// The newest active card of the customer, or the subscription's own.
    package func card(of row: Subscription) -> Card? {
        cards.last {
            $0.customer == row.customer && $0.state == .active
                && (row.card == nil || $0.id == row.card)
        }
    }
}
