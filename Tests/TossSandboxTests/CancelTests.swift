import Testing

@testable import TossSandbox

@Suite struct CancelTests {
    let client = SandboxClient()
    let paymentKey: String

    init() throws {
        let key = client.provider.issue(customerKey: "cust-1")
        paymentKey = try #require(client.approve(key).json["paymentKey"]?.string)
    }

    private func cancel(_ body: String, key: String? = nil) -> SandboxReply {
        client.call("POST", "/v1/payments/\(paymentKey)/cancel", key: key, body)
    }

    @Test func aFullCancelIsFinal() {
        let reply = cancel(#"{"cancelReason":"단순 변심"}"#)
        #expect(reply.json["status"]?.string == "CANCELED")
        #expect(reply.json["balanceAmount"]?.integer == 0)
        #expect(reply.json["totalAmount"]?.integer == 14_900)
        let row = reply.json["cancels"]?.array?.first
        #expect(row?["cancelAmount"]?.integer == 14_900)
        #expect(row?["cancelReason"]?.string == "단순 변심")
        #expect(row?["canceledAt"]?.string == "2026-07-15T09:30:04+09:00")
        #expect(row?["transactionKey"] == reply.json["lastTransactionKey"])
        #expect(cancel(#"{"cancelReason":"r"}"#).outcome == "ALREADY_CANCELED_PAYMENT")
        #expect(client.call("GET", "/v1/payments/\(paymentKey)").body == reply.body)
    }

    @Test func partsStayPartial() {
        let part = cancel(#"{"cancelReason":"r","cancelAmount":4900}"#)
        #expect(part.json["status"]?.string == "PARTIAL_CANCELED")
        #expect(part.json["balanceAmount"]?.integer == 10_000)
        let rest = cancel(#"{"cancelReason":"r"}"#)
        #expect(rest.json["status"]?.string == "PARTIAL_CANCELED")
        #expect(rest.json["balanceAmount"]?.integer == 0)
        #expect(rest.json["cancels"]?.array?.count == 2)
        let again = cancel(#"{"cancelReason":"r"}"#)
        #expect(again.outcome == "NOT_CANCELABLE_AMOUNT" && again.status == 403)
    }

    @Test(arguments: [
        (#"{}"#, "INVALID_REQUIRED_PARAM"), (#"{"cancelReason":""}"#, "INVALID_REQUEST"),
        (#"{"cancelReason":"r","refundableAmount":1}"#, "NOT_MATCHES_REFUNDABLE_AMOUNT"),
        (#"{"cancelReason":"r","cancelAmount":14901}"#, "NOT_CANCELABLE_AMOUNT"),
        (#"{"cancelReason":"r","cancelAmount":"1"}"#, "INVALID_REQUEST"),
        (#"{"cancelReason":"r","currency":"USD"}"#, "INVALID_REQUEST"),
    ])
    func aWrongCancelDoesNothing(body: String, code: String) {
        #expect(cancel(body).outcome == code)
        let payment = client.call("GET", "/v1/payments/\(paymentKey)").json
        #expect(payment["balanceAmount"]?.integer == 14_900)
        #expect(payment["status"]?.string == "DONE")
    }

    @Test func aRepeatedCancelReplays() {
        let first = cancel(#"{"cancelReason":"r","cancelAmount":100}"#, key: "c-1")
        #expect(cancel(#"{"cancelReason":"r","cancelAmount":200}"#, key: "c-1").body == first.body)
        let payment = client.call("GET", "/v1/payments/\(paymentKey)").json
        #expect(payment["balanceAmount"]?.integer == 14_800)
    }

    @Test func anUnknownPaymentIsNotFound() {
        let reply = client.call(
            "POST", "/v1/payments/sandb20260715093004AAAAA/cancel", #"{"cancelReason":"r"}"#)
        #expect(reply.outcome == "NOT_FOUND_PAYMENT")
    }

    @Test func aCancelledOrderIsNotExecutedAgain() {
        #expect(cancel(#"{"cancelReason":"r"}"#).status == 200)
        let key = client.provider.issue(customerKey: "cust-1")
        #expect(client.approve(key).outcome == "DUPLICATED_ORDER_ID")
    }
}
