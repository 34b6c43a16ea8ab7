import Billing

@testable import BillingStore
@testable import Postgres

/// A row of the claim, cell by cell as text: of the column's type, NULL, or garbage. It is refused
/// by name or decided; a decided row never asks for what the protocol forbids, and never traps.
enum RowFuzz {
    private enum Kind {
        case bigint, int, text, bool, time, seconds
        case word([String])
    }

    private static let columns: [(String, Kind)] = [
        ("subscription_id", .bigint), ("lease_no", .bigint), ("claims", .int),
        ("state", .word(["active", "past_due", "suspended", "canceled", "paused"])),
        ("now", .time), ("cancel_at", .time), ("resumed_at", .time), ("period_index", .int),
        ("period_at", .time), ("period_end", .time), ("order_prefix", .text),
        ("customer_key", .text), ("amount", .bigint), ("tax_free_amount", .bigint),
        ("order_name", .text), ("catch_up", .word(["latest", "each", "hold"])),
        ("dunning_steps", .int), ("card_id", .bigint), ("card_key", .text), ("problem", .text),
        ("looks_first", .bool), ("charge_id", .bigint), ("charge_opened_at", .time),
        ("charge_amount", .bigint),
        ("charge_tax_free", .bigint), ("charge_name", .text), ("is_held", .bool),
        ("declines", .int), ("earlier_code", .text), ("attempt_no", .int), ("order_id", .text),
        ("attempt_card", .bigint), ("attempt_key", .text), ("attempt_customer", .text),
        ("attempt_amount", .bigint), ("attempt_tax_free", .bigint), ("attempt_name", .text),
        ("attempt_state", .word(["open", "approved", "declined", "refused"])),
        ("attempt_code", .text), ("opened_at", .time), ("finished_at", .time),
        ("ever_unknown", .bool), ("in_doubt", .bool), ("absent", .bool), ("sends", .int),
        ("lookups", .int), ("not_founds", .int), ("quiet_over", .bool), ("not_sents", .int),
        ("same_key", .bool), ("anchor_at", .time), ("anchor_index", .int), ("cycle", .text),
        ("request_timeout", .seconds), ("lease", .seconds), ("late_bound", .seconds),
        ("gap", .seconds), ("last_send_age", .seconds), ("hold_age", .seconds),
        ("maximum_attempts", .int),
    ]

    static func run(_ input: inout FuzzInput) {
        // Most inputs spoil few cells, so that the rest of the row is reached.
        let spoils = input.below(4) == 3
        let values = columns.map { cell($0.1, spoils: spoils, &input) }
        let rows = PostgresRows(columns: columns.map(\.0), values: values, count: 1)
        guard let row = rows.first, let due = try? row.dueSubscription(),
            let numbers = try? row.fleetNumbers()
        else { return }
        let step = Step.decide(due, numbers)
        check(step, of: due, numbers)
        var written = ClaimRows()
        guard (try? written.append(due, step, row)) != nil else { return }
        var claim = Claim()
        claim.append(due, step, due.charge?.id ?? ChargeID(1))
        require(claim.work.count + claim.local.count == 1, "a row has one step")
        _ = RecordRows(claim.local)
    }

    private static func check(_ step: Step, of due: DueSubscription, _ numbers: FleetNumbers) {
        guard case .ask(let task, let opensAttempt) = step.action else { return }
        require(due.charge?.isHeld != true, "a held charge is left alone")
        let last = due.charge?.attempt
        switch task {
        case .send(let request, let earlier, let isRepeat, _):
            require(
                !opensAttempt || last?.state != .open, "no new attempt exists while one is open")
            require(!isRepeat || last?.sameKey == true, "no repeat under another secret key")
            if let last, last.state == .open {
                require(request == last.request, "an open attempt is sent as it is pinned")
                require(
                    due.now < last.openedAt + numbers.lastSendAge, "an old name is not sent")
                require(!last.inDoubt || last.absent, "in doubt nothing is sent before look-ups")
            }
            require(
                request.number <= 1 || earlier.count >= request.number - 1,
                "all earlier names are looked up before attempt \(request.number)")
            require(
                request.amount.value > 0 || last?.state == .open || due.charge != nil
                    || due.problem == nil, "nothing is charged as nothing")
        case .resolve: require(last?.state == .open, "only an open attempt is resolved")
        case .seal(let names, _, _):
            require(names.count >= (last?.request.number ?? 0), "a seal asks for every name")
        }
    }

    private static func cell(_ kind: Kind, spoils: Bool, _ input: inout FuzzInput) -> String? {
        let choice = input.byte()
        // An input that is too short reads zeros: those are good values.
        if choice >= 240 { return nil }
        if spoils, choice >= 216 { return input.text() }
        switch kind {
        case .bigint: return "\(input.integer())"
        case .int: return "\(Int32(truncatingIfNeeded: input.integer()))"
        case .text: return input.text()
        case .bool: return input.bool() ? "t" : "f"
        case .word(let words): return input.pick(words)
        case .time: return time(&input)
        case .seconds:
            return input.pick([
                "65", "0", "-1", "1e300", "Infinity", "NaN", "3600.5", "\(input.integer())",
            ])
        }
    }

    /// Mostly within a few days of one another, as in life; else anything.
    private static func time(_ input: inout FuzzInput) -> String {
        let base: Int64 = 1_795_000_000_000_000
        let micros =
            input.below(8) == 7
            ? input.integer() : base + (Int64(input.byte()) - 128) * 3_600_000_000
        return PostgresTimestamp(microseconds: micros).description
    }
}
