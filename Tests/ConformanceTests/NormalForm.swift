import Billing
import TestSupport

/// What both sides show after an operation, as text in which no number of chance stands: a charge is
/// `subscription/period`, an instant microseconds since ``NormalForm/epoch``.
struct NormalForm: Sendable, Equatable {
    /// What the operation answered.
    var answer: String
    /// The rows of the database, one a line, sorted.
    var state: String

    static let epoch: Int64 = 1_800_000_000_000_000

    static func instant(_ instant: Instant?) -> String {
        instant.map { "\($0.microseconds - epoch)" } ?? "-"
    }

    /// Words of a row; what is not there is `-`.
    static func row(_ words: (any CustomStringConvertible)?...) -> String {
        words.map { $0.map { "\($0)" } ?? "-" }.joined(separator: " ")
    }

    static func flag(_ flag: Bool) -> String { flag ? "t" : "f" }

    /// What a claim brought. `charge`: the name of a charge. `hasBudget`: how long to wait depends
    /// on the real clock, which on one side runs.
    static func claim(
        _ claim: Claim, hasBudget: Bool, charge: (ChargeID) -> String
    ) -> String {
        var lines = [
            claim.pausedReason == nil ? "claimed" : "paused",
            "wake "
                + (claim.wake.map { wake in
                    let seconds = wake / .seconds(1)
                    return hasBudget
                        ? "\(Int(seconds.rounded()))" : "\(Int((seconds * 1_000).rounded())) ms"
                } ?? "-"), "numbers \(claim.numbers)",
        ]
        lines += claim.work.map { work in
            "work \(work.subscription.value) lease \(work.lease.value) \(charge(work.charge)) "
                + "\(text(work.task)) \(work.history)"
        }
        lines += claim.local.map { local in
            "local \(local.subscription.value) lease \(local.lease.value) "
                + "\(local.charge.map(charge) ?? "-") \(String(describing: local.chargeChange)) "
                + "\(String(describing: local.standing)) \(local.next)"
        }
        return lines.joined(separator: "\n")
    }

    private static func text(_ task: ProviderTask) -> String {
        switch task {
        case .send(let request, let earlier, let isRepeat, let tries):
            "send \(text(request)) after \(earlier) repeat \(isRepeat) tries \(tries)"
        case .resolve(let request, let doubt): "resolve \(text(request)) \(doubt)"
        case .seal(let orders, let amount, let ending):
            "seal \(orders) \(amount.value) \(ending)"
        }
    }

    private static func text(_ request: AttemptRequest) -> String {
        "\(request.number) \(request.orderID) card \(request.billingKeyID) "
            + "\(request.billingKey.reveal()) \(request.customerKey.reveal()) "
            + "\(request.amount.value) \(request.taxFreeAmount.value) \(request.orderName)"
    }
}

extension Ledger {
    /// The rows of the database in the normal form.
    func rows(at clocks: Clocks) -> String {
        var lines = subscriptions.map { row($0, clocks) }
        for charge in charges {
            lines.append(row(charge))
            for attempt in charge.attempts { lines.append(row(attempt, charge, clocks)) }
        }
        for card in cards {
            lines.append(
                NormalForm.row(
                    "card", card.id, "customer\(card.customer)", "\(card.state)", card.deadCode))
        }
        lines += (events ?? []).map(row)
        // What is left of the minute's requests shows in the claims: the amount itself grows while a
        // statement of the database runs.
        lines.append(
            NormalForm.row(
                "settings", NormalForm.flag(pausedReason != nil), "fingerprint-\(fingerprint)",
                limits.wonPerDay, limits.requestsPerMinute))
        return lines.sorted().joined(separator: "\n")
    }

    private func name(_ id: Int64?) -> String? {
        id.map { "\(self[charge: $0].subscription)/\(self[charge: $0].period)" }
    }

    private func row(_ row: Subscription, _ clocks: Clocks) -> String {
        let lease = row.leaseUntil.map { $0 > clocks.real ? "held" : "over" } ?? "free"
        return [
            NormalForm.row(
                "subscription", row.id, row.state.rawValue, "period", row.periodIndex,
                NormalForm.instant(row.periodAt), "next", NormalForm.instant(row.nextChargeAt),
                "cancel", NormalForm.instant(row.cancelAt)),
            NormalForm.row(
                "resumed", NormalForm.instant(row.resumedAt), "amount", row.amount?.value, "plan",
                row.plan, "card", row.card, "anchor", NormalForm.instant(row.anchorAt),
                row.anchorIndex, row.cycle.text),
            NormalForm.row(
                "charge", name(row.openCharge), NormalForm.flag(row.attemptOpen), "lease",
                row.lease, lease, row.leaseUntil == nil ? nil : row.leaseOwner, "claims",
                row.claims),
        ].joined(separator: " ")
    }

    private func row(_ charge: Charge) -> String {
        NormalForm.row(
            "charge", name(charge.id), NormalForm.instant(charge.start),
            NormalForm.instant(charge.end), charge.terms.amount.value,
            charge.terms.taxFreeAmount.value, charge.terms.orderName, charge.state.rawValue,
            charge.paymentKey, charge.refunded?.value, charge.attempts.count, charge.declines,
            charge.reason)
    }

    private func row(_ attempt: Attempt, _ charge: Charge, _ clocks: Clocks) -> String {
        let request = attempt.request
        let quiet = attempt.quietUntil.map { $0 > clocks.real ? "quiet" : "over" }
        return [
            NormalForm.row(
                "attempt", name(charge.id), request.number, request.orderID, request.billingKeyID,
                request.customerKey.reveal(), request.amount.value, request.taxFreeAmount.value,
                request.orderName, "fingerprint-\(attempt.fingerprint)"),
            NormalForm.row(
                attempt.state.rawValue, attempt.code, NormalForm.instant(attempt.openedAt),
                NormalForm.instant(attempt.finishedAt), "unknown",
                NormalForm.instant(attempt.unknownSince), NormalForm.flag(attempt.inDoubt),
                NormalForm.flag(attempt.absent)),
            NormalForm.row(
                "sends", attempt.sends, attempt.lookups, attempt.notFounds, attempt.notSents,
                quiet, attempt.contradiction, attempt.traceID),
        ].joined(separator: " ")
    }

    private func row(_ event: Event) -> String {
        let data = event.data
        let hold = data.hold.isEmpty ? [nil, nil, nil] : data.hold
        return NormalForm.row(
            "event", event.type, event.subscription, name(event.charge), data.period,
            data.amount?.value, data.code, data.attempt, data.paymentKey, data.reason,
            data.refunded?.value, NormalForm.instant(data.nextChargeAt), data.card, hold[0],
            hold[1], hold[2])
    }
}

extension Cycle {
    var text: String {
        switch self {
        case .days(let days): "\(days)d"
        case .months(let months): "\(months)m"
        }
    }

    var sql: String {
        switch self {
        case .days(let days): "\(days) days"
        case .months(let months): "\(months) months"
        }
    }
}
