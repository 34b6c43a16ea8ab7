import Billing
import Logging
import TestSupport
import Testing

@testable import Worker

/// A charger alone, with work made by hand.
private struct Desk {
    let gateway = ScriptedGateway()
    let clock = ManualClock()
    let status: WorkerStatus
    let charger: Charger
    let log = LogBook()

    init() {
        status = WorkerStatus(time: Timepiece(clock, jitter: { 0.5 }))
        charger = Charger(gateway: gateway, status: status, logger: log.logger)
    }

    func run(
        _ task: ProviderTask, within seconds: Int = 100, trace: String? = nil
    ) async -> Transition? {
        let work = Work(
            subscription: SubscriptionID(7), lease: LeaseNumber(3), charge: ChargeID(5),
            task: task, history: Work.History(trace: trace))
        let terms = Batch.Terms(
            deadline: .seconds(seconds), requestTimeout: .seconds(65), epoch: 0)
        switch await charger.run(work, under: terms) {
        case .record(let transition): return transition
        case .release: return nil
        }
    }

    func request(_ attempt: Int = 1) -> AttemptRequest {
        AttemptRequest(
            number: attempt, orderID: order(7, attempt: attempt), billingKeyID: 1,
            billingKey: BillingKey("hush-billing-key"), customerKey: CustomerKey("hush-payer"),
            amount: Won(9_900), taxFreeAmount: Won(0), orderName: "hush order name")
    }
}

@Suite(.timeLimit(.minutes(1)))
struct ChargerTests {
    private let desk = Desk()

    @Test func aRequestMayStartUntilTheDeadlineAndNotAtIt() async {
        let task = ProviderTask.send(desk.request(), earlier: [], isRepeat: false, tries: 0)
        #expect(await desk.run(task, within: 1)?.chargeChange != nil)
        #expect(desk.gateway.requests == [.charge(order(7))])
        desk.clock.advance(by: .seconds(2))
        #expect(await desk.run(task, within: 2) == nil)
        #expect(desk.gateway.requests.count == 1)
    }

    /// Given back, the row would be claimed at once, and its look-ups be as slow again.
    @Test(arguments: [false, true])
    func lookUpsThatUseUpTheLeaseAreTriedAgainAfterABackoff(_ isRepeat: Bool) async {
        let clock = desk.clock
        desk.gateway.on(.lookUp(order(7))) { clock.advance(by: .seconds(100)) }
        let task = ProviderTask.send(
            desk.request(2), earlier: [order(7)], isRepeat: isRepeat, tries: 0)
        let transition = await desk.run(task)
        let slow = Answer(code: "LOOK_UPS_TOO_SLOW")
        #expect(
            transition?.attempt
                == (isRepeat ? .unknown(number: 2, slow) : .notSent(number: 2, slow)))
        #expect(transition?.next == .after(.seconds(isRepeat ? 60 : 30)))
        #expect(desk.gateway.requests == [.lookUp(order(7))])
    }

    /// Twenty names, each answered within its time, all together longer than the lease: none is asked
    /// when the answer may come too late to be recorded.
    @Test func noLookUpStartsWhenTheLeaseIsUsedUp() async {
        let clock = desk.clock
        let orders = (1...20).map { order(7, attempt: $0) }
        for order in orders {
            desk.gateway.on(.lookUp(order)) { clock.advance(by: .seconds(30)) }
        }
        let send = ProviderTask.send(desk.request(1), earlier: orders, isRepeat: false, tries: 0)
        let unsent = await desk.run(send)
        #expect(unsent?.attempt == .notSent(number: 1, Answer(code: "LOOK_UPS_TOO_SLOW")))
        #expect(desk.gateway.requests == orders.prefix(4).map { .lookUp($0) })
        let seal = ProviderTask.seal(orders, amount: Won(9_900), ending: .failed(.exhausted))
        let unsealed = await desk.run(seal, within: 220)
        #expect(unsealed?.chargeChange == .waits(.unclear))
        #expect(unsealed?.next == .after(.seconds(300)))
        #expect(desk.gateway.requests.count == 8)
    }

    @Test func aSealWhoseLastLookUpCameLateIsOneAllTheSame() async {
        let clock = desk.clock
        desk.gateway.on(.lookUp(order(7))) { clock.advance(by: .seconds(100)) }
        let task = ProviderTask.seal([order(7)], amount: Won(9_900), ending: .failed(.exhausted))
        #expect(await desk.run(task)?.chargeChange == .failed(.exhausted))
    }

    @Test func everyEarlierNameIsLookedUpBeforeTheSend() async {
        let task = ProviderTask.send(
            desk.request(3), earlier: [order(7), order(7, attempt: 2)], isRepeat: false, tries: 0)
        let transition = await desk.run(task)
        #expect(
            desk.gateway.requests == [
                .lookUp(order(7)), .lookUp(order(7, attempt: 2)), .charge(order(7, attempt: 3)),
            ])
        #expect(transition?.next == .advance)
    }

    @Test func anEarlierNameThatIsPaidStopsTheSend() async {
        let payment = Payment.of(desk.request())
        desk.gateway.script(order(7), lookUps: .found(payment))
        let task = ProviderTask.send(
            desk.request(2), earlier: [order(7)], isRepeat: false, tries: 0)
        let transition = await desk.run(task)
        #expect(transition?.attempt == .earlierPaid(order: order(7), payment, unsent: 2))
        #expect(desk.gateway.sent.isEmpty)
        #expect(desk.log.lines(at: .error).count == 1)
    }

    /// The names after a wrong payment that was cancelled are looked up all the same.
    @Test func aWrongPaymentThatWasCancelledEndsNoLookUps() async {
        var wrong = Payment.of(desk.request(), status: .canceled)
        (wrong.totalAmount, wrong.balanceAmount) = (Won(5_000), Won(0))
        desk.gateway.script(order(7), lookUps: .found(wrong))
        let paid = Payment.of(desk.request(2))
        desk.gateway.script(order(7, attempt: 2), lookUps: .found(paid))
        let task = ProviderTask.send(
            desk.request(3), earlier: [order(7), order(7, attempt: 2)], isRepeat: false, tries: 0)
        let transition = await desk.run(task)
        #expect(transition?.chargeChange == .paid(paid))
        #expect(desk.gateway.sent.isEmpty)
    }

    @Test func doubtAboutAnEarlierNameStopsTheSend() async {
        desk.gateway.script(order(7), lookUps: .unclear(.timeout))
        let task = ProviderTask.send(
            desk.request(2), earlier: [order(7)], isRepeat: false, tries: 0)
        let transition = await desk.run(task)
        #expect(transition?.attempt == .notSent(number: 2, .timeout))
        #expect(desk.gateway.sent.isEmpty)
    }

    @Test func theDeclineOfARepeatIsConfirmedByALookUp() async {
        let task = ProviderTask.send(desk.request(), earlier: [], isRepeat: true, tries: 0)
        desk.gateway.script(
            order(7), charges: .declined(.poor, .soft), .declined(.poor, .soft),
            .declined(.poor, .soft))
        let payment = Payment.of(desk.request())
        desk.gateway.script(order(7), lookUps: .found(payment), .unclear(.timeout))
        #expect(await desk.run(task)?.chargeChange == .paid(payment))
        #expect(
            await desk.run(task)?.attempt
                == .lookedUp(number: 1, .timeout, found: .unclear))
        #expect(await desk.run(task)?.attempt == .declined(number: 1, .poor, killsKey: false))
        #expect(desk.gateway.requests.count == 6)
    }

    /// The lease ends 65 s after the last start of a request: a look-up that cannot end by then is cut
    /// short, or left to the next claim.
    @Test(arguments: [(0, Int64(65)), (99, 65), (120, 45), (148, 17), (149, nil), (200, nil)])
    func aConfirmingLookUpEndsWithinTheLease(_ answered: Int, _ limit: Int64?) async {
        let clock = desk.clock
        desk.gateway.script(order(7), charges: .declined(.poor, .soft))
        desk.gateway.on(.charge(order(7))) { clock.advance(by: .seconds(answered)) }
        let task = ProviderTask.send(desk.request(), earlier: [], isRepeat: true, tries: 0)
        let transition = await desk.run(task)
        #expect(desk.gateway.lookUpLimits == (limit.map { [.seconds($0)] } ?? []))
        #expect(
            transition?.attempt
                == (limit == nil
                    ? .unknown(number: 1, .poor)
                    : .declined(number: 1, .poor, killsKey: false)))
    }

    /// What the provider kept ends the name, but for a payment; and of today it says nothing.
    @Test func aKeptAnswerIsConfirmedByALookUp() async {
        let kept = Answer(code: "UNAUTHORIZED_KEY", httpStatus: 401, traceID: "t2, t1")
        let task = ProviderTask.send(desk.request(), earlier: [], isRepeat: true, tries: 0)
        desk.gateway.answerEveryCharge(.faultOfAll(kept))
        #expect(await desk.run(task, trace: "t1")?.attempt == .refused(number: 1, kept))
        #expect(desk.gateway.requests == [.charge(order(7)), .lookUp(order(7))])
        #expect(desk.log.lines(at: .critical).isEmpty && desk.log.lines(at: .error).isEmpty)
        let payment = Payment.of(desk.request())
        desk.gateway.script(order(7), lookUps: .found(payment))
        #expect(await desk.run(task, trace: "t1")?.chargeChange == .paid(payment))
        // Not proven: it is of today, and one request's.
        guard case .unknown(number: 1, _) = await desk.run(task, trace: "t9")?.attempt else {
            Issue.record("an answer that was not kept ended the name")
            return
        }
        #expect(desk.gateway.requests.count == 5)
        #expect(!desk.log.lines(at: .error).isEmpty || !desk.log.lines(at: .critical).isEmpty)
    }

    @Test func theDeclineOfAnOnlySendNeedsNoLookUp() async {
        desk.gateway.script(order(7), charges: .declined(.poor, .soft))
        let task = ProviderTask.send(desk.request(), earlier: [], isRepeat: false, tries: 0)
        #expect(await desk.run(task)?.attempt == .declined(number: 1, .poor, killsKey: false))
        #expect(desk.gateway.requests == [.charge(order(7))])
    }

    @Test func anAnswerToARepeatThatIsNoApprovalLeavesTheAttemptOpen() async {
        let task = ProviderTask.send(desk.request(), earlier: [], isRepeat: true, tries: 0)
        for outcome in [Outcome.refused(.busy), .notSent(.timeout), .faultOfRow(.poor)] {
            desk.gateway.script(order(7), charges: outcome)
            guard case .unknown(number: 1, _) = await desk.run(task)?.attempt else {
                Issue.record("\(outcome) of a repeat ended the attempt")
                return
            }
        }
    }

    @Test func executedBeforeIsLookedUpAndAdoptedInTheSameClaim() async {
        let payment = Payment.of(desk.request())
        let duplicate = Answer(code: "DUPLICATED_ORDER_ID", httpStatus: 400)
        desk.gateway.script(order(7), charges: .duplicate(duplicate), .duplicate(duplicate))
        desk.gateway.script(order(7), lookUps: .found(payment))
        let task = ProviderTask.send(desk.request(), earlier: [], isRepeat: false, tries: 0)
        #expect(await desk.run(task)?.chargeChange == .paid(payment))
        guard case .unknown(number: 1, _) = await desk.run(task)?.attempt else {
            Issue.record("executed before, but not found: it must stay open")
            return
        }
    }

    @Test func aSealLooksAtEveryNameAndFailsTheCharge() async {
        let orders = (1...3).map { order(7, attempt: $0) }
        let task = ProviderTask.seal(orders, amount: Won(9_900), ending: .failed(.exhausted))
        #expect(await desk.run(task)?.chargeChange == .failed(.exhausted))
        #expect(desk.gateway.requests == orders.map { .lookUp($0) })
    }

    @Test func aSealThatFindsMoneyPaysTheCharge() async {
        let payment = Payment.of(desk.request(2))
        desk.gateway.script(order(7, attempt: 2), lookUps: .found(payment))
        let orders = (1...3).map { order(7, attempt: $0) }
        let task = ProviderTask.seal(orders, amount: Won(9_900), ending: .failed(.exhausted))
        #expect(await desk.run(task)?.chargeChange == .paid(payment))
        #expect(desk.gateway.requests.count == 2)
    }

    @Test(arguments: [
        (Outcome.declined(.poor, .soft), Logger.Level.info, "declined"),
        (.unknown(.timeout), .warning, "unknown: it will be looked up"),
        (.refused(.busy), .warning, "refused"),
        (.notSent(.timeout), .warning, "not sent"),
        (.faultOfRow(.poor), .error, "held: a person must look at the charge"),
    ])
    func eachOutcomeIsOneLine(_ outcome: Outcome, _ level: Logger.Level, _ text: String) async {
        desk.gateway.script(order(7), charges: outcome)
        let task = ProviderTask.send(desk.request(), earlier: [], isRepeat: false, tries: 0)
        _ = await desk.run(task)
        #expect(desk.log.lines.map(\.level) == [level])
        #expect(desk.log.lines.map(\.message) == [text])
        let metadata = desk.log.lines.first?.metadata
        #expect(metadata?["subscription"] == "7")
        #expect(metadata?["charge"] == "5")
        #expect(metadata?["attempt"] == "1")
        #expect(metadata?["order_id"] == "sub7-0-1")
        #expect(metadata?["code"] != nil)
        #expect(metadata?["duration_ms"] == "0")
        #expect((metadata?["action"] != nil) == (level >= .warning))
    }

    @Test func aLineNamesTheProvidersTraceAndWhatToDo() async {
        let answer = Answer(code: "FDS_ERROR", httpStatus: 403, traceID: "trace-7")
        desk.gateway.script(order(7), charges: .faultOfRow(answer))
        _ = await desk.run(.send(desk.request(), earlier: [], isRepeat: false, tries: 0))
        let metadata = desk.log.lines.first?.metadata
        #expect(metadata?["trace_id"] == "trace-7" && metadata?["http_status"] == "403")
        let action = metadata?["action"] ?? ""
        for command in ["billingd explain 7", "billingd release 5", "billingd fail 5"] {
            #expect(action.contains(command), "\(action)")
        }
    }

    @Test func anApprovalIsLoggedForDebuggingWithItsDuration() async {
        let clock = desk.clock
        desk.gateway.on(.charge(order(7))) { clock.advance(by: .milliseconds(1_234)) }
        _ = await desk.run(.send(desk.request(), earlier: [], isRepeat: false, tries: 0))
        #expect(desk.log.lines.map(\.level) == [.debug])
        #expect(desk.log.lines.first?.metadata["duration_ms"] == "1234")
    }

    @Test func noLineTellsAKeyOrForeignText() async {
        let answer = Answer(
            code: "ODD\nCODE", message: "hush message", httpStatus: 500, traceID: "t\r1")
        for outcome in [
            Outcome.unknown(answer), .declined(answer, .soft), .faultOfAll(answer),
            .faultOfRow(answer),
        ] {
            desk.gateway.script(order(7), charges: outcome)
            _ = await desk.run(.send(desk.request(), earlier: [], isRepeat: false, tries: 0))
        }
        // The fourth is not sent: everything is faulted since the third.
        #expect(desk.log.lines.count == 5)
        for line in desk.log.lines {
            #expect(!"\(line)".contains("hush"))
            #expect(!line.metadata.values.contains { $0.contains("\n") || $0.contains("\r") })
        }
    }
}
