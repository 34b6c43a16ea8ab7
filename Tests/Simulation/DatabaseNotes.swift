import Billing
import TestSupport

/// Which marks a record leaves.
extension Database {
    func note(_ transition: Transition, _ verdict: Verdict) {
        let subscription = transition.subscription.value
        world.note(
            .recorded, subscription, Int64(verdict.hashKey),
            "sub \(subscription) lease \(transition.lease.value): \(transition.story) → \(verdict)")
        switch verdict {
        case .applied: break
        case .repeated: return world.note(.verdictRepeated, subscription, "")
        case .stale: return world.note(.verdictStale, subscription, "")
        case .contradiction: return world.note(.verdictContradiction, subscription, "")
        case .rejected, .busy: return
        }
        switch transition.attempt {
        case .approved:
            if ledger[subscription: subscription].lease != transition.lease.value {
                world.note(.staleApprovalApplied, subscription, "")
            }
        case .unknown: world.note(.unknownRecorded, subscription, "")
        case .refused(_, let answer):
            world.note(.refusedRecorded, subscription, "")
            if answer.code == "NAME_USED_UP" { world.note(.nameUsedUp, subscription, "") }
            if answer.traceID?.contains(",") == true {
                world.note(.storedErrorEnded, subscription, answer.code)
            }
        case .notSent: world.note(.notSentRecorded, subscription, "")
        case .declined(_, _, let kills):
            world.note(kills ? .declinedHard : .declinedSoft, subscription, "")
        case .lookedUp(_, _, .absent): world.note(.absentThenSentAgain, subscription, "")
        case .lookedUp, nil: break
        case .earlierPaid: world.note(.earlierFoundPaid, subscription, "")
        }
        switch transition.chargeChange {
        case .paid(let payment):
            world.note(.closedPaid, subscription, payment.orderID.value)
            if let charge = transition.charge, ledger[charge: charge.value].end <= clocks.business {
                world.note(.chargedLate, subscription, payment.orderID.value)
            }
            if case .approved(_, _, let answer) = transition.attempt, answer.code == "LOOKED_UP" {
                world.note(.adoptedByLookUp, subscription, payment.orderID.value)
            }
        case .free, .waits: break
        case .refunded: world.note(.refunded, subscription, "")
        case .failed:
            world.note(.closedFailed, subscription, "")
            let charge = transition.charge.map { ledger[charge: $0.value] }
            if charge?.attempts.isEmpty == false { world.note(.sealed, subscription, "") }
        case .skipped(let reason):
            world.note(.closedSkipped, subscription, "")
            if reason == .missed { world.note(.skippedAsMissed, subscription, "") }
        case .held(let reason):
            world.note(.held, subscription, reason)
            if reason.hasPrefix("claimed ") { world.note(.heldAsPoison, subscription, reason) }
            if reason.hasPrefix("unresolved: the") { world.note(.heldForAge, subscription, reason) }
            if reason.hasPrefix("unresolved: nothing") {
                world.note(.heldUnsealed, subscription, reason)
            }
            if reason.hasPrefix("missed") { world.note(.heldAsMissed, subscription, reason) }
        case nil:
            if transition.next == .periodEnd, transition.standing == nil {
                world.note(.pausedLooked, subscription, "")
            }
        }
    }
}
