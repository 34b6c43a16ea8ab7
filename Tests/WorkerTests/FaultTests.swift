import Billing
import Logging
import TestSupport
import Testing

@testable import Worker

@Suite(.timeLimit(.minutes(1)))
struct FaultTests {
    @Test func aFaultOfAllStopsClaimsProbesOneRowAndEnds() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 3, recordFlushInterval: .zero))
        await rig.store.addDue(1...6)
        rig.gateway.answerEveryCharge(.faultOfAll(.badKey))
        rig.gateway.answerEveryLookUp(.faultOfAll(.badKey))
        for id in Int64(1)...3 { rig.gateway.hang(.charge(order(id))) }
        try await rig.running {
            // All three are on the wire when the first of them meets the fault.
            await rig.gateway.arrivals.reaches(3)
            for id in Int64(1)...3 { rig.gateway.release(.charge(order(id))) }
            await rig.store.written.reaches(3)
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            #expect(rig.service.health().state == .faulted)
            #expect(rig.service.health().reason == "faulted: UNAUTHORIZED_KEY")
            // Hints change nothing, and just before the half minute nobody asks.
            rig.service.wake()
            try await rig.pass(seconds: 29)
            #expect(rig.store.claimCalls.count == 1)
            try await rig.pass(seconds: 1)
            await rig.store.written.reaches(4)
            #expect(await rig.store.limits.last == 1)
            // The first probe met it too: a whole minute now.
            try await rig.pass(seconds: 59)
            #expect(rig.store.claimCalls.count == 2)
            rig.gateway.answerEveryCharge(nil)
            rig.gateway.answerEveryLookUp(nil)
            try await rig.pass(seconds: 1)
            // The second probe is approved or declined: all others follow. Rows whose look-up met
            // the fault wait for their backoff.
            await rig.store.advance(by: .seconds(3_600))
            await rig.gateway.untilPaid(6, rig)
            #expect(rig.service.health().ready)
        }
        let faults = rig.log.lines(at: .error).filter { $0.message.hasPrefix("every charge") }
        #expect(faults.count == 1)
        #expect(faults.first?.metadata["code"] == "UNAUTHORIZED_KEY")
        #expect(faults.first?.metadata["trace_id"] == "trace-1")
        #expect(await rig.store[1]?.charges.first?.declines == 0)
    }

    @Test func workClaimedBeforeAFaultIsGivenBackUnsent() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 2, recordFlushInterval: .zero))
        let start = await rig.store.now
        rig.gateway.script(order(1), charges: .declined(.poor, .soft))
        await rig.store.addDue(1...1)
        try await rig.running {
            await rig.store.written.reaches(1)
            await rig.store.advance(by: .seconds(86_400))
            // Row 1 looks its first name up while row 2 meets the fault.
            rig.gateway.hang(.lookUp(order(1)))
            rig.gateway.script(order(2), charges: .faultOfAll(.badKey))
            await rig.store.subscribe(2, startsAt: start)
            rig.service.wake()
            await rig.store.written.reaches(2)
            rig.gateway.release(.lookUp(order(1)))
            await rig.store.releases.reaches(1)
        }
        #expect(await rig.store.released == [SubscriptionID(1)])
        #expect(!rig.gateway.requests.contains(.charge(order(1, attempt: 2))))
    }

    @Test func oneBadRowDoesNotStopTheOthers() async throws {
        let rig = Rig()
        await rig.store.addDue(1...3)
        rig.gateway.script(
            order(2), charges: .faultOfRow(Answer(code: "INVALID_ORDER_NAME", httpStatus: 400)))
        try await rig.running { await rig.store.written.reaches(3) }
        #expect(await rig.store[1]?.charges.first?.state == .paid)
        #expect(await rig.store[2]?.charges.first?.state == .held)
        #expect(
            await rig.store[2]?.charges.first?.reason
                == "refused by the provider: INVALID_ORDER_NAME")
        #expect(await rig.store[3]?.charges.first?.state == .paid)
        #expect(rig.service.health().counters.held == 1)
    }

    /// A plan that is broken makes every row of it wrong: ten are held and no more, and when it is
    /// mended the others are charged without anybody's help.
    @Test func rowsThatAreWrongOneAfterAnotherStopTheClaims() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 20, recordFlushInterval: .zero))
        await rig.store.addDue(1...28)
        for id in Int64(1)...25 { await rig.store.spoil(id) }
        try await rig.running {
            await rig.store.written.reaches(10)
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            #expect(rig.service.health().ready == false)
            #expect(rig.service.health().reason == "faulted: MANY_WRONG_ROWS")
            rig.service.wake()
            try await rig.pass(seconds: 29)
            #expect(rig.store.claimCalls.count == 1)
            // One more is held as a probe; then nothing for a minute.
            try await rig.pass(seconds: 1)
            await rig.store.written.reaches(11)
            #expect(await rig.store.limits == [20, 1])
            try await rig.pass(seconds: 59)
            #expect(rig.store.claimCalls.count == 2)
            for id in Int64(1)...25 { await rig.store.spoil(id, nil) }
            await rig.gateway.untilPaid(17, rig)
            await rig.store.written.reaches(28)
            #expect(rig.service.health().ready)
        }
        #expect(rig.service.health().counters.held == 11)
        let faults = rig.log.lines(at: .error).filter { $0.message.hasPrefix("one row after") }
        #expect(faults.count == 1)
    }

    @Test func rowsThatBreakTheirClaimsOneAfterAnotherStopTheClaims() async throws {
        let rig = Rig()
        await rig.store.setAside(30)
        try await rig.running {
            await rig.log.says("one row after another")
            await rig.store.addDue(1...3)
            try await rig.pass(seconds: 29)
            #expect(rig.store.claimCalls.count == 1)
            await rig.store.setAside(0)
            await rig.gateway.untilPaid(3, rig)
            #expect(await rig.store.limits.prefix(2) == [256, 1])
        }
    }

    @Test func aFewWrongRowsStopNothing() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 1, recordFlushInterval: .zero))
        await rig.store.addDue(1...40)
        // Nine, one that is charged, nine, and so on.
        for id in Int64(1)...40 where id % 10 != 0 { await rig.store.spoil(id) }
        try await rig.running { await rig.store.written.reaches(40) }
        #expect(rig.gateway.payments.count == 4)
        #expect(rig.service.health().counters.held == 36)
        #expect(rig.log.lines(at: .error).filter { $0.message.hasPrefix("one row") } == [])
    }
}

extension Rig {
    /// Lets the poller turn once a second. Its sleeps end exactly on the seconds.
    func pass(seconds: Int) async throws {
        for _ in 0..<seconds {
            await clock.untilSomebodySleeps(for: .seconds(1))
            clock.advance(by: .seconds(1))
        }
    }
}

extension ScriptedGateway {
    /// Turns the clock until so many payments were taken.
    func untilPaid(_ count: Int, _ rig: Rig) async {
        while payments.count < count, !Task.isCancelled {
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            rig.clock.advance(by: .seconds(1))
        }
    }
}
