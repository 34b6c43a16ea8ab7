import Billing
import Logging
import TestSupport
import Testing

@testable import Worker

/// A recorder alone, on a store whose rows were claimed by hand.
private struct Bench {
    let store = MemoryStore()
    let clock = ManualClock()
    let log = LogBook()
    let status: WorkerStatus
    let recorder: Recorder

    init(_ configuration: WorkerConfiguration = WorkerConfiguration(recordFlushInterval: .zero)) {
        status = WorkerStatus(time: Timepiece(clock, jitter: { 0.5 }))
        recorder = Recorder(
            store: store, configuration: configuration, status: status, logger: log.logger
        ) { _ in }
    }

    /// Claims what is due and queues an approval for each.
    @discardableResult
    func queueApprovals() async throws -> [Transition] {
        let work = try await store.claim(limit: 10_000).work
        var transitions: [Transition] = []
        for work in work {
            guard case .send(let request, _, _, _) = work.task else { continue }
            let transition = work.after(
                .approved(.of(request), traceID: nil), of: request, isRepeat: false, tries: 0,
                jitter: 0)
            transitions.append(transition)
            status.change { _ = $0.slots.insert(transition.slot) }
        }
        for transition in transitions { recorder.add(transition) }
        return transitions
    }

    /// Runs the recorder until all is written.
    func running(_ body: () async throws -> Void) async throws {
        let run = Task { await recorder.run() }
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        await recorder.finish()
        await run.value
        try result.get()
    }
}

@Suite(.timeLimit(.minutes(1)))
struct RecorderTests {
    @Test func nothingIsDroppedWhileTheStoreIsAway() async throws {
        let bench = Bench()
        await bench.store.addDue(1...30)
        await bench.store.failRecords(.unavailable("read-only", mayHaveCommitted: false))
        try await bench.queueApprovals()
        try await bench.running {
            // 100 ms doubling to 5 s, of which the dice take three quarters.
            for milliseconds in [75, 150, 300, 600, 1_200, 2_400, 3_750, 3_750] {
                await bench.clock.untilSomebodySleeps(for: .milliseconds(milliseconds))
                bench.clock.advance(by: .milliseconds(milliseconds))
            }
            await bench.clock.untilSomebodySleeps(for: .milliseconds(3_750))
            #expect(bench.status.read { $0.recordTrouble } == "read-only")
            #expect(bench.status.inFlight == 30)
            await bench.store.failRecords(nil)
            bench.clock.advance(by: .milliseconds(3_750))
            await bench.store.written.reaches(30)
        }
        for id in Int64(1)...30 { #expect(await bench.store[id]?.charges.first?.state == .paid) }
        #expect(bench.status.inFlight == 0)
        #expect(bench.status.read { $0.recordTrouble } == nil)
        #expect(bench.log.lines(at: .error).count == 1)
    }

    @Test func alongOutageIsLoggedEveryThirtySeconds() async throws {
        let bench = Bench()
        await bench.store.addDue(1...1)
        await bench.store.failRecords(.refused("wrong schema"))
        try await bench.queueApprovals()
        try await bench.running {
            for _ in 0..<6 {
                await bench.clock.untilSomebodySleeps(for: .seconds(10))
                bench.clock.advance(by: .seconds(10))
            }
            await bench.clock.untilSomebodySleeps(for: .seconds(10))
            #expect(bench.log.lines(at: .error).count == 3)
            await bench.store.failRecords(nil)
            bench.clock.advance(by: .seconds(10))
            await bench.store.written.reaches(1)
        }
    }

    @Test func aLostCommitAnswerOnlyRepeatsTheRecord() async throws {
        let bench = Bench()
        await bench.store.addDue(1...2)
        await bench.store.failRecords(.unavailable("connection lost", mayHaveCommitted: true))
        try await bench.queueApprovals()
        try await bench.running {
            await bench.clock.untilSomebodySleeps(for: .milliseconds(75))
            await bench.store.failRecords(nil)
            bench.clock.advance(by: .milliseconds(75))
            await bench.store.written.reaches(2)
        }
        #expect(await bench.store[1]?.charges.count == 1)
        #expect(await bench.store[1]?.subscription.periodIndex == 1)
        #expect(bench.log.lines(at: .error).count == 1)
    }

    @Test func aSecondTransitionOfOneSubscriptionWaitsForTheNextBatch() async throws {
        let bench = Bench()
        await bench.store.addDue(1...2)
        let transitions = try await bench.queueApprovals()
        let again = try #require(transitions.first)
        bench.recorder.add(again)
        try await bench.running { await bench.store.written.reaches(3) }
        let batches = await bench.store.recorded
        #expect(batches.map(\.count) == [2, 1])
        #expect(batches.last == [again])
    }

    @Test func aRejectedRowTakesNoOtherDown() async throws {
        let bench = Bench()
        await bench.store.addDue(1...3)
        await bench.store.reject(2)
        try await bench.queueApprovals()
        try await bench.running { await bench.store.written.reaches(3) }
        #expect(await bench.store[1]?.charges.first?.state == .paid)
        #expect(await bench.store[2]?.charges.first?.state == .open)
        #expect(await bench.store[3]?.charges.first?.state == .paid)
        #expect(bench.log.lines(at: .error).map { $0.metadata["subscription"] } == ["2"])
        #expect(bench.status.inFlight == 0)
    }

    @Test func aLockedRowIsTriedAgainAloneAndKeepsItsSlot() async throws {
        let bench = Bench()
        await bench.store.addDue(1...3)
        await bench.store.lock(2)
        try await bench.queueApprovals()
        try await bench.running {
            // 5 s doubling, of which the dice take three quarters.
            for milliseconds in [3_750, 7_500] {
                await bench.clock.untilSomebodySleeps(for: .milliseconds(milliseconds))
                #expect(bench.status.inFlight == 1)
                #expect(bench.status.read { $0.recordTrouble } == nil)
                bench.clock.advance(by: .milliseconds(milliseconds))
            }
            await bench.clock.untilSomebodySleeps(for: .milliseconds(15_000))
            await bench.store.lock(2, false)
            bench.clock.advance(by: .milliseconds(15_000))
            await bench.store.written.reaches(6)
        }
        for id in Int64(1)...3 { #expect(await bench.store[id]?.charges.first?.state == .paid) }
        #expect(await bench.store.recorded.map(\.count) == [3, 1, 1, 1])
        #expect(bench.status.inFlight == 0)
    }

    @Test func aLockedRowStopsNeitherClaimsNorOtherRecords() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        await rig.store.lock(1)
        try await rig.running {
            await rig.store.written.reaches(1)
            await rig.store.addDue(2...4)
            rig.service.wake()
            await rig.store.written.reaches(4)
            #expect(rig.service.health().reason == nil)
            await rig.store.lock(1, false)
            await rig.clock.untilSomebodySleeps(for: .milliseconds(3_750))
            rig.clock.advance(by: .milliseconds(3_750))
            await rig.store.written.reaches(5)
        }
        for id in Int64(1)...4 { #expect(await rig.store[id]?.charges.first?.state == .paid) }
    }

    @Test func aContradictionIsAnError() async throws {
        let bench = Bench()
        await bench.store.addDue(1...1)
        let transitions = try await bench.queueApprovals()
        var other = try #require(transitions.first)
        guard case .approved(let number, var payment, let answer) = other.attempt else {
            Issue.record("no approval")
            return
        }
        payment.paymentKey = "another payment"
        other.attempt = .approved(number: number, payment, answer)
        bench.recorder.add(other)
        try await bench.running { await bench.store.written.reaches(2) }
        let line = try #require(bench.log.lines(at: .error).first)
        #expect(line.metadata["subscription"] == "1")
        #expect(line.metadata["attempt"] == "1")
        #expect(!"\(line)".contains("another payment"))
    }

    @Test func aBatchThatFailsForGoodIsWrittenOneByOne() async throws {
        let bench = Bench()
        await bench.store.addDue(1...2)
        await bench.store.failRecords(.failed("bad statement"))
        try await bench.queueApprovals()
        try await bench.running { await bench.store.recordCalls.reaches(3) }
        // The batch of two, then each alone; the slots are free, the leases stand.
        #expect(bench.store.recordCalls.count == 3)
        #expect(bench.status.inFlight == 0)
        #expect(await bench.store[1]?.subscription.leaseUntil != nil)
        #expect(bench.status.read { $0.breaker.cause } == nil)
    }

    @Test func threeRecordsInARowThatFailForGoodStopClaims() async throws {
        let bench = Bench()
        await bench.store.addDue(1...3)
        await bench.store.failRecords(.failed("bad statement"))
        try await bench.queueApprovals()
        try await bench.running { await bench.store.recordCalls.reaches(4) }
        #expect(bench.status.read { $0.breaker.cause?.code } == "RECORD_FAILED")
    }

    @Test func underLoadABatchGathersAndALoneResultDoesNotWait() async throws {
        let bench = Bench(WorkerConfiguration(recordFlushInterval: .milliseconds(2)))
        await bench.store.addDue(1...1)
        try await bench.queueApprovals()
        // The only slot: nobody can join it, so it is written while the clock stands still.
        try await bench.running {
            await bench.store.written.reaches(1)
            let slot = Slot(subscription: SubscriptionID(99), lease: LeaseNumber(1))
            bench.status.change { _ = $0.slots.insert(slot) }
            await bench.store.addDue(2...2)
            try await bench.queueApprovals()
            await bench.clock.untilSomebodySleeps(for: .milliseconds(2))
            #expect(bench.store.recordCalls.count == 1)
            await bench.store.addDue(3...3)
            try await bench.queueApprovals()
            bench.clock.advance(by: .milliseconds(2))
            await bench.store.written.reaches(3)
        }
        #expect(await bench.store.recorded.map(\.count) == [1, 2])
    }

    @Test func noCallHasMoreThanTheLimit() async throws {
        let bench = Bench()
        await bench.store.addDue(1...1_201)
        try await bench.queueApprovals()
        try await bench.running { await bench.store.written.reaches(1_201) }
        #expect(await bench.store.recorded.map(\.count) == [500, 500, 201])
    }

    @Test func anAbsentStoreStopsClaimsAndLosesNoResult() async throws {
        let rig = Rig()
        await rig.store.addDue(1...5)
        await rig.store.failRecords(.unavailable("restart", mayHaveCommitted: false))
        try await rig.running {
            await rig.gateway.answers.reaches(5)
            await rig.clock.untilSomebodySleeps(for: .milliseconds(75))
            await rig.store.addDue(6...6)
            let claims = rig.store.claimCalls.count
            rig.service.wake()
            rig.clock.advance(by: .milliseconds(75))
            await rig.clock.untilSomebodySleeps(for: .milliseconds(150))
            #expect(rig.store.claimCalls.count == claims)
            #expect(rig.service.health().reason == "cannot record: restart")
            await rig.store.failRecords(nil)
            rig.clock.advance(by: .milliseconds(150))
            await rig.store.written.reaches(6)
        }
        #expect(rig.gateway.payments.count == 6)
        for id in Int64(1)...6 { #expect(await rig.store[id]?.charges.first?.state == .paid) }
    }
}
