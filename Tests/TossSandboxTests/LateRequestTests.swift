import FoundationEssentials
import Testing

@testable import TossSandbox

/// Requests that are executed when nobody expects it any more, and forgotten keys.
@Suite struct LateRequestTests {
    let client = SandboxClient()
    let billingKey: String

    init() { billingKey = client.provider.issue(customerKey: "cust-1") }

    private func fault(_ json: String) {
        let reply = client.call("PUT", "/_sandbox/faults", json)
        #expect(reply.status == 200, "\(reply.text)")
    }

    private func look(_ order: String = "order-0001-1") -> String {
        client.call("GET", "/v1/payments/orders/\(order)").outcome
    }

    private func books(_ name: String) -> Int64? {
        client.call("GET", "/_sandbox/books").json[name]?.integer
    }

    @Test func aLateRequestIsExecutedAtItsTime() {
        fault(#"{"action":"late","milliseconds":150000,"count":1}"#)
        #expect(client.approve(billingKey, key: "k-1").delivery == .drop)
        client.advance(seconds: 149)
        #expect(look() == "NOT_FOUND_PAYMENT" && books("lateRequestsToCome") == 1)
        client.advance(seconds: 100)
        #expect(look() == "200" && books("lateRequestsToCome") == 0)
        #expect(books("unanswered") == 1 && books("late") == 1)
        let row = client.call("GET", "/_sandbox/books.csv").text.split(separator: "\n")[1]
        #expect(row.hasSuffix("k-1,2026-07-15T09:32:34+09:00,false"))
        // Under its own key it is a replay, under another a duplicate.
        #expect(client.approve(billingKey, key: "k-1").status == 200)
        #expect(client.approve(billingKey, key: "k-2").outcome == "DUPLICATED_ORDER_ID")
        #expect(books("approvals") == 1)
    }

    /// The repeat overtakes the first request, which then finds its key or its order taken.
    @Test(arguments: [
        (#""milliseconds":5000"#, "k-1"), (#""milliseconds":5000,"forgetsKey":true"#, "k-1"),
        (#""milliseconds":5000"#, "k-2"),
    ])
    func aRepeatThatOvertakesItIsTheOnlyExecution(rule: String, key: String) {
        fault("{\"action\":\"late\",\(rule),\"count\":1}")
        #expect(client.approve(billingKey, key: "k-1").delivery == .drop)
        #expect(client.approve(billingKey, key: key).status == 200)
        client.advance(seconds: 5)
        #expect(books("late") == 1 && books("approvals") == 1)
        #expect(books("unanswered") == 0)
    }

    @Test func aLateRequestMayHoldItsKey() {
        fault(#"{"action":"late","milliseconds":5000,"holdsKey":true,"farewell":"code"}"#)
        #expect(client.approve(billingKey, key: "k-1").status == 500)
        #expect(client.approve(billingKey, key: "k-1").outcome == "IDEMPOTENT_REQUEST_PROCESSING")
        client.advance(seconds: 5)
        #expect(client.approve(billingKey, key: "k-1").status == 200)
        #expect(books("approvals") == 1)
    }

    /// A decline, and the same request once more: replayed, or executed on a card that now pays.
    @Test(arguments: [
        (#""forgetsKey":false"#, false, false), (#""forgetsKey":true"#, false, true),
        (#""forgetsKey":true"#, true, false),
    ])
    func aDoubledDeclineIsChargedIfItsKeyIsForgotten(
        rule: String, burned: Bool, charged: Bool
    ) {
        client.provider.switches.declinedOrderIsBurned = burned
        let key = client.provider.issue(
            customerKey: "cust-1", script: .init(outcomes: ["REJECT_CARD_PAYMENT", nil]))
        fault("{\"action\":\"double\",\"milliseconds\":60000,\(rule),\"count\":1}")
        #expect(client.approve(key, key: "k-1").outcome == "REJECT_CARD_PAYMENT")
        client.advance(seconds: 59)
        #expect(look() == "NOT_FOUND_PAYMENT")
        client.advance(seconds: 1)
        #expect(look() == (charged ? "200" : "NOT_FOUND_PAYMENT"))
        #expect(books("unanswered") == (charged ? 1 : 0))
    }

    @Test func aDoubledApprovalIsOnePayment() {
        for (order, forgets) in [("order-0001-1", false), ("order-0002-1", true)] {
            fault("{\"action\":\"double\",\"milliseconds\":10,\"forgetsKey\":\(forgets)}")
            #expect(client.approve(billingKey, order: order, key: order).status == 200)
            client.advance(seconds: 1)
            #expect(books("lateRequestsToCome") == 0)
        }
        #expect(books("late") == 2 && books("approvals") == 2 && books("unanswered") == 0)
        // The forgotten key now stands for the refusal of the second arrival.
        #expect(
            client.approve(billingKey, order: "order-0001-1", key: "order-0001-1").status == 200)
        let second = client.approve(billingKey, order: "order-0002-1", key: "order-0002-1")
        #expect(second.outcome == "DUPLICATED_ORDER_ID")
    }

    @Test(arguments: ["rule", "switch", "neither"])
    func aDeclineMayBeForgotten(by way: String) {
        if way == "rule" { fault(#"{"action":"forget","count":1}"#) }
        client.provider.switches.forgetsDeclines = way == "switch"
        let key = client.provider.issue(
            customerKey: "cust-1", script: .init(outcomes: ["REJECT_CARD_PAYMENT", nil]))
        #expect(client.approve(key, key: "k-1").status == 403)
        #expect(client.approve(key, key: "k-1").status == (way == "neither" ? 403 : 200))
        // An approval is kept in any case.
        #expect(client.approve(billingKey, order: "order-2", key: "k-2").status == 200)
        #expect(client.approve(billingKey, order: "order-2", key: "k-2").status == 200)
    }
}

/// What is in the books is there again after a restart, and so after a `kill -9`: every line is
/// with the kernel before the answer leaves.
@Suite struct RestartTests {
    let path: String
    private let folder: URL

    init() throws {
        folder = FileManager.default.temporaryDirectory
            .appending(path: "toss-sandbox-\(UInt64.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        path = folder.appending(path: "books.jsonl").path
    }

    private func start(fixed: Bool = true) throws -> SandboxClient {
        var settings = SandboxProvider.Settings()
        if fixed { settings.clock = .fixed(milliseconds: SandboxClient.start * 1000) }
        let file = try BooksFile(path: path)
        return SandboxClient(SandboxProvider(settings, journal: file.lines) { file.append($0) })
    }

    private func finish() { try? FileManager.default.removeItem(at: folder) }

    @Test func lateRequestsAreExecutedAfterIt() throws {
        defer { finish() }
        let before = try start()
        let key = before.provider.issue(customerKey: "cust-1")
        var late = FaultRule(.late)
        late.milliseconds = 60_000...60_000
        late.holdsKey = true
        before.provider.faults = [late]
        #expect(before.approve(key, key: "k-1").delivery == .drop)
        let after = try start()
        #expect(after.approve(key, key: "k-1").status == 409)
        after.advance(seconds: 60)
        #expect(after.approve(key, key: "k-1").status == 200)
        let third = try start()
        third.advance(seconds: 61)
        let books = third.call("GET", "/_sandbox/books").json
        #expect(books["approvals"]?.integer == 1 && books["lateRequestsToCome"]?.integer == 0)
        #expect(third.approve(key, key: "k-1").status == 200)
    }

    @Test func whatWasForgottenStaysForgotten() throws {
        defer { finish() }
        let before = try start()
        let key = before.provider.issue(customerKey: "cust-1")
        var failing = FaultRule(.executeAndFail)
        failing.remembers = false
        before.provider.faults = [failing]
        #expect(before.approve(key, key: "k-1").status == 500)
        let after = try start()
        #expect(after.approve(key, key: "k-1").outcome == "DUPLICATED_ORDER_ID")
        let csv = after.call("GET", "/_sandbox/books.csv").text
        #expect(csv.hasSuffix(",false\n"), "the lost answer is booked as lost")
    }

    @Test func cardsAndAuthKeysAreThereAgain() throws {
        defer { finish() }
        let before = try start()
        let dying = before.provider.issue(
            customerKey: "cust-1", script: .init(outcomes: [nil, "REJECT_CARD_COMPANY"]))
        #expect(before.approve(dying, order: "order-1").status == 200)
        let script = #"{"script":["INVALID_STOPPED_CARD"],"limit":5}"#
        let number = "9410001234567890"
        #expect(before.call("PUT", "/_sandbox/card-scripts/\(number)", script).status == 200)
        let keys = (0..<2).map { _ in
            before.call("POST", "/_sandbox/auth-keys", #"{"customerKey":"cust-1"}"#)
                .json["authKey"]?.string ?? ""
        }
        let issue = { (client: SandboxClient, authKey: String) in
            client.call(
                "POST", "/v1/billing/authorizations/issue",
                "{\"authKey\":\"\(authKey)\",\"customerKey\":\"cust-1\"}")
        }
        #expect(issue(before, keys[0]).status == 200)

        let after = try start()
        #expect(after.approve(dying, order: "order-2").outcome == "REJECT_CARD_COMPANY")
        #expect(issue(after, keys[0]).outcome == "NOT_FOUND_BILLING", "it was spent")
        let issued = try #require(issue(after, keys[1]).json["billingKey"]?.string)
        #expect(after.approve(issued, order: "order-3").outcome == "REJECT_CARD_PAYMENT")
        #expect(after.approve(issued, order: "order-4", amount: "100").outcome != "200")
        let fresh = after.call("POST", "/_sandbox/auth-keys", #"{"customerKey":"cust-1"}"#)
        #expect(!keys.contains(fresh.json["authKey"]?.string ?? ""))
    }

    @Test func webhooksAreDeliveredAfterIt() throws {
        defer { finish() }
        let before = try start()
        let url = #"{"url":"http://127.0.0.1:9/"}"#
        #expect(before.call("PUT", "/_sandbox/webhooks", url).status == 200)
        for _ in 0..<2 {
            let key = before.provider.issue(customerKey: "cust-1")
            #expect(before.call("DELETE", "/v1/billing/\(key)").status == 200)
        }
        #expect(before.provider.takeDueWebhooks().count == 2)
        before.provider.webhookEnded(1, status: 200)
        let after = try start()
        #expect(after.provider.takeDueWebhooks().map(\.number) == [2])
        #expect(after.provider.webhooks.map(\.answers) == [[200], []])
    }

    @Test func theClockAndTheSwitchesAreTakenUpAgain() throws {
        defer { finish() }
        let before = try start(fixed: false)
        let clock = #"{"now":"2030-01-01T00:00:00+09:00","fixed":true}"#
        #expect(before.call("PUT", "/_sandbox/clock", clock).status == 200)
        let switches = #"{"lookupLagSeconds":7}"#
        #expect(before.call("PUT", "/_sandbox/switches", switches).status == 200)
        let after = try start(fixed: false)
        #expect(after.call("GET", "/_sandbox/clock").text.contains("2030-01-01T00:00:00"))
        #expect(after.provider.switches.lookupLagSeconds == 7)
        // A start that sets the clock wins.
        #expect(try start().provider.clock.milliseconds() == SandboxClient.start * 1000)
    }
}
