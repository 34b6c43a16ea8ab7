import Testing

@testable import TossSandbox

@Suite struct IdempotencyTests {
    let client = SandboxClient(secretKeys: ["test_sk_sandbox", "test_sk_other"])
    let billingKey: String

    init() { billingKey = client.provider.issue(customerKey: "cust-1") }

    @Test func aRepeatReplaysTheSameBytesBlindToItsBody() throws {
        let first = client.approve(billingKey, key: "k-1")
        let second = client.approve(billingKey, order: "order-0002-1", amount: "5000", key: "k-1")
        #expect(second.status == 200 && second.body == first.body)
        let trace = try #require(first.header("X-TossPayments-Trace-Id"))
        let traces = try #require(second.header("X-TossPayments-Trace-Id"))
        #expect(trace.utf8.count == 32 && trace.allSatisfy(\.isHexDigit))
        #expect(traces.hasSuffix(", \(trace)") && traces.utf8.count == 66)
        #expect(first.header("idempotency-key") == "k-1")
        let books = client.call("GET", "/_sandbox/books").json
        #expect(books["approvals"]?.integer == 1 && books["replays"]?.integer == 1)
    }

    @Test func aReplayShowsTheApprovalEvenAfterACancel() throws {
        let first = client.approve(billingKey, key: "k-1")
        let paymentKey = try #require(first.json["paymentKey"]?.string)
        let cancel = client.call(
            "POST", "/v1/payments/\(paymentKey)/cancel", #"{"cancelReason":"r"}"#)
        #expect(cancel.json["status"]?.string == "CANCELED")
        #expect(client.approve(billingKey, key: "k-1").body == first.body)
    }

    @Test func refusalsAreGluedToTheirKeyForFifteenDays() {
        let declining = client.provider.issue(
            customerKey: "cust-1", script: .init(outcomes: ["REJECT_CARD_PAYMENT", nil]))
        #expect(client.approve(declining, key: "k-1").outcome == "REJECT_CARD_PAYMENT")
        #expect(client.approve(billingKey, amount: "5", key: "k-2").status == 400)
        client.advance(seconds: 15 * 86_400 - 1)
        #expect(client.approve(declining, key: "k-1").status == 403)
        #expect(client.approve(billingKey, key: "k-2").outcome == "BELOW_MINIMUM_AMOUNT")
        client.advance(seconds: 1)
        #expect(client.approve(declining, key: "k-1").status == 200)
        #expect(client.approve(billingKey, order: "order-0002-1", key: "k-2").status == 200)
    }

    @Test func serverErrorsAreStoredByASwitchOnly() {
        for stores in [false, true] {
            let client = SandboxClient()
            client.provider.switches.storesAllErrors = stores
            let key = client.provider.issue(
                customerKey: "cust-1", script: .init(outcomes: ["FAILED_DB_PROCESSING", nil]))
            #expect(client.approve(key, key: "k-1").status == 500)
            #expect(client.approve(key, key: "k-1").status == (stores ? 500 : 200))
        }
    }

    @Test func theIdentityHasKeySecretAndAddress() {
        let other = client.provider.issue(customerKey: "cust-1")
        #expect(client.approve(billingKey, key: "k-1").status == 200)
        #expect(client.approve(other, order: "order-0002-1", key: "k-1").status == 200)
        #expect(client.approve(billingKey, order: "order-0003-1", key: "k-2").status == 200)
        // Base64 of test_sk_other:
        let header = ["Authorization": "Basic dGVzdF9za19vdGhlcjo="]
        #expect(
            client.approve(billingKey, key: "k-1", headers: header).outcome
                == "DUPLICATED_ORDER_ID")
        let escaped = String(billingKey.dropLast()) + "%3D"
        #expect(client.approve(escaped, order: "order-0004-1", key: "k-1").outcome == "200")
        #expect(client.call("GET", "/_sandbox/books").json["approvals"]?.integer == 3)
    }

    @Test func aRepeatDuringTheFirstIsA409() throws {
        client.provider.faults = [FaultRule(latency: 2000)]
        let first = client.approve(billingKey, key: "k-1")
        let ticket = try #require(first.ticket)
        #expect(first.delayMilliseconds == 2000)
        let second = client.approve(billingKey, key: "k-1")
        #expect(second.outcome == "IDEMPOTENT_REQUEST_PROCESSING" && second.status == 409)
        #expect(client.approve(billingKey, key: "k-2").outcome == "DUPLICATED_ORDER_ID")
        client.provider.finish(ticket, delivered: true)
        #expect(client.approve(billingKey, key: "k-1").body == first.body)
    }

    @Test func aNastyProviderLetsBothConcurrentOrdersWin() throws {
        client.provider.switches.concurrentOrdersBothWin = true
        client.provider.faults = [FaultRule(latency: 2000)]
        let first = client.approve(billingKey, key: "k-1")
        let second = client.approve(billingKey, key: "k-2")
        #expect(first.status == 200 && second.status == 200 && first.body != second.body)
        for reply in [first, second] {
            client.provider.finish(try #require(reply.ticket), delivered: true)
        }
        #expect(client.approve(billingKey, key: "k-3").outcome == "DUPLICATED_ORDER_ID")
        let duplicates = client.call("GET", "/_sandbox/books").json["duplicates"]
        #expect(duplicates?["order-0001"]?.integer == 2)
    }

    @Test func theKeyHasThreeHundredCharactersAtMost() {
        let long = String(repeating: "k", count: 300)
        #expect(client.approve(billingKey, key: long).status == 200)
        #expect(
            client.approve(billingKey, order: "order-0002-1", key: long + "k").outcome
                == "INVALID_IDEMPOTENCY_KEY")
    }

    @Test func processingMayLinger() {
        client.provider.switches.processingLingersSeconds = 60
        #expect(client.approve(billingKey, key: "k-1").status == 200)
        #expect(client.approve(billingKey, key: "k-1").status == 409)
        client.advance(seconds: 60)
        #expect(client.approve(billingKey, key: "k-1").status == 200)
    }
}

extension FaultRule {
    init(latency milliseconds: Int64) {
        self.init(.latency)
        self.milliseconds = milliseconds...milliseconds
    }
}
