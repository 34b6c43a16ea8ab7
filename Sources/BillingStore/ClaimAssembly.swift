import Billing
import Postgres

extension ClaimRows {
    /// Adds what `step` writes for `due`; `row` carries the calendar's columns.
    mutating func append(
        _ due: DueSubscription, _ step: Step, _ row: PostgresRow
    ) throws(PostgresError) {
        let opens = step.opensCharge
        // A row that makes no sense is held by a charge that says so and carries none of it: the
        // ledger would refuse an illegal amount, name or span.
        let isIllegal = due.problem != nil
        let end = due.periodEnd.microseconds
        let start = due.periodStart.microseconds
        subscription.append(due.id.value)
        opensCharge.append(opens)
        periodIndex.append(Int32(due.periodIndex))
        periodStart.append(PostgresTimestamp(microseconds: start))
        periodEnd.append(PostgresTimestamp(microseconds: isIllegal ? max(end, start &+ 1) : end))
        // The anchor moves with the charge that is opened, not before.
        anchorAt.append(try row.timestamp("anchor_at"))
        anchorIndex.append(Int32(try row.int("anchor_index")))
        cycle.append(try row.string("cycle"))
        charge.append(due.charge?.id.value)
        var request: AttemptRequest?
        var isNew = false
        if case .ask(.send(let sent, _, _, _), let opensAttempt) = step.action {
            request = sent
            isNew = opensAttempt
        }
        // A later attempt carries what the charge froze, whatever the plan says by now.
        let terms =
            request.map {
                DueSubscription.Terms(
                    amount: $0.amount, taxFreeAmount: $0.taxFreeAmount, orderName: $0.orderName)
            } ?? due.terms
        amount.append(isIllegal ? 0 : terms.amount.value)
        taxFree.append(isIllegal ? 0 : terms.taxFreeAmount.value)
        orderName.append(isIllegal ? "?" : terms.orderName)
        attemptNumber.append(request.map { Int32($0.number) })
        opensAttempt.append(isNew)
        resends.append(request != nil && !isNew)
        orderID.append(request?.orderID.value)
        card.append(request?.billingKeyID)
        customerKey.append(due.customerKey.reveal())
    }
}

extension Claim {
    /// Adds the work, or the transition, that `step` makes of `due`.
    mutating func append(_ due: DueSubscription, _ step: Step, _ charge: ChargeID?) {
        switch step.action {
        case .write(let decision):
            local.append(
                Transition(
                    subscription: due.id, lease: due.lease, charge: charge,
                    attempt: decision.attempt, chargeChange: decision.chargeChange,
                    standing: decision.standing,
                    next: decision.next))
        case .ask(let task, let opensAttempt):
            // Work always has a charge: it was open, or was opened by this very claim.
            guard let charge else { return }
            work.append(
                Work(
                    subscription: due.id, lease: due.lease, charge: charge, task: task,
                    history: due.history(opensAttempt: opensAttempt, numbers)))
        }
    }
}
