import Billing
import BillingStore
import Foundation
import Logging
import Postgres
import TestSupport

/// The operations on PostgreSQL: the worker's through ``PostgresStore``, the others through the
/// functions of `schema.sql`, each as the role that has the right.
actor PostgresSide {
    nonisolated let database: TestDatabase
    /// Of a session: see `PostgresConfiguration.beforeSending`.
    private let beforeSending: (@Sendable (String) -> String)?
    private let owner: PostgresConnection
    private let web: PostgresConnection
    private let admin: PostgresConnection
    /// Between the stores and the database.
    private var proxy: CuttingProxy?
    private var sessionName = "billingd"
    private var isSession: Bool { sessionName != "billingd" }
    private var stores: [String: PostgresStore] = [:]
    private var held: [(worker: Int, held: Held)] = []
    private var lastClaim = 0..<0
    private var lastCard = 2
    private var lastSubscription = 0

    /// `patch`: statements of a wrong schema, for the tests of this test.
    /// `beforeSending`: a mistake in the worker's statements.
    init(
        patch: String? = nil, beforeSending: (@Sendable (String) -> String)? = nil
    ) async throws {
        database = try await TemporaryPostgres.shared.database()
        self.beforeSending = beforeSending
        owner = try await database.connect()
        web = try await database.connect(as: .web)
        admin = try await database.connect(as: .admin)
        try await owner.execute(script: Tools.script)
        if let patch { try await owner.execute(script: patch) }
    }

    /// A session beside others on the same database: all its statements pass `beforeSending`.
    init(
        beside other: PostgresSide, named name: String, through proxy: CuttingProxy? = nil,
        beforeSending: @escaping @Sendable (String) -> String
    ) async throws {
        database = other.database
        self.beforeSending = beforeSending
        self.proxy = proxy
        sessionName = name
        owner = try await database.connect()
        web = try await Self.connect(.web, database, name, beforeSending)
        admin = try await Self.connect(.admin, database, name, beforeSending)
    }

    private static func connect(
        _ role: TemporaryPostgres.Role, _ database: TestDatabase, _ name: String,
        _ beforeSending: @escaping @Sendable (String) -> String
    ) async throws -> PostgresConnection {
        var configuration = database.configuration(as: role)
        configuration.applicationName = name
        configuration.beforeSending = beforeSending
        return try await PostgresConnection.connect(configuration)
    }

    /// Takes over what another holds.
    func take(over other: PostgresSide) async {
        held = await other.held
        lastClaim = await other.lastClaim
        lastCard = await other.lastCard
        lastSubscription = await other.lastSubscription
    }

    func close() async {
        for store in stores.values { await store.close() }
        for connection in [owner, web, admin] { await connection.close() }
    }

    func reset() async throws {
        try await owner.execute(script: Tools.reset)
        held = []
        lastClaim = 0..<0
        lastCard = 2
        lastSubscription = 0
    }

    /// `ledger`: as it was before the operation, to find what the operation speaks of.
    func run(_ operation: Operation, _ ledger: Ledger) async throws -> NormalForm {
        var passed = (business: 1, real: 0)
        if case .pass(let seconds) = operation { passed.business += seconds }
        if case .elapse(let steps) = operation { passed.real = steps * Operation.step }
        let reply = try await reply(to: operation, ledger)
        let (charges, state) = try await look(passed)
        return NormalForm(
            answer: reply.text(charges, hasBudget: ledger.limits.requestsPerMinute != nil),
            state: state)
    }

    /// What an operation answers: of a claim the claim, for the charges' names are not known yet.
    struct Reply: Sendable {
        var claim: Claim?
        var answer = ""

        func text(_ charges: [ChargeID: String], hasBudget: Bool) -> String {
            guard let claim else { return answer }
            return NormalForm.claim(claim, hasBudget: hasBudget) {
                charges[$0] ?? "no such charge"
            }.normal
        }
    }

    func reply(to operation: Operation, _ ledger: Ledger) async throws -> Reply {
        switch operation {
        case .claim(let worker, let limit):
            return try await claim(worker, limit, "fingerprint-\(ledger.fingerprint)")
        case .claimRefused(let why): return try await claimRefused(why, ledger)
        case .recordAll, .record, .release:
            return Reply(answer: try await record(operation, ledger))
        case .pass, .elapse: return Reply()
        default: return Reply(answer: try await change(operation, ledger))
        }
    }

    /// Lets time pass, and reads all rows and the charges' names.
    func look(
        _ passed: (business: Int, real: Int) = (0, 0)
    ) async throws -> (charges: [ChargeID: String], state: String) {
        let rows = try await owner.execute(
            script: "SELECT public.tick(\(passed.business), \(passed.real)); \(Tools.look)")
        var names: [ChargeID: String] = [:]
        for pair in try rows[0].stringOrNil("charges")?.split(separator: ",") ?? [] {
            let words = pair.split(separator: " ")
            if let id = Int64(words[0]) { names[ChargeID(id)] = String(words[1]) }
        }
        let lines = try rows[0].string("lines").normal.split(separator: "\n").sorted()
        return (names, lines.joined(separator: "\n"))
    }

    private func store(
        _ worker: Int, _ fingerprint: String, mode: String = "test"
    ) -> PostgresStore {
        let name = "\(worker) \(fingerprint) \(mode)"
        if let store = stores[name] { return store }
        var configuration = database.configuration(as: .worker)
        if let proxy {
            configuration.connectionString = proxy.connectionString(
                to: database, as: .worker, throughTCP: false)
        }
        configuration.applicationName = sessionName
        configuration.beforeSending = beforeSending
        let store = PostgresStore(
            configuration,
            identity: PostgresStore.Identity(
                worker: "worker-\(worker)", host: "host", pid: 1, version: "0", mode: mode,
                fingerprint: fingerprint),
            log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        stores[name] = store
        return store
    }

    private func claim(
        _ worker: Int, _ limit: Int, _ fingerprint: String, mode: String = "test"
    ) async throws -> Reply {
        lastClaim = held.count..<held.count
        do throws(StoreError) {
            let claim = try await store(worker, fingerprint, mode: mode).claim(limit: limit)
            held += claim.held.map { (worker, $0) }
            lastClaim = lastClaim.lowerBound..<held.count
            return Reply(claim: claim)
        } catch {
            if case .refused = error { return Reply(answer: "refused") }
            return Reply(answer: "\(error)")
        }
    }

    private func claimRefused(
        _ why: Operation.Refusal, _ ledger: Ledger
    ) async throws -> Reply {
        let own = "fingerprint-\(ledger.fingerprint)"
        switch why {
        case .key: return try await claim(1, 10, "fingerprint-of-another-shop")
        case .mode: return try await claim(1, 10, own, mode: "live")
        case .schema:
            try await owner.execute(script: "UPDATE billing.settings SET schema_version = 2")
            let result = try await claim(1, 10, own)
            try await owner.execute(script: "UPDATE billing.settings SET schema_version = 1")
            return result
        case .database:
            try await owner.execute(
                script: "UPDATE billing.settings SET database_identity = 'another'")
            let result = try await claim(1, 10, own)
            try await owner.execute(
                script: "UPDATE billing.settings SET database_identity = billing.identity()")
            return result
        }
    }

    private func record(_ operation: Operation, _ ledger: Ledger) async throws -> String {
        let fingerprint = "fingerprint-\(ledger.fingerprint)"
        var transitions: [Transition] = []
        let worker: Int
        switch operation {
        case .recordAll(let news):
            let all = Array(held[lastClaim])
            guard let first = all.first, !news.isEmpty else { return "nothing" }
            worker = first.worker
            transitions = all.enumerated().map {
                $1.held.transition(after: news[$0 % news.count])
            }
        case .record(let back, let news, let byAnother):
            guard let one = held.fromEnd(back) else { return "nothing" }
            worker = byAnother ? 3 - one.worker : one.worker
            transitions = [one.held.transition(after: news)]
        case .release(let back):
            guard let one = held.fromEnd(back), case .work(let work) = one.held else {
                return "nothing"
            }
            try await store(one.worker, fingerprint).release([work])
            return "released"
        default: return "nothing"
        }
        return try await store(worker, fingerprint).record(transitions)
            .map(\.rawValue).joined(separator: " ")
    }

    // MARK: The web app and the operator

    private func change(_ operation: Operation, _ ledger: Ledger) async throws -> String {
        switch operation {
        case .subscribe(let customer, let plan, let seconds):
            lastSubscription += 1
            let id = lastSubscription
            // The prefix is random: here it is what the ledger computes.
            return try await ask(
                web,
                """
                SELECT billing.subscribe('customer\(customer)', 'plan\(plan)',
                    billing.now() + make_interval(secs => \(seconds)))
                """,
                then:
                    "UPDATE billing.subscriptions SET order_prefix = 'prefix-sub\(id)' WHERE subscription_id = \(id)"
            )
        case .newCard(let customer):
            lastCard += 1
            return try await ask(
                web,
                "SELECT billing.register_billing_key('customer\(customer)', 'billing-card\(lastCard)')"
            )
        case .deleteCard(let number):
            guard let card = ledger.cards.at(number) else { return "nothing" }
            return try await ask(
                web,
                """
                UPDATE billing.billing_keys SET state = 'deleted'
                WHERE billing_key_id = \(card.id) AND state = 'active'
                """)
        case .changePrice(let plan, let amount, let taxFree):
            return try await ask(
                web,
                """
                UPDATE billing.plans SET amount = \(amount), tax_free_amount = \(taxFree)
                WHERE plan_id = 'plan\(plan)'
                """)
        case .changeManners(let plan, let rungs, let cancels, let catchUp, let cycle):
            let dunning = (0..<rungs).map { "\(24 * ($0 + 1)) hours" }.joined(separator: ",")
            return try await ask(
                web,
                """
                UPDATE billing.plans SET dunning = '{\(dunning)}', cycle = '\(cycle.sql)',
                    on_exhausted = '\(cancels ? "cancel" : "suspend")',
                    catch_up = '\(["latest", "each", "hold"][catchUp])'
                WHERE plan_id = 'plan\(plan)'
                """)
        case .endHold(let number, let end): return try await endHold(number, end, ledger)
        case .pauseFleet, .rotateKey, .limit, .adopt: return try await operate(operation)
        default:
            guard let row = ledger.subscriptions.at(operation.subscription ?? 0),
                let statement = operation.statement(row, ledger)
            else { return "nothing" }
            return try await ask(web, statement)
        }
    }

    private func operate(_ operation: Operation) async throws -> String {
        switch operation {
        case .pauseFleet(let isPaused):
            return try await ask(admin, "UPDATE billing.settings SET paused = \(isPaused)")
        case .rotateKey:
            return try await ask(
                owner,
                """
                UPDATE billing.settings SET secret_key_fingerprint =
                    'fingerprint-' || 3 - right(secret_key_fingerprint, 1)::int
                """)
        case .limit(let won, let requests):
            return try await ask(
                admin,
                """
                UPDATE billing.settings SET max_won_per_day = \(won.sql),
                    max_requests_per_minute = \(requests.sql)
                """)
        case .adopt(let lost):
            return try await ask(
                admin,
                """
                SELECT billing.adopt_database('a drill',
                    make_interval(secs => \(lost * Operation.step)))
                """)
        default: return "nothing"
        }
    }

    private func endHold(
        _ number: Int, _ end: Operation.End, _ ledger: Ledger
    ) async throws -> String {
        guard let (charge, end) = ledger.holdTarget(number, end) else { return "nothing" }
        let id = """
            (SELECT charge_id FROM billing.charges
             WHERE subscription_id = \(charge.subscription) AND period_index = \(charge.period))
            """
        switch end {
        case .open:
            return try await ask(admin, "SELECT billing.end_hold(\(id), 'open', 'said so')")
        case .failed:
            return try await ask(admin, "SELECT billing.end_hold(\(id), 'failed', 'said so')")
        case .held:
            return try await ask(admin, "SELECT billing.end_hold(\(id), 'held', 'said so')")
        case .paid(let order, let paymentKey):
            return try await ask(
                admin,
                """
                SELECT billing.end_hold(\(id), 'paid', 'said so', 'prefix-\(order)',
                    '\(paymentKey)')
                """)
        case .refunded(let order, let paymentKey, let won):
            return try await ask(
                admin,
                """
                SELECT billing.end_hold(\(id), 'refunded', 'said so', 'prefix-\(order)',
                    '\(paymentKey)', refunded => \(won.value))
                """)
        }
    }

    /// Of a session in a transaction that can be stopped before its COMMIT.
    private func execute(
        _ statement: String, on connection: PostgresConnection
    ) async throws(PostgresError) -> PostgresRows {
        guard isSession else { return try await connection.execute(script: statement) }
        do {
            return try await connection.transaction { try $0.execute(script: statement) }
        } catch let error as PostgresError {
            throw error
        } catch {
            throw PostgresError(kind: .decoding, message: "\(error)")
        }
    }

    /// What the statement answers: a word for a boolean, nothing for the rest, "refused" for a
    /// constraint or an error that the functions raise.
    private func ask(
        _ connection: PostgresConnection, _ statement: String, then: String? = nil
    ) async throws -> String {
        do throws(PostgresError) {
            let rows = try await execute(statement, on: connection)
            if let then { try await owner.execute(script: then) }
            guard rows.columns == ["retry_now"] else { return "" }
            return try rows[0].bool("retry_now") ? "true" : "false"
        } catch {
            guard let state = error.sqlState,
                state.hasPrefix("23") || ["22023", "55000", "P0002"].contains(state)
            else { throw error }
            return "refused"
        }
    }
}

extension Operation {
    fileprivate func statement(_ row: Ledger.Subscription, _ ledger: Ledger) -> String? {
        let id = row.id
        switch self {
        case .changePlan(_, let plan): return "SELECT billing.change_plan(\(id), 'plan\(plan)')"
        case .changeAmount(_, let amount):
            return "SELECT billing.change_amount(\(id), \(amount.sql))"
        case .cancel(_, let now):
            return "SELECT billing.cancel(\(id), '\(now ? "now" : "period_end")')"
        case .uncancel:
            return
                "UPDATE billing.subscriptions SET cancel_at = NULL WHERE subscription_id = \(id)"
        case .pause: return "SELECT billing.pause(\(id))"
        case .resume: return "SELECT billing.resume(\(id))"
        case .choose(_, let number):
            let card = ledger.own(number, of: row.customer)
            return """
                UPDATE billing.subscriptions SET billing_key_id = \(card.sql)
                WHERE subscription_id = \(id)
                """
        case .retryNow: return "SELECT billing.retry_now(\(id))"
        default: return nil
        }
    }
}

extension Optional where Wrapped: BinaryInteger {
    fileprivate var sql: String { map { "\($0)" } ?? "NULL" }
}

extension String {
    /// Without what a name needs to be long enough for the constraints.
    fileprivate var normal: String {
        replacingOccurrences(of: "prefix-", with: "")
            .replacingOccurrences(of: "billing-card", with: "card")
    }
}
