import Billing
import Logging
import ServiceLifecycle
import Synchronization
import TestSupport
import Testing

@testable import Worker

/// The loops of reconciling, on a clock of the test's own: pages, retries, the budget, the stop.
@Suite(.timeLimit(.minutes(1))) struct ReconcilerTests {
    private static let day = BooksDay(
        day: "2027-07-15", next: "2027-07-16", isProvisional: false,
        recent: "2027-07-16T01:00:00", isClaimed: true)

    /// Both books by script; what no script speaks of is empty.
    final class Script: ProviderBooks, LedgerBooks {
        struct State {
            var pages: [String?: [TransactionsPage]] = [:]
            var lookUp: @Sendable (String) -> LookUp = { _ in .notFound(Answer(code: "N")) }
            var asked: [String] = []
            var waits: [Duration] = []
            var days: [BooksDay] = []
            var claimError: StoreError?
            var payments: [LedgerPayment] = []
            var finished: [DayReport] = []
            var refunds: [Refund] = []
            var entry: LedgerEntry?
            var hangs = false
        }
        let state = Mutex(State())
        let arrived = Signal()
        let never = Signal()

        func transactions(
            of day: BooksDay, after key: String?, limit: Int, timeout: Duration
        ) async -> TransactionsPage {
            let (page, hangs) = state.withLock { state -> (TransactionsPage, Bool) in
                state.asked.append("list \(key ?? "-")")
                var pages = state.pages[key] ?? [.rows([])]
                let page = pages.count > 1 ? pages.removeFirst() : pages[0]
                state.pages[key] = pages
                return (page, state.hangs)
            }
            arrived.raise()
            if hangs { await never.wait(by: Timepiece()) }
            return page
        }
        func lookUp(_ order: OrderID, timeout: Duration) async -> LookUp { found("order \(order)") }
        func lookUp(paymentKey: String, timeout: Duration) async -> LookUp {
            found("payment \(paymentKey)")
        }
        private func found(_ what: String) -> LookUp {
            state.withLock { state in
                state.asked.append(what)
                return state.lookUp(what)
            }
        }
        func claimDay() async throws(StoreError) -> BooksDay? {
            let answer = state.withLock { state -> Result<BooksDay?, StoreError> in
                if let error = state.claimError {
                    state.claimError = nil
                    return .failure(error)
                }
                return .success(state.days.isEmpty ? nil : state.days.removeFirst())
            }
            return try answer.get()
        }
        func admit(_ day: BooksDay) async throws(StoreError) -> Duration {
            state.withLock { $0.waits.isEmpty ? .zero : $0.waits.removeFirst() }
        }
        func entries(_ orders: [OrderID]) async throws(StoreError) -> [LedgerEntry?] {
            let entry = state.withLock { $0.entry }
            return orders.map { _ in entry }
        }
        func payments(
            of day: BooksDay, after last: LedgerPayment?
        ) async throws(StoreError) -> [LedgerPayment] {
            last == nil ? state.withLock { $0.payments } : []
        }
        func record(_ refund: Refund) async throws(StoreError) -> RefundVerdict {
            state.withLock { $0.refunds.append(refund) }
            return .recorded
        }
        func finish(_ day: BooksDay, _ report: DayReport) async throws(StoreError) {
            state.withLock { $0.finished.append(report) }
        }
        var asked: [String] { state.withLock { $0.asked } }
    }

    private static func rows(_ keys: ClosedRange<Int>) -> TransactionsPage {
        .rows(
            keys.map { key in
                BooksRow(
                    transactionKey: "t\(key)", paymentKey: "p\(key)",
                    orderID: OrderID(stored: "shop-\(key)"), kind: .approval, customerKey: nil,
                    amount: Won(100), at: "2027-07-15T09:30:00+09:00")
            })
    }

    private static func compare(
        _ script: Script, _ clock: ManualClock = ManualClock()
    ) async throws -> DayReport {
        try await Reconciler(
            ledger: script, provider: script, time: Timepiece(clock, jitter: { 0 })
        ).compare(day)
    }

    @Test func pagesAreReadToAnEmptyOne() async throws {
        let script = Script()
        script.state.withLock {
            $0.pages = [nil: [Self.rows(1...3)], "t3": [Self.rows(4...4)], "t4": [.rows([])]]
        }
        let report = try await Self.compare(script)
        #expect(report.foreign == 4 && report.agrees)
        #expect(script.asked == ["list -", "list t3", "list t4"])
    }

    @Test(
        arguments: [
            // The same page for every key; a page that repeats a row; a ring of three.
            [nil: [rows(1...3)], "t3": [rows(1...3)]],
            [nil: [rows(1...3)], "t3": [rows(3...5)]],
            [nil: [rows(1...1)], "t1": [rows(2...2)], "t2": [rows(3...3)], "t3": [rows(1...1)]],
        ] as [[String?: [TransactionsPage]]])
    func aListThatDoesNotAdvanceIsAnError(_ pages: [String?: [TransactionsPage]]) async throws {
        let script = Script()
        script.state.withLock { $0.pages = pages }
        let report = try await Self.compare(script)
        #expect(report.trouble?.contains("does not advance") == true, "\(script.asked)")
        #expect(script.asked.count <= 4)
    }

    @Test func whatMayWorkLaterIsTriedAFewTimes() async throws {
        let script = Script()
        let clock = ManualClock()
        let busy = TransactionsPage.unavailable(Answer(code: "TOO_MANY", httpStatus: 429))
        script.state.withLock { $0.pages = [nil: [busy, busy, busy, Self.rows(1...1)]] }
        async let report = Self.compare(script, clock)
        for seconds in [1, 5, 15] {
            await clock.untilSomebodySleeps(for: .seconds(seconds))
            clock.advance(by: .seconds(seconds))
        }
        let done = try await report
        #expect(done.agrees && done.foreign == 1)

        script.state.withLock { $0.pages = [nil: [busy]] }
        async let failed = Self.compare(script, clock)
        for seconds in [1, 5, 15] {
            await clock.untilSomebodySleeps(for: .seconds(seconds))
            clock.advance(by: .seconds(seconds))
        }
        #expect(try await failed.trouble == "the list of transactions failed: 429 TOO_MANY")
    }

    @Test func whatAskingAgainDoesNotChangeIsAskedOnce() async throws {
        let script = Script()
        script.state.withLock {
            $0.pages = [nil: [.refused(Answer(code: "UNAUTHORIZED_KEY", httpStatus: 401))]]
        }
        let report = try await Self.compare(script)
        #expect(report.trouble == "the list of transactions failed: 401 UNAUTHORIZED_KEY")
        #expect(script.asked.count == 1 && !report.agrees)
    }

    @Test func withoutRoomInTheBudgetItWaitsAndThenGivesUp() async throws {
        let script = Script()
        let clock = ManualClock()
        script.state.withLock { $0.waits = [.seconds(3), .milliseconds(1)] }
        async let report = Self.compare(script, clock)
        for wait in [Duration.seconds(3), .milliseconds(100)] {
            await clock.untilSomebodySleeps(for: wait)
            #expect(script.asked.isEmpty)
            clock.advance(by: wait)
        }
        #expect(try await report.agrees)
        script.state.withLock { $0.waits = [.seconds(601)] }
        #expect(
            try await Self.compare(script, clock).trouble
                == "settings.max_requests_per_minute left no room for it")
    }

    private static func payment(_ number: Int64) -> LedgerPayment {
        LedgerPayment(
            subscription: SubscriptionID(number), period: 0,
            charge: .init(
                id: ChargeID(number), state: "paid", amount: Won(100), paymentKey: "p\(number)"),
            orderID: OrderID(stored: "o\(number)"), at: "2027-07-15T09:30:00+09:00",
            paidAt: Instant(microseconds: number))
    }

    @Test func tooManyMissingAreAListThatIsNotComplete() async throws {
        let script = Script()
        script.state.withLock { $0.payments = (1...1_001).map(Self.payment) }
        let report = try await Self.compare(script)
        #expect(report.trouble?.hasPrefix("more than 1000 payments") == true)
        // What was found until then stays.
        #expect(report.findings.count == 1_000)
        script.state.withLock { $0.payments = (1...1_000).map(Self.payment) }
        #expect(try await Self.compare(script).trouble == nil)
    }

    @Test func aCancelThatIsFoundIsRecorded() async throws {
        let script = Script()
        script.state.withLock {
            $0.payments = [Self.payment(1)]
            $0.lookUp = { _ in
                .found(
                    Payment(
                        paymentKey: "p1", orderID: OrderID(stored: "o1"),
                        status: .partialCanceled, totalAmount: Won(100), balanceAmount: Won(40)))
            }
        }
        let report = try await Self.compare(script)
        #expect(report.refunds == 1 && report.late == 1 && report.agrees)
        #expect(script.state.withLock { $0.refunds.map(\.amount) } == [Won(60)])
        #expect(script.asked == ["list -", "order o1"])
    }

    // MARK: The service

    private func service(_ script: Script, _ clock: ManualClock, _ log: LogBook) -> ReconcileService
    {
        ReconcileService(
            ledger: script, provider: script, logger: log.logger,
            time: Timepiece(clock, jitter: { 0 }))
    }

    @Test func itComparesWhatIsDueAndLooksAgain() async throws {
        let (script, clock, log) = (Script(), ManualClock(), LogBook())
        script.state.withLock {
            $0.days = [Self.day, Self.day]
            $0.payments = [Self.payment(1)]
        }
        let service = service(script, clock, log)
        let run = Task { try await service.run() }
        await clock.untilSomebodySleeps(for: .seconds(5))
        #expect(script.state.withLock { $0.finished.map(\.findings.count) } == [1, 1])
        #expect(log.lines(at: .error).first?.metadata["kind"] == "missing_payment")
        // A database that is gone is waited for.
        script.state.withLock {
            $0.claimError = .unavailable("gone", mayHaveCommitted: false)
            $0.days = [Self.day]
        }
        clock.advance(by: .seconds(5))
        await clock.untilSomebodySleeps(for: .seconds(30))
        #expect(log.lines(at: .warning).count == 1)
        clock.advance(by: .seconds(30))
        await clock.untilSomebodySleeps(for: .seconds(5))
        #expect(script.state.withLock { $0.finished.count } == 3)
        run.cancel()
        try await run.value
    }

    /// A provider that does not answer must not keep the process from ending.
    @Test func aStopWaitsForNothing() async throws {
        let (script, log) = (Script(), LogBook())
        script.state.withLock {
            $0.days = [Self.day]
            $0.hangs = true
        }
        let service = service(script, ManualClock(), log)
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: [.init(service: service)], logger: LogBook().logger))
        let run = Task { try await group.run() }
        await script.arrived.wait(by: Timepiece())
        let start = ContinuousClock.now
        await group.triggerGracefulShutdown()
        try await run.value
        #expect(ContinuousClock.now - start < .seconds(5))
        // And nothing is said of a day that was given up.
        script.never.raise()
        #expect(script.state.withLock { $0.finished.isEmpty })
    }
}
