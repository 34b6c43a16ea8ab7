import Testing

@testable import TossSandbox

@Suite struct LookupTests {
    let client = SandboxClient()
    let billingKey: String

    init() { billingKey = client.provider.issue(customerKey: "cust-1") }

    private func list(_ query: String) -> SandboxReply {
        client.call("GET", "/v1/transactions", query: query)
    }

    @Test func bothLookupsFindTheApproval() throws {
        let approval = client.approve(billingKey)
        let paymentKey = try #require(approval.json["paymentKey"]?.string)
        #expect(client.call("GET", "/v1/payments/\(paymentKey)").body == approval.body)
        #expect(client.call("GET", "/v1/payments/orders/order-0001-1").body == approval.body)
        let missing = client.call("GET", "/v1/payments/orders/order-0002-1")
        #expect(missing.status == 404)
        #expect(missing.text == #"{"code":"NOT_FOUND_PAYMENT","message":"존재하지 않는 결제 정보 입니다."}"#)
    }

    @Test func lookupsMayLag() {
        client.provider.switches.lookupLagSeconds = 90
        #expect(client.approve(billingKey).status == 200)
        client.advance(seconds: 89)
        #expect(client.call("GET", "/v1/payments/orders/order-0001-1").status == 404)
        client.advance(seconds: 1)
        #expect(client.call("GET", "/v1/payments/orders/order-0001-1").status == 200)
    }

    @Test func aDeclinedOrderIsMissingOrAborted() {
        let key = client.provider.issue(
            customerKey: "cust-1", script: .init(outcomes: ["REJECT_CARD_PAYMENT"]))
        #expect(client.approve(key).status == 403)
        #expect(client.call("GET", "/v1/payments/orders/order-0001-1").status == 404)
        client.provider.switches.declinedOrderIsAborted = true
        let aborted = client.call("GET", "/v1/payments/orders/order-0001-1").json
        #expect(aborted["status"]?.string == "ABORTED")
        #expect(aborted["failure"]?["code"]?.string == "REJECT_CARD_PAYMENT")
        // A request that was refused as malformed never leaves a payment.
        #expect(client.approve(key, order: "order-0002-1", amount: "5").status == 400)
        #expect(client.call("GET", "/v1/payments/orders/order-0002-1").status == 404)
    }

    @Test func transactionsArePagedAndLag() throws {
        for number in 1...5 {
            #expect(client.approve(billingKey, order: "order-000\(number)").status == 200)
            client.advance(seconds: 10)
        }
        let day = "startDate=2026-07-15&endDate=2026-07-16T00%3A00%3A00"
        #expect(list(day).text == "[]")
        client.advance(seconds: 10)
        #expect(list(day).json.array?.count == 1)
        client.advance(seconds: 60)
        let all = try #require(list(day).json.array)
        #expect(all.count == 5)
        #expect(all[0]["transactionAt"]?.string == "2026-07-15T09:30:04+09:00")
        #expect(all[0]["customerKey"]?.string == "cust-1")
        var paged: [JSONValue] = []
        var after = ""
        while true {
            let page = try #require(list(day + "&limit=2" + after).json.array)
            guard let last = page.last?["transactionKey"]?.string else { break }
            paged += page
            after = "&startingAfter=\(last)"
        }
        #expect(paged == all)
        let window = "startDate=2026-07-15T09:30:14&endDate=2026-07-15T09:30:24"
        #expect(list(window).json.array?.count == 2)
    }

    @Test func aCancelIsARowOfItsOwn() throws {
        let paymentKey = try #require(client.approve(billingKey).json["paymentKey"]?.string)
        let operators = client.call(
            "POST", "/_sandbox/cancel/\(paymentKey)", #"{"cancelAmount":4900}"#)
        #expect(operators.status == 200)
        client.advance(seconds: 60)
        let rows = try #require(list("startDate=2026-07-15&endDate=2026-07-16").json.array)
        #expect(rows.map { $0["status"]?.string } == ["DONE", "PARTIAL_CANCELED"])
        #expect(rows.map { $0["amount"]?.integer } == [14_900, 4900])
        #expect(rows.map { $0["paymentKey"]?.string } == [paymentKey, paymentKey])
    }

    @Test(arguments: [
        ("", "INVALID_REQUIRED_PARAM"),
        ("startDate=2026-07-15T00:00:00Z&endDate=2026-07-16", "INVALID_DATE"),
        ("startDate=2026-02-30&endDate=2026-07-16", "INVALID_DATE"),
        ("startDate=2026-07-15&endDate=2026-07-16&limit=5001", "EXCEED_MAX_QUERY_LIMIT"),
        ("startDate=2026-07-15&endDate=2026-07-16&limit=0", "INVALID_REQUEST"),
        ("startDate=2026-07-15&endDate=2026-07-16&startingAfter=x", "INVALID_PAGING_KEY"),
    ])
    func queriesAreChecked(query: String, code: String) {
        #expect(list(query).outcome == code)
    }

    @Test func settlementsAreEmpty() {
        let query = "startDate=2026-07-15&endDate=2026-07-16"
        #expect(client.call("GET", "/v1/settlements", query: query).text == "[]")
        #expect(
            client.call("GET", "/v1/settlements", query: query + "&dateType=x").outcome
                == "INVALID_REQUEST")
    }
}
