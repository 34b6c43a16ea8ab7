import Foundation
import Postgres
import TestSupport

/// The web app: customers, cards and subscriptions, and what it does to them meanwhile.
struct Shop: Sendable {
    var database: Cluster
    let sandbox: Sandbox
    let secretKey: String
    /// All billing keys that were ever issued: no log may hold one.
    private(set) var billingKeys: Set<String> = []
    /// New cards of customers whose first one is dead, known to the provider already.
    private(set) var newCards: [Card] = []

    struct Card: Encodable, Sendable {
        var customerKey: String
        var billingKey: String
        /// Answers, one an attempt: `approve` or a code; nil: it approves.
        var script: [String]?
    }

    init(_ database: Cluster, _ sandbox: Sandbox, secretKey: String) {
        self.database = database
        self.sandbox = sandbox
        self.secretKey = secretKey
    }

    /// The schema, login roles, the fleet's numbers and one plan. `lateBound` is on the business
    /// clock, whose speed a scenario sets.
    func open(lateBound: String) async throws {
        try await database.run("CREATE DATABASE \(Cluster.database)", database: "postgres")
        let applied = try await ChildProcess.run(
            URL(filePath: "/usr/bin/psql"),
            [
                "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d",
                database.connectionString(as: .postgres), "-f",
                Checkout.file("schema.sql").path(),
            ])
        guard applied.status == 0 else { throw ChildProcess.Failure(applied.errors) }
        try await database.run(
            """
            CREATE ROLE worker LOGIN IN ROLE billing_worker;
            CREATE ROLE web LOGIN IN ROLE billing_web;
            CREATE ROLE admin LOGIN IN ROLE billing_admin;
            UPDATE billing.settings
            SET request_timeout = '1 second', lease = '3 seconds', late_bound = '\(lateBound)';
            INSERT INTO billing.plans (plan_id, name, amount, cycle, dunning)
            VALUES ('monthly', '월 구독', 14900, '1 month', '{1 day,1 day}')
            """)
    }

    /// Customers who subscribe at instants spread over `spread` of business time, each for an amount
    /// of its own; one in eight has a card that declines.
    mutating func subscribe(_ count: Int, over spread: Duration, _ dice: inout Dice) async throws {
        var cards: [Card] = []
        var seconds: [Card] = []
        var starts: [Double] = []
        var amounts: [Int64] = []
        for _ in 0..<count {
            let customer = "customer." + dice.text(20)
            let kind = dice.below(100)
            let card = Card(
                customerKey: customer, billingKey: dice.text(43), script: Self.script(kind))
            cards.append(card)
            if card.script?.first?.hasPrefix("INVALID_") == true {
                seconds.append(Card(customerKey: customer, billingKey: dice.text(43)))
            }
            starts.append(dice.seconds(0...max(1, spread / .seconds(1))) / .seconds(1))
            amounts.append(1_000 + Int64(dice.below(90_000)))
        }
        newCards += seconds
        billingKeys.formUnion((cards + seconds).map(\.billingKey))
        for slice in Self.slices(of: cards + seconds, 1_000) {
            let json = String(decoding: try JSONEncoder().encode(slice), as: UTF8.self)
            try sandbox.call("POST", "billing-keys", json)
        }
        try await register(cards)
        for range in Self.slices(of: Array(cards.indices), 5_000) {
            try await database.query(
                """
                SELECT billing.subscribe(
                    t.c, 'monthly', billing.now() + make_interval(secs => t.s), t.a)
                FROM unnest(\(range.map { cards[$0].customerKey }),
                    \(range.map { starts[$0] as Double? }), \(range.map { amounts[$0] }))
                    AS t (c, s, a)
                """, as: .web)
        }
    }

    /// What the card answers, by a number below 100.
    private static func script(_ kind: Int) -> [String]? {
        switch kind {
        case 0...3: ["REJECT_CARD_PAYMENT", "approve"]
        case 4...5: ["EXCEED_MAX_ONE_DAY_AMOUNT", "REJECT_CARD_COMPANY", "approve"]
        case 6: ["REJECT_ACCOUNT_PAYMENT"]
        case 7...9: ["INVALID_STOPPED_CARD"]
        case 10: ["INVALID_CARD_LOST_OR_STOLEN"]
        case 11: ["INVALID_REJECT_CARD", "INVALID_REJECT_CARD"]
        default: nil
        }
    }

    private static func slices<T>(of list: [T], _ size: Int) -> [[T]] {
        stride(from: 0, to: list.count, by: size).map {
            Array(list[$0..<min($0 + size, list.count)])
        }
    }

    private func register(_ cards: [Card]) async throws {
        for slice in Self.slices(of: cards, 5_000) {
            try await database.query(
                """
                SELECT billing.register_billing_key(t.c, t.k)
                FROM unnest(\(slice.map(\.customerKey)), \(slice.map(\.billingKey))) AS t (c, k)
                """, as: .web)
        }
    }

    /// Some of the customers whose card is dead bring another; with `all`, all of them.
    func bringNewCards(all: Bool = false, _ dice: inout Dice) async throws {
        let some = newCards.filter { _ in all || dice.below(4) == 0 }
        try await register(some)
    }

    /// A few cancel, a few pause and are back at once.
    func changeTheirMinds(_ dice: inout Dice) async throws {
        let rest = Int64(dice.below(97))
        try await wish("billing.cancel(id, 'now')", "id % 97 = \(rest) AND id % 5 = 0")
        try await wish(
            "billing.pause(id)",
            "id % 97 = \(rest) AND id % 5 = 1 AND state IN ('active', 'past_due')")
        try await wish("billing.resume(id)", "state = 'paused'")
    }

    /// `call` for each subscription of `rows`. One that a worker cancels in that moment refuses it, as it
    /// must, and is left alone.
    private func wish(_ call: String, _ rows: String) async throws {
        try await database.run(
            """
            DO $wish$
            DECLARE
                wanted bigint;
            BEGIN
                FOR wanted IN
                    SELECT s.id FROM (SELECT subscription_id AS id, state FROM billing.subscriptions) AS s
                    WHERE \(rows) ORDER BY s.id
                LOOP
                    BEGIN
                        PERFORM \(call) FROM (SELECT wanted AS id) AS w;
                    EXCEPTION WHEN check_violation THEN
                        IF SQLERRM NOT LIKE '%is canceled: make a new one' THEN
                            RAISE;
                        END IF;
                    END;
                END LOOP;
            END
            $wish$
            """, as: .web)
    }
}
