import Billing

/// A daemon with one mistake built in where the harness can put it. The oracle must notice each.
enum Mutant: String, CaseIterable {
    /// No answer counts as declined.
    case timeoutIsDeclined
    /// A code nobody knows, or a 5xx, counts as declined.
    case unknownIsDeclined
    /// No answer counts as approved.
    case timeoutIsApproved
    /// "Executed before" counts as declined.
    case duplicateIsDeclined
    /// A payment is taken for ours without comparing it.
    case mismatchAccepted
    /// A new idempotency key for each try.
    case keyPerTry
    /// A new order id for each try.
    case namePerTry
    /// The customer's present card is sent instead of the pinned one.
    case cardUnpinned
    /// The plan's present price is sent instead of the pinned amount.
    case amountFromPlan
    /// A claim whose COMMIT was not acknowledged is acted on.
    case unacknowledgedClaim
    /// The answer to a repeat ends the attempt without a look-up.
    case repeatEndsAttempt
    /// Earlier names are not looked up before a new one is sent.
    case earlierNotLookedUp
    /// A charge ends unpaid without a last look at its names.
    case noSeal
    /// No rest between names.
    case noGap
    /// Names are sent however old they are.
    case noAgeGuard
    /// Sends start long after the claim.
    case noDeadline
    /// A cancel ends the subscription at once, with an attempt under way.
    case cancelIgnoresAttempt
    /// Claims without a record are counted for ever.
    case claimsNeverReset
    /// No answer counts as proof that nothing left.
    case timeoutIsNotSent
    /// Earlier names are looked up before the first send of a name only.
    case firstSendOnly
    /// Any 404 means that there is no payment.
    case any404

    /// Noticed only where declines are forgotten and requests come late: it gets that weather.
    var needsForgetfulProvider: Bool {
        switch self {
        case .earlierNotLookedUp, .firstSendOnly, .noSeal, .noGap, .any404: true
        default: false
        }
    }

    func change(_ outcome: Outcome, _ request: AttemptRequest) -> Outcome {
        switch (self, outcome) {
        case (.timeoutIsDeclined, .unknown(let answer))
        where answer.code == "TIMEOUT" || answer.code == "CONNECTION_RESET":
            return .declined(answer, .soft)
        case (.unknownIsDeclined, .unknown(let answer)) where answer.httpStatus != nil:
            return .declined(answer, .soft)
        case (.timeoutIsApproved, .unknown(let answer)) where answer.code == "TIMEOUT":
            return .approved(
                Payment(
                    paymentKey: "invented-\(request.orderID)", orderID: request.orderID,
                    status: .done, totalAmount: request.amount), traceID: nil)
        case (.timeoutIsNotSent, .unknown(let answer)) where answer.httpStatus == nil:
            return .notSent(answer)
        case (.duplicateIsDeclined, .duplicate(let answer)):
            return .declined(answer, .soft)
        case (.mismatchAccepted, .approved(var payment, let trace)):
            payment.orderID = request.orderID
            payment.totalAmount = request.amount
            payment.isBilling = true
            return .approved(payment, traceID: trace)
        default: return outcome
        }
    }

    func change(_ result: Claim) -> Claim {
        var claim = result
        switch self {
        case .noDeadline: claim.numbers.lease = .seconds(10 * 86_400)
        default: break
        }
        for index in claim.work.indices {
            switch (self, claim.work[index].task) {
            case (.repeatEndsAttempt, .send(let request, let earlier, _, let tries)):
                claim.work[index].task = .send(
                    request, earlier: earlier, isRepeat: false, tries: tries)
            case (.earlierNotLookedUp, .send(let request, _, let isRepeat, let tries)):
                claim.work[index].task = .send(
                    request, earlier: [], isRepeat: isRepeat, tries: tries)
            case (.firstSendOnly, .send(let request, _, true, let tries)):
                claim.work[index].task = .send(request, earlier: [], isRepeat: true, tries: tries)
            case (.noSeal, .seal(_, let amount, let reason)):
                claim.work[index].task = .seal([], amount: amount, reason: reason)
            default: break
            }
        }
        return claim
    }
}
