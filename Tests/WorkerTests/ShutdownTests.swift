import Billing
import ServiceLifecycle
import TestSupport
import Testing

@testable import Worker

@Suite(.timeLimit(.minutes(1)))
struct ShutdownTests {
    @Test func requestsInFlightEndAndAreRecordedAndNothingNewIsClaimed() async throws {
        let rig = Rig()
        await rig.store.addDue(1...2)
        rig.gateway.hang(.charge(order(1)))
        rig.gateway.hang(.charge(order(2)))
        let group = rig.serviceGroup()
        let run = Task { try await group.run() }
        await rig.gateway.arrivals.reaches(2)
        await group.triggerGracefulShutdown()
        await rig.log.says("stopping")
        await rig.store.addDue(3...3)
        rig.service.wake()
        #expect(rig.service.health().state == .stopping)
        rig.gateway.release(.charge(order(1)))
        rig.gateway.release(.charge(order(2)))
        try await run.value
        #expect(rig.gateway.requests.count == 2)
        for id in Int64(1)...2 { #expect(await rig.store[id]?.charges.first?.state == .paid) }
        #expect(await rig.store.reports.last == WorkerReport(state: .stopped, inFlight: 0))
    }

    @Test func workThatWasNotSentYetIsGivenBack() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        rig.gateway.script(order(1), charges: .declined(.poor, .soft))
        let group = rig.serviceGroup()
        let run = Task { try await group.run() }
        await rig.store.written.reaches(1)
        await rig.store.advance(by: .seconds(86_400))
        rig.gateway.hang(.lookUp(order(1)))
        rig.service.wake()
        await rig.gateway.arrivals.reaches(2)
        await group.triggerGracefulShutdown()
        await rig.log.says("stopping")
        rig.gateway.release(.lookUp(order(1)))
        try await run.value
        #expect(await rig.store.released == [SubscriptionID(1)])
        #expect(rig.gateway.sent.map(\.orderID) == [order(1)])
        let row = try #require(await rig.store[1])
        // Due at once, under the name that it already has.
        #expect(row.subscription.leaseUntil == nil)
        #expect(row.charges.first?.attempts.last?.inDoubt == false)
        let again = try await rig.store.claim(limit: 1)
        guard case .send(let request, _, isRepeat: false, _) = again.work.first?.task else {
            Issue.record("not due at once: \(again)")
            return
        }
        #expect(request.orderID == order(1, attempt: 2))
    }

    @Test func aClaimThatIsAnsweredAfterTheStopIsGivenBack() async throws {
        let rig = Rig()
        await rig.store.addDue(1...3)
        let group = rig.serviceGroup()
        await rig.store.onClaim {
            await group.triggerGracefulShutdown()
            // The service hears of it in a task of its own.
            while !rig.service.health().state.isStop { await Task.yield() }
        }
        try await group.run()
        #expect(rig.gateway.requests.isEmpty)
        #expect(await Set(rig.store.released) == Set((1...3).map { SubscriptionID($0) }))
    }

    @Test func whatIsNotRecordedInTimeIsNamed() async throws {
        let rig = Rig()
        await rig.store.addDue(1...2)
        rig.gateway.hang(.charge(order(2)))
        let group = rig.serviceGroup()
        let run = Task { try await group.run() }
        await rig.store.written.reaches(1)
        await rig.gateway.arrivals.reaches(2)
        await group.triggerGracefulShutdown()
        await rig.clock.untilSomebodySleeps(for: .seconds(70))
        rig.clock.advance(by: .seconds(70))
        await #expect(throws: StopTimeout(subscriptions: [SubscriptionID(2)])) {
            try await run.value
        }
        rig.gateway.release(.charge(order(2)))
        await rig.store.written.reaches(2)
        #expect("\(StopTimeout(subscriptions: [SubscriptionID(2)]))".contains("end: 2"))
    }

    @Test func aStoreThatIsAwayKeepsTheStopWaiting() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        await rig.store.failRecords(.unavailable("failover", mayHaveCommitted: false))
        let group = rig.serviceGroup()
        let run = Task { try await group.run() }
        await rig.clock.untilSomebodySleeps(for: .milliseconds(75))
        await group.triggerGracefulShutdown()
        await rig.log.says("stopping")
        await rig.store.failRecords(nil)
        rig.clock.advance(by: .milliseconds(75))
        try await run.value
        #expect(await rig.store[1]?.charges.first?.state == .paid)
    }

    @Test func cancellationStopsTheWorkerAndNoCharge() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        rig.gateway.hang(.charge(order(1)))
        let run = Task { try await rig.service.run() }
        await rig.gateway.arrivals.reaches(1)
        run.cancel()
        await rig.log.says("stopping")
        rig.gateway.release(.charge(order(1)))
        try await run.value
        #expect(!rig.gateway.sawCancellation)
        #expect(await rig.store[1]?.charges.first?.state == .paid)
    }
}

extension WorkerReport.State {
    fileprivate var isStop: Bool { self == .stopping || self == .stopped }
}
