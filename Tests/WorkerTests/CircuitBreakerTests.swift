import Testing

@testable import Worker

/// Lists of event → what it changed and how many may be claimed.
struct CircuitBreakerTests {
    private let key = CircuitBreaker.Sign.fault(code: "KEY")
    private let silent = CircuitBreaker.Sign.failed(code: "TIMEOUT")

    private func opened(by sign: CircuitBreaker.Sign, maximum: Int = 9) -> CircuitBreaker {
        var breaker = CircuitBreaker(maximum: maximum)
        for _ in 1...CircuitBreaker.fewest {
            _ = breaker.ended(sign, epoch: breaker.epoch, now: .zero)
            if breaker.cause != nil { break }
        }
        return breaker
    }

    // MARK: Faults

    @Test func probesOfAFaultComeLaterAndLaterUpToFiveMinutes() {
        var breaker = opened(by: key)
        #expect(breaker.cause == .fault(code: "KEY"))
        var now = Duration.zero
        for seconds in [30, 60, 120, 240, 300, 300, 300] {
            #expect(breaker.nextLook(now: now) == .seconds(seconds))
            #expect(breaker.limit(inFlight: 0, now: now + .seconds(seconds) - .nanoseconds(1)) == 0)
            now += .seconds(seconds)
            #expect(breaker.limit(inFlight: 0, now: now) == 1)
            #expect(breaker.limit(inFlight: 9, now: now) == 0)
            breaker.started(epoch: breaker.epoch)
            #expect(breaker.limit(inFlight: 0, now: now) == 0)
            let change = breaker.ended(key, epoch: breaker.epoch, now: now)
            #expect(change == nil)
        }
    }

    @Test func stragglersNeitherLengthenNorEndAnOpenBreaker() {
        for sign in [key, silent] {
            var breaker = opened(by: sign)
            let before = breaker.state
            for late in [key, silent, .healthy, .busy(code: "429")] {
                #expect(breaker.ended(late, epoch: 0, now: .seconds(5)) == nil)
            }
            #expect(breaker.state == before)
            #expect(breaker.epoch == 1)
        }
    }

    @Test func aProbeThatLearntNothingIsRepeatedAfterTheSamePause() {
        var breaker = opened(by: key)
        breaker.started(epoch: 1)
        _ = breaker.ended(.none, epoch: 1, now: .seconds(40))
        #expect(breaker.nextLook(now: .seconds(40)) == .seconds(30))
        breaker.started(epoch: 1)
        _ = breaker.ended(silent, epoch: 1, now: .seconds(70))
        #expect(breaker.nextLook(now: .seconds(70)) == .seconds(30))
        // A look-up says that the provider is there, not that it takes charges.
        breaker.started(epoch: 1)
        _ = breaker.ended(.clear, epoch: 1, now: .seconds(100))
        #expect(breaker.limit(inFlight: 0, now: .seconds(100)) == 1)
        #expect(breaker.cause == .fault(code: "KEY"))
        let change = breaker.ended(.healthy, epoch: 1, now: .seconds(101))
        #expect(change == .limited(2))
        #expect(breaker.limit(inFlight: 0, now: .seconds(101)) == 2)
    }

    @Test func aClaimThatWasUnderWayWhenItOpenedIsNoProbe() {
        var breaker = opened(by: key)
        breaker.started(epoch: 0)
        _ = breaker.ended(.none, epoch: 0, now: .seconds(1))
        #expect(breaker.limit(inFlight: 0, now: .seconds(30)) == 1)
    }

    @Test func manyWrongRowsInARowAreAFaultOfAllAndFewAreNot() {
        var breaker = CircuitBreaker()
        for _ in 1..<CircuitBreaker.mostWrongRows {
            _ = breaker.ended(.faultOfRow, epoch: 0, now: .zero)
        }
        _ = breaker.ended(.healthy, epoch: 0, now: .zero)
        #expect(breaker.cause == nil)
        for _ in 1...CircuitBreaker.mostWrongRows {
            _ = breaker.ended(.faultOfRow, epoch: 0, now: .zero)
        }
        #expect(breaker.cause == .fault(code: "MANY_WRONG_ROWS"))
        #expect(breaker.epoch == 1)
    }

    @Test func manyRowsThatMakeNoSenseAreAFaultOfAllToo() {
        var breaker = CircuitBreaker()
        let most = CircuitBreaker.mostWrongRows
        // Alone, nine of them; then the provider's word for the tenth.
        for _ in 1..<most {
            let change = breaker.claimed(wrong: 1, others: 0, epoch: 0, now: .zero)
            #expect(change == nil)
        }
        #expect(
            breaker.ended(.faultOfRow, epoch: 0, now: .zero)
                == .opened(.fault(code: "MANY_WRONG_ROWS")))
        // All in one claim.
        breaker = CircuitBreaker()
        let change = breaker.claimed(wrong: most, others: most - 1, epoch: 0, now: .zero)
        #expect(change == .opened(.fault(code: "MANY_WRONG_ROWS")))
    }

    @Test func wrongRowsAmongAsManyOthersOrWithAChargeBetweenThemAreNone() {
        var breaker = CircuitBreaker()
        let most = CircuitBreaker.mostWrongRows
        for _ in 1...100 {
            #expect(breaker.claimed(wrong: most, others: most, epoch: 0, now: .zero) == nil)
            #expect(breaker.claimed(wrong: most - 1, others: 0, epoch: 0, now: .zero) == nil)
            _ = breaker.ended(.healthy, epoch: 0, now: .zero)
        }
        #expect(breaker.state == .closed)
    }

    /// Otherwise the probes would hold one row after another, as fast as they can be claimed.
    @Test func aProbeThatIsAWrongRowWaitsAsLongAsAnyOther() {
        var breaker = CircuitBreaker()
        _ = breaker.claimed(wrong: 10, others: 0, epoch: 0, now: .zero)
        var now = Duration.zero
        for seconds in [30, 60, 120, 240, 300, 300] {
            #expect(breaker.nextLook(now: now) == .seconds(seconds))
            now += .seconds(seconds)
            #expect(breaker.claimed(wrong: 1, others: 0, epoch: breaker.epoch, now: now) == nil)
        }
        breaker.started(epoch: breaker.epoch)
        #expect(breaker.ended(.healthy, epoch: breaker.epoch, now: now) == .limited(2))
        // A claim that was under way when it opened says nothing more.
        var stale = opened(by: key)
        #expect(stale.claimed(wrong: 10, others: 0, epoch: 0, now: .zero) == nil)
        #expect(stale.cause == .fault(code: "KEY"))
    }

    // MARK: Silence

    @Test func fewFailuresOrOldOnesOrASmallShareChangeNothing() {
        var breaker = CircuitBreaker()
        for _ in 1..<CircuitBreaker.fewest { _ = breaker.ended(silent, epoch: 0, now: .zero) }
        #expect(breaker.state == .closed)
        // Nine that are too old, nine new ones.
        let later = CircuitBreaker.windowAge + .seconds(1)
        for _ in 1..<CircuitBreaker.fewest { _ = breaker.ended(silent, epoch: 0, now: later) }
        #expect(breaker.state == .closed)
        var mixed = CircuitBreaker()
        for turn in 0..<300 {
            _ = mixed.ended(turn % 3 == 2 ? silent : .healthy, epoch: 0, now: .seconds(turn))
        }
        #expect(mixed.state == .closed)
        #expect(mixed.limit(inFlight: 56, now: .zero) == 200)
    }

    @Test func halfOfTheRequestsFailingHalvesAndEachAnswerAddsOne() {
        var breaker = CircuitBreaker(maximum: 8)
        var changes: [CircuitBreaker.Change] = []
        func burst() {
            for turn in 0..<CircuitBreaker.fewest {
                let sign = turn % 2 == 0 ? CircuitBreaker.Sign.healthy : silent
                if let change = breaker.ended(sign, epoch: 0, now: .zero) { changes.append(change) }
            }
        }
        burst()
        #expect(breaker.state == .limited(4))
        #expect(breaker.limit(inFlight: 3, now: .zero) == 1)
        #expect(breaker.limit(inFlight: 7, now: .zero) == 0)
        for _ in 1...3 { _ = breaker.ended(.clear, epoch: 0, now: .zero) }
        #expect(breaker.state == .limited(7))
        let change = breaker.ended(.healthy, epoch: 0, now: .zero)
        #expect(change == .closed)
        #expect(changes == [.limited(4)])
    }

    @Test func nobodyThereOpensAtOnceAndProbesUpToAMinuteApart() {
        var breaker = opened(by: silent)
        #expect(breaker.cause == .silence(code: "TIMEOUT"))
        var now = Duration.zero
        for seconds in [5, 10, 20, 40, 60, 60] {
            #expect(breaker.limit(inFlight: 0, now: now + .seconds(seconds) - .nanoseconds(1)) == 0)
            now += .seconds(seconds)
            #expect(breaker.limit(inFlight: 0, now: now) == 1)
            breaker.started(epoch: 1)
            #expect(breaker.limit(inFlight: 0, now: now) == 0)
            #expect(breaker.ended(silent, epoch: 1, now: now) == nil)
        }
        // With dice: half of the pause at least.
        breaker.started(epoch: 1)
        _ = breaker.ended(silent, epoch: 1, now: now, jitter: 0)
        #expect(breaker.nextLook(now: now) == .seconds(30))
    }

    @Test func itOpensAgainByItselfAsARampAndShutsAgainIfThatFails() {
        for first in [CircuitBreaker.Sign.healthy, .clear, .faultOfRow] {
            var breaker = opened(by: silent)
            breaker.started(epoch: 1)
            #expect(breaker.ended(first, epoch: 1, now: .seconds(5)) == .limited(2))
            var limits: [Int] = []
            while breaker.state != .closed {
                limits.append(breaker.limit(inFlight: 0, now: .seconds(6)))
                _ = breaker.ended(.healthy, epoch: 1, now: .seconds(6))
            }
            #expect(limits == [2, 3, 4, 5, 6, 7, 8])
        }
        var breaker = opened(by: silent)
        _ = breaker.ended(.clear, epoch: 1, now: .seconds(5))
        let change = breaker.ended(silent, epoch: 1, now: .seconds(6))
        #expect(change == .opened(.silence(code: "TIMEOUT")))
        // It goes on where it was: 10 s, not 5.
        #expect(breaker.nextLook(now: .seconds(6)) == .seconds(10))
        #expect(breaker.epoch == 2)
    }

    @Test func aFaultFoundByAProbeOfASilenceIsAFault() {
        var breaker = opened(by: silent)
        let change = breaker.ended(key, epoch: 1, now: .seconds(5))
        #expect(change == .opened(.fault(code: "KEY")))
        #expect(breaker.nextLook(now: .seconds(5)) == .seconds(30))
    }

    @Test func aWorkerOfOneSlotComesBackWithoutARamp() {
        var breaker = opened(by: silent, maximum: 1)
        #expect(breaker.ended(.healthy, epoch: 1, now: .seconds(5)) == .closed)
        #expect(breaker.limit(inFlight: 0, now: .seconds(5)) == 1)
    }

    // MARK: "Not now"

    @Test func tooManyRequestsPauseTheWholeWorkerAndHealthyAnswersForgetIt() {
        let busy = CircuitBreaker.Sign.busy(code: "429")
        var breaker = CircuitBreaker(maximum: 9)
        var now = Duration.zero
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            _ = breaker.ended(busy, epoch: 0, now: now)
            #expect(breaker.limit(inFlight: 0, now: now) == 0)
            #expect(breaker.nextLook(now: now) == .seconds(seconds))
            now += .seconds(seconds)
            #expect(breaker.limit(inFlight: 0, now: now) == 9)
        }
        _ = breaker.ended(.healthy, epoch: 0, now: now)
        _ = breaker.ended(busy, epoch: 0, now: now)
        #expect(breaker.nextLook(now: now) == .seconds(1))
    }

    @Test func aBurstOfTooManyMakesOnePauseAndOpens() {
        let breaker = opened(by: .busy(code: "429"))
        #expect(breaker.cause == .silence(code: "429"))
        #expect(breaker.pausedUntil == .seconds(1))
    }
}
