package import Billing
package import Postgres

/// The ledger in PostgreSQL, as reconciling sees it. A connection of its own while it compares: that
/// never keeps a claim or a record waiting.
package struct PostgresBooks: LedgerBooks {
    /// Who compares, and with which secret key.
    package struct Identity: Sendable {
        /// `billing.workers.worker_id`; nil: a person, who claims no day.
        package var worker: String?
        /// `test` or `live`, by the prefix of the secret key.
        package var mode: String
        package var fingerprint: String
        package init(worker: String?, mode: String, fingerprint: String) {
            self.worker = worker
            self.mode = mode
            self.fingerprint = fingerprint
        }
    }

    private let identity: Identity
    private let session: PostgresSession
    /// Where it looks whether a day is due.
    private let looking: PostgresSession

    /// `store`: a worker's, whose connection for reports also looks for days, every ten seconds; there
    /// is one more only while a day is compared.
    package init(
        _ configuration: PostgresConfiguration, identity: Identity,
        beside store: PostgresStore? = nil
    ) {
        self.identity = identity
        session = PostgresSession(configuration)
        looking = store?.reports ?? session
    }

    /// The bounds of a day, `2026-07-15`; nil: it has not begun. Throws `.refused` when these books
    /// are not those of the secret key.
    package func day(_ day: String) async throws(StoreError) -> BooksDay? {
        let permission = BooksSQL.permission(
            fingerprint: identity.fingerprint, mode: identity.mode,
            schemaVersion: PostgresStore.schemaVersion)
        return try await transaction { connection in
            let settings = try connection.query(permission).first
            if let refusal = try settings?.stringOrNil("refusal") {
                throw StoreError.refused(refusal)
            }
            return try Self.day(day, isClaimed: false, connection)
        }
    }

    private static func day(
        _ day: String, isClaimed: Bool, _ connection: isolated PostgresConnection
    ) throws -> BooksDay? {
        guard let row = try connection.query(BooksSQL.day(day)).first, try !row.bool("future")
        else { return nil }
        return BooksDay(
            day: try row.string("day"), next: try row.string("next"),
            isProvisional: try row.bool("provisional"), recent: try row.string("recent"),
            isClaimed: isClaimed)
    }

    package func claimDay() async throws(StoreError) -> BooksDay? {
        guard let worker = identity.worker else { return nil }
        let permission = ClaimSQL.permission(
            fingerprint: identity.fingerprint, mode: identity.mode,
            schemaVersion: PostgresStore.schemaVersion)
        return try await transaction(looking) { connection in
            let settings = try connection.query(permission).first
            if let refusal = try settings?.stringOrNil("refusal") {
                throw StoreError.refused(refusal)
            }
            _ = try connection.query(BooksSQL.lockDays())
            _ = try connection.query(BooksSQL.addDays())
            guard let row = try connection.query(BooksSQL.claimDay(worker: worker)).first else {
                return nil
            }
            return try Self.day(row.string("day"), isClaimed: true, connection)
        }
    }

    package func admit(_ day: BooksDay) async throws(StoreError) -> Duration {
        let worker = identity.worker
        return try await transaction { connection in
            if let worker, day.isClaimed,
                try connection.query(BooksSQL.keep(day.day, worker: worker)).isEmpty
            {
                throw StoreError.refused("another worker compares \(day.day)")
            }
            let seconds = try connection.query(BooksSQL.reserve()).first?.double("seconds") ?? 0
            return .seconds(max(0, seconds))
        }
    }

    package func entries(_ orders: [OrderID]) async throws(StoreError) -> [LedgerEntry?] {
        guard !orders.isEmpty else { return [] }
        // A period beyond the column's range is no period of ours.
        let parts = orders.map { order in
            order.parts.flatMap { $0.period <= Int(Int32.max) ? $0 : nil }
        }
        let query = BooksSQL.entries(
            orders.map(\.value), prefixes: parts.map { $0?.prefix },
            periods: parts.map { $0.map { Int64($0.period) } })
        return try await transaction { connection in
            var entries = [LedgerEntry?](repeating: nil, count: orders.count)
            for row in try connection.query(query) {
                entries[try row.int("ord") - 1] = try row.ledgerEntry()
            }
            return entries
        }
    }

    package func payments(
        of day: BooksDay, after last: LedgerPayment?
    ) async throws(StoreError) -> [LedgerPayment] {
        try await transaction { connection in
            try connection.query(BooksSQL.payments(day.day, after: last)).map { row in
                LedgerPayment(
                    subscription: SubscriptionID(try row.int64("subscription_id")),
                    period: try row.int("period_index"), charge: try row.ledgerCharge(),
                    orderID: try row.stringOrNil("order_id").map { OrderID(stored: $0) },
                    at: try row.string("at"),
                    paidAt: Instant(microseconds: try row.timestamp("paid_at").microseconds))
            }
        }
    }

    package func record(_ refund: Refund) async throws(StoreError) -> RefundVerdict {
        do {
            return try await session.withConnection { connection in
                try connection.transaction { connection in
                    guard try connection.query(BooksSQL.mayRecord()).first?.bool("may") == true
                    else { return .refused("this database role may not record refunds") }
                    let verdict = try connection.query(BooksSQL.record(refund)).first?
                        .string("verdict")
                    return verdict == "recorded" ? .recorded : .repeated
                }
            }
        } catch let error as PostgresError
            where error.kind == .server && error.isOfClass(Self.invalid)
        {
            return .refused(error.message)
        } catch {
            throw PostgresStore.sorted(error)
        }
    }

    /// What `billing.record_refund` raises, and what a constraint says: this very refund is wrong.
    private static let invalid = ["22", "23", "55000", "P0"]

    package func finish(_ day: BooksDay, _ report: DayReport) async throws(StoreError) {
        guard let worker = identity.worker, day.isClaimed else { return }
        let end =
            report.trouble == nil
            ? BooksSQL.finish(report, worker: worker) : BooksSQL.fail(report, worker: worker)
        try await transaction { connection in
            guard try !connection.query(end).isEmpty else {
                throw StoreError.refused("another worker compares \(day.day)")
            }
            guard !report.findings.isEmpty else { return }
            _ = try connection.query(BooksSQL.tell(report.findings, day: day.day))
        }
        await session.close()
    }

    package func close() async { await session.close() }

    private func transaction<Result: Sendable>(
        _ session: PostgresSession? = nil,
        _ body: @Sendable (isolated PostgresConnection) throws -> Result
    ) async throws(StoreError) -> Result {
        do {
            return try await (session ?? self.session).withConnection { try $0.transaction(body) }
        } catch {
            throw PostgresStore.sorted(error)
        }
    }
}

extension PostgresRow {
    fileprivate func ledgerCharge() throws(PostgresError) -> LedgerEntry.Charge {
        LedgerEntry.Charge(
            id: ChargeID(try int64("charge_id")), state: try string("state"),
            amount: Won(try int64("amount")), paymentKey: try stringOrNil("payment_key"),
            refunded: Won(try int64("refunded")))
    }

    fileprivate func ledgerEntry() throws(PostgresError) -> LedgerEntry {
        var attempt: LedgerEntry.Attempt?
        if let state = try stringOrNil("attempt_state") {
            attempt = LedgerEntry.Attempt(
                state: state, amount: Won(try int64("attempt_amount")),
                customerKey: CustomerKey(try string("attempt_customer")))
        }
        return LedgerEntry(
            subscription: SubscriptionID(try int64("subscription_id")), period: try int("period"),
            charge: try int64OrNil("charge_id") == nil ? nil : try ledgerCharge(),
            attempt: attempt)
    }
}
