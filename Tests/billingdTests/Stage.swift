import Foundation
import Postgres
import TestSupport
import Testing

/// All tests of whole processes, one after another: they compete for two cores, and some measure.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct ProcessTests {}

/// A database, a provider and the workers of one test.
struct Stage: Sendable {
    let database: TestDatabase
    let sandbox: Sandbox
    /// Of this test alone, so that a text which holds it is a leak.
    let secretKey: String
    /// Another key of the same shop, as after a rotation; the provider takes both.
    let nextKey: String

    /// A provider that takes `latencyMilliseconds` for each charge, and a database with the plan
    /// `monthly` over 14,900 won.
    init(latencyMilliseconds: Int = 0) async throws {
        secretKey = "test_sk_" + Self.random(24)
        nextKey = "test_sk_" + Self.random(24)
        sandbox = try await Sandbox(
            secretKey: secretKey, otherKeys: [nextKey], latencyMilliseconds: latencyMilliseconds)
        database = try await TemporaryPostgres.shared.database()
        try await database.run(
            """
            INSERT INTO billing.plans (plan_id, name, amount, cycle)
            VALUES ('monthly', '월 구독', 14900, '1 month')
            """, as: .web)
    }

    /// Letters and digits that nobody else has.
    static func random(_ count: Int) -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        return String((0..<count).map { _ in letters.randomElement() ?? "x" })
    }

    /// The fleet's numbers of a test that lives through lost requests: leases end in seconds, while
    /// the ladders, on the business clock, keep their hours.
    func scale(requestTimeout: String, lease: String) async throws {
        try await database.run(
            """
            UPDATE billing.settings SET request_timeout = '\(requestTimeout)', lease = '\(lease)'
            """, as: .admin)
    }
}

// MARK: Time

extension Stage {
    /// Moves the business clock on, as in `1 day`.
    func pass(_ time: String) async throws {
        try await database.run(
            "UPDATE billing.settings SET clock_offset = clock_offset + '\(time)'", as: .admin)
    }

    /// Sets the business clock to an instant, from which it goes on.
    func setClock(_ time: String) async throws {
        try await database.run(
            "UPDATE billing.settings SET clock_offset = '\(time)'::timestamptz - now()",
            as: .admin)
    }
}

// MARK: Programs

extension Stage {
    /// What a worker needs to know, and nothing else; `changes` win, nil takes a variable away.
    func environment(_ changes: [String: String?] = [:]) -> [String: String] {
        var variables: [String: String?] = [
            "DATABASE_URL": database.connectionString(as: .worker),
            "TOSS_API_URL": sandbox.address, "TOSS_SECRET_KEY": secretKey, "LOG_FORMAT": "json",
            "BILLINGD_LISTEN": "off",
        ]
        variables.merge(changes) { $1 }
        return variables.compactMapValues(\.self)
    }

    /// Starts `billingd run` and waits until it claims.
    func worker(
        _ options: [String] = [], _ changes: [String: String?] = [:]
    ) async throws -> ChildProcess {
        let worker = try await ChildProcess(
            Checkout.program("billingd"), ["run"] + options, environment: environment(changes))
        let pid = worker.pid
        try await eventually("worker \(pid) is running") {
            let isRunning = try await count("billing.workers WHERE pid = \(pid)") == 1
            if !isRunning, !worker.isRunning {
                throw ChildProcess.Failure("the worker ended: \(worker.errors)")
            }
            return isRunning
        }
        return worker
    }

    /// Runs a command of `billingd` to its end.
    func billingd(
        _ arguments: [String], _ changes: [String: String?] = [:]
    ) async throws -> (status: Int32, output: String, errors: String) {
        try await ChildProcess.run(
            Checkout.program("billingd"), arguments, environment: environment(changes))
    }
}

// MARK: Customers

extension Stage {
    /// A customer with a card, known to the provider and to the database.
    struct Customer: Encodable, Sendable {
        var customerKey = "customer." + Stage.random(20)
        var billingKey = Stage.random(43)
        /// The card's answers, one an attempt: `approve` or a code; nil: it approves.
        var script: [String]?
    }

    /// Issues keys at the provider and registers them as the web app does.
    @discardableResult
    func customers(_ count: Int, script: [String]? = nil) async throws -> [Customer] {
        let customers = (0..<count).map { _ in Customer(script: script) }
        let json = String(decoding: try JSONEncoder().encode(customers), as: UTF8.self)
        try sandbox.call("POST", "billing-keys", json)
        try await database.run(
            """
            SELECT billing.register_billing_key(c."customerKey", c."billingKey")
            FROM json_to_recordset('\(json)') AS c ("customerKey" text, "billingKey" text)
            """, as: .web)
        return customers
    }

    /// Customers who all subscribe in one transaction, their first charge being due at once.
    @discardableResult
    func subscribers(_ count: Int, script: [String]? = nil) async throws -> [Customer] {
        let customers = try await customers(count, script: script)
        let keys = customers.map { "'\($0.customerKey)'" }.joined(separator: ", ")
        try await database.run(
            "SELECT billing.subscribe(k, 'monthly') FROM unnest(ARRAY[\(keys)]) AS k", as: .web)
        return customers
    }
}

// MARK: What came of it

extension Stage {
    /// Rows of `relation`, which may carry a condition.
    func count(_ relation: String) async throws -> Int {
        try await database.run("SELECT count(*) AS n FROM \(relation)")[0].int("n")
    }

    /// Waits until so many charges are paid.
    func paid(_ wanted: Int, within limit: Duration = .seconds(60)) async throws {
        try await eventually("\(wanted) charges are paid", within: limit) {
            try await count("billing.charges WHERE state = 'paid'") >= wanted
        }
    }

    /// Moves the business clock from rung to rung of the ladders until all open charges have ended,
    /// and so many are paid. Leases and quiet times, which are on the real clock, are waited for.
    func climb(paid wanted: Int, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        for _ in 0..<60 {
            try await eventually("nothing is due, in hand or to be waited for") {
                try await count(
                    """
                    billing.subscriptions AS s
                    WHERE next_charge_at <= billing.now() OR lease_until > now()
                        OR EXISTS (
                            SELECT FROM billing.attempts AS a
                            WHERE a.charge_id = s.open_charge_id AND a.state = 'open'
                              AND a.quiet_until > now())
                    """) == 0
            }
            if try await count("billing.charges WHERE state = 'open'") == 0 { break }
            try await database.run(
                """
                UPDATE billing.settings SET clock_offset = clock_offset + (
                    SELECT greatest(min(s.next_charge_at) - billing.now(), '0')
                    FROM billing.subscriptions AS s WHERE s.open_charge_id IS NOT NULL)
                """, as: .admin)
        }
        let paid = try await count("billing.charges WHERE state = 'paid'")
        #expect(paid == wanted, sourceLocation: sourceLocation)
    }

    /// Every payment in the provider's books stands in the ledger exactly once and the other way
    /// round, no more than `payments` of them; nothing is open, leased or held, and the audit finds
    /// nothing.
    func expectSound(
        payments wanted: Int, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let ledger = try await database.run(
            """
            SELECT c.payment_key, a.order_id, a.customer_key, c.amount
            FROM billing.charges AS c JOIN billing.attempts AS a USING (charge_id)
            WHERE c.state = 'paid' AND a.state = 'approved'
            """
        ).map { row in
            Sandbox.Payment(
                paymentKey: try row.string("payment_key"), orderID: try row.string("order_id"),
                customerKey: try row.string("customer_key"), amount: try row.string("amount"))
        }
        let books = try sandbox.payments()
        #expect(books.count == wanted, sourceLocation: sourceLocation)
        #expect(ledger.count == wanted, sourceLocation: sourceLocation)
        let different = Set(books).symmetricDifference(ledger)
        #expect(different.isEmpty, "\(different.prefix(3))", sourceLocation: sourceLocation)
        #expect(try sandbox.books().duplicates == [:], sourceLocation: sourceLocation)
        let left = try await database.run(
            """
            SELECT
                (SELECT count(*) FROM billing.attempts WHERE state = 'open') AS open,
                (SELECT count(*) FROM billing.subscriptions WHERE lease_until IS NOT NULL)
                    AS leased,
                (SELECT count(*) FROM billing.charges WHERE state IN ('open', 'held')) AS unpaid,
                (SELECT string_agg(a::text, '; ') FROM billing.audit() AS a) AS audit
            """)[0]
        #expect(try left.int("open") == 0, sourceLocation: sourceLocation)
        #expect(try left.int("leased") == 0, sourceLocation: sourceLocation)
        #expect(try left.int("unpaid") == 0, sourceLocation: sourceLocation)
        #expect(try left.stringOrNil("audit") == nil, sourceLocation: sourceLocation)
    }
}
