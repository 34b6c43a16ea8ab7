/// All that the ledger knows of one subscription and of the fleet that charges it, at one moment: what
/// ``Explanation`` is made of. It holds no secret: the keys in ``due`` are empty.
package struct SubscriptionHistory: Sendable {
    package var fleet: FleetFacts
    /// What a claim would read of the row at this moment.
    package var due: DueSubscription
    package var row: RowFacts
    /// Oldest first; each has a charge.
    package var periods: [Period]
    /// Older periods that were left out.
    package var olderPeriods: Int

    package init(
        fleet: FleetFacts, due: DueSubscription, row: RowFacts, periods: [Period] = [],
        olderPeriods: Int = 0
    ) {
        self.fleet = fleet
        self.due = due
        self.row = row
        self.periods = periods
        self.olderPeriods = olderPeriods
    }

    /// What is true of every subscription.
    package struct FleetFacts: Sendable {
        package var numbers = FleetNumbers()
        /// The business clock.
        package var now: Instant
        /// The database's real clock: leases and quiet times are on it.
        package var realNow: Instant
        package var zone = Zone()
        /// `test` or `live`.
        package var mode = "test"
        package var paused = false
        package var pausedReason: String?
        /// Fingerprint of the key that a rotation is about to bind.
        package var rotatingTo: String?
        package var boundKey: String?
        /// The secret key in hand, if one is configured here.
        package var keyInHand: KeyInHand?
        package var boundIdentity: String?
        package var identity = ""
        package var schemaVersion = 0
        package var programSchemaVersion = 0
        /// Real clock: claims wait until then.
        package var adoptedUntil: Instant?
        /// Real clock: every name is looked up before it is sent.
        package var lookFirstUntil: Instant?
        /// Business clock: the names of a period that began before are looked up until it ends.
        package var lookFirstBefore: Instant?
        package var wonPerDay: Int64?
        package var wonLeft: Int64?
        package var requestsPerMinute: Int64?
        /// Until the fleet may send a request again; zero: now.
        package var requestWait: Duration = .zero
        /// Those that did not stop in good order, newest sign of life first.
        package var workers: [Worker] = []

        package init(now: Instant, realNow: Instant? = nil) {
            self.now = now
            self.realNow = realNow ?? now
        }

        package struct Worker: Hashable, Sendable {
            package var id: String
            package var state: String
            package var seenAgo: Duration
            /// Why it claims nothing, or next to nothing, if so.
            package var reason: String?
            package init(id: String, state: String, reason: String? = nil, seenAgo: Duration) {
                self.id = id
                self.state = state
                self.reason = reason
                self.seenAgo = seenAgo
            }
        }

        /// What a secret key says of itself.
        package struct KeyInHand: Hashable, Sendable {
            package var mode: String
            package var fingerprint: String
            package init(mode: String, fingerprint: String) {
                self.mode = mode
                self.fingerprint = fingerprint
            }
        }

        /// What ``DueSubscription/looksFirst`` is at `instant` for the period that began at `period`.
        func looksFirst(_ period: Instant, at instant: Instant) -> Bool {
            if let before = lookFirstBefore, period < before { return true }
            return lookFirstUntil.map { real(instant) < $0 } ?? false
        }

        /// An instant of the real clock on the business clock.
        func business(_ real: Instant) -> Instant {
            Instant(microseconds: real.microseconds - realNow.microseconds + now.microseconds)
        }

        func real(_ business: Instant) -> Instant {
            Instant(microseconds: business.microseconds - now.microseconds + realNow.microseconds)
        }
    }

    /// What the row says beside what a claim reads of it.
    package struct RowFacts: Sendable {
        package var planID = ""
        package var planName = ""
        package var cycle = ""
        /// `suspend` or `cancel`.
        package var onExhausted = "suspend"
        package var nextChargeAt: Instant?
        /// Real clock.
        package var leaseUntil: Instant?
        package var leaseOwner: String?
        /// Since the last record.
        package var claims = 0
        package var heldReason: String?
        /// Real clock: from then on a not-found of the open attempt counts.
        package var quietUntil: Instant?
        /// Masked number of the card that a new attempt would use.
        package var cardNumber: String?
        /// Of the newest card, if no active one is left.
        package var lastCardState: String?
        package var lastCardCode: String?

        package init(nextChargeAt: Instant?) { self.nextChargeAt = nextChargeAt }
    }

    /// One charge with all its attempts.
    package struct Period: Sendable {
        package var charge: Int64
        package var index: Int
        package var start: Instant
        package var end: Instant
        package var amount: Won
        /// The ledger's word.
        package var state: String
        package var reason: String?
        package var paidAt: Instant?
        package var paymentKey: String?
        package var receiptURL: String?
        package var refunded: Won?
        package var attempts: [Attempt] = []
        package var byHand: [Deed] = []

        package init(
            charge: Int64, index: Int, start: Instant, end: Instant, amount: Won, state: String
        ) {
            self.charge = charge
            self.index = index
            self.start = start
            self.end = end
            self.amount = amount
            self.state = state
        }

        /// Every payment that the ledger knows of, the recorded one first.
        package var payments: [String] {
            var keys = paymentKey.map { [$0] } ?? []
            for key in attempts.compactMap(\.contradiction) where !keys.contains(key) {
                keys.append(key)
            }
            return keys
        }
    }

    package struct Attempt: Sendable {
        package var number: Int
        package var order: OrderID
        package var amount: Won
        package var cardID: Int64
        package var cardNumber: String?
        /// The ledger's word.
        package var state: String
        package var code: String?
        package var message: String?
        package var httpStatus: Int?
        package var traceID: String?
        package var openedAt: Instant
        /// Nil: proven not to have left.
        package var sentAt: Instant?
        package var finishedAt: Instant?
        package var lookups = 0
        package var sends = 1
        package var unknownSince: Instant?
        package var inDoubt = false
        package var contradiction: String?

        package init(
            number: Int, order: OrderID, amount: Won, cardID: Int64, state: String,
            openedAt: Instant
        ) {
            self.number = number
            self.order = order
            self.amount = amount
            self.cardID = cardID
            self.state = state
            self.openedAt = openedAt
            sentAt = openedAt
        }
    }

    /// What somebody did by hand.
    package struct Deed: Hashable, Sendable {
        package var at: Instant
        /// Of the event, such as `charge.released`.
        package var type: String
        package var by: String
        package var why: String
        package init(at: Instant, type: String, by: String, why: String) {
            self.at = at
            self.type = type
            self.by = by
            self.why = why
        }
    }
}

/// How instants are written for people: by a fixed distance from UTC, named behind each, so that it is
/// right whatever the zone does at another time of the year.
package struct Zone: Hashable, Sendable {
    package var offsetSeconds: Int64
    package init(offsetSeconds: Int64 = 9 * 3_600) { self.offsetSeconds = offsetSeconds }

    /// `2026-01-31 09:00:00 +09:00`.
    package func text(_ instant: Instant) -> String {
        let seconds = instant.microseconds.floorDivided(by: 1_000_000) + offsetSeconds
        let days = seconds.floorDivided(by: 86_400)
        let (year, month, day) = Self.date(days)
        let rest = seconds - days * 86_400
        let away = abs(offsetSeconds) / 60
        return "\(year)-\(two(month))-\(two(day)) \(two(rest / 3_600)):\(two(rest / 60 % 60)):"
            + "\(two(rest % 60)) \(offsetSeconds < 0 ? "-" : "+")\(two(away / 60)):\(two(away % 60))"
    }

    /// The day alone.
    package func day(_ instant: Instant) -> String { String(text(instant).prefix { $0 != " " }) }

    private func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }

    /// Of the proleptic Gregorian calendar; the year begins in March, so that leap days end it.
    private static func date(_ days: Int64) -> (Int64, Int64, Int64) {
        let shifted = days + 719_468
        let era = shifted.floorDivided(by: 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let march = (5 * dayOfYear + 2) / 153
        let month = march < 10 ? march + 3 : march - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return (year, month, dayOfYear - (153 * march + 2) / 5 + 1)
    }
}

extension Int64 {
    fileprivate func floorDivided(by divisor: Int64) -> Int64 {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
