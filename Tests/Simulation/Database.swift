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
    /// What ails the whole database.
    enum Trouble: CaseIterable { case gone, readOnly, full }
    private var trouble: (kind: Trouble, until: Int64)?
    /// Commits were lost.
    private(set) var hasFailedOver = false
    /// Called after each write, with the ledger as it was.
    var onWrite: (Ledger) -> Void = { _ in }
    /// Writes that changed something.
    private var writes = 0
    var onCrash: (Node, Mark) -> Void = { _, _ in }
    /// `settings.schema_version`.
    var schemaVersion = 1
    /// What `billing.identity()` says, and the one that somebody vouched for.
    private(set) var identity = 1
    private(set) var adoptedIdentity = 1
    /// Called when rows may be due that were not.
    var onChange: () -> Void = {}
    /// Called after each claim that brought something, with the ledger as it was.
    var onClaim: (Node, Ledger) -> Void = { _, _ in }
    /// Called after each transition, with the subscription as it was.
    var onRecord: (Transition, Verdict, Node, Ledger.Subscription) -> Void = { _, _, _, _ in }
    /// Faults that may have left a claim without a record.
    var silentFaults = 0

    init(world: World) { self.world = world }

    static let epoch = Instant(microseconds: 1_800_000_000_000_000)

    var clocks: Ledger.Clocks {
        let real = Self.epoch + .microseconds(world.now) + clockError
        return Ledger.Clocks(business: real + clockOffset, real: real)
    }

    private var ailment: Trouble? {
        guard let trouble, trouble.until > world.now, !world.isCalm else { return nil }
        return trouble.kind
    }

    func goDown(_ kind: Trouble, for duration: Duration) {
        trouble = (kind, world.now + Int64(duration / .microseconds(1)))
    }

    /// Why this very call fails at once, if the database ails.
    private func complaint() -> String? {
        switch ailment {
        case .gone: "connection refused"
        case .readOnly: "25006 cannot execute in a read-only transaction"
        // Some writes find room, some do not.
        case .full: world.dice.happens(0.6) ? "53100 could not extend file" : nil
        case nil: nil
        }
    }

    /// What becomes of one call.
    private enum Fate { case done, before, unacknowledged, lost, lateApplied, slow, failed }

    private func fate(_ rate: Double) -> Fate {
        guard world.strikes(rate) else { return .done }
        silentFaults += 1
        return world.dice.among([.before, .unacknowledged, .lost, .lateApplied, .slow])
    }

    private func call<Answer>(
        of node: Node, _ fate: Fate, apply: @escaping () throws -> Answer, empty: Answer,
        trouble: @escaping (Trouble) -> Mark? = { _ in nil },
        reply: @escaping (Result<Answer, StoreError>) -> Void
    ) {
        let way = world.dice.duration(.milliseconds(1), .milliseconds(20))
        let gone = StoreError.unavailable("cut", mayHaveCommitted: fate != .before)
        if fate != .done { node.hadTrouble = true }
        world.after(way) { [self] in
            let complaint = fate == .before ? "cut" : complaint()
            if let complaint {
                node.hadTrouble = true
                if fate != .before, let kind = ailment, let mark = trouble(kind) {
                    world.note(mark, Int64(node.id), "worker \(node.id): \(complaint)")
                }
                node.after(way) {
                    reply(.failure(.unavailable(complaint, mayHaveCommitted: false)))
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
                    if ailment == nil { _ = write(apply) }
                }
            case .failed: node.after(way) { reply(.failure(.failed("a row breaks the batch"))) }
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
    /// adopted it; from then on what it may have lost is looked for before it is sent.
    func failOver() -> Bool {
        let since = world.now - Int64(world.dice.duration(.zero, .seconds(30)) / .microseconds(1))
        guard let point = past.first(where: { $0.time >= since }) else { return false }
        world.note(
            .failover, 0, "the last \((world.now - since) / 1_000_000) s of commits are lost")
        let lost = ledger
        ledger = point.ledger
        identity += 1
        ledger.cardSeries = identity
        // What the operator had set he sets again.
        ledger.fingerprint = lost.fingerprint
        ledger.pausedReason = lost.pausedReason
        past = []
        hasFailedOver = true
        goDown(.gone, for: .seconds(5))
        let identity = identity
        world.after(world.dice.duration(.seconds(120), .seconds(1_800))) { [self] in
            guard self.identity == identity, adoptedIdentity != identity else { return }
            adopt()
            world.note(.adopted, 0, "the operator vouches for the standby")
            onChange()
        }
        return true
    }

    /// `billing.adopt_database()`, with the 25 hours that it takes a standby to have lost at most.
    func adopt() {
        adoptedIdentity = identity
        ledger.adoptedAt = clocks.real
        ledger.lookFirst(lost: .seconds(25 * 3_600), at: clocks)
    }

    // MARK: Calls

    func claim(_ limit: Int, _ node: Node, _ reply: @escaping (Result<Claim, StoreError>) -> Void) {
        if let unwritten = node.unwritten, unwritten.since < world.now {
            world.fail(
                "I4: worker \(node.id) claims while \(unwritten.count) results are not written")
        }
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
        case .failed: world.note(.batchFailed, Int64(node.id), "claim of worker \(node.id)")
        }
        let mutant = world.mutant
        let apply = { [self] () throws -> Claim in
            if let refusal = refusal(of: node) { throw StoreError.refused(refusal) }
            let before = ledger
            world.mutant?.beforeClaim(&ledger)
            let key = world.mutant == .keyIgnored ? ledger.fingerprint : node.fingerprint
            let claim = try ledger.claim(
                limit: limit, worker: node.id, fingerprint: key, at: clocks)
            ledger.pausedReason = before.pausedReason
            ledger.limits.wonPerDay = before.limits.wonPerDay
            if claim.pausedReason?.hasPrefix("the day") == true {
                world.note(.capReached, Int64(node.id), "the day's won are used up")
            }
            if !claim.isEmpty {
                writes += 1
                onClaim(node, before)
            }
            for row in ledger.subscriptions where row.leaseOwner == node.id && row.claims > 3 {
                world.note(.claimedAlone, row.id, "claim \(row.claims) of sub \(row.id)")
            }
            for work in claim.work {
                if case .send(_, let names, _, _) = work.task,
                    names.count >= ledger.numbers.maximumAttempts
                {
                    world.note(.lookedFirst, work.subscription.value, "")
                }
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
        call(
            of: node, fate, apply: apply, empty: Claim(),
            trouble: { $0 == .readOnly ? .claimReadOnly : nil },
            reply: { [self] result in
                if case .success(let claim) = result, !claim.isEmpty,
                    crashes(node, .crashAfterClaim)
                {
                    return
                }
                reply(
                    result.map { claim in
                        var claim = mutant?.change(claim, ledger) ?? claim
                        // The pump wakes workers when something is due: no idle polling for months.
                        if let wake = claim.wake, wake > .seconds(600) { claim.wake = nil }
                        return claim
                    })
            })
    }

    /// What the claim compares beside the secret key.
    private func refusal(of node: Node) -> String? {
        if node.version != schemaVersion, world.mutant != .versionIgnored {
            world.note(
                .versionRefused, Int64(node.id),
                "worker \(node.id) has version \(node.version), the schema \(schemaVersion)")
            return "another schema version"
        }
        let isOurs = identity == adoptedIdentity || world.mutant == .identityIgnored
        return isOurs ? nil : "nobody vouched for this database"
    }

    func record(
        _ transitions: [Transition], _ node: Node,
        _ reply: @escaping (Result<[Verdict], StoreError>) -> Void
    ) {
        if crashes(node, .crashBeforeRecord) { return }
        var fate = fate(world.swarm.recordFault)
        if fate == .done, world.strikes(world.swarm.rowTrouble) { fate = .failed }
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
        case .failed:
            silentFaults += 1
            world.note(.batchFailed, name, "record of worker \(node.id): the batch fails")
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
        call(
            of: node, fate, apply: apply, empty: [],
            trouble: { $0 == .readOnly ? .recordReadOnly : $0 == .full ? .recordFull : nil },
            reply: { [self] result in
                if crashes(node, .crashAfterRecord) { return }
                if case .failure(.unavailable) = result {
                    node.unwritten = node.unwritten ?? (transitions.count, world.now)
                    if world.mutant == .resultsDropped {
                        return reply(.success(transitions.map { _ in .applied }))
                    }
                } else {
                    node.unwritten = nil
                }
                reply(result)
            })
    }

    private func record(_ transition: Transition, _ node: Node) throws -> Verdict {
        let before = ledger
        if world.strikes(world.swarm.rowTrouble) {
            silentFaults += 1
            node.hadTrouble = true
            world.note(.recordRejected, transition.subscription.value, "the row is refused")
            return .rejected
        }
        guard let told = world.mutant.map({ $0.change(transition, ledger) }) ?? transition else {
            onRecord(
                transition, .stale, node, before[subscription: transition.subscription.value])
            return .stale
        }
        do {
            let owner = ledger[subscription: told.subscription.value].leaseOwner ?? node.id
            let worker = world.mutant == .opinionsUnfenced ? owner : node.id
            let verdict = try ledger.record([told], by: worker, at: clocks)[0]
            world.mutant?.afterRecord(transition, verdict, &ledger, clock: clocks.business)
            note(transition, verdict)
            onRecord(
                transition, verdict, node,
                before[subscription: transition.subscription.value])
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
}

extension Database.Trouble {
    var mark: Mark {
        switch self {
        case .gone: .storeDown
        case .readOnly: .storeReadOnly
        case .full: .storeFull
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
        case .busy: 5
        }
    }
}
