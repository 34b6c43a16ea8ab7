import Billing
import Testing

private func name(_ number: Int) -> OrderID { OrderID(prefix: "p", period: 3, attempt: number) }

private func payment(
    _ number: Int, _ status: Payment.Status = .done, amount: Int64 = 9_900, left: Int64? = nil
) -> Payment {
    Payment(
        paymentKey: "pay-\(number)", orderID: name(number), status: status,
        totalAmount: Won(amount), balanceAmount: left.map { Won($0) })
}

/// A charge over 9,900 won with two attempts in the ledger.
private func hold(_ change: (inout Hold) -> Void = { _ in }) -> Hold {
    var hold = Hold(
        amount: Won(9_900),
        names: Hold.names(prefix: "p", period: 3, recorded: [name(1), name(2)]),
        recorded: [name(1), name(2)])
    change(&hold)
    return hold
}

/// What the operator is told.
private func refusal(_ hold: Hold, _ payments: [Payment]) -> String {
    do {
        let end = try hold.end(payments, asFailed: false)
        return "not refused: \(end)"
    } catch {
        return error.description
    }
}

@Suite struct HoldTests {
    @Test func theProviderIsAskedAboutEveryNameThatAChargeCanHave() {
        let names = Hold.names(prefix: "p", period: 3, recorded: [])
        #expect(names == (1...20).map { name($0) })
        let foreign = OrderID(stored: "older-scheme-1")
        #expect(
            Hold.names(prefix: "p", period: 3, recorded: [name(2), foreign]) == names + [foreign])
    }

    @Test func withoutAPaymentItIsTheOperatorsWish() throws {
        #expect(try hold().end([], asFailed: false) == .open)
        #expect(try hold().end([], asFailed: true) == .failed)
        let old = hold {
            $0.openAttempt = name(2)
            $0.isOld = true
        }
        #expect(try old.end([], asFailed: true) == .attemptEnded)
    }

    /// To release it would only hold it again.
    @Test func aChargeWithoutNamesLeftIsNotReleased() throws {
        var used = hold { $0.recorded = Set($0.names) }
        #expect(refusal(used, []).contains("all 20 attempts (settings.maximum_attempts) are used"))
        #expect(try used.end([], asFailed: true) == .failed)
        used.openAttempt = name(20)
        #expect(try used.end([], asFailed: false) == .open)
    }

    @Test func itsPaymentPaysIt() throws {
        #expect(try hold().end([payment(2)], asFailed: true) == .paid(payment(2)))
    }

    /// Paid under name 1 while name 2 may be under way: that one ends first, and only when no copy of
    /// it can be sent any more.
    @Test func anOpenAttemptBesideThePaymentEndsFirst() throws {
        var held = hold { $0.openAttempt = name(2) }
        #expect(refusal(held, [payment(1)]).contains("attempt p-3-2 is open and too young"))
        held.isOld = true
        #expect(try held.end([payment(1)], asFailed: false) == .attemptEnded)
        #expect(try held.end([payment(2)], asFailed: false) == .paid(payment(2)))
        held.openAttempt = nil
        #expect(try held.end([payment(1)], asFailed: false) == .paid(payment(1)))
    }

    @Test func ofTwoPaymentsTheOneWithMoneyLeftCounts() throws {
        let held = hold { $0.paymentKey = "pay-1" }
        #expect(refusal(held, [payment(1), payment(2)]).contains("it was paid 2 times"))
        let cancelled = payment(1, .canceled, left: 0)
        #expect(try held.end([cancelled, payment(2)], asFailed: true) == .paid(payment(2)))
        let partly = payment(1, .partialCanceled, left: 900)
        #expect(refusal(held, [partly, payment(2)]).contains("it was paid 2 times"))
        #expect(try held.end([partly], asFailed: true) == .refunded(partly))
    }

    @Test func aPaymentThatWasCancelledRefundsIt() throws {
        let one = payment(1, .canceled, left: 0)
        let two = payment(2, .canceled, left: 0)
        #expect(try hold().end([one], asFailed: false) == .refunded(one))
        #expect(try hold().end([one, two], asFailed: true) == .refunded(two))
        #expect(
            try hold { $0.paymentKey = "pay-1" }.end([one, two], asFailed: true) == .refunded(one))
    }

    /// What was never the charge's payment and holds no money any more says nothing of it.
    @Test func aCancelledPaymentThatIsAnothersIsNone() throws {
        let wrong = payment(1, .canceled, amount: 5_000, left: 0)
        #expect(try hold().end([wrong], asFailed: false) == .open)
        #expect(try hold().end([payment(5, .canceled, left: 0)], asFailed: true) == .failed)
    }

    /// The ledger forgot attempt 5: whatever ends the hold would let name 1 be sent again, or say
    /// "failed" of a period that was paid.
    @Test func aPaymentUnderAForgottenNameEndsNothing() {
        #expect(refusal(hold(), [payment(5)]).contains("which the ledger has lost"))
    }

    @Test func aPaymentThatIsAnothersEndsNothing() {
        #expect(refusal(hold(), [payment(1, amount: 5_000)]).contains("not what was asked for"))
        let words: [Payment.Status] = [.other("IN_PROGRESS"), .done]
        for status in words {
            let half = payment(1, status, left: 100)
            #expect(refusal(hold(), [half]).contains("not what was asked for"))
        }
    }
}
