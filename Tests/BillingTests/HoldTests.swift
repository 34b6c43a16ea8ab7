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
        #expect(try hold { $0.hasOldAttempt = true }.end([], asFailed: true) == .attemptEnded)
    }

    @Test func itsPaymentPaysIt() throws {
        #expect(try hold().end([payment(2)], asFailed: true) == .paid(payment(2)))
    }

    /// The ledger forgot attempt 5: whatever ends the hold would let name 1 be sent again, or say
    /// "failed" of a period that was paid.
    @Test func aPaymentUnderAForgottenNameEndsNothing() {
        #expect(refusal(hold(), [payment(5)]).contains("which the ledger has lost"))
    }

    @Test func aPaymentThatIsAnothersEndsNothing() {
        #expect(refusal(hold(), [payment(1, amount: 5_000)]).contains("not what was asked for"))
        #expect(refusal(hold(), [payment(1), payment(2)]).contains("paid 2 times"))
    }
}
