import Billing
import TestSupport
import Testing

@testable import Worker

@Suite(.timeLimit(.minutes(1)))
struct OnceTests {
    @Test func allThatIsDueIsChargedAndThenItEnds() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 4, recordFlushInterval: .zero))
        await rig.store.addDue(1...10)
        let summary = try await rig.service.runOnce()
        #expect(summary.rounds == 3)
        #expect(summary.counters.approved == 10)
        #expect(summary.endedEarly == nil)
        for id in Int64(1)...10 { #expect(await rig.store[id]?.charges.first?.state == .paid) }
    }

    @Test func rowsThatAreDueAgainAtOnceAreHandledAgain() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        let newest = await rig.store.addCard(of: 1)
        rig.gateway.script(order(1), charges: .declined(.poor, .hard))
        let summary = try await rig.service.runOnce()
        #expect(
            rig.gateway.requests == [
                .charge(order(1)), .lookUp(order(1)), .charge(order(1, attempt: 2)),
            ])
        #expect(rig.gateway.sent.map(\.billingKeyID) == [newest, 1])
        #expect(summary.counters.declined == ["NOT_ENOUGH_BALANCE": 1])
        #expect(await rig.store[1]?.charges.first?.state == .paid)
    }

    @Test func anAbsentAttemptIsSentAgainUnderItsName() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        rig.gateway.script(order(1), charges: .unknown(.timeout))
        #expect(try await rig.service.runOnce().counters.unknown == 1)
        // Another process each time, as the command is run from a timer.
        for seconds in [60, 300, 1_800] {
            await rig.store.advance(by: .seconds(seconds))
            _ = try await rig.again().runOnce()
        }
        #expect(
            rig.gateway.requests == [
                .charge(order(1)), .lookUp(order(1)), .lookUp(order(1)), .charge(order(1)),
            ])
        #expect(rig.gateway.sent.first == rig.gateway.sent.last)
        #expect(await rig.store[1]?.charges.first?.state == .paid)
    }

    @Test func rowsThatBreakTheirClaimsEndItOnlyWhenTheyAreMany() async throws {
        let few = Rig()
        await few.store.setAside(3)
        #expect(try await few.service.runOnce().endedEarly == nil)
        #expect(few.store.claimCalls.count == 2)
        let many = Rig()
        await many.store.setAside(30)
        #expect(try await many.service.runOnce().endedEarly == "faulted: MANY_WRONG_ROWS")
        #expect(many.store.claimCalls.count == 1)
    }

    @Test func aFaultOfAllEndsIt() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 2, recordFlushInterval: .zero))
        await rig.store.addDue(1...9)
        rig.gateway.answerEveryCharge(.faultOfAll(.badKey))
        let summary = try await rig.service.runOnce()
        #expect(summary.endedEarly == "faulted: UNAUTHORIZED_KEY")
        #expect(summary.rounds == 1)
    }

    @Test func aPauseEndsItWithItsReason() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        await rig.store.pause("inventory")
        #expect(try await rig.service.runOnce().endedEarly == "inventory")
    }

    @Test func aClaimThatFailsIsThrown() async {
        let rig = Rig()
        await rig.store.failClaims(.refused("another shop's key"))
        await #expect(throws: StoreError.refused("another shop's key")) {
            try await rig.service.runOnce()
        }
    }

    @Test func aRowThatIsAlwaysDueAgainIsBounded() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        // No request fits into this lease: the row is given back, and due, each time.
        await rig.store.set(FleetNumbers.withoutLease(FleetNumbers()))
        let summary = try await rig.service.runOnce()
        #expect(summary.rounds == 10_000)
        #expect(summary.endedEarly == "10000 rounds")
        #expect(rig.gateway.requests.isEmpty)
    }
}

extension Rig {
    /// Another worker on the same store, provider and clock.
    func again() -> ChargingService {
        ChargingService(
            store: store, gateway: gateway,
            configuration: WorkerConfiguration(recordFlushInterval: .zero), logger: log.logger,
            time: Timepiece(clock, jitter: { 0.5 }))
    }
}

extension FleetNumbers {
    /// Leases that end when they begin.
    fileprivate static func withoutLease(_ numbers: FleetNumbers) -> FleetNumbers {
        var numbers = numbers
        numbers.lease = .zero
        return numbers
    }
}
