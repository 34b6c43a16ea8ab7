package import Billing
import Logging
import Postgres

/// Recording: whole batches if possible, and row by row what keeps a batch from it.
extension PostgresStore {
    package func record(_ transitions: [Transition]) async throws(StoreError) -> [Verdict] {
        guard !transitions.isEmpty else { return [] }
        do {
            return try await recordOnce(transitions)
        } catch {
            if Self.isHeldUp(error) { return try await recordFree(transitions) }
            guard case .failed(let reason) = Self.sorted(error) else { throw Self.sorted(error) }
            guard transitions.count > 1 else {
                log.error(
                    "a result cannot be recorded; the row is resolved when its lease ends",
                    metadata: [
                        "subscription": "\(transitions[0].subscription.value)",
                        "reason": "\(reason)",
                        "action": "mend what the reason and the database's log name",
                    ])
                return [.rejected]
            }
            // Halved until the bad row stands alone.
            return try await recordHalves(transitions)
        }
    }

    private func recordOnce(_ transitions: [Transition]) async throws -> [Verdict] {
        let worker = identity.worker
        return try await written { connection in
            let ids = transitions.map(\.subscription.value).sorted()
            _ = try connection.query(RecordSQL.lock(ids).prepared)
            return try Self.apply(transitions, worker, connection)
        }
    }

    private func written(
        _ body: @escaping @Sendable (isolated PostgresConnection) throws -> [Verdict]
    ) async throws -> [Verdict] {
        try await records.withConnection { connection in
            let verdicts = try connection.transaction(byIndex: true, body)
            // Those who listen look for what they missed from time to time, too: a connection that
            // is lost here takes nothing of what is written with it.
            if verdicts.contains(where: { $0 == .applied || $0 == .contradiction }) {
                _ = try? connection.execute(script: RecordSQL.announce, deadline: .seconds(2))
            }
            return verdicts
        }
    }

    /// Somebody else has one of the rows, or all of them take too long together: what can be locked at
    /// once is recorded, what cannot is busy. Throws if nothing of it can be recorded.
    private func recordFree(_ transitions: [Transition]) async throws(StoreError) -> [Verdict] {
        let worker = identity.worker
        do {
            return try await written { connection in
                let busy = try Self.lockFree(transitions, connection)
                let free = transitions.filter { !busy.contains($0.subscription) }
                var verdicts = try Self.apply(free, worker, connection)[...]
                return transitions.map {
                    busy.contains($0.subscription) ? .busy : verdicts.removeFirst()
                }
            }
        } catch {
            switch Self.sorted(error) {
            case .failed where transitions.count == 1: return [.rejected]
            case .failed: return try await recordHalves(transitions)
            case let sorted:
                let isSlow = (error as? PostgresError)?.sqlState == "57014"
                guard isSlow, transitions.count > 1 else { throw sorted }
                return try await recordHalves(transitions)
            }
        }
    }

    private func recordHalves(_ transitions: [Transition]) async throws(StoreError) -> [Verdict] {
        let middle = transitions.count / 2
        let first = try await record(Array(transitions[..<middle]))
        do {
            return first + (try await record(Array(transitions[middle...])))
        } catch StoreError.unavailable {
            // What is written is not to be written again.
            return first + transitions[middle...].map { _ in .busy }
        }
    }

    /// Locks those of the rows that nobody else has; returns the others.
    private static func lockFree(
        _ transitions: [Transition], _ connection: isolated PostgresConnection
    ) throws -> Set<SubscriptionID> {
        let rows = RecordRows(transitions)
        var busy: Set<SubscriptionID> = []
        for row in try connection.query(RecordSQL.lockFree(rows.subscription)) {
            busy.insert(SubscriptionID(try row.int64(0)))
        }
        guard rows.killsKey.contains(true) else { return busy }
        for row in try connection.query(RecordSQL.lockFreeKeys(rows)) {
            busy.insert(SubscriptionID(try row.int64(0)))
        }
        return busy
    }

    private static func apply(
        _ transitions: [Transition], _ worker: String, _ connection: isolated PostgresConnection
    ) throws -> [Verdict] {
        guard !transitions.isEmpty else { return [] }
        let apply = RecordSQL.apply(RecordRows(transitions), worker: worker).prepared
        var verdicts: [Verdict] = []
        for row in try connection.query(apply) {
            let word = try row.string("verdict")
            guard let verdict = Verdict(rawValue: word), verdict.isOfLedger else {
                throw StoreError.failed("unknown verdict \(word)")
            }
            verdicts.append(verdict)
        }
        guard verdicts.count == transitions.count else {
            throw StoreError.failed("\(verdicts.count) verdicts")
        }
        return verdicts
    }

    /// A lock that was not to be had in time, or a statement that took too long. Nothing was written.
    private static func isHeldUp(_ error: any Error) -> Bool {
        guard let error = error as? PostgresError, error.kind == .server, !error.outcomeUnknown
        else { return false }
        return error.sqlState == "55P03" || error.sqlState == "57014"
    }
}
