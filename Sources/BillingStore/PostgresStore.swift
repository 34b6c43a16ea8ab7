package import Billing
package import Logging
package import Postgres

/// The ledger in PostgreSQL: claims, records and the fleet's register.
///
/// Three connections, each an actor on a thread of its own: claims, records, and the rest, so that a
/// claim that waits never keeps a result from being written.
package struct PostgresStore: Store {
    /// The schema version this program reads and writes (`billing.settings.schema_version`).
    package static let schemaVersion = 1

    /// Who claims, and with which key.
    package struct Identity: Sendable {
        /// `billing.workers.worker_id`.
        package var worker: String
        package var host: String
        package var pid: Int32
        package var version: String
        /// `test` or `live`, by the prefix of the secret key.
        package var mode: String
        package var fingerprint: String

        package init(
            worker: String, host: String, pid: Int32, version: String, mode: String,
            fingerprint: String
        ) {
            self.worker = worker
            self.host = host
            self.pid = pid
            self.version = version
            self.mode = mode
            self.fingerprint = fingerprint
        }
    }

    let identity: Identity
    let claims: PostgresSession
    let records: PostgresSession
    let reports: PostgresSession
    let log: Logger
    let seen = SeenPositions()

    package init(
        _ configuration: PostgresConfiguration, identity: Identity, log: Logger
    ) {
        self.identity = identity
        self.log = log
        claims = PostgresSession(configuration)
        records = PostgresSession(configuration)
        reports = PostgresSession(configuration)
    }

    package func claim(limit: Int) async throws(StoreError) -> Claim {
        do {
            return try await claimOnce(limit: limit)
        } catch StoreError.failed(let reason) {
            // One row must be what breaks it: find it by claiming rows alone.
            log.warning(
                "a claim failed and is repeated row by row",
                metadata: [
                    "reason": "\(reason)",
                    "action": "none yet: a row that breaks it is set aside and named",
                ])
            return try await claimSingly(limit: limit)
        }
    }

    package func release(_ work: [Work]) async throws(StoreError) {
        guard !work.isEmpty else { return }
        let sends = work.map { if case .send = $0.task { true } else { false } }
        let query = ClaimSQL.release(
            work.map(\.subscription.value), leases: work.map(\.lease.value), sends: sends,
            worker: identity.worker)
        let lock = RecordSQL.lock(work.map(\.subscription.value))
        _ = try await translate { () async throws -> Bool in
            try await records.withConnection { connection in
                try connection.transaction(byIndex: true) { connection in
                    _ = try connection.query(lock)
                    _ = try connection.query(query)
                    return true
                }
            }
        }
    }

    package func report(_ worker: WorkerReport) async throws(StoreError) {
        let query = RegisterSQL.report(worker, identity)
        _ = try await translate { () async throws -> Int in
            try await reports.withConnection { try $0.query(query).count }
        }
    }

    /// Binds the secret key and the database's identity if this is the first worker ever. A database
    /// that goes away at this very moment is no reason not to start: tried again for `waiting`.
    package func bind(waiting: Duration = .seconds(60)) async throws(StoreError) {
        let query: PostgresQuery = "SELECT billing.bind_worker(\(identity.fingerprint))"
        let deadline = ContinuousClock.now + waiting
        var isTold = false
        while true {
            do throws(StoreError) {
                _ = try await translate { () async throws -> Int in
                    try await reports.withConnection { try $0.query(query).count }
                }
                return
            } catch {
                guard case .unavailable(let reason, _) = error, ContinuousClock.now < deadline
                else { throw error }
                if !isTold {
                    isTold = true
                    log.warning(
                        "the database was lost; trying again",
                        metadata: ["reason": "\(reason)", "action": "is the database up?"])
                }
                try? await ContinuousClock().sleep(for: .milliseconds(500))
            }
        }
    }

    /// Closes the connections; the store is not used afterwards.
    package func close() async {
        await claims.close()
        await records.close()
        await reports.close()
    }
}

// MARK: Claiming

extension PostgresStore {
    private func claimOnce(limit: Int) async throws(StoreError) -> Claim {
        try await translate { () async throws -> Claim in try await claimCommitted(limit: limit) }
    }

    /// One claim, committed.
    private func claimCommitted(limit: Int) async throws -> Claim {
        let identity = identity
        let seen = seen.current
        let (claim, position) = try await claims.withConnection { connection in
            try connection.transaction(byIndex: true) { connection in
                try Self.claim(limit: limit, identity, seen, connection)
            }
        }
        // Only what was committed and acknowledged is sure to outlive a crash of the server.
        if let position, !claim.work.isEmpty || !claim.local.isEmpty { self.seen.set(position) }
        return claim
    }

    /// Runs inside one transaction, on the connection's own thread: nothing else can come between.
    private static func claim(
        limit: Int, _ identity: Identity, _ seen: SeenPosition?,
        _ connection: isolated PostgresConnection
    ) throws -> (Claim, SeenPosition?) {
        let permission = try connection.query(
            ClaimSQL.permission(
                fingerprint: identity.fingerprint, mode: identity.mode,
                schemaVersion: schemaVersion, seen: seen
            ).prepared)
        guard let settings = permission.first else {
            throw StoreError.refused("billing.settings is empty: apply schema.sql")
        }
        if let refusal = try settings.stringOrNil("refusal") { throw StoreError.refused(refusal) }
        let adopted = try settings.stringOrNil("adopted")
        let position = try settings.stringOrNil("log").map {
            SeenPosition(log: $0, adopted: adopted)
        }
        return (try claim(limit: limit, settings, identity, connection), position)
    }

    private static func claim(
        limit: Int, _ settings: PostgresRow, _ identity: Identity,
        _ connection: isolated PostgresConnection
    ) throws -> Claim {
        var claim = Claim(numbers: try settings.fleetNumbers())
        claim.pausedReason = try settings.stringOrNil("paused")
        if claim.pausedReason != nil { return claim }

        var limits = try Self.limits(settings, connection)
        if let wait = limits.untilNextRequest, wait > .zero {
            claim.wake = wait
            return claim
        }
        let isDayOver = limits.won.map { $0 < 100 } ?? false
        let (locked, isFull) = try Self.lock(limit: limit, isDayOver: isDayOver, connection)
        let ids = Self.together(locked)
        do {
            if !ids.isEmpty { try take(ids, identity, connection, &limits, &claim) }
        } catch  where ids.count == 1 {
            throw RowFailure(subscription: ids[0], underlying: error)
        }
        // Also those that were left because they are claimed alone, and somebody else was the oldest.
        if limits.leftOutForWon > 0, isFull || ids.count < locked.count {
            try takeFree(limit: limit, identity, connection, &limits, &claim)
        }
        if isDayOver || limits.leftOutForWon > 0 {
            // Those that fit went; the rest waits for tomorrow or for the operator.
            claim.pausedReason = "settings.max_won_per_day is reached: due charges wait"
        } else if limits.leftOutForRequests > 0 {
            claim.wake = limits.untilNextRequest
        } else if isFull || ids.count < locked.count {
            claim.wake = .zero
        } else if let seconds = try connection.query(ClaimSQL.nextDue()).first?
            .doubleOrNil("seconds")
        {
            claim.wake = .seconds(max(0, min(seconds, 86_400)))
        }
        return claim
    }

    /// Rows that wait for tomorrow's won filled the claim: what needs no money does not wait behind them.
    private static func takeFree(
        limit: Int, _ identity: Identity, _ connection: isolated PostgresConnection,
        _ limits: inout ClaimLimits, _ claim: inout Claim
    ) throws {
        let free = limit - claim.work.count - claim.local.count
        let locked = try Self.rows(ClaimSQL.lock(limit: free, withoutMoney: true), connection)
        let ids = Self.together(locked)
        do {
            if !ids.isEmpty { try take(ids, identity, connection, &limits, &claim) }
        } catch  where ids.count == 1 {
            throw RowFailure(subscription: ids[0], underlying: error)
        }
    }

    /// What the limits leave, locked for the rest of the transaction if there are any.
    private static func limits(
        _ settings: PostgresRow, _ connection: isolated PostgresConnection
    ) throws -> ClaimLimits {
        var won: Int64?
        if try settings.int64OrNil("max_won_per_day") != nil {
            _ = try connection.query(LimitSQL.lockDay())
            won = try connection.query(LimitSQL.wonLeft()).first?.int64OrNil("won_left")
        }
        var requests: Double?
        let perMinute = try settings.int64OrNil("max_requests_per_minute")
        if let perMinute {
            let budget = LimitSQL.refill(
                burst: ClaimLimits.burst(perMinute), rate: ClaimLimits.rate(perMinute))
            requests = try connection.query(budget).first?.double("requests")
        }
        return ClaimLimits(won: won, requests: requests, perMinute: perMinute)
    }

    /// Those of the locked rows, oldest first, that are claimed together. A row that was claimed three
    /// times without any record may be what kills the workers: it is claimed alone, so that it takes
    /// no other row down with it.
    private static func together(_ locked: [LockedRow]) -> [Int64] {
        var ids: [Int64] = []
        for (index, row) in locked.enumerated() {
            guard row.claims >= 3 else {
                ids.append(row.id)
                continue
            }
            if index == 0 { return [row.id] }
        }
        return ids
    }

    private struct LockedRow {
        var id: Int64
        /// Claims of it since the last record.
        var claims: Int
    }

    /// Locks what is due, the oldest first; `isFull`: more may be due. Where a backlog fills the claim,
    /// an eighth of it goes to what has been due for the shortest time: a new customer does not wait
    /// until the renewals of a whole month are through (4.9 s beside 20,000 without it).
    private static func lock(
        limit: Int, isDayOver: Bool, _ connection: isolated PostgresConnection
    ) throws -> (locked: [LockedRow], isFull: Bool) {
        let share = isDayOver ? 0 : limit / 8
        let oldest = try rows(
            ClaimSQL.lock(limit: limit - share, withoutMoney: isDayOver), connection)
        guard oldest.count == limit - share else { return (oldest, false) }
        guard share > 0 else { return (oldest, true) }
        let newest = try rows(
            ClaimSQL.lockNewest(limit: share, but: oldest.map(\.id)), connection)
        return (oldest + newest, newest.count == share)
    }

    private static func rows(
        _ query: PostgresQuery, _ connection: isolated PostgresConnection
    ) throws -> [LockedRow] {
        try connection.query(query).map {
            LockedRow(id: try $0.int64(0), claims: try $0.int("claims"))
        }
    }

    /// The one row of a claim broke it.
    private struct RowFailure: Error {
        var subscription: Int64
        var underlying: any Error
    }

    private static func take(
        _ ids: [Int64], _ identity: Identity, _ connection: isolated PostgresConnection,
        _ limits: inout ClaimLimits, _ claim: inout Claim
    ) throws {
        var rows = ClaimRows()
        var decided: [(DueSubscription, Step)] = []
        let spent = limits.spent
        let read = try connection.query(ClaimSQL.read(ids).prepared.binary)
        guard read.count == ids.count else {
            // The foreign keys forbid it; somebody went around them.
            throw StoreError.failed("a due subscription has no plan, or is there twice")
        }
        var keys = try KeyBudget(read, connection)
        for row in read {
            var due = try row.dueSubscription()
            keys.update(&due.card)
            let step = Step.decide(due, claim.numbers)
            guard limits.admits(step), keys.admit(step), claim.admits(step) else { continue }
            limits.take(step)
            try rows.append(due, step, row)
            decided.append((due, step))
        }
        guard !decided.isEmpty else { return }
        if limits.spent > spent {
            _ = try connection.query(LimitSQL.spend(limits.spent - spent))
        }
        let written = try connection.query(
            ClaimSQL.write(
                rows, worker: identity.worker, lease: claim.numbers.lease / .seconds(1),
                fingerprint: identity.fingerprint
            ).prepared)
        var charges: [Int64: Int64] = [:]
        for row in written {
            charges[try row.int64(0)] = try row.int64OrNil("of_charge")
        }
        for (due, step) in decided {
            let charge = charges[due.id.value].map { ChargeID($0) }
            claim.append(due, step, charge)
            if due.silentClaims > 1 { claim.takenOver += 1 }
        }
    }

    private func claimSingly(limit: Int) async throws(StoreError) -> Claim {
        var whole = Claim(wake: .zero)
        // Bounded: each round claims one row, or sets one aside.
        for _ in 0..<min(limit, 50) {
            if whole.wrongRows + whole.setAside >= Claim.mostWrongRows { break }
            do {
                guard try await claimAlone(into: &whole) else { break }
            } catch {
                // What was claimed before is committed, and must be acted on.
                if whole.work.isEmpty, whole.local.isEmpty, whole.setAside == 0 { throw error }
                break
            }
        }
        return whole
    }

    /// Claims one row, or sets it aside if it breaks its claim. False: nothing is due.
    private func claimAlone(into whole: inout Claim) async throws(StoreError) -> Bool {
        let one: Claim
        do {
            one = try await claimCommitted(limit: 1)
        } catch let failure as RowFailure {
            guard case .failed(let reason) = Self.sorted(failure) else {
                throw Self.sorted(failure)
            }
            try await setAside(failure.subscription, reason: reason)
            whole.setAside += 1
            return true
        } catch {
            throw Self.sorted(error)
        }
        whole.numbers = one.numbers
        whole.pausedReason = one.pausedReason
        whole.work += one.work
        whole.local += one.local
        whole.wrongRows += one.wrongRows
        whole.takenOver += one.takenOver
        guard one.work.isEmpty, one.local.isEmpty else { return true }
        whole.wake = one.wake
        return false
    }

    /// The row alone breaks its claim: held with the database's reason.
    private func setAside(_ id: Int64, reason: String) async throws(StoreError) {
        let isDone = try await translate { () async throws -> Bool in
            try await claims.withConnection { connection in
                try connection.transaction(byIndex: true) { connection in
                    // Mended or claimed by somebody meanwhile: left alone.
                    guard try !connection.query(ClaimSQL.lock(id)).isEmpty else { return false }
                    _ = try connection.query(ClaimSQL.setAside(id, reason: reason))
                    return true
                }
            }
        }
        if isDone {
            log.error(
                "a row makes no sense and was set aside",
                metadata: [
                    "subscription": "\(id)", "reason": "\(reason)",
                    "action": "mend the row, then SELECT billing.resume(\(id))",
                ])
        }
    }
}

// MARK: What went wrong

extension PostgresStore {
    private func translate<Result: Sendable>(
        _ body: () async throws -> Result
    ) async throws(StoreError) -> Result {
        do {
            return try await body()
        } catch {
            throw Self.sorted(error)
        }
    }

    /// Sorts what went wrong: gone for now, the same for every row, or this row's doing.
    static func sorted(_ error: any Error) -> StoreError {
        switch error {
        case let error as StoreError: return error
        case let failure as RowFailure: return sorted(failure.underlying)
        case let error as PostgresError:
            if error.outcomeUnknown {
                return .unavailable(error.description, mayHaveCommitted: true)
            }
            if error.isRetryable || error.isOfClass(passing) {
                return .unavailable(error.description, mayHaveCommitted: false)
            }
            // Only what values of one row can cause is that row's doing: what the server says of them,
            // and what cannot be read.
            if error.kind == .decoding { return .failed(error.description) }
            if error.kind == .server, !error.isOfClass(systemic) {
                return .failed(error.description)
            }
            return .refused(error.description)
        default: return .failed("\(type(of: error))")
        }
    }

    /// SQLSTATE classes of a server that cannot now: a transaction left behind (25), a statement that
    /// a pooler lost (26), no room (53), a limit of the server, such as a full queue of notifications
    /// at COMMIT (54), objects in use (55), somebody's hand (57), disks (58), damage (XX), a
    /// transaction that could not go on (40), a standby (0A).
    private static let passing = ["25", "26", "40", "53", "54", "55", "57", "58", "XX", "0A"]
    /// Rights (28, 42) and schema (3D, 3F): the same for every row.
    private static let systemic = ["28", "3D", "3F", "42"]
}
