/// Whole won; the provider takes no other currency for billing and no fractions.
package struct Won: Hashable, Comparable, Sendable {
    package let value: Int64
    package init(_ value: Int64) { self.value = value }
    package static func < (left: Won, right: Won) -> Bool { left.value < right.value }
}

/// `billing.subscriptions.subscription_id`.
package struct SubscriptionID: Hashable, Comparable, Sendable {
    package let value: Int64
    package init(_ value: Int64) { self.value = value }
    package static func < (left: Self, right: Self) -> Bool { left.value < right.value }
}

/// `billing.charges.charge_id`.
package struct ChargeID: Hashable, Sendable {
    package let value: Int64
    package init(_ value: Int64) { self.value = value }
}

/// The number of a claim of one subscription; every claim raises it, so that news from an older
/// claim can be told from news of the current one.
package struct LeaseNumber: Hashable, Sendable {
    package let value: Int64
    package init(_ value: Int64) { self.value = value }
}

/// An instant of the database's business clock: microseconds since 1970-01-01 UTC.
package struct Instant: Hashable, Comparable, Sendable {
    package let microseconds: Int64
    package init(microseconds: Int64) { self.microseconds = microseconds }
    package static func < (left: Self, right: Self) -> Bool {
        left.microseconds < right.microseconds
    }

    /// Ends at the first and the last instant there is: an age of a hundred million years in the
    /// settings must not stop the program.
    package static func + (instant: Self, duration: Duration) -> Self {
        let (seconds, attoseconds) = duration.components
        let (whole, isFar) = seconds.multipliedReportingOverflow(by: 1_000_000)
        let (span, isLong) = whole.addingReportingOverflow(attoseconds / 1_000_000_000_000)
        let (sum, isBeyond) = instant.microseconds.addingReportingOverflow(span)
        guard !isFar, !isLong, !isBeyond else {
            return Self(microseconds: seconds < 0 ? .min : .max)
        }
        return Self(microseconds: sum)
    }
}

/// The name of one attempt at the provider: its order id and, the same text, its idempotency key.
///
/// A function of the subscription's random prefix, the period and the attempt number, so that a
/// worker or a database that forgot everything computes the same name again. 6–64 characters of
/// `[A-Za-z0-9_-]` (Toss Payments, core API, `orderId`).
package struct OrderID: Hashable, Sendable, CustomStringConvertible {
    package let value: String

    /// The name of attempt `attempt` (from 1) of period `period` (from 0).
    package init(prefix: String, period: Int, attempt: Int) {
        value = "\(prefix)-\(period)-\(attempt)"
    }

    /// A name as it was stored.
    package init(stored: String) { value = stored }

    package var description: String { value }
}
