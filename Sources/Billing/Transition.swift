/// What to write after an outcome: a value, so that the rule that made it can be read and tested
/// without a database, and repeated without harm when an answer to a COMMIT is lost.
package struct Transition: Hashable, Sendable {
    package var subscription: SubscriptionID
    package var lease: LeaseNumber
    package var charge: ChargeID?
    package var attempt: AttemptChange?
    package var chargeChange: ChargeChange?
    package var standing: Standing?
    package var next: Next

    /// What happens to the attempt in hand (`number`).
    package indirect enum AttemptChange: Hashable, Sendable {
        /// A fact: accepted from any worker, however stale.
        case approved(number: Int, Payment, Answer)
        case declined(number: Int, Answer, killsKey: Bool)
        case refused(number: Int, Answer)
        /// Stays open. Nothing of it ever left.
        case notSent(number: Int, Answer)
        /// Stays open. A request may have been executed.
        case unknown(number: Int, Answer)
        /// Stays open; the provider was asked. `absent`: not found often and late enough.
        case lookedUp(number: Int, Answer, found: Found)
        /// An *ended* earlier attempt turns out to be paid; attempt `unsent`, if any, ends as
        /// refused. The ended one keeps its state and notes the contradiction.
        case earlierPaid(order: OrderID, Payment, unsent: Int?)

        package enum Found: Hashable, Sendable { case nothing, absent, unclear }
    }

    package indirect enum ChargeChange: Hashable, Sendable {
        case paid(Payment)
        /// Nothing to take: an amount of 0 won.
        case free
        /// Paid and meanwhile cancelled at the provider, in part or whole.
        case refunded(Payment)
        case failed(FailReason)
        case skipped(SkipReason)
        case held(String)
        /// Stays open and waits: why (`charges.reason`).
        case waits(WaitReason)
    }

    /// Why an open charge is not tried before its next date.
    package enum WaitReason: String, Hashable, Sendable {
        /// Its card was declined too often; see ``FleetNumbers/keyDeclines``.
        case keyDeclines = "waits: the card was declined 15 times in 30 days"
        /// It would end, but for the last look; told once, so that the charge says since when.
        case unclear = "waits: the provider does not say clearly whether it was paid"
    }

    /// Why a period was not charged (`charges.reason`).
    package enum SkipReason: String, Hashable, Sendable { case missed, paused }

    /// How the subscription stands after it.
    package enum Standing: Hashable, Sendable {
        /// Paid: active again if it was past due or suspended.
        case good
        case pastDue
        /// No card to try.
        case suspended
        case canceled
        /// Dunning came to its end: what the plan's `on_exhausted` says.
        case exhausted
    }

    /// When the worker must look at the subscription again.
    package enum Next: Hashable, Sendable {
        /// The start of the next period; the period index grows by one.
        case advance
        case after(Duration)
        /// After rung `step` (from 0) of the plan's dunning ladder, at the latest at the period's end.
        case dunning(step: Int)
        /// So long after the next midnight in Korea, where the issuers' days end; at the latest at the
        /// period's end.
        case nextDay(Duration)
        /// When the gap after the attempt is over: the charge is looked up once more and ends.
        case sealAfterGap
        /// At the end of the period: a charge without a card ends there.
        case periodEnd
        case at(Instant)
        case never
    }

    package init(
        subscription: SubscriptionID, lease: LeaseNumber, charge: ChargeID?,
        attempt: AttemptChange? = nil, chargeChange: ChargeChange? = nil,
        standing: Standing? = nil, next: Next
    ) {
        self.subscription = subscription
        self.lease = lease
        self.charge = charge
        self.attempt = attempt
        self.chargeChange = chargeChange
        self.standing = standing
        self.next = next
    }
}
