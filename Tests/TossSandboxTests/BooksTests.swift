import FoundationEssentials
import Synchronization
import Testing

@testable import TossSandbox

@Suite struct BooksTests {
    let client = SandboxClient()
    let billingKey: String

    init() { billingKey = client.provider.issue(customerKey: "cust,\"1\"") }

    private func approve(_ order: String, key: String? = nil) -> SandboxReply {
        client.approve(billingKey, customer: #"cust,\"1\""#, order: order, key: key)
    }

    private func fault(_ json: String) {
        #expect(client.call("PUT", "/_sandbox/faults", json).status == 200)
    }

    @Test func everyExecutionIsARow() throws {
        let paymentKey = try #require(approve("sub-1-1", key: "k-1").json["paymentKey"]?.string)
        #expect(approve("sub-1-2").status == 200)
        let csv = client.call("GET", "/_sandbox/books.csv").text.split(separator: "\n")
        #expect(csv.count == 3)
        #expect(
            csv[0] == """
                payment_key,order_id,customer_key,amount,status,balance,idempotency_key,\
                executed_at,answered
                """)
        #expect(
            csv[1] == """
                \(paymentKey),sub-1-1,"cust,""1""\",14900,DONE,14900,k-1,\
                2026-07-15T09:30:04+09:00,true
                """)
        let books = client.call("GET", "/_sandbox/books").json
        #expect(books["approvals"]?.integer == 2 && books["won"]?.integer == 29_800)
        #expect(books["duplicates"]?["sub-1"]?.integer == 2)
        #expect(books["requests"]?["approve"]?.integer == 2)
    }

    @Test func aRefusalBeforeExecutionBooksNothing() {
        fault(#"{"action":"refuse","code":"MAINTAINED_METHOD","count":1}"#)
        #expect(approve("sub-1-1", key: "k-1").outcome == "MAINTAINED_METHOD")
        #expect(approve("sub-1-1", key: "k-1").outcome == "MAINTAINED_METHOD")
        #expect(approve("sub-1-1", key: "k-2").status == 200)
        #expect(client.call("GET", "/_sandbox/faults").json.array?.first?["struck"]?.integer == 1)
    }

    @Test func aLostAnswerIsExecutedAndBookedAsLost() throws {
        fault(#"[{"action":"executeAndDrop","orderPrefix":"sub-1-","every":2}]"#)
        #expect(approve("sub-1-1").delivery == .send)
        let lost = approve("sub-1-2", key: "k-2")
        #expect(lost.delivery == .drop)
        client.provider.finish(try #require(lost.ticket), delivered: false)
        #expect(approve("sub-2-1").delivery == .send)
        let again = approve("sub-1-2", key: "k-2")
        #expect(again.delivery == .send && again.body == lost.body)
        let answered = client.call("GET", "/_sandbox/books.csv").text.split(separator: "\n")
            .dropFirst().map { $0.hasSuffix("true") }
        #expect(answered == [true, false, true])
        #expect(client.call("DELETE", "/_sandbox/faults").text == "[]")
    }

    @Test func anExecutedCallMayAnswer500() {
        for remembers in [true, false] {
            let order = "sub-\(remembers)-1"
            fault(#"{"action":"executeAndFail","count":1,"remembers":\#(remembers)}"#)
            let failed = approve(order, key: order)
            #expect(failed.status == 500)
            #expect(failed.outcome == "FAILED_INTERNAL_SYSTEM_PROCESSING")
            #expect(client.call("GET", "/v1/payments/orders/\(order)").status == 200)
            #expect(
                approve(order, key: order).outcome
                    == (remembers ? "200" : "DUPLICATED_ORDER_ID"))
        }
    }

    @Test func answersMayLie() {
        fault(#"{"action":"otherAmount"}"#)
        #expect(approve("sub-1-1").json["totalAmount"]?.integer == 15_000)
        fault(#"{"action":"otherOrder"}"#)
        #expect(approve("sub-1-2").json["orderId"]?.string == "other-sub-1-2")
        fault(#"{"action":"garbage"}"#)
        #expect(JSONValue(approve("sub-1-3").body) == nil)
        fault(#"{"action":"cut"}"#)
        let cut = approve("sub-1-4")
        #expect(cut.delivery == .cut(bytes: cut.body.count / 2))
        fault(#"{"action":"hang","billingKey":"\#(billingKey)"}"#)
        #expect(approve("sub-1-5").delivery == .hang)
        fault(#"{"action":"latency","milliseconds":100,"toMilliseconds":200}"#)
        #expect((100...200).contains(approve("sub-1-6").delayMilliseconds))
        #expect(client.call("PUT", "/_sandbox/latency", #"{"milliseconds":2000}"#).status == 200)
        #expect((2100...2200).contains(approve("sub-1-7").delayMilliseconds))
        #expect(client.call("PUT", "/_sandbox/faults", #"{"action":"nonsense"}"#).status == 400)
    }

    @Test func switchesAndClockAreSetAtRunTime() {
        let set = client.call(
            "PUT", "/_sandbox/switches", #"{"lookupLagSeconds":5,"tooManyBody":"html"}"#)
        #expect(set.json["lookupLagSeconds"]?.integer == 5)
        #expect(client.provider.switches.tooManyBody == .html)
        let wrong = client.call(
            "PUT", "/_sandbox/switches", #"{"lookupLagSeconds":7,"unheardOf":true}"#)
        #expect(wrong.status == 400)
        #expect(client.provider.switches.lookupLagSeconds == 5)
        let clock = client.call(
            "PUT", "/_sandbox/clock", #"{"now":"2026-01-01T00:00:00+09:00","fixed":true}"#)
        #expect(clock.json["now"]?.string == "2026-01-01T00:00:00+09:00")
        #expect(client.provider.clock.milliseconds() == 1_767_193_200_000)
        #expect(client.call("PUT", "/_sandbox/clock", #"{"offsetSeconds":123}"#).status == 200)
        #expect(client.provider.clock == .running(offsetMilliseconds: 123_000))
    }

    @Test func manyKeysAreMadeInOneCall() {
        let made = client.call(
            "POST", "/_sandbox/billing-keys", #"{"customerKey":"load","count":3000}"#)
        let keys = made.json.array ?? []
        #expect(Set(keys.compactMap { $0["billingKey"]?.string }).count == 3000)
        #expect(keys[2999]["customerKey"]?.string == "load-3000")
        let key = String(repeating: "k", count: 43)
        let own = #"[{"customerKey":"own","billingKey":"\#(key)"}]"#
        #expect(client.call("POST", "/_sandbox/billing-keys", own).status == 200)
        #expect(client.call("POST", "/_sandbox/billing-keys", own).status == 400)
        #expect(client.approve(key, customer: "own").status == 200)
        #expect(client.call("POST", "/_sandbox/reset").status == 200)
        #expect(client.approve(key, customer: "own").outcome == "INVALID_BILL_KEY_REQUEST")
        #expect(client.call("GET", "/_sandbox/books").json["approvals"]?.integer == 0)
    }

    @Test func theBooksSurviveARestart() throws {
        let folder = FileManager.default.temporaryDirectory
            .appending(path: "toss-sandbox-\(UInt64.random(in: 0 ... .max))")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appending(path: "books.jsonl").path
        var settings = SandboxProvider.Settings()
        settings.clock = .fixed(milliseconds: SandboxClient.start * 1000)

        let file = try BooksFile(path: path)
        let before = SandboxClient(
            SandboxProvider(settings, journal: file.lines) { file.append($0) })
        let key = before.provider.issue(customerKey: "cust-1")
        let dying = before.provider.issue(
            customerKey: "cust-1", script: .init(outcomes: ["REJECT_CARD_PAYMENT"]))
        let approval = before.approve(key, key: "k-1")
        let paymentKey = try #require(approval.json["paymentKey"]?.string)
        #expect(before.approve(dying, order: "order-0002-1", key: "k-2").status == 403)
        let cancel = before.call(
            "POST", "/v1/payments/\(paymentKey)/cancel", #"{"cancelReason":"r","cancelAmount":5}"#)
        #expect(before.call("DELETE", "/v1/billing/\(dying)").status == 200)
        let scripted = before.provider.issue(customerKey: "cust-1")
        let script = #"{"script":["REJECT_CARD_COMPANY"]}"#
        #expect(before.call("PUT", "/_sandbox/scripts/\(scripted)", script).status == 200)
        before.provider.lost(payment: 0)
        let csv = before.call("GET", "/_sandbox/books.csv").text
        file.append(Array(#"{"t":"approval","torn"#.utf8))

        let again = try BooksFile(path: path)
        let after = SandboxClient(
            SandboxProvider(settings, journal: again.lines) { again.append($0) })
        #expect(after.call("GET", "/_sandbox/books.csv").text == csv)
        #expect(after.call("GET", "/v1/payments/\(paymentKey)").body == cancel.body)
        #expect(after.approve(key, key: "k-1").body == approval.body)
        #expect(after.approve(key, key: "k-9").outcome == "DUPLICATED_ORDER_ID")
        #expect(after.approve(dying, key: "k-2").outcome == "REJECT_CARD_PAYMENT")
        #expect(after.approve(dying, key: "k-3").outcome == "ALREADY_REMOVED_BILLING_KEY")
        #expect(after.approve(scripted, order: "order-0003-1").outcome == "REJECT_CARD_COMPANY")
        #expect(![key, dying, scripted].contains(after.provider.issue(customerKey: "cust-1")))
    }
}
