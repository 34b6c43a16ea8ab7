/// Why a subscription is not being charged at this moment: one case a reason. To add a reason, add a
/// case, the condition in ``SubscriptionHistory/obstacles`` and its sentence.
package enum Obstacle: Hashable, Sendable {
    // The row.
    case setAside(reason: String)
    case held(charge: Int64, reason: String)
    case canceled
    case paused
    /// No card is left to try; `code`: what killed the last one.
    case noCard(state: String?, code: String?)
    /// Dunning came to its end, and the plan suspends.
    case suspended
    /// Under way, or its worker died.
    case leased(owner: String, until: Instant)
    /// Claimed and claimed again without any result.
    case silentClaims(Int)
    case inDoubt(InDoubt)
    /// Step `step` of `steps` of the plan's ladder.
    case dunning(step: Int, steps: Int, until: Instant)
    /// The next name waits out what may still act of the last one.
    case rest(RestReason, until: Instant)
    /// The card was declined too often; its budget has room again then.
    case cardBudget(until: Instant)
    /// Proven not to have left; tried again after a backoff.
    case notSent(code: String?, until: Instant)
    case notDue(until: Instant)
    case nothingPlanned
    /// The look-ups of a database that may have forgotten attempts: until an instant of the real
    /// clock, or, nil, until the period ends.
    case looksFirst(until: Instant?)

    // The fleet.
    case schemaVersion(database: Int, program: Int)
    case noKeyBound
    case otherMode(settings: String, key: String)
    case otherKey(bound: String, inHand: String)
    case notAdopted([String])
    case adopted(until: Instant)
    case fleetPaused(reason: String?)
    case rotating(to: String)
    case noWorker(lastSeen: Duration?)
    case faulted(workers: Int, reason: String?)
    /// None of them claims; `reason`: of the one that was heard of last.
    case notClaiming(workers: Int, reason: String)
    case wonPerDay(limit: Int64, left: Int64, wanted: Int64)
    case requestsPerMinute(limit: Int64, wait: Duration)
    /// Due, and nothing that is known here stands in the way.
    case nextPoll

    package enum RestReason: Hashable, Sendable {
        case unknown, refused
    }

    /// An open attempt that may have been executed.
    package struct InDoubt: Hashable, Sendable {
        package var order: OrderID
        package var nextLook: Instant?
        package var lookups: Int
        package var notFounds: Int
        /// It is pinned to a secret key that is no longer bound.
        package var otherKey: Bool
        /// Real clock: a not-found counts from then on.
        package var quietUntil: Instant?
        package var lastSend: Instant
        package var holdsAt: Instant
        package var absent: Bool
    }
}

extension SubscriptionHistory {
    /// Live: seen within four reports.
    package static let workerSilence: Duration = .seconds(20)

    /// All that stands in the way now, the row's own reasons first. Never empty.
    package var obstacles: [Obstacle] {
        var found = rowObstacles + fleetObstacles
        if let wait = limitObstacle { found.append(wait) }
        return found.isEmpty ? [.nextPoll] : found
    }

    private var isDue: Bool { row.nextChargeAt.map { $0 <= fleet.now } ?? false }

    private var rowObstacles: [Obstacle] {
        if let reason = row.heldReason { return [.setAside(reason: reason)] }
        if let charge = due.charge, charge.isHeld {
            let reason = periods.last { $0.charge == charge.id.value }?.reason
            return [.held(charge: charge.id.value, reason: reason ?? "no reason given")]
        }
        var found: [Obstacle] = []
        if let until = row.leaseUntil, fleet.realNow < until {
            found.append(.leased(owner: row.leaseOwner ?? "a worker", until: until))
        }
        if row.claims >= 3 { found.append(.silentClaims(row.claims)) }
        if let attempt = due.charge?.attempt, attempt.state == .open {
            found.append(open(attempt))
        } else {
            found += standing
        }
        if row.nextChargeAt != nil, fleet.looksFirst(due.periodStart, at: fleet.now) {
            let isOfPeriod = fleet.looksFirst(due.periodStart, at: due.periodEnd)
            found.append(.looksFirst(until: isOfPeriod ? nil : fleet.lookFirstUntil))
        }
        return found
    }

    private func open(_ attempt: DueSubscription.LastAttempt) -> Obstacle {
        let next = row.nextChargeAt ?? fleet.now
        if !attempt.inDoubt { return .notSent(code: attempt.code, until: next) }
        return .inDoubt(
            Obstacle.InDoubt(
                order: attempt.request.orderID, nextLook: row.nextChargeAt,
                lookups: attempt.lookups, notFounds: attempt.notFounds,
                otherKey: !attempt.sameKey, quietUntil: row.quietUntil,
                lastSend: attempt.openedAt + fleet.numbers.lastSendAge,
                holdsAt: attempt.openedAt + fleet.numbers.holdAge, absent: attempt.absent))
    }

    /// What the subscription waits for when no attempt is open.
    private var standing: [Obstacle] {
        switch due.state {
        case .canceled: return [.canceled]
        case .paused: return [.paused]
        case .suspended where due.charge == nil: return [.suspended]
        case .active, .pastDue, .suspended: break
        }
        if due.card == nil, due.charge != nil || isDue {
            return [.noCard(state: row.lastCardState, code: row.lastCardCode)]
        }
        guard let next = row.nextChargeAt else { return [.nothingPlanned] }
        if let freeAt = due.card?.freeAt, fleet.now < freeAt, due.charge != nil || isDue {
            return [.cardBudget(until: freeAt)]
        }
        guard let last = due.charge?.attempt, let finished = last.finishedAt else {
            return fleet.now < next ? [.notDue(until: next)] : []
        }
        let numbers = fleet.numbers
        if last.everUnknown, fleet.now < finished + numbers.gap {
            return [.rest(.unknown, until: max(next, finished + numbers.gap))]
        }
        if last.state == .refused, fleet.now < max(next, finished + numbers.lateBound * 2) {
            return [.rest(.refused, until: max(next, finished + numbers.lateBound * 2))]
        }
        guard fleet.now < next else { return [] }
        return [
            .dunning(step: due.charge?.declines ?? 0, steps: due.dunningSteps, until: next)
        ]
    }

    private var fleetObstacles: [Obstacle] {
        var found: [Obstacle] = []
        if fleet.schemaVersion != fleet.programSchemaVersion {
            found.append(
                .schemaVersion(
                    database: fleet.schemaVersion, program: fleet.programSchemaVersion))
        }
        if let bound = fleet.boundKey {
            if let key = fleet.keyInHand, key.mode == fleet.mode, key.fingerprint != bound {
                found.append(.otherKey(bound: bound, inHand: key.fingerprint))
            }
        } else {
            found.append(.noKeyBound)
        }
        if let key = fleet.keyInHand, key.mode != fleet.mode {
            found.append(.otherMode(settings: fleet.mode, key: key.mode))
        }
        if let bound = fleet.boundIdentity {
            let changes = DatabaseIdentity(bound).changes(to: DatabaseIdentity(fleet.identity))
            if !changes.isEmpty { found.append(.notAdopted(changes)) }
        }
        if let until = fleet.adoptedUntil, fleet.realNow < until {
            found.append(.adopted(until: until))
        }
        if let to = fleet.rotatingTo { found.append(.rotating(to: to)) }
        if fleet.paused { found.append(.fleetPaused(reason: fleet.pausedReason)) }
        return found + workerObstacles
    }

    private var workerObstacles: [Obstacle] {
        let live = fleet.workers.filter { $0.seenAgo <= Self.workerSilence }
        if live.isEmpty { return [.noWorker(lastSeen: fleet.workers.map(\.seenAgo).min())] }
        let faulted = live.filter { $0.state == "faulted" }.count
        let reasons = live.compactMap(\.reason)
        if faulted == live.count { return [.faulted(workers: faulted, reason: reasons.first)] }
        // What all may read of the fleet's settings and limits is told by these.
        guard reasons.count == live.count, let reason = reasons.first(where: { !$0.isOfOrder })
        else { return [] }
        return [.notClaiming(workers: live.count, reason: reason)]
    }

    /// The limits bind only what would be claimed now.
    private var limitObstacle: Obstacle? {
        guard isDue, case .ask(let task, let opensAttempt)? = prospects.first?.step.action else {
            return nil
        }
        if let limit = fleet.wonPerDay, let left = fleet.wonLeft, opensAttempt,
            case .send(let request, _, _, _) = task, left < request.amount.value
        {
            return .wonPerDay(limit: limit, left: max(0, left), wanted: request.amount.value)
        }
        if let limit = fleet.requestsPerMinute, fleet.requestWait > .zero {
            return .requestsPerMinute(limit: limit, wait: fleet.requestWait)
        }
        return nil
    }
}

extension String {
    /// A worker's reason that is an order of the settings.
    fileprivate var isOfOrder: Bool { hasPrefix("paused: ") }
}
