import Billing
import TestSupport

/// A daemon, or a schema, with one mistake built in where the harness can put it: between worker and
/// store, worker and gateway, claim and ledger. The oracle must notice each. So the program itself
/// has no place for mistakes, and no second build.
enum Mutant: String, CaseIterable {
    /// No answer counts as declined.
    case timeoutIsDeclined
    /// A code nobody knows, or a 5xx, counts as declined.
    case unknownIsDeclined
    /// "Still running" counts as declined.
    case runningIsDeclined
    /// No answer counts as approved.
    case timeoutIsApproved
    /// "Executed before" counts as declined, or as approved without a look-up.
    case duplicateIsDeclined, duplicateIsApproved
    /// No answer counts as proof that nothing left.
    case timeoutIsNotSent
    /// A payment is taken for ours without comparing it; the same for one that a look-up shows.
    case mismatchAccepted, lookUpMismatchAccepted
    /// A look-up that shows a cancelled payment counts as a decline, an aborted one as paid.
    case canceledIsDeclined, abortedIsPaid
    /// Any 404 means that there is no payment; a look-up without an answer does.
    case any404, unclearIsFree
    /// One not-found is enough to send a name again, or any before the quiet time is over.
    case oneNotFound, quietIgnored
    /// A new idempotency key, or order id, for each try.
    case keyPerTry, namePerTry
    /// The customer's present card, or the plan's present price, is sent instead of the pinned one.
    case cardUnpinned, amountFromPlan
    /// An open attempt follows the secret key.
    case secretKeyUnpinned
    /// A claim whose COMMIT was not acknowledged is acted on.
    case unacknowledgedClaim
    /// Claimed though another worker's lease has not run out.
    case leaseIgnored
    /// A lease shorter than a request.
    case leaseTooShort
    /// The answer to a repeat ends the attempt without a look-up.
    case repeatEndsAttempt
    /// Earlier names are not looked up before a new one is sent, or only before its first send.
    case earlierNotLookedUp, firstSendOnly
    /// A charge ends unpaid without a last look at its names.
    case noSeal
    /// What was tried before a pause is not looked up in it.
    case pauseNotLooked
    /// No rest between names at all; none after a refusal; none for a person's wish.
    case noGap, noRestAfterRefusal, noGapForWishes
    /// Names are sent however old they are.
    case noAgeGuard
    /// Sends start long after the claim.
    case noDeadline
    /// A cancel ends the subscription at once, with an attempt under way.
    case cancelIgnoresAttempt
    /// Claims without a record are counted for ever.
    case claimsNeverReset
    /// Opinions count from any lease; approvals only from the current one.
    case opinionsUnfenced, approvalsFenced
    /// The same record does its work twice.
    case recordedTwice
    /// Results are dropped while the database is away, or when the worker is asked to stop.
    case resultsDropped, stopDropsResults
    /// After a failover with loss nothing is looked for; any database will do.
    case lookFirstSkipped, identityIgnored
    /// After a failover with loss a period of which nothing is known ends unpaid without a look.
    case forgottenPeriodEnds
    /// Claims with another program version, with another secret key, while paused, above the day's won.
    case versionIgnored, keyIgnored, pauseIgnored, capIgnored
    /// The next period is counted from today.
    case periodFromNow

    /// The weather in which it shows soonest.
    func shape(_ swarm: inout Swarm) {
        switch self {
        case .earlierNotLookedUp, .firstSendOnly, .noSeal, .noGap, .noGapForWishes, .any404,
            .unclearIsFree:
            (swarm.forgets, swarm.late, swarm.decline) = (1, 0.5, 0.5)
            swarm.crash = max(swarm.crash, 0.3)
            swarm.doubled = 0
            if self == .any404 || self == .unclearIsFree { swarm.lookUpFault = 0.8 }
            // A send that leaves late, and a new card as soon as its name has ended.
            if self == .noGapForWishes {
                (swarm.stall, swarm.wishes, swarm.workers, swarm.crash) = (0.8, 19, 3, 0)
            }
        case .repeatEndsAttempt:
            (swarm.late, swarm.refusal, swarm.doubled) = (0.9, 0.5, 0)
            (swarm.forgets, swarm.anyCode) = (0, 0)
        case .noRestAfterRefusal: (swarm.doubled, swarm.refusal) = (0.8, 0.6)
        case .pauseNotLooked: (swarm.doubled, swarm.refusal, swarm.wishes) = (0.8, 0.6, 19)
        case .runningIsDeclined: (swarm.doubled, swarm.slow) = (0.8, 0.9)
        case .duplicateIsDeclined, .duplicateIsApproved:
            (swarm.doubled, swarm.slow, swarm.racesOrders) = (0.9, 0.9, true)
            (swarm.duplicateStatus, swarm.lingers) = (400, false)
        case .canceledIsDeclined: (swarm.console, swarm.answerFault) = (2, 0.6)
        case .abortedIsPaid: (swarm.showsAborted, swarm.decline) = (true, 0.5)
        case .lookUpMismatchAccepted, .oneNotFound, .quietIgnored:
            (swarm.lookUpFault, swarm.sendFault, swarm.stall) = (0.4, 0.5, 0)
            (swarm.clockSteps, swarm.clockJumps) = (0, 0)
        case .secretKeyUnpinned, .keyIgnored:
            swarm.rotates = true
            swarm.answerFault = 0.6
        case .lookFirstSkipped:
            // Another card comes while what was paid with the last one is forgotten.
            (swarm.failover, swarm.wishes, swarm.uniqueOrders) = (8, 19, false)
        case .identityIgnored: swarm.failover = 2
        case .forgottenPeriodEnds:
            (swarm.failover, swarm.changesOfMind) = (8, 1)
            (swarm.crash, swarm.stall, swarm.fleetDown) = (0, 0, 0)
        case .versionIgnored: swarm.deploys = true
        case .pauseIgnored: swarm.pauses = 3
        case .capIgnored: swarm.maxWonPerDay = 1_000
        case .approvalsFenced: (swarm.stall, swarm.slow, swarm.recordFault) = (0.6, 0.6, 0.3)
        case .opinionsUnfenced: (swarm.stall, swarm.recordFault) = (0.6, 0.3)
        case .resultsDropped: swarm.storeDown = 5
        case .stopDropsResults:
            swarm.stop = 0.4
            (swarm.stall, swarm.recordFault, swarm.claimFault, swarm.storeDown) = (0, 0, 0, 0)
        case .noAgeGuard: swarm.fleetDown = 5
        default: break
        }
    }

    // MARK: Between worker and gateway

    func change(_ outcome: Outcome, _ request: AttemptRequest) -> Outcome {
        switch (self, outcome) {
        case (.timeoutIsDeclined, .unknown(let answer))
        where answer.code == "TIMEOUT" || answer.code == "CONNECTION_RESET":
            return .declined(answer, .soft)
        case (.unknownIsDeclined, .unknown(let answer)) where answer.httpStatus != nil:
            return .declined(answer, .soft)
        case (.runningIsDeclined, .unknown(let answer)) where answer.httpStatus == 409:
            return .declined(answer, .soft)
        case (.timeoutIsApproved, .unknown(let answer)) where answer.code == "TIMEOUT":
            return .approved(Self.invented(request), traceID: nil)
        case (.timeoutIsNotSent, .unknown(let answer)) where answer.httpStatus == nil:
            return .notSent(answer)
        case (.duplicateIsDeclined, .duplicate(let answer)):
            return .declined(answer, .soft)
        case (.duplicateIsApproved, .duplicate):
            return .approved(Self.invented(request), traceID: nil)
        case (.mismatchAccepted, .approved(var payment, let trace)):
            payment.orderID = request.orderID
            payment.totalAmount = request.amount
            payment.isBilling = true
            return .approved(payment, traceID: trace)
        default: return outcome
        }
    }

    private static func invented(_ request: AttemptRequest) -> Payment {
        Payment(
            paymentKey: "invented-\(request.orderID)", orderID: request.orderID, status: .done,
            totalAmount: request.amount)
    }

    /// `amount`: of the order's charge.
    func change(_ lookUp: LookUp, _ order: OrderID, amount: Won) -> LookUp {
        switch (self, lookUp) {
        case (.canceledIsDeclined, .found(var payment)) where payment.status == .canceled:
            payment.status = .aborted
            return .found(payment)
        case (.abortedIsPaid, .found(var payment)) where payment.status == .aborted:
            payment.status = .done
            return .found(payment)
        case (.lookUpMismatchAccepted, .found(var payment)):
            (payment.orderID, payment.totalAmount) = (order, amount)
            return .found(payment)
        case (.any404, .unclear(let answer)) where answer.httpStatus == 404:
            return .notFound(answer)
        case (.unclearIsFree, .unclear(let answer)): return .notFound(answer)
        default: return lookUp
        }
    }

    // MARK: Between store and worker

    func change(_ result: Claim, _ ledger: Ledger) -> Claim {
        var claim = result
        switch self {
        case .noDeadline: claim.numbers.lease = .seconds(10 * 86_400)
        case .leaseTooShort: claim.numbers.lease = FleetNumbers().lease
        default: break
        }
        for index in claim.work.indices {
            claim.work[index].task = change(claim.work[index].task)
            if self == .forgottenPeriodEnds,
                case .seal(_, let amount, let ending) = claim.work[index].task,
                ledger[charge: claim.work[index].charge.value].attempts.isEmpty
            {
                claim.work[index].task = .seal([], amount: amount, ending: ending)
            }
        }
        return claim
    }

    private func change(_ task: ProviderTask) -> ProviderTask {
        switch (self, task) {
        case (.repeatEndsAttempt, .send(let request, let earlier, _, let tries)):
            return .send(request, earlier: earlier, isRepeat: false, tries: tries)
        case (.earlierNotLookedUp, .send(let request, _, let isRepeat, let tries)):
            return .send(request, earlier: [], isRepeat: isRepeat, tries: tries)
        case (.firstSendOnly, .send(let request, _, true, let tries)):
            return .send(request, earlier: [], isRepeat: true, tries: tries)
        case (.pauseNotLooked, .seal(_, let amount, .paused)):
            return .seal([], amount: amount, ending: .paused)
        case (.noSeal, .seal(_, let amount, let ending)):
            return .seal([], amount: amount, ending: ending)
        case (.oneNotFound, .resolve(let request, var doubt)):
            doubt.notFounds = max(1, doubt.notFounds)
            return .resolve(request, doubt)
        case (.quietIgnored, .resolve(let request, var doubt)):
            doubt.quietOver = true
            return .resolve(request, doubt)
        default: return task
        }
    }

    // MARK: In the ledger

    /// Before anything happens.
    func prepare(_ ledger: inout Ledger) {
        let day = Duration.seconds(86_400)
        switch self {
        case .noGap: ledger.numbers.gap = .zero
        case .noRestAfterRefusal: ledger.numbers.lateBound = .zero
        case .leaseTooShort: ledger.numbers.lease = .seconds(30)
        case .noAgeGuard:
            ledger.numbers.lastSendAge = day * 1_000
            ledger.numbers.holdAge = day * 1_001
        default: break
        }
    }

    /// Before a claim looks at it.
    func beforeClaim(_ ledger: inout Ledger) {
        switch self {
        case .pauseIgnored: ledger.pausedReason = nil
        case .capIgnored: ledger.limits.wonPerDay = nil
        case .lookFirstSkipped: (ledger.lookFirstUntil, ledger.lookFirstBefore) = (nil, nil)
        case .leaseIgnored:
            for index in ledger.subscriptions.indices {
                ledger.subscriptions[index].leaseUntil = nil
            }
        case .secretKeyUnpinned, .noGapForWishes:
            for charge in ledger.charges.indices {
                for index in ledger.charges[charge].attempts.indices {
                    let isOpen = ledger.charges[charge].attempts[index].state == .open
                    if self == .secretKeyUnpinned, isOpen {
                        ledger.charges[charge].attempts[index].fingerprint = ledger.fingerprint
                    } else if self == .noGapForWishes, !isOpen {
                        ledger.charges[charge].attempts[index].unknownSince = nil
                    }
                }
            }
        default: break
        }
    }

    /// A transition as the ledger gets it; nil: it says "stale" at once.
    func change(_ transition: Transition, _ ledger: Ledger) -> Transition? {
        var transition = transition
        let lease = ledger[subscription: transition.subscription.value].lease
        switch self {
        case .opinionsUnfenced: transition.lease = LeaseNumber(lease)
        case .approvalsFenced:
            if case .approved = transition.attempt, transition.lease.value != lease { return nil }
        default: break
        }
        return transition
    }

    /// After a transition was written.
    func afterRecord(
        _ transition: Transition, _ verdict: Verdict, _ ledger: inout Ledger, clock: Instant
    ) {
        let id = transition.subscription.value
        switch (self, verdict) {
        case (.recordedTwice, .repeated) where transition.next == .advance:
            ledger[subscription: id].periodIndex += 1
        case (.periodFromNow, .applied) where transition.next == .advance:
            ledger[subscription: id].periodAt = clock
        default: break
        }
    }
}
