import Billing
import Testing

struct BackoffTests {
    @Test(
        arguments: zip(
            [-1, 0, 1, 2, 3, 4, 5, 6, 99],
            [60, 60, 300, 1_800, 7_200, 21_600, 86_400, 86_400, 86_400]))
    func lookUpsFollowTheLadder(_ lookups: Int, _ seconds: Int) {
        #expect(Backoff.lookUp(after: lookups) == .seconds(seconds))
    }

    @Test(
        arguments: zip(
            [-99, 0, 59, 60, 359, 360, 2_159, 2_160, 9_360, 117_359, 117_360, 9_999_999],
            [0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 6]))
    func timeAloneClimbsTheLadder(_ seconds: Int, _ rung: Int) {
        let start = Instant(microseconds: 1_800_000_000_000_000)
        #expect(Backoff.rung(from: start, to: start + .seconds(seconds)) == rung)
    }

    @Test(arguments: zip([-5, 0, 1, 6, 7, 60, Int.max], [5, 5, 10, 320, 600, 600, 600]))
    func unsentRequestsWaitHalfToAllOfAStep(_ tries: Int, _ seconds: Int) {
        #expect(Backoff.notSent(tries: tries, jitter: 0) == .seconds(seconds) / 2)
        #expect(Backoff.notSent(tries: tries, jitter: 1) == .seconds(seconds))
        #expect(Backoff.notSent(tries: tries, jitter: 9) == .seconds(seconds))
        #expect(Backoff.notSent(tries: tries, jitter: -9) == .seconds(seconds) / 2)
    }

    @Test(arguments: zip([1, 2, 6, 7, 9, 10, 20], [60, 120, 1_920, 3_600, 3_600, 21_600, 21_600]))
    func refusedAttemptsWaitHalfToAllOfAStep(_ number: Int, _ seconds: Int) {
        #expect(Backoff.refused(number: number, jitter: 0) == .seconds(seconds) / 2)
        #expect(Backoff.refused(number: number, jitter: 1) == .seconds(seconds))
    }

    /// Whatever the dice say: a charge is not out of names while the provider is away for a day.
    @Test func twentyNamesOutlastAnOutageOfADay() {
        let whole = (1..<20).reduce(Duration.zero) { $0 + Backoff.refused(number: $1, jitter: 0) }
        #expect(whole > .seconds(86_400))
    }
}

struct InstantTests {
    @Test func anInstantAndASpanAreAddedToTheMicrosecond() {
        let start = Instant(microseconds: 1_800_000_000_000_000)
        #expect((start + .microseconds(1_500_001)).microseconds == 1_800_000_001_500_001)
        #expect((start + .seconds(-2)).microseconds == 1_799_999_998_000_000)
    }

    @Test func thereIsAFirstAndALastInstant() {
        let ages = Duration.seconds(100_000_000 * 31_557_600)
        #expect(Instant(microseconds: 0) + ages == Instant(microseconds: .max))
        #expect(Instant(microseconds: 0) + ages * -1 == Instant(microseconds: .min))
        #expect(Instant(microseconds: .max) + .microseconds(1) == Instant(microseconds: .max))
    }
}

struct NameTests {
    @Test func namesAreFunctionsOfPrefixPeriodAndAttempt() {
        let name = OrderID(prefix: "q7Xk2", period: 12, attempt: 3)
        #expect(name.value == "q7Xk2-12-3")
        #expect(name == OrderID(stored: "q7Xk2-12-3"))
        #expect("\(name)" == name.value)
    }

    @Test func noTwoOfAPrefixAreAlike() {
        var names: Set<OrderID> = []
        for period in 0..<150 {
            for attempt in 1...20 {
                names.insert(OrderID(prefix: "p", period: period, attempt: attempt))
            }
        }
        #expect(names.count == 150 * 20)
    }
}

struct SecretTests {
    @Test func keysDoNotPrintThemselves() {
        let text = "hush-hush"
        let billing = BillingKey(text)
        let customer = CustomerKey(text)
        let request = AttemptRequest(
            number: 1, orderID: OrderID(stored: "o"), billingKeyID: 1, billingKey: billing,
            customerKey: customer, amount: Won(1), taxFreeAmount: Won(0), orderName: "n")
        var dumped = ""
        dump(billing, to: &dumped)
        dump(customer, to: &dumped)
        dump(request, to: &dumped)
        dump(ProviderTask.send(request, earlier: [], isRepeat: false, tries: 0), to: &dumped)
        let printed = [
            "\(billing)", "\(customer)", "\(request)", String(reflecting: billing),
            String(reflecting: customer), String(reflecting: request), dumped,
        ]
        for text in printed { #expect(!text.contains("hush")) }
        #expect(billing.reveal() == text)
        #expect(customer.reveal() == text)
    }
}

struct FleetNumbersTests {
    @Test func theSendWindowLeavesRoomForTheRequestAndTheRecord() {
        var numbers = FleetNumbers()
        #expect(numbers.sendWindow == .seconds(165))
        numbers.lease = .seconds(24)
        numbers.requestTimeout = .seconds(6)
        #expect(numbers.sendWindow == .seconds(17))
    }

    @Test func instantsMoveByMicroseconds() {
        let instant = Instant(microseconds: 5) + .microseconds(7)
        #expect(instant == Instant(microseconds: 12))
        #expect(instant + .seconds(-1) < instant)
    }
}
