import Testing

@testable import TossSandbox

/// What every fault rule does, asked over HTTP's in-process twin.
@Suite struct FaultTests {
    let client = SandboxClient()
    let billingKey: String

    init() { billingKey = client.provider.issue(customerKey: "cust-1") }

    private func faults(_ json: String) {
        let reply = client.call("PUT", "/_sandbox/faults", json)
        #expect(reply.status == 200, "\(reply.text)")
    }

    private func look(_ order: String = "order-0001-1") -> SandboxReply {
        client.call("GET", "/v1/payments/orders/\(order)")
    }

    private var approvals: Int64? {
        client.call("GET", "/_sandbox/books").json["approvals"]?.integer
    }

    /// What a client sees: how the answer travels, its status and code.
    private func seen(_ reply: SandboxReply) -> String {
        switch reply.delivery {
        case .send: reply.json == .null && reply.status == 200 ? "no JSON" : reply.outcome
        case .drop: "drop"
        case .hang: "hang"
        case .cut(let bytes): bytes < reply.body.count ? "cut" : "whole"
        }
    }

    /// An action, what the client of an approve sees, and how many payments there are then.
    @Test(arguments: [
        (#""latency","milliseconds":75000"#, "200", 1), (#""refuse""#, failed, 0),
        (#""refuse","code":"REJECT_CARD_PAYMENT""#, "REJECT_CARD_PAYMENT", 0),
        (#""refuse","status":502,"body":"html""#, "502", 0),
        (#""refuse","code":"TOO_MANY_REQUESTS","body":"empty""#, "429", 0),
        (#""dropBefore""#, "drop", 0), (#""executeAndDrop""#, "drop", 1),
        (#""executeAndFail""#, failed, 1),
        (#""executeAndFail","status":504,"body":"empty""#, "504", 1),
        (#""hang""#, "hang", 1), (#""cut""#, "cut", 1), (#""garbage""#, "no JSON", 1),
        (#""otherOrder""#, "200", 1), (#""otherAmount""#, "200", 1), (#""otherPayment""#, "200", 1),
        (#""forget""#, "200", 1), (#""double","milliseconds":1000"#, "200", 1),
        (#""late","milliseconds":1000"#, "drop", 0),
        (#""late","milliseconds":1000,"farewell":"hang""#, "hang", 0),
        (#""late","milliseconds":1000,"farewell":"code""#, failed, 0),
    ])
    func anApproveMeets(action: String, sees: String, executed: Int64) {
        faults("{\"action\":\(action)}")
        let reply = client.approve(billingKey, key: "k-1")
        #expect(seen(reply) == sees)
        #expect(approvals == executed)
        #expect(reply.delayMilliseconds == (action.contains("75000") ? 75_000 : 0))
        let books = client.call("GET", "/_sandbox/books").json
        let isTold = ["latency", "otherOrder", "otherPayment", "otherAmount", "forget", "double"]
        if let ticket = reply.ticket { client.provider.finish(ticket, delivered: sees == "200") }
        let lies = ["otherOrder", "otherPayment", "otherAmount"].contains { action.contains($0) }
        if sees == "200", !lies, isTold.contains(where: action.contains) {
            #expect(reply.json["orderId"]?.string == "order-0001-1")
        } else if executed == 1 {
            let lost = client.call("GET", "/_sandbox/books").json["unanswered"]?.integer
            #expect(lost == 1, "\(books.json)")
        }
        client.provider.faults = []
        #expect(client.call("GET", "/_sandbox/faults").text == "[]")
    }

    private static let failed = "FAILED_INTERNAL_SYSTEM_PROCESSING"

    /// The same on look-ups: nothing of them is executed, and the truth comes with the next.
    @Test(arguments: [
        (#""latency","milliseconds":3"#, "200"), (#""refuse","status":503,"body":"html""#, "503"),
        (#""refuse","code":"COMMON_ERROR""#, "COMMON_ERROR"),
        (#""refuse","code":"TOO_MANY_REQUESTS""#, "TOO_MANY_REQUESTS"),
        (#""refuse","code":"NOT_FOUND_PAYMENT""#, "NOT_FOUND_PAYMENT"),
        (#""refuse","code":"NOT_FOUND""#, "NOT_FOUND"), (#""dropBefore""#, "drop"),
        (#""executeAndDrop""#, "drop"), (#""executeAndFail""#, failed), (#""hang""#, "hang"),
        (#""cut""#, "cut"), (#""garbage""#, "no JSON"), (#""stale""#, "NOT_FOUND_PAYMENT"),
    ])
    func aLookUpMeets(action: String, sees: String) throws {
        let approval = client.approve(billingKey, key: "k-1")
        let paymentKey = try #require(approval.json["paymentKey"]?.string)
        faults("{\"action\":\(action),\"calls\":\"lookups\",\"count\":2}")
        #expect(seen(look()) == sees)
        #expect(seen(client.call("GET", "/v1/payments/\(paymentKey)")) == sees)
        #expect(look().body == approval.body)
        #expect(approvals == 1)
        let books = client.call("GET", "/_sandbox/books").json
        #expect(books["unanswered"]?.integer == 0, "the approval itself was answered")
    }

    @Test func aLookUpMayShowAnothersPayment() {
        let other = client.provider.issue(customerKey: "cust-2")
        #expect(client.approve(other, customer: "cust-2", order: "order-0002-1").status == 200)
        let approval = client.approve(billingKey)
        faults(#"{"action":"otherPayment","calls":"order","orderId":"order-0001-1"}"#)
        #expect(look().json["orderId"]?.string == "order-0002-1")
        #expect(look("order-0002-1").json["orderId"]?.string == "order-0002-1")
        faults(#"{"action":"otherAmount","calls":"order"}"#)
        #expect(look().json["totalAmount"]?.integer == 15_000)
        faults(#"{"action":"otherOrder","calls":"order"}"#)
        #expect(look().json["orderId"]?.string == "other-order-0001-1")
        client.provider.faults = []
        #expect(look().body == approval.body)
    }

    @Test func aStaleLookUpHasNotHeardOfTheCancel() throws {
        let approval = client.approve(billingKey)
        let paymentKey = try #require(approval.json["paymentKey"]?.string)
        faults(#"{"action":"stale","calls":"lookups"}"#)
        let cancel = #"{"cancelReason":"r"}"#
        #expect(client.call("POST", "/v1/payments/\(paymentKey)/cancel", cancel).status == 200)
        #expect(look().body == approval.body)
        client.provider.faults = []
        #expect(look().json["status"]?.string == "CANCELED")
    }

    /// Every other call that a merchant makes.
    @Test(arguments: ["transactions", "settlements", "cancel", "delete", "card", "issue"])
    func allCallsCanFail(call: String) throws {
        let paymentKey = try #require(client.approve(billingKey).json["paymentKey"]?.string)
        let send = { client.send(call, billingKey: billingKey, paymentKey: paymentKey) }
        for (action, sees) in [
            (#""refuse","code":"COMMON_ERROR""#, "COMMON_ERROR"), (#""dropBefore""#, "drop"),
            (#""hang""#, "hang"), (#""garbage""#, "no JSON"), (#""executeAndDrop""#, "drop"),
        ] {
            faults("{\"action\":\(action),\"calls\":\"\(call)\",\"count\":1}")
            #expect(seen(send()) == sees, "\(action)")
        }
        faults(#"{"action":"refuse","calls":"all"}"#)
        #expect(seen(send()) == Self.failed)
        #expect(seen(client.approve(billingKey, order: "order-9")) == Self.failed)
    }

    @Test func aCancelThatFailedMayHaveBeenExecuted() throws {
        let paymentKey = try #require(client.approve(billingKey).json["paymentKey"]?.string)
        faults(#"{"action":"executeAndDrop","calls":"cancel"}"#)
        let send = { client.send("cancel", billingKey: billingKey, paymentKey: paymentKey) }
        #expect(send().delivery == .drop)
        #expect(look().json["status"]?.string == "CANCELED")
    }
}

/// Which calls a rule strikes.
@Suite struct FaultFilterTests {
    let client = SandboxClient()

    private func outcomes(_ rule: String, _ calls: [(customer: String, order: String)]) -> [Bool] {
        let reply = client.call("PUT", "/_sandbox/faults", rule)
        #expect(reply.status == 200, "\(reply.text)")
        return calls.map { call in
            let key = client.provider.issue(customerKey: call.customer)
            return client.approve(key, customer: call.customer, order: call.order).status != 200
        }
    }

    @Test(arguments: [
        (#""customerKey":"cust-2""#, [false, true, false, false]),
        (#""orderId":"order-0001-1""#, [true, false, false, false]),
        (#""orderPrefix":"order-000""#, [true, true, false, false]),
        (#""every":2"#, [false, true, false, true]), (#""count":3"#, [true, true, true, false]),
        (#""every":2,"count":1"#, [false, true, false, false]),
        (#""probability":0"#, [false, false, false, false]),
        (#""probability":1"#, [true, true, true, true]),
        (#""from":"2026-07-15T09:30:05+09:00""#, [false, false, false, false]),
        (#""from":"2026-07-15T09:30:04+09:00""#, [true, true, true, true]),
        (#""until":"2026-07-15T09:30:05+09:00""#, [true, true, true, true]),
        (#""until":"2026-07-15T09:30:04+09:00""#, [false, false, false, false]),
        (#""card":"9410001234567890""#, [true, true, true, true]),
        (#""card":"94100012****789*""#, [true, true, true, true]),
        (#""card":"4906251234123456""#, [false, false, false, false]),
    ])
    func aRuleStrikes(filter: String, struck: [Bool]) {
        let calls = [
            ("cust-1", "order-0001-1"), ("cust-2", "order-0002-1"), ("cust-3", "order-1003-1"),
            ("cust-1", "order-1004-1"),
        ]
        #expect(outcomes("{\"action\":\"refuse\",\(filter)}", calls) == struck)
    }

    @Test func aBillingKeyIsOneWithOrWithoutItsPadding() {
        let one = client.provider.issue(customerKey: "cust-1")
        let other = client.provider.issue(customerKey: "cust-1")
        let rule = "{\"action\":\"refuse\",\"billingKey\":\"\(one.dropLast())\"}"
        #expect(client.call("PUT", "/_sandbox/faults", rule).status == 200)
        #expect(client.approve(one).status == 500)
        #expect(client.approve(other).status == 200)
    }

    @Test func aTimeSpanGoesByTheSandboxsClock() {
        let rule = """
            {"action":"refuse","from":"2026-07-15T10:00:00+09:00","until":"2026-07-15T11:00:00+09:00"}
            """
        let hours = [0, 3600, 3600].map { seconds in
            client.advance(seconds: Int64(seconds))
            return outcomes(rule, [("cust-1", "order-\(client.provider.clock.milliseconds())")])[0]
        }
        #expect(hours == [false, true, false])
    }

    @Test func chanceIsTheSeeds() {
        let run = { (seed: UInt64) -> [Bool] in
            var settings = SandboxProvider.Settings()
            settings.seed = seed
            let client = SandboxClient(SandboxProvider(settings))
            let key = client.provider.issue(customerKey: "cust-1")
            var rule = FaultRule(.refuse)
            rule.probability = 0.3
            client.provider.faults = [rule]
            return (0..<300).map { client.approve(key, order: "order-\($0)").status != 200 }
        }
        #expect(run(7) == run(7))
        #expect(run(7) != run(8))
        #expect((60...120).contains(run(7).count { $0 }))
    }

    /// A decline's answer is lost only when a rule asks for declines.
    @Test func rulesTellApprovalsFromDeclines() {
        let poor = client.provider.issue(
            customerKey: "cust-1", script: .init(outcomes: ["REJECT_CARD_PAYMENT"]))
        let rich = client.provider.issue(customerKey: "cust-1")
        for (answered, lost) in [
            (#"{"action":"cut"}"#, [false, true]),
            (#"{"action":"cut","answered":"declined"}"#, [true, false]),
            (#"{"action":"cut","answered":"any"}"#, [true, true]),
        ] {
            #expect(client.call("PUT", "/_sandbox/faults", answered).status == 200)
            let got = [poor, rich].enumerated().map {
                client.approve($1, order: "order-\($0)-\(answered.count)").delivery != .send
            }
            #expect(got == lost, "\(answered)")
        }
    }

    @Test func aPostAddsARuleAndTheFirstThatStrikesCounts() {
        let key = client.provider.issue(customerKey: "cust-1")
        for rule in [
            #"{"action":"refuse","code":"COMMON_ERROR","count":1}"#,
            #"{"action":"refuse","code":"UNKNOWN_ERROR"}"#,
        ] {
            #expect(client.call("POST", "/_sandbox/faults", rule).status == 200)
        }
        #expect(client.approve(key).outcome == "COMMON_ERROR")
        #expect(client.approve(key).outcome == "UNKNOWN_ERROR")
        let rules = client.call("GET", "/_sandbox/faults").json.array ?? []
        #expect(rules.map { $0["struck"]?.integer } == [1, 1])
        // What the list shows can be sent back.
        let again = client.call("PUT", "/_sandbox/faults", JSONValue.array(rules).text)
        #expect(again.status == 200)
    }

    @Test(arguments: [
        (#"[]"#, ""), (#"{"action":"nonsense"}"#, "action: one of latency,"),
        (#"{}"#, "action: is missing"),
        (#"{"action":"cut","evry":2}"#, "evry: a fault rule has no"),
        (#"{"action":"cut","every":0}"#, "every: a whole number from 1"),
        (#"{"action":"cut","count":-1}"#, "count: a whole number from 0"),
        (#"{"action":"cut","probability":1.5}"#, "probability: a number from 0 to 1"),
        (#"{"action":"cut","from":"yesterday"}"#, "from: a time such as"),
        (#"{"action":"cut","until":5}"#, "until: a time such as"),
        (#"{"action":"cut","replays":1}"#, "replays: true or false"),
        (#"{"action":"cut","customerKey":5}"#, "customerKey: a text"),
        (#"{"action":"cut","calls":"lookup"}"#, "calls: there is no call lookup"),
        (#"{"action":"cut","calls":[]}"#, "calls: cut is for"),
        (#"{"action":"late","calls":"order"}"#, "calls: late is for approve, cancel, card, issue"),
        (#"{"action":"stale","calls":"approve"}"#, "calls: stale is for order, payment"),
        (#"{"action":"refuse","code":"NOT_ENOUGH_BALANCE"}"#, "code: the provider has no NOT_"),
        (#"{"action":"refuse","status":99}"#, "status: a whole number from 200 to 599"),
        (#"{"action":"refuse","body":"xml"}"#, "body: one of json, empty, html"),
        (#"{"action":"late","farewell":"bye"}"#, "farewell: one of drop, hang, code"),
        (#"{"action":"late","milliseconds":5,"toMilliseconds":4}"#, "toMilliseconds: is less"),
    ])
    func aWrongRuleIsNamed(rule: String, mistake: String) {
        let reply = client.call("PUT", "/_sandbox/faults", rule)
        #expect(reply.status == (mistake.isEmpty ? 200 : 400))
        #expect(reply.text.contains(mistake), "\(reply.text)")
    }
}

extension SandboxClient {
    /// A well-formed call by its name.
    func send(_ call: String, billingKey: String, paymentKey: String) -> SandboxReply {
        let days = "startDate=2026-07-15&endDate=2026-07-16"
        switch call {
        case "transactions", "settlements":
            return self.call("GET", "/v1/\(call)", query: days)
        case "cancel":
            return self.call(
                "POST", "/v1/payments/\(paymentKey)/cancel", #"{"cancelReason":"r"}"#)
        case "delete": return self.call("DELETE", "/v1/billing/\(billingKey)")
        case "card":
            return self.call(
                "POST", "/v1/billing/authorizations/card",
                """
                {"customerKey":"cust-1","cardNumber":"9410001234567890","cardExpirationYear":"30",\
                "cardExpirationMonth":"12","customerIdentityNumber":"900101"}
                """)
        default:
            let made = self.call("POST", "/_sandbox/auth-keys", #"{"customerKey":"cust-1"}"#)
            let authKey = made.json["authKey"]?.string ?? ""
            return self.call(
                "POST", "/v1/billing/authorizations/issue",
                "{\"authKey\":\"\(authKey)\",\"customerKey\":\"cust-1\"}")
        }
    }
}

extension JSONValue {
    var text: String { String(decoding: json, as: UTF8.self) }
}
