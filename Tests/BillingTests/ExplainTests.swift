import Billing
import Testing

private let hour: Duration = .seconds(3_600)
private let day: Duration = .seconds(86_400)
/// 2027-01-15 17:00:00 +09:00.
private let start = Instant(microseconds: 1_800_000_000_000_000)
private let identity = "7001/00000001/16384/16400"

/// A subscription that is due at this moment, nothing standing in its way.
private func history(
    _ change: (inout SubscriptionHistory) -> Void = { _ in }
) -> SubscriptionHistory {
    let due = DueSubscription(
        id: SubscriptionID(7), lease: LeaseNumber(1), now: start, periodStart: start,
        periodEnd: start + day * 31, orderPrefix: "pre", customerKey: CustomerKey(""),
        terms: DueSubscription.Terms(
            amount: Won(14_900), taxFreeAmount: Won(0), orderName: "Monthly"),
        card: DueSubscription.Card(id: 4, billingKey: BillingKey("")))
    var fleet = SubscriptionHistory.FleetFacts(now: start)
    fleet.boundKey = "aaaaaaaaaaaaaaaa"
    fleet.boundIdentity = identity
    fleet.identity = identity
    fleet.schemaVersion = 1
    fleet.programSchemaVersion = 1
    fleet.workers = [.init(id: "host/1/x", state: "running", seenAgo: .seconds(3))]
    var row = SubscriptionHistory.RowFacts(nextChargeAt: start)
    row.planID = "monthly"
    row.planName = "Monthly"
    row.cycle = "1 month"
    row.cardNumber = "94100012****789*"
    var history = SubscriptionHistory(fleet: fleet, due: due, row: row)
    change(&history)
    return history
}

extension SubscriptionHistory {
    /// Gives it an open charge with this last attempt.
    fileprivate mutating func charge(
        _ state: DueSubscription.LastAttempt.State, declines: Int = 0, ended: Instant = start,
        next: Instant? = nil, _ change: (inout DueSubscription.LastAttempt) -> Void = { _ in }
    ) {
        let request = AttemptRequest(
            number: 1, orderID: OrderID(prefix: "pre", period: 0, attempt: 1), billingKeyID: 4,
            billingKey: BillingKey(""), customerKey: CustomerKey(""), amount: Won(14_900),
            taxFreeAmount: Won(0), orderName: "Monthly")
        var attempt = DueSubscription.LastAttempt(
            state: state, request: request, openedAt: ended,
            finishedAt: state == .open ? nil : ended)
        change(&attempt)
        due.charge = DueSubscription.OpenCharge(
            id: ChargeID(9), terms: due.terms, declines: declines, attempt: attempt)
        if declines > 0 { due.state = .pastDue }
        if let next { row.nextChargeAt = next }
    }

    fileprivate func period(_ state: String, reason: String? = nil) -> Period {
        var period = Period(
            charge: 9, index: 0, start: due.periodStart, end: due.periodEnd, amount: Won(14_900),
            state: state)
        period.reason = reason
        return period
    }
}

struct ExplainTests {
    /// Every reason at least once: how it comes about, its code, and words of its sentence.
    private static let reasons: [(SubscriptionHistory, String, [String])] = [
        (history(), "next_poll", ["Nothing stands in the way"]),
        (
            history { $0.row.heldReason = "timestamp out of range" }, "set_aside",
            ["timestamp out of range", "billing.resume(7)"]
        ),
        (
            history {
                $0.charge(.refused)
                $0.due.charge?.isHeld = true
                $0.row.nextChargeAt = nil
                $0.periods = [$0.period("held", reason: "refused by the provider: FDS_ERROR")]
            }, "held",
            ["FDS_ERROR", "billingd release 9 --why …", "billingd fail 9 --why …"]
        ),
        (
            history {
                $0.due.state = .canceled
                $0.row.nextChargeAt = nil
            }, "canceled", ["nothing is charged any more"]
        ),
        (
            history {
                $0.due.state = .paused
                $0.row.nextChargeAt = nil
            }, "paused", ["billing.resume(7)"]
        ),
        (
            history {
                $0.due.card = nil
                $0.row.lastCardState = "dead"
                $0.row.lastCardCode = "INVALID_STOPPED_CARD"
            }, "no_card", ["dead (INVALID_STOPPED_CARD)", "A new card is charged at once"]
        ),
        (history { $0.due.card = nil }, "no_card", ["none was ever registered"]),
        (
            history {
                $0.due.state = .suspended
                $0.row.nextChargeAt = nil
            }, "suspended", ["not tried again", "from the next period"]
        ),
        (
            history {
                $0.row.leaseUntil = start + .seconds(200)
                $0.row.leaseOwner = "host/2/y"
            }, "leased", ["host/2/y", "2027-01-15 17:03:20 +09:00"]
        ),
        (history { $0.row.claims = 3 }, "silent_claims", ["3 times", "after 5 times it is held"]),
        (
            history {
                $0.charge(.open, next: start + hour) {
                    $0.lookups = 2
                    $0.notFounds = 1
                }
                $0.row.quietUntil = start + .seconds(130)
            }, "in_doubt",
            [
                "pre-0-1", "asked again at 2027-01-15 18:00:00 +09:00", "asked twice",
                "after 2027-01-15 17:02:10 +09:00", "before 2027-01-28 17:00:00 +09:00",
                "held at 2027-01-29 17:00:00 +09:00",
            ]
        ),
        (
            history { $0.charge(.open) { $0.sameKey = false } }, "in_doubt",
            ["a secret key that is no longer bound", "never sent again"]
        ),
        (
            history {
                $0.charge(.open, ended: start)
                $0.fleet.now = start + day * 13
                $0.fleet.realNow = start + day * 13
            }, "in_doubt", ["too old to be sent again"]
        ),
        (history { $0.charge(.open) { $0.absent = true } }, "in_doubt", ["sent again next"]),
        (
            history {
                $0.charge(.open, next: start + .seconds(60)) {
                    $0.inDoubt = false
                    $0.code = "NOT_CONNECTED"
                }
            }, "not_sent", ["NOT_CONNECTED", "17:01:00"]
        ),
        (
            history { $0.charge(.declined, declines: 2, next: start + day * 3) }, "dunning",
            ["step 2 of 4", "2027-01-18 17:00:00 +09:00", "billingd retry 7 --why …"]
        ),
        (
            history { $0.charge(.declined, declines: 1) { $0.everUnknown = true } }, "gap",
            ["unknown outcome", "until 2027-01-15 18:00:00 +09:00"]
        ),
        (
            history { $0.charge(.refused) }, "rest_after_refusal",
            ["without trying the card", "until 2027-01-15 17:20:00 +09:00"]
        ),
        (history { $0.row.nextChargeAt = start + day }, "not_due", ["2027-01-16 17:00:00 +09:00"]),
        (
            history {
                $0.charge(.declined, declines: 1, ended: start + day * -2)
                $0.due.card?.freeAt = start + day * 3
            }, "card_budget", ["declined too often", "before 2027-01-18 17:00:00 +09:00"]
        ),
        (history { $0.row.nextChargeAt = nil }, "nothing_planned", ["Nothing is planned"]),
        (
            history { $0.fleet.lookFirstUntil = start + hour }, "looks_first",
            ["looked up before it is sent", "until 2027-01-15 18:00:00 +09:00"]
        ),
        (
            history { $0.fleet.lookFirstBefore = $0.due.periodStart + hour }, "looks_first",
            ["looked up before it is sent", "until its period ends"]
        ),
        (history { $0.fleet.schemaVersion = 2 }, "schema_version", ["version 2, this program 1"]),
        (history { $0.fleet.boundKey = nil }, "no_key_bound", ["no worker ever started"]),
        (
            history { $0.fleet.keyInHand = .init(mode: "live", fingerprint: "b") }, "other_mode",
            ["settings.mode is test", "a live key"]
        ),
        (
            history {
                $0.fleet.keyInHand = .init(mode: "test", fingerprint: "bbbbbbbbbbbbbbbb")
            }, "other_key",
            ["fingerprint bbbbbbbbbbbbbbbb", "bound to aaaaaaaaaaaaaaaa", "rotate-key"]
        ),
        (
            history { $0.fleet.identity = "7001/00000002/16384/16400" }, "not_adopted",
            ["timeline was 00000001 and is 00000002", "a standby was promoted", "adopt-database"]
        ),
        (
            history { $0.fleet.adoptedUntil = start + .seconds(600) }, "adopted",
            ["until 2027-01-15 17:10:00 +09:00"]
        ),
        (
            history {
                $0.fleet.paused = true
                $0.fleet.pausedReason = "an incident"
            }, "fleet_paused", ["paused: an incident"]
        ),
        (
            history { $0.fleet.rotatingTo = "cccccccccccccccc" }, "rotating",
            ["cccccccccccccccc", "--abort"]
        ),
        (history { $0.fleet.workers = [] }, "no_worker", ["none was seen in the last day"]),
        (
            history { $0.fleet.workers[0].seenAgo = .seconds(600) }, "no_worker",
            ["the last sign of life was 10 minutes ago"]
        ),
        (
            history { $0.fleet.workers[0].state = "faulted" }, "faulted",
            ["All workers (1)", "one row at a time", "Their log has the code"]
        ),
        (
            history {
                $0.fleet.workers[0].state = "faulted"
                $0.fleet.workers[0].reason = "faulted: UNAUTHORIZED_KEY"
            }, "faulted", ["They say: faulted: UNAUTHORIZED_KEY."]
        ),
        (
            history {
                $0.fleet.workers[0].reason = "the provider does not serve: TIMEOUT"
                $0.fleet.workers.append(
                    .init(id: "f", state: "running", reason: "paused: by hand", seenAgo: .zero))
            }, "not_claiming", ["None of the workers (2)", "the provider does not serve: TIMEOUT."]
        ),
        (
            history {
                $0.fleet.wonPerDay = 20_000
                $0.fleet.wonLeft = 5_100
            }, "won_per_day", ["(20,000 won)", "5,100 won of today", "it needs 14,900 won"]
        ),
        (
            history {
                $0.fleet.requestsPerMinute = 1
                $0.fleet.requestWait = .seconds(42)
            }, "requests_per_minute", ["(1) is used up", "in 42 s"]
        ),
    ]

    @Test(arguments: reasons)
    func aReasonIsFoundAndTold(
        _ history: SubscriptionHistory, _ code: String, _ words: [String]
    ) throws {
        let explanation = Explanation(history) { _ in nil }
        let reason = try #require(
            explanation.obstacles.first { $0.code == code },
            "\(explanation.obstacles.map(\.code))")
        for word in words { #expect(reason.sentence.contains(word), "\(reason.sentence)") }
        // And nothing else stands in the way.
        #expect(explanation.obstacles.map(\.code) == [code])
        #expect(explanation.text.contains(reason.sentence))
    }

    /// A limit, a lease and a quiet time bind only whom they are for.
    @Test(arguments: [
        history {
            $0.fleet.wonPerDay = 20_000
            $0.fleet.wonLeft = 14_900
        },
        history {
            $0.row.leaseUntil = start
            $0.row.leaseOwner = "host/2/y"
        },
        history { $0.row.claims = 2 },
        history { $0.fleet.lookFirstUntil = start },
        history { $0.fleet.lookFirstBefore = $0.due.periodStart },
        history { $0.fleet.adoptedUntil = start },
        history { $0.fleet.keyInHand = .init(mode: "test", fingerprint: "aaaaaaaaaaaaaaaa") },
        history { $0.fleet.workers.append(.init(id: "f", state: "faulted", seenAgo: .zero)) },
        history { $0.fleet.workers[0].seenAgo = .seconds(20) },
        history {
            $0.fleet.workers.append(
                .init(id: "f", state: "running", reason: "cannot claim: gone", seenAgo: .zero))
        },
        history { $0.fleet.workers[0].reason = "paused: by hand" },
        history { $0.charge(.declined, declines: 1, ended: start + day * -1) },
    ])
    func whatIsOverStandsInNobodysWay(_ history: SubscriptionHistory) {
        #expect(history.obstacles == [.nextPoll])
    }

    @Test func aLimitOfTheDayDoesNotStopALookUp() {
        let looks = history {
            $0.charge(.open)
            $0.fleet.wonPerDay = 0
            $0.fleet.wonLeft = 0
        }
        #expect(!looks.obstacles.contains { $0.code == "won_per_day" })
    }

    private static let nexts: [(SubscriptionHistory, [String])] = [
        (
            history(),
            [
                "As soon as a worker may, attempt 1 charges 14,900 won to card 94100012****789*, "
                    + "order id pre-0-1."
            ]
        ),
        (
            history { $0.row.nextChargeAt = start + day },
            ["At 2027-01-16 17:00:00 +09:00, attempt 1 charges"]
        ),
        (
            history { $0.charge(.declined, declines: 1, next: start + day) },
            [
                "At 2027-01-16 17:00:00 +09:00, attempt 2 charges 14,900 won to card 94100012****789*, "
                    + "order id pre-0-2 after 1 order id of the charge was looked up"
            ]
        ),
        (
            history { $0.charge(.refused) },
            [
                "it is looked at, and waits until 2027-01-15 17:20:00",
                "At 2027-01-15 17:20:00 +09:00, attempt 2",
            ]
        ),
        (
            history { $0.charge(.declined, declines: 5, next: start + hour) },
            [
                "1 order id is looked up a last time; unless one is paid, the charge ends as failed "
                    + "(exhausted) and the plan suspends the subscription."
            ]
        ),
        (
            history { $0.charge(.open) }, ["the provider is asked about pre-0-1"]
        ),
        (
            history { $0.charge(.open) { $0.absent = true } },
            ["pre-0-1 is sent again under the same name: 14,900 won."]
        ),
        (
            history {
                $0.due.card = nil
                $0.row.nextChargeAt = start
            },
            [
                "waits for a card, until the period's end at 2027-02-15 17:00:00",
                "At 2027-02-15 17:00:00 +09:00, the charge ends as failed (no_card) and the plan suspends",
            ]
        ),
        (
            history {
                $0.fleet.now = start + day * 40
                $0.fleet.realNow = start + day * 40
            },
            ["the period is skipped, because it went by uncharged"]
        ),
        (
            history {
                $0.fleet.now = start + day * 40
                $0.fleet.realNow = start + day * 40
                $0.due.catchUp = .hold
            }, ["the charge is held for a person: missed"]
        ),
        (
            history { $0.due.resumedAt = start + .seconds(1) },
            ["began while the subscription was paused or suspended"]
        ),
        (
            history {
                $0.due.cancelAt = start + day * -1
            }, ["the subscription ends as cancelled"]
        ),
        (
            history { $0.due.terms.amount = Won(0) }, ["recorded as free"]
        ),
        (
            history {
                $0.charge(.open)
                $0.due.silentClaims = 6
            }, ["held for a person: claimed 5 times without any result"]
        ),
        (
            history { $0.fleet.lookFirstBefore = $0.due.periodStart + hour },
            ["after 20 order ids of the charge were looked up and none is paid"]
        ),
        (
            history { $0.fleet.lookFirstUntil = start + hour },
            ["after 20 order ids of the charge were looked up and none is paid"]
        ),
        (
            history {
                $0.row.leaseUntil = start + .seconds(200)
                $0.charge(.open)
            }, ["At 2027-01-15 17:03:20 +09:00, the provider is asked about"]
        ),
    ]

    @Test(arguments: nexts)
    func whatComesNextIsToldByTheRules(_ history: SubscriptionHistory, _ words: [String]) {
        let next = Explanation(history) { _ in nil }.next.map(\.sentence)
        #expect(next.count == words.count, "\(next)")
        for (sentence, word) in zip(next, words) {
            #expect(sentence.contains(word), "\(sentence)")
        }
    }

    @Test func nothingPlannedIsToldAsSuch() {
        let idle = history { $0.row.nextChargeAt = nil }
        #expect(Explanation(idle) { _ in nil }.text.hasSuffix("Nothing happens by itself."))
    }
}

/// What the sentences say of the past.
struct ExplainPastTests {
    private func attempt(
        _ state: String, number: Int = 1,
        _ change: (inout SubscriptionHistory.Attempt) -> Void = { _ in }
    ) -> SubscriptionHistory.Attempt {
        var attempt = SubscriptionHistory.Attempt(
            number: number, order: OrderID(prefix: "pre", period: 0, attempt: number),
            amount: Won(14_900), cardID: 4, state: state, openedAt: start)
        attempt.finishedAt = state == "open" ? nil : start + .seconds(2)
        change(&attempt)
        return attempt
    }

    private func told(
        _ state: String, reason: String? = nil, _ attempts: [SubscriptionHistory.Attempt],
        _ change: (inout SubscriptionHistory.Period) -> Void = { _ in }
    ) -> String {
        let whole = history {
            var period = $0.period(state, reason: reason)
            period.attempts = attempts
            change(&period)
            $0.periods = [period]
        }
        return Explanation(whole) { $0 == "REJECT_CARD_PAYMENT" ? "no money" : nil }
            .periods[0].sentences.joined(separator: "\n")
    }

    @Test func anAttemptIsToldWithAllThatSupportAsksFor() {
        let text = told(
            "paid",
            [
                attempt("declined") {
                    $0.code = "REJECT_CARD_PAYMENT"
                    $0.httpStatus = 403
                    $0.traceID = "0123456789abcdef"
                    $0.cardNumber = "94100012****789*"
                },
                attempt("approved", number: 2) {
                    $0.code = "LOOKED_UP"
                    $0.lookups = 2
                    $0.sends = 2
                },
            ]
        ) {
            $0.paidAt = start + hour
            $0.paymentKey = "pay-1"
        }
        #expect(
            text == """
                Period 0, from 2027-01-15 to 2027-02-15 (charge 9): paid, 14,900 won at 2027-01-15 \
                18:00:00 +09:00.
                Attempt 1, order id pre-0-1, 14,900 won with card 94100012****789*, sent at \
                2027-01-15 17:00:00 +09:00: declined at 2027-01-15 17:00:02 +09:00 with \
                REJECT_CARD_PAYMENT, no money (HTTP 403). Trace id 0123456789abcdef.
                Attempt 2, order id pre-0-2, 14,900 won with card 4, sent at 2027-01-15 17:00:00 \
                +09:00 (sent twice under this name): approved; no answer came, the payment was found \
                by a look-up at 2027-01-15 17:00:02 +09:00.
                The ledger knows of exactly one payment for this period: pay-1.
                """, "\(text)")
    }

    @Test func theAccountantIsToldHowOftenItWasPaid() {
        #expect(
            told("failed", reason: "exhausted", [attempt("declined")])
                .hasSuffix("The ledger knows of no payment for this period."))
        #expect(
            told("open", [attempt("open") { $0.inDoubt = true }])
                .hasSuffix("no payment for this period yet; one request's outcome is not known."))
        #expect(
            told(
                "held", reason: "contradiction",
                [
                    attempt("declined") { $0.contradiction = "pay-2" },
                    attempt("approved", number: 2),
                ]
            ) { $0.paymentKey = "pay-1" }
            .hasSuffix(
                "2 payments for this period: pay-1, pay-2. All but one must be given back at the "
                    + "provider."))
        // The same payment, noted twice, is one.
        #expect(
            told("paid", [attempt("declined") { $0.contradiction = "pay-1" }]) {
                $0.paymentKey = "pay-1"
            }.hasSuffix("exactly one payment for this period: pay-1."))
    }

    @Test(arguments: [
        ("skipped", "missed", "skipped, because nobody charged it in time"),
        ("skipped", "paused", "skipped, because it began while"),
        ("failed", "superseded", "because the next period came before"),
        ("failed", "no_card", "because there was no card"),
        ("failed", "kim: given up (held: x)", "because kim: given up (held: x)"),
        ("held", "FDS", "held, 14,900 won: FDS."),
    ])
    func anEndIsToldWithItsReason(_ state: String, _ reason: String, _ words: String) {
        let text = told(state, reason: reason, [])
        #expect(text.contains(words), "\(text)")
    }

    @Test func whatPeopleDidIsTold() {
        let ended = attempt("refused") {
            $0.code = "NOT_FOUND_PAYMENT"
            $0.message = "ended by kim: nowhere to be found"
        }
        let text = told("open", [ended]) {
            $0.receiptURL = "https://receipt"
            $0.byHand = [
                .init(at: start, type: "charge.released", by: "kim", why: "card replaced"),
                .init(at: start, type: "charge.retried", by: "lee", why: "asked by phone"),
            ]
        }
        #expect(
            text.contains(
                "By hand, at 2027-01-15 17:00:00 +09:00: kim released the held charge: card replaced."
            ))
        #expect(text.contains("lee made it due at once: asked by phone."))
        #expect(text.contains("ended by kim: nowhere to be found at 2027-01-15 17:00:02"))
        #expect(text.hasSuffix("Receipt: https://receipt"))
    }

    // MARK: The provider's word

    private func agreement(
        _ attempt: SubscriptionHistory.Attempt, payment: String?, _ answer: LookUp
    ) -> Agreement {
        var period = history().period("open")
        period.attempts = [attempt]
        period.paymentKey = payment
        return Agreement(period, [(attempt.order, answer)])
    }

    private static func paid(
        _ key: String = "pay-1", _ amount: Int64 = 14_900, status: Payment.Status = .done,
        left: Int64? = nil
    ) -> LookUp {
        .found(
            Payment(
                paymentKey: key, orderID: OrderID(prefix: "pre", period: 0, attempt: 1),
                status: status, totalAmount: Won(amount), balanceAmount: left.map { Won($0) }))
    }

    private static let absent = LookUp.notFound(Answer(code: "NOT_FOUND_PAYMENT"))

    @Test(arguments: [
        ("approved", "pay-1", paid(), true, 1, "exactly one payment"),
        ("declined", nil, absent, true, 0, "no payment"),
        ("declined", nil, paid("", 14_900, status: .aborted), true, 0, "ended without money"),
        ("approved", "pay-1", absent, false, 0, "but the ledger has one under this name!"),
        ("approved", "pay-1", paid("pay-2"), false, 1, "the ledger does not have it!"),
        ("approved", "pay-1", paid("pay-1", 15_000), false, 1, "the ledger does not have it!"),
        ("declined", nil, paid(), false, 1, "the ledger does not have it!"),
        ("open", nil, paid(), false, 1, "its next look-up will record it"),
        ("open", nil, absent, true, 0, "no payment"),
        (
            "approved", "pay-1", paid("pay-1", 14_900, status: .canceled, left: 0), false, 1,
            "does not know of the refund"
        ),
        (
            "declined", nil, paid("pay-9", 5_000, status: .canceled, left: 0), true, 0,
            "never what this charge asked for, and all of it went back"
        ),
        (
            "approved", "pay-1", paid("pay-1", 14_900, status: .other("READY")), false, 0,
            "does not say (NOT_FINISHED)"
        ),
        (
            "approved", "pay-1", LookUp.unclear(Answer(code: "TIMEOUT")), false, 0,
            "does not say (TIMEOUT)"
        ),
    ])
    func theProvidersWordIsHeldAgainstTheLedgers(
        _ state: String, _ payment: String?, _ answer: LookUp, _ agrees: Bool, _ payments: Int,
        _ words: String
    ) {
        let agreement = agreement(attempt(state), payment: payment, answer)
        let text = agreement.sentences.joined(separator: "\n")
        #expect(agreement.agrees == agrees, "\(text)")
        #expect(agreement.payments == payments)
        #expect(text.contains(words), "\(text)")
    }
}

/// Whether a declined charge may be tried now.
struct RetryTests {
    private static let refusals: [(SubscriptionHistory, String)] = [
        (history { $0.row.heldReason = "mad" }, "set aside (mad)"),
        (history(), "it has no open charge: there is nothing to try again; the next charge is due"),
        (
            history {
                $0.due.state = .suspended
                $0.row.nextChargeAt = nil
                $0.periods = [$0.period("failed", reason: "exhausted")]
            },
            "period 0 ended as failed (exhausted), and what has ended is never tried again. "
                + "billing.resume(7)"
        ),
        (
            history {
                $0.charge(.refused)
                $0.due.charge?.isHeld = true
            }, "billingd release 9"
        ),
        (
            history {
                $0.charge(.declined, declines: 1)
                $0.row.leaseUntil = start + .seconds(1)
            }, "a worker has it in hand until 2027-01-15 17:00:01"
        ),
        (
            history {
                $0.charge(.declined)
                $0.due.charge?.attempt = nil
                $0.due.card = nil
            }, "nothing was tried yet, because there is no card"
        ),
        (
            history { $0.charge(.open) },
            "attempt 1 is open: a request under pre-0-1 may have been executed"
        ),
        (
            history {
                $0.charge(.declined, declines: 1)
                $0.due.state = .paused
            }, "it is paused: billing.resume(7)"
        ),
        (
            history {
                $0.charge(.declined, declines: 1)
                $0.due.cancelAt = start
            }, "it is cancelled as of 2027-01-15 17:00:00"
        ),
        (
            history {
                $0.charge(.declined, declines: 1, next: start + day)
                $0.due.card = nil
            }, "there is no card to try"
        ),
        (
            history { $0.charge(.declined, declines: 5, next: start + day) },
            "dunning is exhausted: all 4 retries"
        ),
        (
            history {
                $0.charge(.declined, declines: 1, next: start + day * 50)
                $0.fleet.now = start + day * 40
                $0.fleet.realNow = start + day * 40
            }, "its period is over"
        ),
        (
            history {
                $0.charge(.declined, declines: 1, next: start + day)
                $0.fleet.numbers.maximumAttempts = 1
            }, "it would be held: too many attempts"
        ),
        (
            history {
                $0.charge(.declined, declines: 1, ended: start + day * -2, next: start + day)
                $0.due.card?.freeAt = start + day * 3
            }, "it waits: the card was declined 15 times in 30 days; a new card need not wait"
        ),
    ]

    @Test(arguments: refusals)
    func whatCannotBeTriedIsExplained(_ history: SubscriptionHistory, _ words: String) {
        guard case .refused(let reason) = history.retry else {
            Issue.record("\(history.retry)")
            return
        }
        #expect(reason.contains(words), "\(reason)")
    }

    @Test func aDeclinedChargeThatWaitsBecomesDue() {
        #expect(history { $0.charge(.declined, declines: 2, next: start + day) }.retry == .due)
        // Suspended for want of a card, and one came.
        let card = history {
            $0.charge(.declined, declines: 1, next: start + day)
            $0.due.state = .suspended
        }
        #expect(card.retry == .due)
        // It rests first, all the same.
        let rests = history {
            $0.charge(.declined, declines: 1, next: start + day) { $0.everUnknown = true }
        }
        #expect(rests.retry == .due)
    }

    @Test func oneThatIsDueStaysSo() {
        #expect(history { $0.charge(.declined, declines: 1) }.retry == .alreadyDue)
    }
}

/// What changed of a database's identity, in words.
struct DatabaseIdentityTests {
    @Test(arguments: [
        (identity, [String]()),
        ("7001/00000002/16384/16400", ["timeline was 00000001 and is 00000002"]),
        ("7001/standby/16384/16400", ["timeline was 00000001 and is standby"]),
        ("7002/00000005/20000/30000", ["system identifier was 7001 and is 7002"]),
        ("7001/00000001/20000/16400", ["database OID was 16384 and is 20000"]),
        ("7001/00000001/16384/30000", ["OID of billing.settings was 16400 and is 30000"]),
        (
            "7001/00000002/16384/30000",
            ["timeline was 00000001", "OID of billing.settings was 16400"]
        ),
        ("nonsense", ["the identity was \(identity) and is nonsense"]),
    ])
    func eachPartHasItsMeaning(_ now: String, _ words: [String]) {
        let changes = DatabaseIdentity(identity).changes(to: DatabaseIdentity(now))
        #expect(changes.count == words.count, "\(changes)")
        for (change, word) in zip(changes, words) { #expect(change.hasPrefix(word), "\(change)") }
    }
}
