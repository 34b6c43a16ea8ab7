import Glibc
import TestSupport
import Testing

extension ProcessTests {
    @Suite struct OnceTests {
        @Test func allThatIsDueIsChargedAndCounted() async throws {
            let stage = try await Stage()
            try await stage.subscribers(20)
            try await stage.subscribers(3, script: ["EXCEED_MAX_DAILY_PAYMENT_COUNT"])
            try await stage.subscribers(2, script: ["REJECT_CARD_COMPANY"])
            try await stage.database.run(
                """
                INSERT INTO billing.plans (plan_id, name, amount, cycle)
                VALUES ('free', 'free', 0, '1 month');
                SELECT billing.subscribe(customer_key, 'free') FROM billing.customers LIMIT 1;
                SELECT billing.subscribe(customer_key, 'monthly', now() + interval '1 day')
                FROM billing.customers LIMIT 1
                """, as: .web)

            let first = try await stage.billingd(["once"])
            #expect(first.status == 0)
            #expect(
                first.output == """
                    paid 20, declined 5, refused 0, not sent 0, unknown 0, held 0
                      EXCEED_MAX_DAILY_PAYMENT_COUNT: 3
                      REJECT_CARD_COMPANY: 2

                    """)
            #expect(try await stage.count("billing.charges WHERE state = 'paid'") == 21)
            #expect(try await stage.count("billing.subscriptions WHERE state = 'past_due'") == 5)
            let books = try stage.sandbox.books()
            #expect(books.approvals == 20)
            #expect(
                books.declines == ["EXCEED_MAX_DAILY_PAYMENT_COUNT": 3, "REJECT_CARD_COMPANY": 2])

            let second = try await stage.billingd(["once"])
            #expect(second.status == 0)
            #expect(
                second.output
                    == "paid 0, declined 0, refused 0, not sent 0, unknown 0, held 0\n")
            #expect(try stage.sandbox.books().approvals == 20)
            #expect(try stage.sandbox.books().duplicates == [:])
        }

        @Test func aPausedFleetChargesNothingAndSaysWhy() async throws {
            let stage = try await Stage()
            try await stage.subscribers(1)
            try await stage.database.run(
                "UPDATE billing.settings SET paused = true, paused_reason = 'month end'",
                as: .admin)
            let paused = try await stage.billingd(["once"])
            #expect(paused.status == 1)
            #expect(paused.output.contains("ended early: month end"))
            #expect(try stage.sandbox.books().approvals == 0)
        }

        @Test func aFaultOfEveryRowEndsItEarlyAndUsesUpNoDunning() async throws {
            let stage = try await Stage()
            try await stage.subscribers(400)
            let wrong = "test_sk_" + Stage.random(24)
            let refused = try await stage.billingd(["once"], ["TOSS_SECRET_KEY": wrong])
            #expect(refused.status == 1)
            #expect(refused.output.contains("ended early: faulted: UNAUTHORIZED_KEY"))
            #expect(try await stage.count("billing.charges WHERE declines > 0") == 0)
            #expect(try await stage.count("billing.subscriptions WHERE state <> 'active'") == 0)
            #expect(try stage.sandbox.books().approvals == 0)
        }

        @Test func twoAtOnceChargeEachRowOnce() async throws {
            let stage = try await Stage(latencyMilliseconds: 100)
            try await stage.subscribers(60)
            async let one = stage.billingd(["once", "--max-in-flight", "8"])
            async let other = stage.billingd(["once", "--max-in-flight", "8"])
            let (first, second) = try await (one, other)
            #expect(first.status == 0 && second.status == 0, "\(first.errors) \(second.errors)")
            try await stage.expectSound(payments: 60)
        }
    }
}
