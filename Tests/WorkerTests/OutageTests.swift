import Billing
import Logging
import Synchronization
import TestSupport
import Testing

@testable import Worker

/// A provider that is away for a while: every request takes its time on the test's clock.
private final class AwayGateway: Gateway {
    enum Failing: CaseIterable, Sendable { case silent, unreachable, serverError, tooMany }

    struct Counts {
        var isAway = true
        var sends: [OrderID: Int] = [:]
        var whileAway = 0
        var running = 0
        /// By the number of answers since the provider came back: the most that were under way.
        var ramp: [Int: Int] = [:]
        var answers = 0
        var payments: [OrderID: Payment] = [:]
    }

    let clock: ManualClock
    let failing: Failing
    let counts = Mutex(Counts())

    init(_ failing: Failing, _ clock: ManualClock) {
        self.failing = failing
        self.clock = clock
    }

    func charge(_ request: AttemptRequest, timeout: Duration) async -> Outcome {
        await travel(request.orderID)
        return counts.withLock { counts in
            counts.running -= 1
            guard counts.isAway else {
                counts.answers += 1
                let payment = Payment.of(request)
                counts.payments[request.orderID] = payment
                return .approved(payment, traceID: nil)
            }
            switch failing {
            case .silent: return .unknown(.timeout)
            case .unreachable: return .notSent(Answer(code: "NOT_CONNECTED"))
            case .serverError: return .unknown(Answer(code: "UNKNOWN_ERROR", httpStatus: 500))
            case .tooMany: return .refused(.busy)
            }
        }
    }

    func lookUp(_ orderID: OrderID, timeout: Duration) async -> LookUp {
        await travel(nil)
        return counts.withLock { counts in
            counts.running -= 1
            guard counts.isAway else {
                counts.answers += 1
                if let payment = counts.payments[orderID] { return .found(payment) }
                return .notFound(Answer(code: "NOT_FOUND_PAYMENT", httpStatus: 404))
            }
            return .unclear(failing == .tooMany ? .busy : .timeout)
        }
    }

    private func travel(_ order: OrderID?) async {
        let isSlow = counts.withLock { counts in
            counts.running += 1
            if counts.isAway {
                counts.whileAway += 1
            } else {
                counts.ramp[counts.answers] = max(
                    counts.ramp[counts.answers] ?? 0, counts.running)
            }
            if let order { counts.sends[order, default: 0] += 1 }
            return counts.isAway && failing == .silent
        }
        try? await clock.sleep(
            until: clock.now.advanced(by: .seconds(isSlow ? 65 : 1)), tolerance: nil)
    }
}

@Suite(.timeLimit(.minutes(2)))
struct OutageTests {
    private static let rows: Int64 = 60
    private static let slots = 16

    /// An hour without the provider, with sixty rows due: a probe now and then, no dunning, few names
    /// used up; and afterwards a ramp.
    @Test(arguments: AwayGateway.Failing.allCases)
    fileprivate func anHourWithoutTheProviderCostsProbesAndNothingElse(
        _ failing: AwayGateway.Failing
    ) async throws {
        let store = MemoryStore()
        let clock = ManualClock()
        let log = LogBook()
        let gateway = AwayGateway(failing, clock)
        await store.addDue(1...Self.rows)
        let service = ChargingService(
            store: store, gateway: gateway,
            configuration: WorkerConfiguration(
                maxInFlight: Self.slots, recordFlushInterval: .zero),
            logger: log.logger, time: Timepiece(clock, jitter: { 0.5 }))
        let run = Task { try await service.run() }

        func tick() async {
            await clock.untilSomebodySleeps(within: .seconds(1))
            await store.advance(by: .seconds(1))
            clock.advance(by: .seconds(1))
        }
        for _ in 0..<3_600 { await tick() }
        let health = service.health()
        #expect(!health.ready)
        #expect(health.breaker.word == "open")
        #expect(health.reason?.hasPrefix("the provider does not serve") == true)
        let before = gateway.counts.withLock { counts in
            counts.isAway = false
            return counts.whileAway
        }
        // The rows that were in hand when it began, what it takes to be sure, and a probe every
        // 45 s on average.
        #expect(before <= 2 * Self.slots + CircuitBreaker.window + 3_600 / 30)

        let deadline = 3 * 3_600
        for second in 0..<deadline {
            await tick()
            let paid = gateway.counts.withLock { $0.payments.count }
            if paid == Self.rows, service.health().inFlight == 0 { break }
            try #require(second < deadline - 1, "only \(paid) were paid")
        }
        for id in 1...Self.rows {
            let charge = await store[id]?.charges.first
            #expect(charge?.state == .paid)
            #expect(charge?.declines == 0)
            #expect((charge?.attempts.count ?? 99) <= (failing == .tooMany ? 4 : 1))
        }
        let counts = gateway.counts.withLock { $0 }
        #expect((counts.sends.values.max() ?? 99) <= 12)
        // Two at a time with the first answer, one more with each.
        for (answers, running) in counts.ramp {
            #expect(running <= min(Self.slots, answers + 2), "after \(answers) answers")
        }
        #expect(
            log.lines(at: .error).filter { $0.message.hasPrefix("the provider does") }.count <= 2)
        run.cancel()
        try await run.value
    }
}
