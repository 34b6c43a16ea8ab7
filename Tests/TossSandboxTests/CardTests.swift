import Testing

@testable import TossSandbox

@Suite struct CardTests {
    let client = SandboxClient()

    private func register(
        _ number: String, year: String = "30", month: String = "12", identity: String = "900101",
        extra: String = ""
    ) -> SandboxReply {
        client.call(
            "POST", "/v1/billing/authorizations/card",
            """
            {"customerKey":"cust-1","cardNumber":"\(number)","cardExpirationYear":"\(year)",\
            "cardExpirationMonth":"\(month)","customerIdentityNumber":"\(identity)"\(extra)}
            """)
    }

    @Test func theProvidersTestCardsBehaveAsMeasured() throws {
        for number in ["9410001234567890", "4906251234123456"] {
            let reply = register(number)
            #expect(reply.json["method"]?.string == "카드")
            let key = try #require(reply.json["billingKey"]?.string)
            #expect(KeyRing.isWellFormed(key))
            #expect(client.approve(key, order: "order-\(number)").status == 200)
        }
        for number in ["4330121234567890", "5520221234567890"] {
            let reply = register(number)
            #expect(reply.json["card"]?["cardType"]?.string == "미확인")
            let key = try #require(reply.json["billingKey"]?.string)
            #expect(client.approve(key).outcome == "NOT_SUPPORTED_CARD_TYPE")
        }
        #expect(register("433012").outcome == "INVALID_CARD_NUMBER")
        #expect(register("9410001234567890").json["cardNumber"]?.string == "94100012****789*")
    }

    @Test(arguments: [
        ("26", "06", "900101", "", "INVALID_CARD_EXPIRATION"), ("26", "07", "900101", "", "200"),
        ("30", "13", "900101", "", "INVALID_CARD_EXPIRATION"),
        ("30", "12", "9001", "", "INVALID_BIRTH_DAY_FORMAT"),
        ("30", "12", "901301", "", "INVALID_BIRTH_DAY_FORMAT"),
        ("30", "12", "1234567890", "", "200"),
        ("30", "12", "900101", #","cardPassword":"1""#, "INVALID_CARD_PASSWORD"),
        ("30", "12", "900101", #","cardPassword":"12""#, "200"),
        ("30", "12", "900101", #","customerEmail":"x""#, "INVALID_EMAIL"),
    ])
    func cardDataIsChecked(
        year: String, month: String, identity: String, extra: String, outcome: String
    ) {
        let reply = register(
            "9410001234567890", year: year, month: month, identity: identity, extra: extra)
        #expect(reply.outcome == outcome)
    }

    @Test func aKeyLivesAsLongAsItsCard() throws {
        let key = try #require(
            register("9410001234567890", year: "26", month: "07").json["billingKey"]?.string)
        #expect(client.approve(key).status == 200)
        client.advance(seconds: 17 * 86_400)
        #expect(client.approve(key, order: "order-2").outcome == "INVALID_CARD_EXPIRATION")
    }

    @Test func anAuthKeyIsSpentOnce() throws {
        let made = client.call("POST", "/_sandbox/auth-keys", #"{"customerKey":"cust-1"}"#)
        let authKey = try #require(made.json["authKey"]?.string)
        let body = "{\"authKey\":\"\(authKey)\",\"customerKey\":\"cust-1\"}"
        let path = "/v1/billing/authorizations/issue"
        #expect(client.call("POST", path, body).json["customerKey"]?.string == "cust-1")
        let spent = client.call("POST", path, body)
        #expect(spent.outcome == "NOT_FOUND_BILLING" && spent.status == 404)
        let long = String(repeating: "c", count: 301)
        let failed = client.call(
            "POST", path, "{\"authKey\":\"x\",\"customerKey\":\"\(long)\"}")
        #expect(failed.outcome == "FAILED_DB_PROCESSING" && failed.status == 500)
    }

    @Test func aDeletedKeyIsGone() {
        let key = client.provider.issue(customerKey: "cust-1")
        let reply = client.call("DELETE", "/v1/billing/\(key)")
        #expect(reply.status == 200 && reply.body.isEmpty)
        #expect(client.approve(key).outcome == "ALREADY_REMOVED_BILLING_KEY")
        #expect(client.call("DELETE", "/v1/billing/\(key)").status == 400)
        client.provider.switches.repeatedDeleteIsNotFound = true
        let again = client.call("DELETE", "/v1/billing/\(key)")
        #expect(again.outcome == "NOT_FOUND_BILLING" && again.status == 404)
        #expect(client.call("DELETE", "/v1/billing/none").outcome == "BILLING_KEY_NOT_FOUND")
    }

    @Test func aScriptAnswersByAttempt() {
        let key = client.provider.issue(customerKey: "cust-1")
        let set = client.call(
            "PUT", "/_sandbox/scripts/\(key)",
            #"{"script":["REJECT_CARD_PAYMENT","INVALID_REJECT_CARD","approve"]}"#)
        #expect(set.status == 200)
        let outcomes = (1...4).map { client.approve(key, order: "order-1-\($0)").outcome }
        #expect(outcomes == ["REJECT_CARD_PAYMENT", "INVALID_REJECT_CARD", "200", "200"])
        let declines = client.call("GET", "/_sandbox/books").json["declines"]
        #expect(declines?["REJECT_CARD_PAYMENT"]?.integer == 1)
        let invented = client.call(
            "PUT", "/_sandbox/scripts/\(key)", #"{"script":["NOT_ENOUGH_BALANCE"]}"#)
        #expect(invented.status == 400)
    }

    @Test func aScriptAnswersByDateAndAmount() {
        let made = client.call(
            "POST", "/_sandbox/billing-keys",
            """
            [{"customerKey":"cust-1","limit":30000,"deadFrom":"2026-08-01",
              "windows":[{"from":"2026-07-20","to":"2026-07-21","code":"MAINTAINED_METHOD"}]}]
            """)
        let key = made.json.array?.first?["billingKey"]?.string ?? ""
        #expect(client.approve(key, amount: "30000").status == 200)
        #expect(
            client.approve(key, order: "order-2", amount: "30001").outcome
                == "REJECT_CARD_PAYMENT")
        client.advance(seconds: 5 * 86_400)
        #expect(client.approve(key, order: "order-3").outcome == "MAINTAINED_METHOD")
        client.advance(seconds: 86_400)
        #expect(client.approve(key, order: "order-4").status == 200)
        client.advance(seconds: 11 * 86_400)
        #expect(client.approve(key, order: "order-5").outcome == "INVALID_STOPPED_CARD")
    }

    @Test func aCardScriptHoldsForKeysIssuedLater() throws {
        let set = client.call(
            "PUT", "/_sandbox/card-scripts/9410001234567890", #"{"script":["REJECT_CARD_COMPANY"]}"#
        )
        #expect(set.status == 200)
        let key = try #require(register("9410001234567890").json["billingKey"]?.string)
        #expect(client.approve(key).outcome == "REJECT_CARD_COMPANY")
    }
}
