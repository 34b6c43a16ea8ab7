package import Billing
package import Postgres

/// Shadow mode on PostgreSQL: notes in `billing.shadow_charges` what would be charged. It claims
/// nothing, reads no billing key and writes nowhere else.
package struct PostgresShadow: Sendable {
    /// What one look at all subscriptions came to.
    package struct Pass: Hashable, Sendable {
        /// Periods noted.
        package var periods = 0
        /// Those that would be charged, cards that came later included, and their won.
        package var charges = 0
        package var won: Int64 = 0
        package var withoutCard = 0
        package var skipped = 0
        package var held = 0
        /// Due rows that make no sense: a claim would hold them.
        package var wrong: Set<Int64> = []
        package init() {}
    }

    private let session: PostgresSession

    package init(_ configuration: PostgresConfiguration) {
        var configuration = configuration
        // A look reads every subscription, and nobody waits for it.
        configuration.statementTimeout = .seconds(60)
        session = PostgresSession(configuration)
    }

    /// Subscriptions that are read and noted in one transaction.
    private static let batch = 500
    /// Periods of one subscription that one pass catches up; the next pass goes on.
    private static let mostPeriods = 1_000

    /// Notes every period that has begun and is not noted. Nil: shadow mode is not on. `alive` is
    /// called after each batch. Ends early, having lost nothing, when its task is cancelled.
    package func pass(alive: () -> Void = {}) async throws(StoreError) -> Pass? {
        var pass = Pass()
        for _ in 0..<Self.mostPeriods {
            let before = pass.periods
            var last: Int64 = 0
            while !Task.isCancelled {
                let after = last
                guard let batch = try await transaction({ try Self.note(after: after, $0) }) else {
                    return nil
                }
                pass.add(batch.pass)
                alive()
                guard let end = batch.last else { break }
                last = end
            }
            if pass.periods == before || Task.isCancelled { break }
        }
        if Task.isCancelled { return pass }
        let came = try await transaction { connection in
            try connection.query(ShadowSQL.cardsCame()).map { try $0.int64("amount") }
        }
        pass.charges += came.count
        pass.won += came.reduce(0, +)
        return pass
    }

    private static func note(
        after last: Int64, _ connection: isolated PostgresConnection
    ) throws -> (pass: Pass, last: Int64?)? {
        guard let mode = try connection.query(ShadowSQL.mode()).first else {
            throw StoreError.refused("billing.settings is empty: apply schema.sql")
        }
        let version = try mode.int("schema_version")
        guard version == PostgresStore.schemaVersion else {
            throw StoreError.refused(
                "the database has schema version \(version), this program needs "
                    + "\(PostgresStore.schemaVersion)")
        }
        guard try mode.bool("shadow") else { return nil }
        let due = try connection.query(
            ShadowSQL.due(after: last, limit: batch), deadline: .seconds(60)
        ).map { try $0.int64("subscription_id") }
        var pass = Pass()
        guard let end = due.last else { return (pass, nil) }
        var rows = ShadowRows()
        for row in try connection.query(ClaimSQL.read(due, keys: false, shadow: true)) {
            let subscription = try row.dueSubscription()
            if let decision = ShadowDecision(subscription) {
                try rows.append(subscription, decision, row)
            } else if subscription.problem != nil {
                pass.wrong.insert(subscription.id.value)
            }
        }
        for noted in try connection.query(ShadowSQL.note(rows)) {
            pass.count(try noted.string("decision"), try noted.int64("amount"))
        }
        return (pass, due.count < batch ? nil : end)
    }

    package func close() async { await session.close() }

    private func transaction<Result: Sendable>(
        _ body: @Sendable (isolated PostgresConnection) throws -> Result
    ) async throws(StoreError) -> Result {
        do {
            return try await session.withConnection { try $0.transaction(body) }
        } catch {
            throw PostgresStore.sorted(error)
        }
    }
}

extension PostgresShadow.Pass {
    fileprivate mutating func count(_ decision: String, _ amount: Int64) {
        periods += 1
        switch ShadowDecision.Kind(rawValue: decision) {
        case .charge:
            charges += 1
            won += amount
        case .noCard: withoutCard += 1
        case .skip: skipped += 1
        case .hold: held += 1
        case .free, nil: break
        }
    }

    fileprivate mutating func add(_ other: Self) {
        periods += other.periods
        charges += other.charges
        won += other.won
        withoutCard += other.withoutCard
        skipped += other.skipped
        held += other.held
        wrong.formUnion(other.wrong)
    }
}
