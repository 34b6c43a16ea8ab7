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

    private let identity: Identity
    private let claims: PostgresSession
    private let records: PostgresSession
    private let reports: PostgresSession
    private let log: Logger

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
        } catch StoreError.failed(let reason) where limit > 1 {
            // One row must be what breaks it: find it by claiming rows alone.
            log.warning(
                "a claim failed and is repeated row by row", metadata: ["error": "\(reason)"])
            return try await claimSingly(limit: limit)
        }
    }

    package func record(_ transitions: [Transition]) async throws(StoreError) -> [Verdict] {
        guard !transitions.isEmpty else { return [] }
        do {
            return try await recordOnce(transitions)
        } catch StoreError.failed(let reason) {
            guard transitions.count > 1 else {
                log.error(
                    "a result cannot be recorded; the row is resolved when its lease ends",
                    metadata: [
                        "subscription": "\(transitions[0].subscription.value)",
                        "error": "\(reason)",
                    ])
                return [.rejected]
            }
            // Halved until the bad row stands alone.
            let middle = transitions.count / 2
            let first = try await record(Array(transitions[..<middle]))
            return first + (try await record(Array(transitions[middle...])))
        }
    }

    package func release(_ work: [Work]) async throws(StoreError) {
        guard !work.isEmpty else { return }
        let sends = work.map { if case .send = $0.task { true } else { false } }
        let query = ClaimSQL.release(
            work.map(\.subscription.value), leases: work.map(\.lease.value), sends: sends)
        let lock = RecordSQL.lock(work.map(\.subscription.value))
        _ = try await translate { () async throws -> Bool in
            try await records.withConnection { connection in
                try connection.transaction { connection in
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

    /// Binds the secret key and the database's identity if this is the first worker ever.
    package func bind() async throws(StoreError) {
        let query: PostgresQuery = "SELECT billing.bind_worker(\(identity.fingerprint))"
        _ = try await translate { () async throws -> Int in
            try await reports.withConnection { try $0.query(query).count }
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
        let identity = identity
        return try await translate { () async throws -> Claim in
            try await claims.withConnection { connection in
                try connection.transaction { connection in
                    try Self.claim(limit: limit, identity, connection)
                }
            }
        }
    }

    /// Runs inside one transaction, on the connection's own thread: nothing else can come between.
    private static func claim(
        limit: Int, _ identity: Identity, _ connection: isolated PostgresConnection
    ) throws -> Claim {
        let permission = try connection.query(
            ClaimSQL.permission(
                fingerprint: identity.fingerprint, mode: identity.mode,
                schemaVersion: schemaVersion))
        guard let settings = permission.first else {
            throw StoreError.refused("billing.settings is empty: apply schema.sql")
        }
        if let refusal = try settings.stringOrNil("refusal") { throw StoreError.refused(refusal) }
        var claim = Claim(numbers: try settings.fleetNumbers())
        claim.pausedReason = try settings.stringOrNil("paused")
        if claim.pausedReason != nil { return claim }

        let locked = try connection.query(ClaimSQL.lock(limit: limit))
        if !locked.isEmpty {
            var ids: [Int64] = []
            for row in locked { ids.append(try row.int64(0)) }
            try take(ids, identity, connection, &claim)
        }
        if locked.count == limit {
            claim.wake = .zero
        } else if let seconds = try connection.query(ClaimSQL.nextDue()).first?
            .doubleOrNil("seconds")
        {
            claim.wake = .seconds(max(0, min(seconds, 86_400)))
        }
        return claim
    }

    private static func take(
        _ ids: [Int64], _ identity: Identity, _ connection: isolated PostgresConnection,
        _ claim: inout Claim
    ) throws {
        var rows = ClaimRows()
        var decided: [(DueSubscription, Step)] = []
        for row in try connection.query(ClaimSQL.read(ids)) {
            let due = try row.dueSubscription()
            let step = Step.decide(due, claim.numbers)
            try rows.append(due, step, row)
            decided.append((due, step))
        }
        let written = try connection.query(
            ClaimSQL.write(
                rows, worker: identity.worker, lease: claim.numbers.lease / .seconds(1),
                fingerprint: identity.fingerprint))
        var charges: [Int64: Int64] = [:]
        for row in written {
            charges[try row.int64(0)] = try row.int64OrNil("of_charge")
        }
        for (due, step) in decided {
            let charge = charges[due.id.value].map { ChargeID($0) }
            claim.append(due, step, charge)
        }
    }

    private func claimSingly(limit: Int) async throws(StoreError) -> Claim {
        var whole = Claim(wake: .zero)
        // Bounded: each round claims one row, or sets one aside.
        for _ in 0..<min(limit, 50) {
            do {
                let one = try await claimOnce(limit: 1)
                whole.numbers = one.numbers
                whole.pausedReason = one.pausedReason
                if one.work.isEmpty, one.local.isEmpty {
                    whole.wake = one.wake
                    break
                }
                whole.work += one.work
                whole.local += one.local
            } catch StoreError.failed(let reason) {
                try await setOldestAside(reason: reason)
            }
        }
        return whole
    }

    /// The oldest due row alone breaks its claim: held with the database's reason.
    private func setOldestAside(reason: String) async throws(StoreError) {
        let id = try await translate { () async throws -> Int64? in
            try await claims.withConnection { connection in
                try connection.transaction { connection in
                    guard let row = try connection.query(ClaimSQL.lock(limit: 1)).first else {
                        return nil
                    }
                    let id = try row.int64(0)
                    _ = try connection.query(ClaimSQL.setAside(id, reason: reason))
                    return id
                }
            }
        }
        if let id {
            log.error(
                "a row makes no sense and was set aside: mend it, then SELECT billing.resume(id)",
                metadata: ["subscription": "\(id)", "error": "\(reason)"])
        }
    }
}

// MARK: Recording

extension PostgresStore {
    private func recordOnce(_ transitions: [Transition]) async throws(StoreError) -> [Verdict] {
        let lock = RecordSQL.lock(transitions.map(\.subscription.value).sorted())
        let apply = RecordSQL.apply(RecordRows(transitions))
        return try await translate { () async throws -> [Verdict] in
            try await records.withConnection { connection in
                try connection.transaction { connection in
                    _ = try connection.query(lock)
                    var verdicts: [Verdict] = []
                    for row in try connection.query(apply) {
                        let word = try row.string("verdict")
                        guard let verdict = Verdict(rawValue: word) else {
                            throw StoreError.failed("unknown verdict \(word)")
                        }
                        verdicts.append(verdict)
                    }
                    return verdicts
                }
            }
        }
    }

    /// Sorts what went wrong: gone, forbidden, or broken.
    private func translate<Result: Sendable>(
        _ body: () async throws -> Result
    ) async throws(StoreError) -> Result {
        do {
            return try await body()
        } catch let error as StoreError {
            throw error
        } catch let error as PostgresError {
            if error.outcomeUnknown {
                throw .unavailable(error.description, mayHaveCommitted: true)
            }
            if error.isConnectionLost || error.isRetryable || error.kind == .deadline {
                throw .unavailable(error.description, mayHaveCommitted: false)
            }
            // 42501 insufficient_privilege, 42P01 undefined_table, 3F000 invalid_schema_name,
            // 28xxx authorization: the same for every row.
            if let state = error.sqlState,
                state.hasPrefix("28")
                    || ["42501", "42P01", "42703", "42883", "3F000"].contains(state)
            {
                throw .refused(error.description)
            }
            throw .failed(error.description)
        } catch {
            throw .failed("\(type(of: error))")
        }
    }
}
