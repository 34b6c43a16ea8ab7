import Testing

@testable import TossSandbox

@Suite struct ApproveTests {
    let client = SandboxClient()
    let billingKey: String

    init() { billingKey = client.provider.issue(customerKey: "cust-1") }

    @Test func anApprovalIsTheWholePaymentObject() throws {
        let reply = client.approve(billingKey)
        #expect(reply.status == 200)
        let payment = reply.json
        let paymentKey = try #require(payment["paymentKey"]?.string)
        #expect(paymentKey.hasPrefix("sandb20260715093004"))
        #expect(paymentKey.utf8.count == 24)
        let transaction = try #require(payment["lastTransactionKey"]?.string)
        #expect(transaction.hasPrefix("txrd_a") && transaction.utf8.count == 32)
        let secret = try #require(payment["secret"]?.string)
        #expect(
            reply.text == """
                {"mId":"sandbox01","version":"2022-11-16","paymentKey":"\(paymentKey)",\
                "status":"DONE","lastTransactionKey":"\(transaction)","orderId":"order-0001-1",\
                "orderName":"Standard plan","requestedAt":"2026-07-15T09:30:04+09:00",\
                "approvedAt":"2026-07-15T09:30:04+09:00","useEscrow":false,\
                "cultureExpense":false,"card":{"issuerCode":"21","acquirerCode":"21",\
                "number":"94100012****789*","installmentPlanMonths":0,"isInterestFree":false,\
                "interestPayer":null,"approveNo":"00000000","useCardPoint":false,\
                "cardType":"신용","ownerType":"개인","acquireStatus":"READY","amount":14900},\
                "virtualAccount":null,"transfer":null,"mobilePhone":null,"giftCertificate":null,\
                "cashReceipt":null,"cashReceipts":null,"discount":null,"cancels":null,\
                "secret":"\(secret)","type":"BILLING","easyPay":null,"country":"KR",\
                "failure":null,"isPartialCancelable":true,"receipt":{"url":\
                "https://dashboard.tosspayments.com/receipt/\(paymentKey)"},"checkout":{"url":\
                "https://api.tosspayments.com/v1/payments/\(paymentKey)/checkout"},\
                "currency":"KRW","totalAmount":14900,"balanceAmount":14900,\
                "suppliedAmount":13545,"vat":1355,"taxFreeAmount":0,"metadata":null,\
                "taxExemptionAmount":0,"method":"카드"}
                """)
    }

    @Test(arguments: [(14_900, 1355), (4900, 445), (100, 9), (1000, 91), (11_000, 1000), (16, 1)])
    func vatIsAnEleventhRounded(amount: Int64, vat: Int64) {
        #expect(PaymentText.vat(taxed: amount) == vat)
    }

    @Test func taxFreeAmountsCountInATaxFreeShopOnly() {
        let plain = client.approve(billingKey, extra: ",\"taxFreeAmount\":10000")
        #expect(plain.json["vat"]?.integer == 1355)
        client.provider.switches.taxFreeShop = true
        let free = client.approve(
            billingKey, order: "order-0002-1", extra: ",\"taxFreeAmount\":10000")
        #expect(free.json["vat"]?.integer == 445)
        #expect(free.json["suppliedAmount"]?.integer == 4455)
        #expect(free.json["taxFreeAmount"]?.integer == 10_000)
    }

    @Test(arguments: [
        ("", "INVALID_REQUEST"), ("[]", "INVALID_REQUEST"), ("{\"amount\":}", "INVALID_REQUEST"),
        (
            #"{"customerKey":"cust-1","orderId":"order-1","orderName":"n"}"#, "REQUIRED_AMOUNT"
        ),
        (#"{"amount":1000,"orderId":"order-1","orderName":"n"}"#, "INVALID_REQUIRED_PARAM"),
        (#"{"amount":1000,"customerKey":"cust-1","orderName":"n"}"#, "INVALID_REQUIRED_PARAM"),
        (#"{"amount":1000,"customerKey":"cust-1","orderId":"order-1"}"#, "INVALID_REQUIRED_PARAM"),
    ])
    func anIncompleteBodyIsRefused(body: String, code: String) {
        #expect(client.call("POST", "/v1/billing/\(billingKey)", body).outcome == code)
        #expect(client.call("GET", "/v1/payments/orders/order-1").outcome == "NOT_FOUND_PAYMENT")
    }

    @Test(arguments: [
        ("\"14900\"", "INVALID_REQUEST"), ("149.5", "INVALID_REQUEST"), ("true", "INVALID_REQUEST"),
        ("1e300", "INVALID_REQUEST"), ("0", "BELOW_ZERO_AMOUNT"), ("-5", "BELOW_ZERO_AMOUNT"),
        ("99", "BELOW_MINIMUM_AMOUNT"), ("100", "200"), ("100.0", "200"),
    ])
    func amountsAreWholeWonFromAHundred(amount: String, outcome: String) {
        #expect(client.approve(billingKey, amount: amount).outcome == outcome)
    }

    @Test(arguments: [
        ("short", "INVALID_ORDER_ID"), ("sixsix", "200"), ("with=sign", "INVALID_ORDER_ID"),
        ("주문번호주문번호", "INVALID_ORDER_ID"), (String(repeating: "a", count: 64), "200"),
        (String(repeating: "a", count: 65), "INVALID_ORDER_ID"), ("Az09-_x", "200"),
    ])
    func orderIDsAreChecked(order: String, outcome: String) {
        #expect(client.approve(billingKey, order: order).outcome == outcome)
    }

    @Test(arguments: [
        (#","customerEmail":"nobody""#, "INVALID_EMAIL"),
        (#","customerEmail":"a@b.kr""#, "200"), (#","customerEmail":7"#, "INVALID_REQUEST"),
        (#","customerName":7"#, "INVALID_REQUEST"), (#","customerIp":7"#, "INVALID_REQUEST"),
        (#","taxFreeAmount":-1"#, "INVALID_REQUEST"),
        (#","taxFreeAmount":14901"#, "INVALID_REQUEST"),
        (#","taxExemptionAmount":"1""#, "INVALID_REQUEST"),
        (#","cardInstallmentPlan":1"#, "INVALID_CARD_INSTALLMENT_PLAN"),
        (#","cardInstallmentPlan":3"#, "NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT"),
        (#","cardInstallmentPlan":0"#, "200"), (#","unheardOf":{"a":[1]}"#, "200"),
    ])
    func optionalFieldsAreChecked(extra: String, outcome: String) {
        #expect(client.approve(billingKey, extra: extra).outcome == outcome)
    }

    @Test func namesHaveAHundredCharactersAtMost() {
        let hundred = String(repeating: "가", count: 100)
        #expect(client.approve(billingKey, name: hundred).status == 200)
        #expect(
            client.approve(billingKey, order: "order-2", name: hundred + "가").outcome
                == "INVALID_ORDER_NAME")
        #expect(
            client.approve(billingKey, order: "order-2", name: "").outcome == "INVALID_ORDER_NAME")
        let name = client.approve(billingKey, order: "order-2", name: #"a \"b\" \\ \u0001"#)
        #expect(name.json["orderName"]?.string == "a \"b\" \\ \u{1}")
    }

    @Test func theCustomerKeyMustBeTheKeysOwn() {
        let reply = client.approve(billingKey, customer: "cust-2")
        #expect(reply.outcome == "NOT_MATCHES_CUSTOMER_KEY")
        #expect(reply.status == 400)
        #expect(client.approve(billingKey, customer: "c").outcome == "INVALID_CUSTOMER_KEY")
    }

    @Test func aBodyThatIsNotCalledJSONIsRefused() {
        let reply = client.approve(billingKey, headers: ["Content-Type": "text/plain"])
        #expect(reply.outcome == "INVALID_REQUEST")
    }

    @Test func theKeysEqualsSignMayBeRawEscapedOrMissing() {
        let bare = String(billingKey.dropLast())
        for (number, form) in [bare, bare + "=", bare + "%3D", bare + "%3d"].enumerated() {
            #expect(client.approve(form, order: "order-000\(number)").status == 200)
        }
        #expect(billingKey.utf8.count == 44 && billingKey.hasSuffix("="))
    }

    @Test func anUnknownKeyIsRefusedOrTakenIn() {
        let stranger = String(repeating: "A", count: 43) + "="
        #expect(client.approve(stranger).outcome == "INVALID_BILL_KEY_REQUEST")
        client.provider.switches.unknownKeyIsNotFound = true
        let reply = client.approve(stranger)
        #expect(reply.outcome == "NOT_FOUND_BILLING" && reply.status == 404)
        let open = SandboxClient(acceptsAnyKey: true)
        #expect(open.approve("tooshort").outcome == "INVALID_BILL_KEY_REQUEST")
        #expect(open.approve(stranger).status == 200)
        #expect(
            open.approve(stranger, customer: "cust-2", order: "order-2").outcome
                == "NOT_MATCHES_CUSTOMER_KEY")
    }

    @Test func anOrderIsExecutedOnce() {
        #expect(client.approve(billingKey).status == 200)
        let again = client.approve(billingKey, key: "another")
        #expect(again.outcome == "DUPLICATED_ORDER_ID" && again.status == 400)
        client.provider.switches.duplicatedOrderStatus = 409
        #expect(client.approve(billingKey).status == 409)
        let books = client.call("GET", "/_sandbox/books").json
        #expect(books["approvals"]?.integer == 1 && books["won"]?.integer == 14_900)
    }

    @Test func aDeclinedOrderMayComeAgainUnlessBurned() {
        for burned in [false, true] {
            let client = SandboxClient()
            client.provider.switches.declinedOrderIsBurned = burned
            let key = client.provider.issue(
                customerKey: "cust-1", script: .init(outcomes: ["REJECT_CARD_PAYMENT", nil]))
            #expect(client.approve(key).outcome == "REJECT_CARD_PAYMENT")
            #expect(client.approve(key).outcome == (burned ? "DUPLICATED_ORDER_ID" : "200"))
        }
    }
}
