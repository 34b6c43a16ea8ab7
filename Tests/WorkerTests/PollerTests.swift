import Billing
import Synchronization
import TestSupport
import Testing

@testable import Worker

@Suite(.timeLimit(.minutes(1)))
struct PollerTests {
    @Test func dueRowsAreChargedAndRecordedOnce() async throws {
        let rig = Rig()
        await rig.store.addDue(1...3)
        try await rig.running { await rig.store.written.reaches(3) }
        #expect(Set(rig.gateway.sent.map(\.orderID)) == [order(1), order(2), order(3)])
        #expect(rig.gateway.sent.count == 3)
        for id in Int64(1)...3 {
            let row = await rig.store[id]
            #expect(row?.charges.map(\.state) == [.paid])
            #expect(row?.subscription.periodIndex == 1)
            #expect(row?.subscription.leaseUntil == nil)
        }
        #expect(rig.service.health().counters.approved == 3)
    }

    @Test func itSleepsUntilTheNextRowIsDueButNotBeyondThePollInterval() async throws {
        let rig = Rig()
        let start = await rig.store.now
        await rig.store.subscribe(1, startsAt: start + .milliseconds(300))
        try await rig.running {
            await rig.clock.untilSomebodySleeps(for: .milliseconds(300))
            #expect(rig.store.claimCalls.count == 1)
            await rig.store.advance(by: .milliseconds(300))
            rig.clock.advance(by: .milliseconds(300))
            await rig.store.written.reaches(1)
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            let before = rig.store.claimCalls.count
            rig.clock.advance(by: .seconds(1))
            await rig.store.claimCalls.reaches(before + 1)
        }
    }

    @Test func aHintWakesItAtOnce() async throws {
        let rig = Rig()
        try await rig.running {
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            await rig.store.addDue(1...1)
            rig.service.wake()
            await rig.store.written.reaches(1)
        }
        #expect(rig.clock.now.offset == .zero)
    }

    @Test func aHintDuringAClaimIsNotLost() async throws {
        let rig = Rig()
        let service = rig.service
        let isFirst = Mutex(true)
        await rig.store.onClaim {
            let hints = isFirst.withLock { first in
                defer { first = false }
                return first
            }
            if hints { service.wake() }
        }
        // Nothing is due, and the clock stands still: only the hint can cause the second claim.
        try await rig.running { await rig.store.claimCalls.reaches(2) }
        #expect(rig.clock.now.offset == .zero)
    }

    @Test func noMoreRowsAreClaimedThanSlotsAreFree() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 4, recordFlushInterval: .zero))
        await rig.store.addDue(1...20)
        for id in Int64(1)...4 { rig.gateway.hang(.charge(order(id))) }
        try await rig.running {
            await rig.gateway.arrivals.reaches(4)
            #expect(rig.service.health().inFlight == 4)
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            rig.clock.advance(by: .seconds(1))
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            #expect(rig.store.claimCalls.count == 1)
            for id in Int64(1)...4 { rig.gateway.release(.charge(order(id))) }
            await rig.store.written.reaches(20)
        }
        #expect(rig.gateway.mostConcurrent == 4)
        #expect(await rig.store.limits.allSatisfy { (1...4).contains($0) })
        #expect(Set(rig.gateway.sent.map(\.orderID)).count == 20)
    }

    @Test func aFewFreeSlotsWaitForOthersWhileMoreIsDue() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 8, recordFlushInterval: .zero))
        await rig.store.addDue(1...20)
        for id in Int64(1)...20 { rig.gateway.hang(.charge(order(id))) }
        try await rig.running {
            await rig.gateway.arrivals.reaches(8)
            rig.gateway.release(.charge(order(1)))
            await rig.clock.untilSomebodySleeps(for: .milliseconds(20))
            #expect(rig.service.health().inFlight == 7)
            #expect(rig.store.claimCalls.count == 1)
            // A quarter of the slots: claimed while the clock stands still.
            rig.gateway.release(.charge(order(2)))
            await rig.gateway.arrivals.reaches(10)
            #expect(rig.clock.now.offset == .zero)
            // Nothing else ends: one slot waits no longer than that.
            rig.gateway.release(.charge(order(3)))
            await rig.clock.untilSomebodySleeps(for: .milliseconds(20))
            rig.clock.advance(by: .milliseconds(20))
            await rig.gateway.arrivals.reaches(11)
            // A hint waits for nothing.
            rig.gateway.release(.charge(order(4)))
            await rig.clock.untilSomebodySleeps(for: .milliseconds(20))
            rig.service.wake()
            await rig.gateway.arrivals.reaches(12)
            #expect(rig.clock.now.offset == .milliseconds(20))
            for id in Int64(5)...20 { rig.gateway.release(.charge(order(id))) }
            await rig.store.written.reaches(20)
        }
        #expect(await rig.store.limits.prefix(4) == [8, 2, 1, 1])
    }

    @Test func aSlotIsTakenUntilTheResultIsRecorded() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 1, recordFlushInterval: .zero))
        await rig.store.addDue(1...2)
        await rig.store.failRecords(.unavailable("restart", mayHaveCommitted: false))
        try await rig.running {
            await rig.store.recordCalls.reaches(1)
            await rig.clock.untilSomebodySleeps(for: .milliseconds(75))
            #expect(rig.service.health().inFlight == 1)
            #expect(rig.gateway.requests.count == 1)
            await rig.store.failRecords(nil)
            rig.clock.advance(by: .milliseconds(75))
            await rig.store.written.reaches(2)
        }
    }

    @Test func oneClaimTakesAtMostFiveHundred() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 2_000, recordFlushInterval: .zero))
        await rig.store.addDue(1...1_200)
        try await rig.running { await rig.store.written.reaches(1_200) }
        let limits = await rig.store.limits
        #expect(limits.first == 500)
        #expect(limits.allSatisfy { $0 <= 500 })
        #expect(await rig.store.recorded.allSatisfy { $0.count <= 500 })
    }

    @Test func whatNeedsNoProviderGoesStraightToTheRecorder() async throws {
        let rig = Rig()
        let start = await rig.store.now
        await rig.store.subscribe(1, startsAt: start, amount: Won(0))
        try await rig.running { await rig.store.written.reaches(1) }
        #expect(rig.gateway.requests.isEmpty)
        #expect(await rig.store[1]?.charges.map(\.state) == [.paid])
        #expect(await rig.store[1]?.charges.first?.attempts.isEmpty == true)
        #expect(rig.service.health().inFlight == 0)
    }

    @Test func anUnavailableStoreIsAskedAgainLaterAndLater() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        await rig.store.failClaims(.unavailable("connection lost", mayHaveCommitted: true))
        try await rig.running {
            for milliseconds in [75, 150, 300] {
                await rig.clock.untilSomebodySleeps(for: .milliseconds(milliseconds))
                let calls = rig.store.claimCalls.count
                rig.clock.advance(by: .milliseconds(milliseconds))
                await rig.store.claimCalls.reaches(calls + 1)
            }
            #expect(rig.gateway.requests.isEmpty)
            let health = rig.service.health()
            #expect(!health.ready)
            #expect(health.reason == "cannot claim: connection lost")
            // The loop moves and the store's calls come back: nothing hangs.
            #expect(health.progress > 0)
            await rig.store.failClaims(nil)
            await rig.clock.untilSomebodySleeps(for: .milliseconds(600))
            rig.clock.advance(by: .milliseconds(600))
            await rig.store.written.reaches(1)
            #expect(rig.service.health().ready)
        }
        #expect(rig.log.lines.filter { $0.message.hasPrefix("the store is unavail") }.count == 1)
    }

    @Test func aRefusingStoreIsAskedEveryTenSeconds() async throws {
        let rig = Rig(WorkerConfiguration(pollInterval: .seconds(30), recordFlushInterval: .zero))
        await rig.store.failClaims(.refused("another shop's key"))
        try await rig.running {
            await rig.clock.untilSomebodySleeps(for: .seconds(10))
            #expect(rig.service.health().reason == "cannot claim: another shop's key")
            rig.clock.advance(by: .seconds(10))
            await rig.store.claimCalls.reaches(2)
            await rig.clock.untilSomebodySleeps(for: .seconds(10))
            await rig.store.failClaims(nil)
            rig.clock.advance(by: .seconds(10))
            await rig.store.claimCalls.reaches(3)
            await rig.log.says("claims go on")
            #expect(rig.service.health().ready)
        }
    }

    @Test func aPausedFleetIsNotReadyAndStillAsks() async throws {
        let rig = Rig()
        await rig.store.addDue(1...1)
        await rig.store.pause("price change")
        try await rig.running {
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            #expect(rig.service.health().reason == "paused: price change")
            #expect(rig.gateway.requests.isEmpty)
            await rig.store.pause(nil)
            rig.clock.advance(by: .seconds(1))
            await rig.store.written.reaches(1)
            #expect(rig.service.health().ready)
        }
    }

    @Test func theFleetHearsOfTheWorker() async throws {
        let rig = Rig()
        try await rig.running {
            await rig.store.reportCalls.reaches(1)
            await rig.clock.untilSomebodySleeps(for: .seconds(5))
            rig.clock.advance(by: .seconds(5))
            await rig.store.reportCalls.reaches(2)
        }
        let states = await rig.store.reports.map(\.state)
        #expect(states.dropFirst().first == .running)
        #expect(states.last == .stopped)
    }

    @Test func fullSlotsAreNoProgressUnlessTheStoreAnswersSomething() async throws {
        let rig = Rig(WorkerConfiguration(maxInFlight: 1, recordFlushInterval: .zero))
        await rig.store.addDue(1...1)
        rig.gateway.hang(.charge(order(1)))
        try await rig.running {
            await rig.gateway.arrivals.reaches(1)
            // The reporter sleeps since the first instant, or its next report comes too late.
            await rig.clock.untilSomebodySleeps(for: .seconds(5))
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            rig.clock.advance(by: .seconds(1))
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            let before = rig.service.health().progress
            rig.clock.advance(by: .seconds(1))
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            #expect(rig.service.health().progress == before)
            await rig.clock.untilSomebodySleeps(for: .seconds(3))
            rig.clock.advance(by: .seconds(3))
            await rig.store.reportCalls.reaches(2)
            await rig.clock.untilSomebodySleeps(for: .seconds(5))
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            rig.clock.advance(by: .seconds(1))
            await rig.clock.untilSomebodySleeps(for: .seconds(1))
            #expect(rig.service.health().progress > before)
            rig.gateway.release(.charge(order(1)))
        }
    }
}
