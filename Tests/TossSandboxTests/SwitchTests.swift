import Testing

@testable import TossSandbox

/// Every open question of the provider's contract, answered both ways, set over HTTP.
@Suite struct SwitchTests {
    let client = SandboxClient()
    let billingKey: String

    init() { billingKey = client.provider.issue(customerKey: "cust-1") }

    /// One question: its switch, the nasty setting, and what is seen by default and then.
    struct Question: Sendable, CustomTestStringConvertible {
        let name: String
        let nasty: String
        let seen: (byDefault: String, nasty: String)
        let ask: @Sendable (SwitchTests) -> String
        var testDescription: String { name }
    }

    private func declining(_ codes: [String?] = ["REJECT_CARD_PAYMENT"]) -> String {
        client.provider.issue(customerKey: "cust-1", script: .init(outcomes: codes))
    }

    private func look(_ order: String = "order-0001-1") -> String {
        let reply = client.call("GET", "/v1/payments/orders/\(order)")
        return reply.json["status"]?.string ?? reply.outcome
    }

    private func rows(after seconds: Int64) -> String {
        client.advance(seconds: seconds)
        let days = "startDate=2026-07-15&endDate=2026-07-16"
        let list = client.call("GET", "/v1/transactions", query: days)
        return "\(list.json.array?.count ?? -1)"
    }

    private static let questions = [
        Question(
            name: "declinedOrderIsAborted", nasty: "true", seen: ("NOT_FOUND_PAYMENT", "ABORTED")
        ) { test in
            _ = test.client.approve(test.declining())
            return test.look()
        },
        Question(
            name: "declinedOrderIsBurned", nasty: "true", seen: ("200", "DUPLICATED_ORDER_ID")
        ) { test in
            _ = test.client.approve(test.declining(), key: "k-1")
            return test.client.approve(test.billingKey, key: "k-2").outcome
        },
        Question(
            name: "concurrentOrdersBothWin", nasty: "true", seen: ("DUPLICATED_ORDER_ID", "200")
        ) { test in
            test.client.provider.faults = [FaultRule(latency: 50)]
            _ = test.client.approve(test.billingKey, key: "k-1")
            return test.client.approve(test.billingKey, key: "k-2").outcome
        },
        Question(
            name: "storesAllErrors", nasty: "true", seen: ("200 200 200 200", "401 409 429 500")
        ) { test in
            [
                "UNAUTHORIZED_KEY", "IDEMPOTENT_REQUEST_PROCESSING", "TOO_MANY_REQUESTS",
                "COMMON_ERROR",
            ].map { code in
                var rule = FaultRule(.refuse)
                rule.code = code
                rule.count = 1
                test.client.provider.faults = [rule]
                _ = test.client.approve(test.billingKey, order: "order-\(code)", key: code)
                let again = test.client.approve(
                    test.billingKey, order: "order-\(code)", key: code)
                return "\(again.status)"
            }.joined(separator: " ")
        },
        Question(
            name: "forgetsDeclines", nasty: "true", seen: ("REJECT_CARD_PAYMENT", "200")
        ) { test in
            let key = test.declining(["REJECT_CARD_PAYMENT", nil])
            _ = test.client.approve(key, key: "k-1")
            return test.client.approve(key, key: "k-1").outcome
        },
        Question(
            name: "lookupLagSeconds", nasty: "90", seen: ("DONE", "NOT_FOUND_PAYMENT")
        ) { test in
            _ = test.client.approve(test.billingKey)
            test.client.advance(seconds: 89)
            return test.look()
        },
        Question(
            name: "repeatedDeleteIsNotFound", nasty: "true",
            seen: ("ALREADY_REMOVED_BILLING_KEY", "NOT_FOUND_BILLING")
        ) { test in
            _ = test.client.call("DELETE", "/v1/billing/\(test.billingKey)")
            return test.client.call("DELETE", "/v1/billing/\(test.billingKey)").outcome
        },
        Question(
            name: "tooManyBody", nasty: "\"html\"", seen: ("TOO_MANY_REQUESTS", "429 text/html")
        ) { test in
            test.client.provider.switches.callsPerMinute = 1
            _ = test.look()
            let reply = test.client.call("GET", "/v1/payments/orders/order-1")
            return reply.json["code"]?.string
                ?? "\(reply.status) \(reply.header("Content-Type") ?? "")"
        },
        Question(name: "retryAfterSeconds", nasty: "3600", seen: ("none", "3600")) { test in
            test.client.provider.faults = [FaultRule(tooManyOn: .order)]
            return test.client.call("GET", "/v1/payments/orders/order-1").header("Retry-After")
                ?? "none"
        },
        Question(
            name: "unknownKeyIsNotFound", nasty: "true",
            seen: ("INVALID_BILL_KEY_REQUEST", "NOT_FOUND_BILLING")
        ) { test in test.client.approve(String(repeating: "u", count: 43)).outcome },
        Question(name: "duplicatedOrderStatus", nasty: "409", seen: ("400", "409")) { test in
            _ = test.client.approve(test.billingKey, key: "k-1")
            let again = test.client.approve(test.billingKey, key: "k-2")
            return again.outcome == "DUPLICATED_ORDER_ID" ? "\(again.status)" : again.outcome
        },
        Question(name: "wrongSecretStatus", nasty: "403", seen: ("401", "403")) { test in
            // Base64 of test_sk_other:
            let header = ["Authorization": "Basic dGVzdF9za19vdGhlcjo="]
            let reply = test.client.approve(test.billingKey, headers: header)
            return reply.outcome == "UNAUTHORIZED_KEY" ? "\(reply.status)" : reply.outcome
        },
        Question(
            name: "issueLagSeconds", nasty: "5", seen: ("200 200", "INVALID_BILL_KEY_REQUEST 200")
        ) { test in
            let early = test.client.approve(test.billingKey).outcome
            test.client.advance(seconds: 5)
            return early + " " + test.client.approve(test.billingKey, order: "order-2").outcome
        },
        Question(
            name: "processingLingersSeconds", nasty: "120",
            seen: ("200", "IDEMPOTENT_REQUEST_PROCESSING")
        ) { test in
            _ = test.client.approve(test.billingKey, key: "k-1")
            test.client.advance(seconds: 119)
            return test.client.approve(test.billingKey, key: "k-1").outcome
        },
        Question(
            name: "transactionLagSeconds", nasty: "7200", seen: ("0 1 1", "0 0 1")
        ) { test in
            _ = test.client.approve(test.billingKey)
            return [59, 1, 7140].map { test.rows(after: $0) }.joined(separator: " ")
        },
        Question(
            name: "transactionMissingEvery", nasty: "2", seen: ("3 3 3", "2 2 3")
        ) { test in
            for number in 1...3 {
                _ = test.client.approve(test.billingKey, order: "order-000\(number)")
            }
            // In the evening; on the next day, from midnight to midnight; on the second day.
            return [36_000, 60_000, 45_000].map { test.rows(after: $0) }.joined(separator: " ")
        },
        Question(
            name: "webhooks", nasty: "\"never\"", seen: ("unregistered", "withheld")
        ) { test in
            _ = test.client.call("DELETE", "/v1/billing/\(test.billingKey)")
            return test.client.provider.webhooks.last?.state.rawValue ?? "none"
        },
        Question(name: "webhookDelaySeconds", nasty: "60", seen: ("600", "60")) { test in
            test.client.provider.switches.webhooks = .late
            let before = test.client.provider.clock.milliseconds()
            _ = test.client.call("DELETE", "/v1/billing/\(test.billingKey)")
            return "\(((test.client.provider.webhooks.last?.dueAt ?? 0) - before) / 1000)"
        },
        Question(
            name: "callsPerMinute", nasty: "100", seen: ("101", "100 TOO_MANY_REQUESTS")
        ) { test in
            let outcomes = (1...101).map { _ in test.look() }
            let free = outcomes.count { $0 == "NOT_FOUND_PAYMENT" }
            return free == 101 ? "101" : "\(free) \(outcomes.last ?? "")"
        },
        Question(name: "taxFreeShop", nasty: "true", seen: ("0", "1000")) { test in
            let reply = test.client.approve(test.billingKey, extra: #","taxFreeAmount":1000"#)
            return "\(reply.json["taxFreeAmount"]?.integer ?? -1)"
        },
    ]

    @Test(arguments: questions)
    func aQuestionHasTwoAnswers(question: Question) {
        #expect(question.ask(SwitchTests()) == question.seen.byDefault)
        let test = SwitchTests()
        let set = test.client.call(
            "PUT", "/_sandbox/switches", "{\"\(question.name)\":\(question.nasty)}")
        #expect(set.status == 200, "\(set.text)")
        #expect(question.ask(test) == question.seen.nasty)
    }

    /// No switch without a test, an explanation and a place in the list.
    @Test func everySwitchIsAskedAndExplained() {
        guard case .object(let members) = Switches().json else { return #expect(Bool(false)) }
        let names = Set(members.keys)
        #expect(names == Set(Self.questions.map(\.name)))
        #expect(names == Set(Switches.meanings.map(\.name)))
        let manual = client.call("GET", "/_sandbox").json
        for name in names { #expect(manual["switches"]?[name]?.string != nil, "\(name)") }
        for action in FaultRule.Action.allCases {
            #expect(manual["actions"]?[action.rawValue]?.string != nil)
            #expect(SandboxManual.text.contains(action.meaning))
        }
        for field in FaultRule.fields { #expect(manual["fields"]?[field.name] != nil) }
    }

    /// What `GET` shows of a rule is what the list of fields promises.
    @Test func everyFieldOfARuleIsListed() throws {
        var rule = try FaultRule(
            json: .object([
                "action": "late", "status": .integer(500), "body": "html", "answered": "any",
                "customerKey": "c", "orderId": "o", "orderPrefix": "p", "billingKey": "b",
                "card": "1", "from": "2026-01-01", "until": "2027-01-01", "count": .integer(1),
            ]))
        rule.seen = 0
        guard case .object(let members) = rule.json else { return #expect(Bool(false)) }
        #expect(
            Set(members.keys).subtracting(["seen", "struck"]) == Set(FaultRule.fields.map(\.name)))
        #expect(try FaultRule(json: rule.json) == rule)
    }

    @Test func theExamplesWorkAndUseEveryField() throws {
        var used: Set<String> = []
        for example in SandboxManual.examples {
            let json = try #require(JSONValue(Array(example.rule.utf8)), "\(example.rule)")
            _ = try FaultRule(json: json)
            if case .object(let members) = json { used.formUnion(members.keys) }
            #expect(SandboxManual.text.contains(example.rule))
        }
        #expect(used == Set(FaultRule.fields.map(\.name)))
    }

    @Test func totalsAreByCustomerAndByOrder() throws {
        let other = client.provider.issue(customerKey: "cust-2")
        let first = client.approve(billingKey, order: "sub-a-1")
        #expect(client.approve(billingKey, order: "sub-a-2").status == 200)
        #expect(client.approve(other, customer: "cust-2", order: "sub-b-1").status == 200)
        let paymentKey = try #require(first.json["paymentKey"]?.string)
        #expect(client.call("POST", "/_sandbox/cancel/\(paymentKey)").status == 200)
        let customers = client.call("GET", "/_sandbox/books/customers").json
        #expect(customers["cust-1"]?["approvals"]?.integer == 2)
        #expect(customers["cust-1"]?["refundedWon"]?.integer == 14_900)
        #expect(customers["cust-2"]?["won"]?.integer == 14_900)
        let orders = client.call("GET", "/_sandbox/books/orders").json
        #expect(orders["sub-a"]?["won"]?.integer == 29_800)
        #expect(orders["sub-b"]?["approvals"]?.integer == 1)
    }
}

extension FaultRule {
    init(tooManyOn call: APIEndpoint) {
        self.init(.refuse, on: [call])
        code = "TOO_MANY_REQUESTS"
    }
}
