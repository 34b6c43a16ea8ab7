import Billing
import TestSupport

/// The ledger with what a database adds: latency, its own clocks, and every way in which a call and
/// its answer can part.
final class Database: @unchecked Sendable {
    unowned let world: World
    var ledger = Ledger()
    /// The database's clock, relative to true time.
    var clockError: Duration = .zero
    /// `settings.clock_offset`.
    var clockOffset: Duration = .zero
    /// Gone, or read-only, until then.
    private var downUntil: Int64 = 0
    /// Called after each write, with the ledger as it was.
    var onWrite: (Ledger) -> Void = { _ in }
    /// Writes that changed something.
    private var writes = 0
    var onCrash: (Node, Mark) -> Void = { _, _ in }
    /// Faults that may have left a claim without a record.
    var silentFaults = 0

    init(world: World) { self.world = world }

    static let epoch = Instant(microseconds: 1_800_000_000_000_000)

    var clocks: Ledger.Clocks {
        let real = Self.epoch + .microseconds(world.now) + clockError
        return Ledger.Clocks(business: real + clockOffset, real: real)
    }

    var isDown: Bool { !world.isCalm && downUntil > world.now }

    func goDown(for duration: Duration) {
        downUntil = world.now + Int64(duration / .microseconds(1))
    }

    /// What becomes of one call.
    private enum Fate { case done, before, unacknowledged, lost, lateApplied, slow }

    private func fate(_ rate: Double) -> Fate {
        guard world.strikes(rate) else { return .done }
        silentFaults += 1
        return world.dice.among([.before, .unacknowledged, .lost, .lateApplied, .slow])
    }

    private func call<Answer>(
        of node: Node, _ fate: Fate, apply: @escaping () throws -> Answer, empty: Answer,
        reply: @escaping (Result<Answer, StoreError>) -> Void
    ) {
        let way = world.dice.duration(.milliseconds(1), .milliseconds(20))
        let gone = StoreError.unavailable("cut", mayHaveCommitted: fate != .before)
        world.after(way) { [self] in
            if isDown || fate == .before {
                node.after(way) {
                    reply(.failure(.unavailable("down", mayHaveCommitted: false)))
                }
                return
            }
            switch fate {
            case .lost:
                if world.mutant == .unacknowledgedClaim {
                    let before = ledger
                    let answer = try? apply()
                    ledger = before
                    if let answer { return node.after(way) { reply(.success(answer)) } }
                }
                node.after(way) { reply(.failure(gone)) }
            case .lateApplied:
                node.after(way) { reply(.failure(gone)) }
                world.after(world.dice.duration(.zero, .seconds(30))) { [self] in
                    if !isDown { _ = write(apply) }
                }
            case .done, .before, .unacknowledged, .slow:
                let answer = write(apply) ?? .failure(.failed("violation"))
                let back =
                    fate == .slow
                    ? world.dice.duration(.seconds(1), .seconds(300)) : way
                node.after(back) { reply(fate == .unacknowledged ? .failure(gone) : answer) }
            }
        }
    }

    private func write<Answer>(_ apply: () throws -> Answer) -> Result<Answer, StoreError>? {
        let before = ledger
        let count = writes
        remember()
        do {
            let answer = try apply()
            if writes > count { onWrite(before) }
            return .success(answer)
        } catch let error as StoreError {
            ledger = before
            return .failure(error)
        } catch let violation as Ledger.Violation {
            ledger = before
            world.fail("the schema refuses a write of the worker: \(violation.rule)")
            return nil
        } catch {
            return nil
        }
    }

    // MARK: Failover

    /// The ledger as it was at each write of the last half minute.
    private var past: [(time: Int64, ledger: Ledger)] = []

    private func remember() {
        guard world.swarm.failover > 0 else { return }
        past.append((world.now, ledger))
        past.removeAll { $0.time < world.now - 40_000_000 }
    }

    /// A standby takes over that never got the last commits. Nobody claims until the operator has
    /// adopted it, longer than any request may still act.
    func failOver() {
        let since = world.now - Int64(world.dice.duration(.zero, .seconds(30)) / .microseconds(1))
        guard let point = past.first(where: { $0.time >= since }) else { return }
        world.note(
            .failover, 0, "the last \((world.now - since) / 1_000_000) s of commits are lost")
        ledger = point.ledger
        past = []
        goDown(for: .seconds(5))
        ledger.pausedReason = "identity"
        world.after(.seconds(1_200)) { [self] in ledger.pausedReason = nil }
    }

    // MARK: Calls

    func claim(_ limit: Int, _ node: Node, _ reply: @escaping (Result<Claim, StoreError>) -> Void) {
        let fate = fate(world.swarm.claimFault)
        switch fate {
        case .done: break
        case .before: world.note(.claimBefore, Int64(node.id), "claim of worker \(node.id) fails")
        case .unacknowledged:
            world.note(
                .claimUnacknowledged, Int64(node.id),
                "claim of worker \(node.id): COMMIT unanswered, done")
        case .lost:
            world.note(
                .claimLost, Int64(node.id),
                "claim of worker \(node.id): COMMIT unanswered, not done")
        case .lateApplied:
            world.note(
                .claimLateApplied, Int64(node.id), "claim of worker \(node.id): cut, done later")
        case .slow:
            world.note(.claimSlow, Int64(node.id), "claim of worker \(node.id): slow answer")
        }
        let mutant = world.mutant
        let apply = { [self] () throws -> Claim in
            let claim = try ledger.claim(
                limit: limit, worker: node.id, fingerprint: node.fingerprint, at: clocks)
            if !claim.isEmpty { writes += 1 }
            for row in ledger.subscriptions where row.leaseOwner == node.id && row.claims > 3 {
                world.note(.claimedAlone, row.id, "claim \(row.claims) of sub \(row.id)")
            }
            for work in claim.work {
                world.note(
                    .claimed, work.subscription.value, Int64(node.id),
                    "worker \(node.id) claims sub \(work.subscription.value) lease \(work.lease.value): \(work.task.story)"
                )
            }
            for local in claim.local {
                world.note(
                    .claimed, local.subscription.value, Int64(node.id),
                    "worker \(node.id) claims sub \(local.subscription.value) lease \(local.lease.value): \(local.story)"
                )
            }
            return claim
        }
        call(of: node, fate, apply: apply, empty: Claim()) { [self] result in
            if case .success(let claim) = result, !claim.isEmpty, crashes(node, .crashAfterClaim) {
                return
            }
            reply(
                result.map { claim in
                    var claim = mutant?.change(claim) ?? claim
                    // The pump wakes workers when something is due: no idle polling for months.
                    if let wake = claim.wake, wake > .seconds(600) { claim.wake = nil }
                    return claim
                })
        }
    }

    func record(
        _ transitions: [Transition], _ node: Node,
        _ reply: @escaping (Result<[Verdict], StoreError>) -> Void
    ) {
        if crashes(node, .crashBeforeRecord) { return }
        let fate = fate(world.swarm.recordFault)
        let name = Int64(node.id)
        switch fate {
        case .done: break
        case .before: world.note(.recordBefore, name, "record of worker \(node.id) fails")
        case .unacknowledged:
            world.note(
                .recordUnacknowledged, name, "record of worker \(node.id): COMMIT unanswered, done")
        case .lost:
            world.note(
                .recordLost, name, "record of worker \(node.id): COMMIT unanswered, not done")
        case .lateApplied:
            world.note(.recordLateApplied, name, "record of worker \(node.id): cut, done later")
        case .slow: world.note(.recordSlow, name, "record of worker \(node.id): slow answer")
        }
        let apply = { [self] () throws -> [Verdict] in
            writes += 1
            let claims = ledger.subscriptions.map(\.claims)
            // One by one: PostgresStore halves a failing batch until the bad row stands alone.
            let verdicts = try transitions.map { try record($0, node) }
            if world.mutant == .claimsNeverReset {
                for index in claims.indices { ledger.subscriptions[index].claims = claims[index] }
            }
            return verdicts
        }
        call(of: node, fate, apply: apply, empty: []) { [self] result in
            if crashes(node, .crashAfterRecord) { return }
            reply(result)
        }
    }

    private func record(_ transition: Transition, _ node: Node) throws -> Verdict {
        let before = ledger
        do {
            let verdict = try ledger.record([transition], by: node.id, at: clocks)[0]
            note(transition, verdict)
            return verdict
        } catch let violation as Ledger.Violation {
            // The clock went back between the claim and the record: refused now, done later.
            guard violation.isByClock, world.swarm.clockSteps > 0 else { throw violation }
            ledger = before
            note(transition, .rejected)
            return .rejected
        }
    }

    func release(
        _ work: [Work], _ node: Node, _ reply: @escaping (Result<Bool, StoreError>) -> Void
    ) {
        let fate = fate(world.swarm.recordFault)
        call(
            of: node, fate,
            apply: { [self] () throws -> Bool in
                ledger.release(work, by: node.id)
                writes += 1
                for work in work {
                    world.note(
                        .released, work.subscription.value,
                        "worker \(node.id) gives sub \(work.subscription.value) back")
                }
                return true
            }, empty: true, reply: reply)
    }

    private func crashes(_ node: Node, _ mark: Mark) -> Bool {
        guard world.strikes(world.swarm.crash / 4) else { return false }
        onCrash(node, mark)
        return true
    }

    private func note(_ transition: Transition, _ verdict: Verdict) {
        let subscription = transition.subscription.value
        world.note(
            .recorded, subscription, Int64(verdict.hashKey),
            "sub \(subscription) lease \(transition.lease.value): \(transition.story) → \(verdict)")
        switch verdict {
        case .applied: break
        case .repeated: return world.note(.verdictRepeated, subscription, "")
        case .stale: return world.note(.verdictStale, subscription, "")
        case .contradiction: return world.note(.verdictContradiction, subscription, "")
        case .rejected: return
        }
        switch transition.attempt {
        case .approved:
            if ledger[subscription: subscription].lease != transition.lease.value {
                world.note(.staleApprovalApplied, subscription, "")
            }
        case .unknown: world.note(.unknownRecorded, subscription, "")
        case .refused: world.note(.refusedRecorded, subscription, "")
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
            if case .approved(_, _, let answer) = transition.attempt, answer.code == "LOOKED_UP" {
                world.note(.adoptedByLookUp, subscription, payment.orderID.value)
            }
        case .free, .waits: break
        case .refunded: world.note(.refunded, subscription, "")
        case .failed:
            world.note(.closedFailed, subscription, "")
            let charge = transition.charge.map { ledger[charge: $0.value] }
            if charge?.attempts.isEmpty == false { world.note(.sealed, subscription, "") }
        case .skipped: world.note(.closedSkipped, subscription, "")
        case .held(let reason):
            world.note(.held, subscription, reason)
            if reason.hasPrefix("claimed ") { world.note(.heldAsPoison, subscription, reason) }
        case nil: break
        }
    }
}

extension Claim {
    var isEmpty: Bool { work.isEmpty && local.isEmpty }
}

extension Verdict {
    /// For the trace's hash.
    var hashKey: Int {
        switch self {
        case .applied: 0
        case .repeated: 1
        case .stale: 2
        case .contradiction: 3
        case .rejected: 4
        }
    }
}

/// The port of one worker to the ``Database``.
struct SimulatedStore: Store {
    let node: Node
    let database: Database

    func claim(limit: Int) async throws(StoreError) -> Claim {
        let result: Result<Claim, StoreError> = await withUnsafeContinuation { continuation in
            database.claim(limit, node) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    func record(_ transitions: [Transition]) async throws(StoreError) -> [Verdict] {
        let result: Result<[Verdict], StoreError> = await withUnsafeContinuation { continuation in
            database.record(transitions, node) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    func release(_ work: [Work]) async throws(StoreError) {
        let result: Result<Bool, StoreError> = await withUnsafeContinuation { continuation in
            database.release(work, node) { continuation.resume(returning: $0) }
        }
        _ = try result.get()
    }

    func report(_ worker: WorkerReport) async throws(StoreError) {}
}
