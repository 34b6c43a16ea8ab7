import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// How soon a new subscription is charged.
    @Suite struct HintTests {
        /// Subscribes one customer after another and measures from the COMMIT to the moment when
        /// the payment stands in the provider's books; a look at these takes a millisecond or two,
        /// so that the figures are a little too high.
        private func delays(_ stage: Stage, _ customers: [Stage.Customer]) async throws
            -> [Duration]
        {
            let web = try await stage.database.connect(as: .web)
            var delays: [Duration] = []
            for (number, customer) in customers.enumerated() {
                let earlier = "billing.charges WHERE state = 'paid'"
                try await eventually("the daemon is idle") {
                    try await stage.count(earlier) == number
                }
                try await web.execute(
                    script: "SELECT billing.subscribe('\(customer.customerKey)', 'monthly')")
                let committed = ContinuousClock.now
                while try stage.sandbox.books().approvals == number {
                    try #require(ContinuousClock.now < committed + .seconds(10))
                    await Task.yield()
                }
                delays.append(ContinuousClock.now - committed)
            }
            await web.close()
            return delays.sorted()
        }

        @Test func aNewSubscriptionIsChargedAtOnce() async throws {
            let stage = try await Stage()
            let customers = try await stage.customers(30)
            let worker = try await stage.worker(["--poll-interval", "60"])
            let delays = try await delays(stage, customers)
            print("COMMIT to execution: median \(delays[15]), of 30 the worst \(delays[29])")
            // A busy machine's time: without hints it would be half a minute.
            #expect(delays[15] < .milliseconds(500))
            #expect(delays[29] < .seconds(5), "a hint was lost")
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 30)
        }

        @Test func aNewCardForADeclinedChargeIsTriedAtOnce() async throws {
            let stage = try await Stage()
            let worker = try await stage.worker(["--poll-interval", "60"])
            let customer = try await stage.subscribers(1, script: ["INVALID_STOPPED_CARD"])[0]
            try await eventually("it is suspended") {
                try await stage.count("billing.subscriptions WHERE state = 'suspended'") == 1
            }
            let key = Stage.random(43)
            try stage.sandbox.call(
                "POST", "billing-keys",
                "[{\"customerKey\":\"\(customer.customerKey)\",\"billingKey\":\"\(key)\"}]")
            try await stage.database.run(
                "SELECT billing.register_billing_key('\(customer.customerKey)', '\(key)')",
                as: .web)
            try await stage.paid(1, within: .seconds(10))
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 1)
        }

        @Test func behindAPoolerItIsFoundByPolling() async throws {
            let stage = try await Stage()
            let customers = try await stage.customers(5)
            let worker = try await stage.worker(["--pooled", "--poll-interval", "0.5"])
            let delays = try await delays(stage, customers)
            // Half a second, and what a busy machine needs for the claim and the request.
            #expect(delays[4] < .seconds(2), "\(delays)")
            let listening = """
                pg_stat_activity WHERE datname = '\(stage.database.name)'
                AND application_name LIKE 'billingd%' AND query ILIKE 'LISTEN%'
                """
            #expect(try await stage.count(listening) == 0)
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 5)
        }
    }
}
