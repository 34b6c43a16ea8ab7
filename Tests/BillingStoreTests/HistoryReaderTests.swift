import Billing
import BillingStore
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// What is read for `billingd explain`, by the role that may read the least.
    @Suite struct HistoryReaderTests {
        private func read(
            _ stage: StoreStage, _ subject: HistoryReader.Subject = .subscription(1),
            limit: Int = 12
        ) async throws -> HistoryReader.Found {
            try await HistoryReader(stage.database.configuration(as: .report))
                .read(subject, limit: limit)
        }

        private func codes(_ stage: StoreStage) async throws -> [String] {
            try await read(stage).history.obstacles.map(\.code).filter { $0 != "no_worker" }
        }

        @Test func aDueRowIsReadAsAClaimWouldReadIt() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let history = try await read(stage).history
            #expect(history.obstacles.map(\.code) == ["no_worker"])
            let told = try #require(history.prospects.first)
            let work = try await stage.work()
            guard case .ask(.send(let request, let earlier, _, _), true) = told.step.action,
                case .send(let claimed, let claimedEarlier, _, _) = work.task
            else {
                Issue.record("\(told) \(work)")
                return
            }
            #expect(request.orderID == claimed.orderID && request.amount == claimed.amount)
            #expect(earlier == claimedEarlier)
            // And nobody reads the billing key on the way.
            #expect(request.billingKey.reveal() == "" && claimed.billingKey.reveal() != "")
        }

        @Test func aLeaseALiveWorkerAndALookUpAreTold() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let work = try await stage.work()
            try await stage.store.report(WorkerReport(state: .running, inFlight: 1))
            let leased = try await read(stage).history
            #expect(leased.obstacles.map(\.code) == ["leased", "in_doubt"])
            #expect(leased.row.leaseOwner == "worker-1")
            try await stage.record(try work.unknown())
            let doubt = try await read(stage).history
            #expect(doubt.obstacles.map(\.code) == ["in_doubt"])
            #expect(doubt.periods[0].attempts[0].code == "TIMEOUT")
            #expect(doubt.periods[0].attempts[0].unknownSince != nil)
            try await stage.store.report(WorkerReport(state: .faulted, inFlight: 0))
            #expect(try await read(stage).history.obstacles.map(\.code) == ["in_doubt", "faulted"])
        }

        @Test func limitsOfTheFleetAreTold() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe(2)
            func set(_ assignment: String) async throws {
                try await stage.database.run(
                    "UPDATE billing.settings SET \(assignment)", as: .admin)
            }
            try await set("max_won_per_day = 14899")
            #expect(try await codes(stage) == ["won_per_day"])
            try await set("max_won_per_day = 14900")
            #expect(try await codes(stage) == [])
            try await set("max_won_per_day = NULL, max_requests_per_minute = 1")
            #expect(try await codes(stage) == [])
            let work = try await stage.work()
            try await stage.record(try work.approved())
            let other = work.subscription.value == 1 ? Int64(2) : 1
            let waits = try await read(stage, .subscription(other)).history
            #expect(waits.obstacles.map(\.code).contains("requests_per_minute"))
            #expect(waits.fleet.requestWait > .zero && waits.fleet.requestWait < .seconds(61))
            try await set("paused = true, max_requests_per_minute = NULL")
            #expect(
                try await read(stage, .subscription(other)).history.obstacles.map(\.code)
                    == ["fleet_paused", "no_worker"])
        }

        @Test func aRowThatBreaksItsClaimIsToldAllTheSame() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.database.run(
                """
                ALTER TABLE billing.subscriptions DISABLE TRIGGER ALL;
                UPDATE billing.subscriptions
                SET anchor_at = '294276-12-15', held_reason = 'timestamp out of range',
                    next_charge_at = NULL;
                ALTER TABLE billing.subscriptions ENABLE TRIGGER ALL
                """)
            let history = try await read(stage).history
            #expect(history.obstacles.map(\.code) == ["set_aside", "no_worker"])
            #expect(history.due.problem == "timestamp out of range")
            #expect(history.prospects.isEmpty)
        }

        @Test func anIdentityOfAnotherDatabaseIsTold() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let clone = try await TemporaryPostgres.shared.clone(of: stage.database)
            let history = try await HistoryReader(clone.configuration(as: .report))
                .read(.subscription(1), limit: 1).history
            let codes = history.obstacles.map(\.code)
            #expect(codes == ["not_adopted", "no_worker"])
            try await clone.run("SELECT billing.adopt_database('a test')", as: .admin)
            let adopted = try await HistoryReader(clone.configuration(as: .report))
                .read(.subscription(1), limit: 1).history
            #expect(adopted.obstacles.map(\.code) == ["looks_first", "adopted", "no_worker"])
        }

        @Test func orderAndPaymentFindTheirPeriodAmongMany() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            for period in 0..<3 {
                try await stage.record(try await stage.work().approved("pay-\(period)"))
                try await stage.pass("32 days")
            }
            let newest = try await read(stage, limit: 2).history
            #expect(newest.periods.map(\.index) == [1, 2] && newest.olderPeriods == 1)
            let order = try #require(
                await stage.value(
                    """
                    SELECT order_id FROM billing.attempts JOIN billing.charges USING (charge_id)
                    WHERE period_index = 1
                    """))
            let byOrder = try await read(stage, .order(order))
            #expect(byOrder.period == 1 && byOrder.attempt == 1)
            #expect(byOrder.history.periods.map(\.payments) == [["pay-1"]])
            #expect(try await read(stage, .payment("pay-2")).period == 2)
            try await stage.database.run(
                "UPDATE billing.attempts SET contradiction = 'pay-x' WHERE order_id = '\(order)'")
            let contradiction = try await read(stage, .payment("pay-x"))
            #expect(contradiction.history.periods.map(\.payments) == [["pay-1", "pay-x"]])
            await #expect(throws: HistoryReader.NotFound.self) {
                try await read(stage, .payment("none"))
            }
        }
    }
}
