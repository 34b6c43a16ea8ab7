/// A payment that another system took.
package struct OtherPayment: Hashable, Sendable {
    /// Its order id or payment key.
    package var id: String
    package var at: Instant
    package var amount: Won
    package init(id: String, at: Instant, amount: Won) {
        self.id = id
        self.at = at
        self.amount = amount
    }
}

/// What shadow mode noted of one subscription.
package struct ShadowLine: Sendable {
    package struct Period: Hashable, Sendable {
        package var index: Int
        package var start: Instant
        /// From then on a payment there is one for this period, and no longer for the one before
        /// (`billing.payable_from`).
        package var payableFrom: Instant
        package var decision: ShadowDecision.Kind
        package var reason: String?
        package var amount: Won
        package init(
            index: Int, start: Instant, payableFrom: Instant, decision: ShadowDecision.Kind,
            reason: String? = nil, amount: Won
        ) {
            self.index = index
            self.start = start
            self.payableFrom = payableFrom
            self.decision = decision
            self.reason = reason
            self.amount = amount
        }
    }

    /// The period that is noted next.
    package struct Next: Hashable, Sendable {
        package var index: Int
        package var start: Instant
        package var payableFrom: Instant
        /// Why nothing would be charged from there on, if so: "it is paused".
        package var stopped: String?
        package init(index: Int, start: Instant, payableFrom: Instant, stopped: String? = nil) {
            self.index = index
            self.start = start
            self.payableFrom = payableFrom
            self.stopped = stopped
        }
    }

    package var subscription: SubscriptionID
    /// In their order.
    package var periods: [Period]
    package var next: Next
    package init(subscription: SubscriptionID, periods: [Period], next: Next) {
        self.subscription = subscription
        self.periods = periods
        self.next = next
    }
}

/// One thing in which shadow mode and the other system differ.
package struct ShadowFinding: Hashable, Sendable {
    /// The word of it, which machines may rely on.
    package enum Kind: String, CaseIterable, Sendable {
        /// It would be charged here, and was not there.
        case notChargedThere = "not_charged_there"
        /// Charged there, and nobody would be charged here: no card, cancelled, paused, skipped.
        case chargedThereOnly = "charged_there_only"
        case amountDiffers = "amount_differs"
        /// Charged there more than once for one period.
        case chargedTwiceThere = "charged_twice_there"
        /// Charged there, and the payer is not here.
        case unknownPayer = "unknown_payer"
    }

    package var kind: Kind
    package var subscription: SubscriptionID?
    package var period: Int?
    /// The period's start; of an unknown payer the time of the payment.
    package var at: Instant
    /// Of the payments there, oldest first.
    package var payments: [String]
    /// Won there, all payments together.
    package var there: Int64
    /// Won here; nil: nothing would be charged.
    package var here: Int64?
    /// What else is known, a part of a sentence.
    package var detail: String

    /// What a person should do, one sentence.
    package var advice: String {
        switch kind {
        case .notChargedThere:
            "Was it declined there, given away, or forgotten? Taken over as it is, billingd would "
                + "charge a period that has not ended."
        case .chargedThereOnly:
            "Find out who is right; a cancel, a pause or a card may be known to one system only."
        case .amountDiffers:
            "Compare the plan's price, and the subscription's own, with what the other system takes."
        case .chargedTwiceThere:
            "Refund one of them there, unless one belongs to another subscription or period."
        case .unknownPayer:
            "Import the payer before taking over, or nobody charges the next period."
        }
    }
}

/// What a comparison of shadow mode with another system came to.
package struct ShadowReport: Sendable {
    /// Findings that are listed; further ones are counted.
    package static let mostFindings = 1_000

    /// Business time of the comparison.
    package var now: Instant
    /// Periods that start in it, and payments there that belong to none.
    package var range: Range<Instant>
    /// Shadow mode is on.
    package var isOn = true
    /// Subscriptions with periods that began more than ten minutes ago and are not noted: nobody can
    /// say more of them.
    package var behind: Int64 = 0
    /// Periods charged there once, with the amount of here.
    package var agree = 0
    package var won: Int64 = 0
    /// Periods that neither charges.
    package var neither = 0
    /// Not paid there, and too young to say more.
    package var waiting = 0
    /// Payments there for periods that are not noted yet.
    package var early = 0
    /// Payments there of periods before the first that was noted.
    package var before = 0
    package var findings: [ShadowFinding] = []
    package var moreFindings = 0

    package var findingsCount: Int { findings.count + moreFindings }
    /// All was compared, and both decide alike.
    package var agrees: Bool { behind == 0 && findings.isEmpty }

    package init(now: Instant, range: Range<Instant>) {
        self.now = now
        self.range = range
    }

    private mutating func add(_ finding: ShadowFinding) {
        if findings.count < Self.mostFindings {
            findings.append(finding)
        } else {
            moreFindings += 1
        }
    }

    /// Adds a payment of somebody who is not here.
    package mutating func addStranger(_ payment: OtherPayment, detail: String) {
        guard range.contains(payment.at) else { return }
        add(
            ShadowFinding(
                kind: .unknownPayer, at: payment.at, payments: [payment.id],
                there: payment.amount.value, detail: detail))
    }

    /// Adds one subscription and all its payments there. A payment pays the last period for which it
    /// is not too early.
    package mutating func add(_ line: ShadowLine, _ payments: [OtherPayment]) {
        var paid: [Int: [OtherPayment]] = [:]
        for payment in payments.sorted(by: { ($0.at, $0.id) < ($1.at, $1.id) }) {
            if line.next.payableFrom <= payment.at {
                paid[line.next.index, default: []].append(payment)
            } else if let period = line.periods.last(where: { $0.payableFrom <= payment.at }) {
                paid[period.index, default: []].append(payment)
            } else if range.contains(payment.at) {
                before += 1
            }
        }
        for period in line.periods where range.contains(period.start) {
            add(period, of: line, paid[period.index] ?? [])
        }
        addNext(line, (paid[line.next.index] ?? []).filter { range.contains($0.at) })
    }

    private mutating func add(
        _ period: ShadowLine.Period, of line: ShadowLine, _ payments: [OtherPayment]
    ) {
        let wouldCharge = period.decision == .charge
        let finding = { (kind: ShadowFinding.Kind, detail: String) in
            ShadowFinding(
                kind: kind, subscription: line.subscription, period: period.index,
                at: period.start, payments: payments.map(\.id),
                there: payments.reduce(0) { $0 + $1.amount.value },
                here: wouldCharge ? period.amount.value : nil, detail: detail)
        }
        switch payments.count {
        case 0 where !wouldCharge: neither += 1
        case 0:
            // As long as a payment may be early it may be late.
            let young = period.start.microseconds - period.payableFrom.microseconds
            if now.microseconds < period.start.microseconds + young {
                waiting += 1
            } else {
                add(
                    finding(.notChargedThere, "it would be charged here, there is no payment there")
                )
            }
        case 1 where !wouldCharge: add(finding(.chargedThereOnly, period.whyNot))
        case 1 where payments[0].amount == period.amount:
            agree += 1
            won += period.amount.value
        case 1: add(finding(.amountDiffers, "the amounts differ"))
        default: add(finding(.chargedTwiceThere, "\(payments.count) payments there for one period"))
        }
    }

    private mutating func addNext(_ line: ShadowLine, _ payments: [OtherPayment]) {
        guard !payments.isEmpty else { return }
        let finding = { (kind: ShadowFinding.Kind, detail: String) in
            ShadowFinding(
                kind: kind, subscription: line.subscription, period: line.next.index,
                at: line.next.start, payments: payments.map(\.id),
                there: payments.reduce(0) { $0 + $1.amount.value }, detail: detail)
        }
        if let why = line.next.stopped {
            add(finding(.chargedThereOnly, "nothing would be charged here: \(why)"))
        } else if payments.count > 1 {
            add(
                finding(
                    .chargedTwiceThere, "\(payments.count) payments there since its last period"))
        } else {
            early += 1
        }
    }
}

extension ShadowLine.Period {
    fileprivate var whyNot: String {
        switch decision {
        case .charge: "it would be charged here"
        case .free: "it costs nothing here"
        case .noCard: reason.map { "it \($0)" } ?? "there is no card here to charge"
        case .skip where reason == "paused":
            "it would be skipped here: it began while the subscription was paused"
        case .skip: "it would be skipped here: it went by before anybody looked"
        case .hold: "it would be held here for a person: \(reason ?? "")"
        }
    }
}
