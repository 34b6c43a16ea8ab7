import Billing
import BillingStore
import Logging
import Postgres
import TestSupport
import Testing

/// The store on a real PostgreSQL. One test after another: each has a database and some
/// connections.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct StoreTests {}

/// A database and a worker's store; the test is the worker, and the provider.
struct StoreStage: Sendable {
    let database: TestDatabase
    let store: PostgresStore

    init() async throws {
        database = try await TemporaryPostgres.shared.database()
        store = Self.store(database)
        try await store.bind()
        try await database.run(
            """
            INSERT INTO billing.plans (plan_id, name, amount, tax_free_amount, cycle)
            VALUES ('monthly', '월 구독', 14900, 900, '1 month')
            """, as: .web)
    }

    /// Another worker's store on the same database.
    static func store(
        _ database: TestDatabase, worker: String = "worker-1", mode: String = "test",
        fingerprint: String = "0123456789abcdef"
    ) -> PostgresStore {
        PostgresStore(
            database.configuration(as: .worker),
            identity: PostgresStore.Identity(
                worker: worker, host: "host", pid: 1, version: "0", mode: mode,
                fingerprint: fingerprint),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    // MARK: The web app

    /// Customers `c<n>-<name>` with a card and a subscription each, due now; their ids.
    @discardableResult
    func subscribe(
        _ count: Int = 1, _ name: String = "customer", plan: String = "monthly",
        withCard: Bool = true
    ) async throws -> [Int64] {
        try await web(
            """
            INSERT INTO billing.customers (customer_key)
            SELECT 'c' || n || '-\(name)' FROM generate_series(1, \(count)) AS n;
            INSERT INTO billing.billing_keys (customer_key, billing_key)
            SELECT 'c' || n || '-\(name)', 'key-' || n || '-\(name)'
            FROM generate_series(1, \(withCard ? count : 0)) AS n;
            SELECT billing.subscribe('c' || n || '-\(name)', '\(plan)') AS id
            FROM generate_series(1, \(count)) AS n
            """
        ).map { try $0.int64("id") }
    }

    /// A second card of the one customer of ``subscribe(_:_:plan:withCard:)``.
    func newCard(_ key: String = "key-2-customer") async throws {
        try await web("SELECT billing.register_billing_key('c1-customer', '\(key)')")
    }

    @discardableResult
    func web(_ script: String) async throws -> PostgresRows {
        try await database.run(script, as: .web)
    }

    // MARK: Time

    /// Moves the business clock.
    func pass(_ time: String) async throws {
        try await database.run(
            "UPDATE billing.settings SET clock_offset = clock_offset + interval '\(time)'",
            as: .admin)
    }

    /// Ends all leases and quiet times, which are on the real clock.
    func expire() async throws {
        try await database.run(
            """
            UPDATE billing.subscriptions SET lease_until = now() - interval '1 second'
            WHERE lease_until IS NOT NULL;
            UPDATE billing.attempts SET quiet_until = now() - interval '1 second'
            WHERE state = 'open'
            """)
    }

    // MARK: The worker

    /// The one work that is due.
    func work(sourceLocation: SourceLocation = #_sourceLocation) async throws -> Work {
        let claim = try await store.claim(limit: 100)
        try #require(claim.local.isEmpty, sourceLocation: sourceLocation)
        try #require(claim.work.count == 1, sourceLocation: sourceLocation)
        return claim.work[0]
    }

    /// The one transition that a claim decides without the provider.
    func local(sourceLocation: SourceLocation = #_sourceLocation) async throws -> Transition {
        let claim = try await store.claim(limit: 100)
        try #require(claim.work.isEmpty, sourceLocation: sourceLocation)
        try #require(claim.local.count == 1, sourceLocation: sourceLocation)
        return claim.local[0]
    }

    /// Nothing is due.
    func expectNothing(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let claim = try await store.claim(limit: 100)
        #expect(claim.work.isEmpty && claim.local.isEmpty, sourceLocation: sourceLocation)
    }

    /// Records and expects that it is taken.
    func record(
        _ transition: Transition, _ verdict: Verdict = .applied,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        #expect(
            try await store.record([transition]) == [verdict], sourceLocation: sourceLocation)
    }

    // MARK: What the ledger says

    /// `state period, when; charges; attempts; events` of a subscription, the last two periods'
    /// charges in order. When: `due`, `never`, `at the period's end` or the minutes from now.
    func story(_ id: Int64 = 1) async throws -> String {
        try await database.run(
            """
            SELECT concat_ws('; ',
                s.state || ' ' || s.period_index || ', ' || CASE
                    WHEN s.next_charge_at IS NULL THEN 'never'
                    WHEN s.next_charge_at <= billing.now() THEN 'due'
                    WHEN s.next_charge_at = (
                        SELECT max(period_end) FROM billing.charges AS c
                        WHERE c.subscription_id = s.subscription_id) THEN 'at the period''s end'
                    ELSE 'in ' || round(extract(epoch FROM s.next_charge_at - billing.now()) / 60)
                        || ' min' END
                || CASE WHEN s.lease_until > now() THEN ', leased' ELSE '' END,
                (SELECT string_agg(concat_ws(' ', c.state, c.reason, c.payment_key), ', '
                                   ORDER BY c.period_index)
                 FROM billing.charges AS c WHERE c.subscription_id = s.subscription_id),
                (SELECT string_agg(concat_ws(' ', a.attempt_no, a.state, a.code,
                    CASE WHEN a.state = 'open' AND a.in_doubt THEN 'in doubt' END,
                    CASE WHEN a.absent THEN 'absent' END,
                    'but ' || a.contradiction), ', ' ORDER BY a.charge_id, a.attempt_no)
                 FROM billing.attempts AS a JOIN billing.charges AS c USING (charge_id)
                 WHERE c.subscription_id = s.subscription_id),
                (SELECT string_agg(e.type, ', ' ORDER BY e.event_id)
                 FROM billing.events AS e WHERE e.subscription_id = s.subscription_id)) AS story
            FROM billing.subscriptions AS s WHERE s.subscription_id = \(id)
            """)[0].string("story")
    }

    /// One value of the one row that `query` finds.
    func value(_ query: String) async throws -> String? {
        let rows = try await database.run(query)
        return try rows.first?.stringOrNil(rows.columns[0])
    }

    /// No promise is broken.
    func expectSound(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let broken = try await value("SELECT string_agg(a::text, '; ') FROM billing.audit() AS a")
        #expect(broken == nil, sourceLocation: sourceLocation)
    }
}

// MARK: The provider

extension Work {
    /// What is sent, or looked up.
    var request: AttemptRequest {
        get throws {
            switch task {
            case .send(let request, _, _, _), .resolve(let request, _): return request
            case .seal: throw ChildProcess.Failure("a seal sends nothing")
            }
        }
    }

    var isRepeat: Bool {
        if case .send(_, _, let isRepeat, _) = task { isRepeat } else { false }
    }

    var isResolve: Bool { if case .resolve = task { true } else { false } }

    /// The names that are looked up first.
    var earlier: [OrderID] {
        switch task {
        case .send(_, let earlier, _, _): earlier
        case .seal(let orders, _, _): orders
        case .resolve: []
        }
    }

    /// The provider's payment for the request in hand.
    func payment(_ key: String, status: Payment.Status = .done) throws -> Payment {
        let request = try request
        return Payment(
            paymentKey: key, orderID: request.orderID, status: status,
            totalAmount: request.amount)
    }

    /// The transition after an outcome, with the dice at one half.
    func after(_ outcome: Outcome) throws -> Transition {
        after(outcome, of: try request, isRepeat: isRepeat, tries: 0, jitter: 0.5)
    }

    /// The transition after a look-up.
    func after(_ lookUp: LookUp) throws -> Transition {
        guard case .resolve(let request, let doubt) = task else {
            throw ChildProcess.Failure("nothing is to be resolved")
        }
        return after(lookUp, of: request, doubt, jitter: 0.5)
    }

    func approved(_ key: String = "pay-1") throws -> Transition {
        try after(.approved(try payment(key), traceID: nil))
    }

    func declined(
        _ code: String = "REJECT_CARD_PAYMENT", _ kind: DeclineClass = .soft
    ) throws -> Transition {
        try after(.declined(Answer(code: code, message: "no", httpStatus: 403), kind))
    }

    func unknown() throws -> Transition { try after(.unknown(.timeout)) }
}

extension Answer {
    static let timeout = Answer(code: "TIMEOUT")
    static let absent = Answer(code: "NOT_FOUND_PAYMENT", httpStatus: 404)
    static let busy = Answer(code: "MAINTAINED_METHOD", httpStatus: 400)
}
