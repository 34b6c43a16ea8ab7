import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// Ten mistakes that charge loops of merchants make, each provoked on the real programs.
    ///
    /// More of each: 1 FleetTests, OnceTests; 2 FleetTests, RecorderTests; 3 StoreBadRowTests,
    /// StoreBatchTests; 4 LostAnswerTests; 5 LedgerGuardTests; 6 StepTests; 7 RulesTests,
    /// StoreVerdictTests; 8 StepTests, StoreRefusalTests; 9 CalendarTests; 10 SecretTests, CheckTests.
    @Suite struct TenMistakesTests {}
}

extension ProcessTests.TenMistakesTests {
    // MARK: 1. No claim

    /// Two daemons and four runs by cron meet one due row: it is asked for once.
    @Test func oneDueRowIsSentOnceByManyPrograms() async throws {
        let stage = try await Stage(latencyMilliseconds: 800)
        let daemons = [try await stage.worker(), try await stage.worker()]
        for round in 1...3 {
            try await stage.subscribers(1)
            try await withThrowingTaskGroup { group in
                for _ in 0..<4 {
                    group.addTask { try await stage.billingd(["once"]) }
                }
                for try await once in group { #expect(once.status == 0, "\(once.errors)") }
            }
            try await stage.paid(round)
        }
        for daemon in daemons {
            daemon.kill(SIGTERM)
            #expect(await daemon.ended() == 0)
        }
        try await stage.expectSound(payments: 3)
        let requests = try stage.sandbox.books().requests
        #expect(requests["approve"] == 3 && requests["order"] == nil, "\(requests)")
        #expect(try await stage.count("billing.attempts WHERE unknown_since IS NOT NULL") == 0)
    }

    // MARK: 2. Money first, record later

    /// The database goes away between the provider's 200 and the record of it.
    @Test(arguments: [CuttingProxy.Cut.beforeForwarding, .afterAnswer, .stall])
    func anApprovalIsWrittenHoweverOftenItsWriteFails(cut: CuttingProxy.Cut) async throws {
        let stage = try await Stage(latencyMilliseconds: 700)
        // Longer than the test waits: no look-up by a second claim does the record's work.
        try await stage.scale(requestTimeout: "3 seconds", lease: "70 seconds")
        let proxy = try CuttingProxy(stage.database.server)
        let address = proxy.connectionString(to: stage.database, as: .worker)
        let worker = try await stage.worker([], ["DATABASE_URL": address])
        try await stage.subscribers(3)
        try await eventually("the money is taken") { try stage.sandbox.books().approvals == 3 }
        for _ in 0..<(cut == .stall ? 1 : 3) { proxy.arm(cut) }
        let cuts = proxy.cuts.count
        try await stage.paid(3)
        #expect(proxy.cuts.count > cuts, "nothing was cut")
        worker.kill(SIGTERM)
        #expect(await worker.ended() == 0)
        try await stage.expectSound(payments: 3)
        #expect(try stage.sandbox.books().requests["approve"] == 3)
    }

    // MARK: 3. The batch is one unit

    /// One row that breaks its claim, one declined, one lost, one that needs a person: the oldest of
    /// all are these, and every other customer is charged and recorded.
    @Test func neitherAPoisonedRowNorADeclineHoldsUpTheOthers() async throws {
        let stage = try await Stage()
        let poisoned = try await stage.subscribers(1)[0]
        try await stage.database.run(
            """
            SET session_replication_role = replica;
            UPDATE billing.subscriptions SET plan_id = 'gone'
            WHERE customer_key = '\(poisoned.customerKey)'
            """)
        try await stage.subscribers(1, script: ["REJECT_CARD_PAYMENT"])
        try await stage.subscribers(1, script: ["FDS_ERROR"])
        let lost = try await stage.subscribers(1)[0]
        try stage.sandbox.faults(
            "{\"action\":\"executeAndDrop\",\"customerKey\":\"\(lost.customerKey)\"}")
        try await stage.subscribers(40)
        let run = try await stage.billingd(["once"])
        #expect(run.status == 0, "\(run.output)")
        #expect(try await stage.count("billing.charges WHERE state = 'paid'") == 40)
        #expect(try await stage.count("billing.charges WHERE state = 'held'") == 1)
        #expect(try await stage.count("billing.attempts WHERE state = 'declined'") == 1)
        #expect(try await stage.count("billing.attempts WHERE unknown_since IS NOT NULL") == 1)
        #expect(try await stage.count("billing.subscriptions WHERE held_reason IS NOT NULL") == 1)
        #expect(try stage.sandbox.books().approvals == 41)
    }

    // MARK: 4. A timeout is a failure

    /// The provider takes its time, or executes long after it hung up: paid, under one name, and no
    /// customer loses anything meanwhile.
    @Test(arguments: [
        #"{"action":"latency","milliseconds":2500,"count":6}"#,
        #"{"action":"late","milliseconds":4000,"farewell":"hang","count":6}"#,
        #"{"action":"late","milliseconds":4000,"farewell":"code","status":504,"count":6}"#,
    ])
    func aTimeoutIsNoFailure(fault: String) async throws {
        let stage = try await Stage()
        try await stage.scale(requestTimeout: "1 second", lease: "3 seconds")
        try stage.sandbox.faults(fault)
        let worker = try await stage.worker()
        try await stage.subscribers(6)
        try await eventually("all are in doubt") {
            try await stage.count("billing.attempts WHERE unknown_since IS NOT NULL") == 6
        }
        #expect(try await stage.count("billing.subscriptions WHERE state <> 'active'") == 0)
        try await stage.climb(paid: 6)
        try await eventually("the last late request has arrived") {
            try stage.sandbox.books().lateRequestsToCome == 0
        }
        worker.kill(SIGTERM)
        #expect(await worker.ended() == 0)
        try await stage.expectSound(payments: 6)
        #expect(try await stage.count("billing.attempts") == 6)
        #expect(try await stage.count("billing.charges WHERE declines > 0") == 0)
    }

    // MARK: 5. Throw-away order ids

    /// A worker dies with its request unanswered and unexecuted: another sends the same name.
    @Test func anOrderIdOutlivesTheWorkerThatMadeIt() async throws {
        let stage = try await Stage()
        try await stage.scale(requestTimeout: "1 second", lease: "3 seconds")
        try stage.sandbox.faults(#"{"action":"refuse","milliseconds":60000,"count":5}"#)
        let first = try await stage.worker()
        try await stage.subscribers(5)
        try await eventually("all are under way") {
            try stage.sandbox.books().requests["approve"] == 5
        }
        let names = try await orderIDs(stage)
        first.kill(SIGKILL)
        _ = await first.ended()
        let second = try await stage.worker()
        try await stage.climb(paid: 5)
        second.kill(SIGTERM)
        #expect(await second.ended() == 0)
        try await stage.expectSound(payments: 5)
        #expect(try await orderIDs(stage) == names)
        #expect(Set(try stage.sandbox.payments().map(\.orderID)) == names)
        #expect(try await stage.count("billing.attempts WHERE sends = 2") == 5)
        for name in names {
            #expect(try #/[A-Za-z0-9_-]{6,64}/#.wholeMatch(in: name) != nil, "\(name)")
        }
    }

    private func orderIDs(_ stage: Stage) async throws -> Set<String> {
        Set(
            try await stage.database.run("SELECT order_id FROM billing.attempts")
                .map { try $0.string("order_id") })
    }

    // MARK: 6. Idempotency misused

    /// A decline is glued to its key for 15 days: the next attempt has another, and is paid.
    @Test func theAttemptAfterADeclineHasAKeyOfItsOwn() async throws {
        let stage = try await Stage()
        try await stage.subscribers(2, script: ["REJECT_CARD_PAYMENT", "approve"])
        #expect(try await stage.billingd(["once"]).status == 0)
        #expect(try stage.sandbox.books().approvals == 0)
        try await stage.pass("1 day")
        #expect(try await stage.billingd(["once"]).status == 0)
        try await stage.expectSound(payments: 2)
        let keys = try stage.sandbox.idempotencyKeys()
        let stored = try await stage.database.run(
            "SELECT idempotency_key FROM billing.attempts WHERE state = 'approved'"
        ).map { try $0.string("idempotency_key") }
        #expect(Set(keys) == Set(stored) && Set(keys).count == 2)
        #expect(
            try await stage.count(
                "(SELECT idempotency_key FROM billing.attempts GROUP BY 1) AS k") == 4)
    }

    // MARK: 7. All declines alike

    /// Soft is tried again on its ladder and nowhere between, hard never, and past due not for ever.
    @Test func everyDeclineHasItsOwnEnd() async throws {
        let stage = try await Stage()
        let soft = try await stage.subscribers(1, script: ["REJECT_CARD_PAYMENT"])[0]
        let hard = try await stage.subscribers(1, script: ["INVALID_STOPPED_CARD"])[0]
        let mended = try await stage.subscribers(
            1, script: ["REJECT_CARD_PAYMENT", "REJECT_CARD_PAYMENT", "approve"])[0]
        for _ in 0..<3 { #expect(try await stage.billingd(["once"]).status == 0) }
        #expect(try await stage.count("billing.attempts") == 3, "one each, however often polled")
        #expect(try await stage.count("billing.subscriptions WHERE state = 'past_due'") == 2)
        // The ladder of the plan: 1, 3, 5 and 7 days, and then the gap before the seal.
        for (wait, attempts) in [("1 day", 5), ("3 days", 7), ("5 days", 8), ("7 days", 9)] {
            let before = try await stage.count("billing.attempts")
            try await stage.pass("\(wait) -2 minutes")
            #expect(try await stage.billingd(["once"]).status == 0)
            #expect(try await stage.count("billing.attempts") == before, "before \(wait)")
            try await stage.pass("2 minutes")
            for _ in 0..<2 { #expect(try await stage.billingd(["once"]).status == 0) }
            #expect(try await stage.count("billing.attempts") == attempts, "after \(wait)")
        }
        try await stage.pass("1 hour")
        #expect(try await stage.billingd(["once"]).status == 0)
        let declines = try stage.sandbox.books().declines
        #expect(declines == ["REJECT_CARD_PAYMENT": 7, "INVALID_STOPPED_CARD": 1])
        for (customer, state) in [(soft, "suspended"), (hard, "suspended"), (mended, "active")] {
            #expect(
                try await stage.count(
                    """
                    billing.subscriptions WHERE state = '\(state)'
                        AND customer_key = '\(customer.customerKey)'
                    """) == 1, "\(state)")
        }
        #expect(try await stage.count("billing.billing_keys WHERE state <> 'active'") == 1)
    }

    // MARK: 8. The open attempt is forgotten

    /// The answer of an execution is lost, with the key, and look-ups deny it: the repeat is told
    /// "another order id, please", and the payment is adopted instead.
    @Test func aDuplicatedOrderIsAdopted() async throws {
        let stage = try await Stage()
        try await stage.scale(requestTimeout: "1 second", lease: "3 seconds")
        try stage.sandbox.faults(
            """
            [{"action":"executeAndFail","remembers":false,"count":3},
             {"action":"refuse","code":"NOT_FOUND_PAYMENT","calls":"order"}]
            """)
        let worker = try await stage.worker()
        try await stage.subscribers(3)
        try await eventually("all were sent again", within: .seconds(40)) {
            try await stage.pass("30 minutes")
            return try stage.sandbox.books().errors["DUPLICATED_ORDER_ID", default: 0] >= 3
        }
        try stage.sandbox.faults("[]")
        try await stage.climb(paid: 3)
        worker.kill(SIGTERM)
        #expect(await worker.ended() == 0)
        try await stage.expectSound(payments: 3)
        #expect(try await stage.count("billing.attempts WHERE attempt_no > 1") == 0)
    }

    /// Look-ups say "no such payment" while the request is under way: neither is a new name made nor
    /// the old one sent again before the quiet time is over.
    @Test func earlyNotFoundsAreNotBelieved() async throws {
        let stage = try await Stage()
        try await stage.scale(requestTimeout: "2 seconds", lease: "5 seconds")
        try stage.sandbox.faults(
            #"{"action":"late","milliseconds":6000,"forgetsKey":true,"count":2}"#)
        let worker = try await stage.worker()
        try await stage.subscribers(2)
        for looked in 1...3 {
            try await eventually("look-up \(looked)") {
                try await stage.pass("1 hour")
                return try await stage.count("billing.attempts WHERE lookups < \(looked)") == 0
            }
        }
        #expect(try stage.sandbox.books().lateRequestsToCome == 2, "the test was too slow")
        #expect(try await stage.count("billing.attempts WHERE sends > 1 OR attempt_no > 1") == 0)
        #expect(try stage.sandbox.books().requests["approve"] == 2)
        try await eventually("the late requests arrive") {
            try stage.sandbox.books().lateRequestsToCome == 0
        }
        try await stage.climb(paid: 2)
        worker.kill(SIGTERM)
        #expect(await worker.ended() == 0)
        try await stage.expectSound(payments: 2)
    }

    // MARK: 9. Calendar

    @Test func aMissedDayIsBilledTheNext() async throws {
        let stage = try await Stage()
        let customers = try await stage.customers(3)
        for (customer, ago) in zip(customers, ["1 day", "3 days", "29 days"]) {
            try await stage.database.run(
                """
                SELECT billing.subscribe('\(customer.customerKey)', 'monthly',
                    billing.now() - interval '\(ago)')
                """, as: .web)
        }
        #expect(try await stage.billingd(["once"]).status == 0)
        try await stage.expectSound(payments: 3)
    }

    /// Anchored on a 31st at half past midnight in Korea, which is the 30th in London: charged on
    /// the last day of short months, never a second early, and a late payment moves nothing.
    @Test func monthsAreKoreanAndEndWhereTheyEnd() async throws {
        let stage = try await Stage()
        try await stage.setClock("2027-01-31 00:30:00+09")
        let customer = try await stage.customers(
            1, script: ["approve", "REJECT_CARD_PAYMENT", "approve"])[0]
        try await stage.database.run(
            "SELECT billing.subscribe('\(customer.customerKey)', 'monthly')", as: .web)
        #expect(try await stage.billingd(["once"]).status == 0)
        let days = ["2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31"]
        for (number, day) in days.enumerated() {
            try await stage.setClock("\(day) 00:29:00+09")
            #expect(try await stage.billingd(["once"]).status == 0)
            #expect(try await stage.count("billing.charges") == number + 1, "early on \(day)")
            try await stage.setClock("\(day) 00:30:05+09")
            #expect(try await stage.billingd(["once"]).status == 0)
            try await stage.pass("1 day")
            #expect(try await stage.billingd(["once"]).status == 0)
            #expect(try await stage.count("billing.charges WHERE state = 'paid'") == number + 2)
        }
        let starts = try await stage.database.run(
            """
            SELECT to_char(period_start AT TIME ZONE 'Asia/Seoul', 'YYYY-MM-DD HH24:MI') AS start
            FROM billing.charges ORDER BY period_index
            """
        ).map { try $0.string("start") }
        #expect(starts == (["2027-01-31"] + days).map { $0 + " 00:30" })
    }

    // MARK: 10. Mixed-up identities and open doors

    /// Keys that belong to somebody else, a wrong address, and everything that went through the
    /// programs: nothing is charged, and no secret is in a single line.
    @Test func mixedUpIdentitiesChargeNobody() async throws {
        let stage = try await Stage()
        var secrets = [stage.secretKey, Data("\(stage.secretKey):".utf8).base64EncodedString()]
        let swapped = try await stage.customers(2)
        // A's card under B's name.
        let other = Stage.Customer()
        try await stage.database.run(
            """
            INSERT INTO billing.customers (customer_key) VALUES ('\(other.customerKey)');
            SET session_replication_role = replica;
            UPDATE billing.billing_keys SET customer_key = '\(other.customerKey)'
            WHERE customer_key = '\(swapped[0].customerKey)'
            """)
        try await stage.database.run(
            """
            SELECT billing.subscribe('\(other.customerKey)', 'monthly');
            SELECT billing.subscribe('\(swapped[1].customerKey)', 'monthly')
            """, as: .web)
        secrets += swapped.flatMap { [$0.customerKey, $0.billingKey] } + [other.customerKey]
        let trace = ["LOG_LEVEL": "trace"]
        let run = try await stage.billingd(["once"], trace)
        #expect(try stage.sandbox.payments().map(\.customerKey) == [swapped[1].customerKey])
        #expect(try await stage.count("billing.charges WHERE state = 'paid'") == 1)
        #expect(
            try await stage.count(
                """
                billing.charges WHERE state = 'held' AND reason LIKE '%NOT_MATCHES_CUSTOMER_KEY'
                """) == 1)

        // A wrong address: 404s of all kinds, to a charge and to the look-ups after it.
        var texts = [run.output, run.errors]
        for rule in [
            #""code":"NOT_FOUND""#, #""code":"NOT_FOUND_HTTP_METHOD""#,
            #""code":"NOT_FOUND","body":"html""#, #""code":"NOT_FOUND","body":"empty""#,
        ] {
            try stage.sandbox.faults("{\"action\":\"refuse\",\"calls\":\"all\",\(rule)}")
            secrets += try await stage.subscribers(1).flatMap { [$0.customerKey, $0.billingKey] }
            let wrong = try await stage.billingd(["once"], trace)
            texts += [wrong.output, wrong.errors]
        }
        #expect(try stage.sandbox.books().approvals == 1)
        #expect(try await stage.count("billing.charges WHERE state = 'paid'") == 1)
        #expect(try await stage.count("billing.charges WHERE declines > 0") == 0)
        #expect(texts.joined().utf8.count > 2_000, "the programs said nothing")
        for secret in secrets {
            let part = secret.dropFirst(8).prefix(12)
            #expect(!texts.contains { $0.contains(part) }, "\(secret) was printed")
        }
    }
}
