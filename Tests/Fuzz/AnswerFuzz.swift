import Billing
import HTTP

@testable import BillingStore
@testable import TossPayments

/// Whatever the provider answers is read without a trap, and is an approval only if every one of
/// the six signs is there. Half of the inputs are raw bytes, half are nearly right payments whose
/// verdict is known from how they were made.
enum AnswerFuzz {
    private static let request = AttemptRequest(
        number: 1, orderID: OrderID(stored: "s7Gd2kQ9xW-0007-1"), billingKeyID: 1,
        billingKey: BillingKey("card-of-the-fuzzer"), customerKey: CustomerKey("customer-1"),
        amount: Won(14_900), taxFreeAmount: Won(0), orderName: "Standard plan")
    private static let work = Work(
        subscription: SubscriptionID(1), lease: LeaseNumber(1), charge: ChargeID(1),
        task: .send(request, earlier: [], isRepeat: false, tries: 0))

    static func approve(_ input: inout FuzzInput) {
        let (response, isPayment) = response(&input, isLookUp: false)
        if let plain = Reply.plainPayment(response.body), Reply.isShallow(response.body) {
            require(
                plain == Reply.anyPayment(response.body),
                "the quick reader reads as JSONDecoder does")
        }
        let outcome = TossGateway.outcome(response, log: nil)
        let isRepeat = input.bool()
        let transition = work.after(
            outcome, of: request, isRepeat: isRepeat, tries: 0, jitter: 0.5)
        _ = RecordRows([transition])
        let claimsPaid = isPaid(transition)
        if claimsPaid {
            require(response.status == 200, "only a 200 approves")
            require(hasAllSigns(response.body), "an approval carries our order, amount and DONE")
        }
        if let isPayment {
            require(claimsPaid == isPayment, "a payment with every sign, and no other, is paid")
        }
        // Only a code of the closed list may end an attempt without money; a repeat never does.
        switch outcome {
        case .declined(let answer, _), .refused(let answer), .faultOfRow(let answer),
            .faultOfAll(let answer):
            require(
                response.status == 429 || TossCode.table[answer.code] != nil,
                "\(answer.code) is in no table and yet ends the attempt")
            require(response.status != 200, "a 200 never declines an approve")
        case .approved, .duplicate, .notSent, .unknown: break
        }
        if isRepeat, !claimsPaid {
            if case .unknown = transition.attempt {
            } else {
                fatalError("broken: the answer to a repeat ends nothing")
            }
        }
    }

    static func lookUp(_ input: inout FuzzInput) {
        let (response, _) = response(&input, isLookUp: true)
        let answer = TossGateway.lookUp(response)
        if case .notFound = answer {
            require(response.status == 404, "only a 404 says that there is none")
            require(contains(response.body, "NOT_FOUND_PAYMENT"), "and only with its code")
        }
        let doubt = ProviderTask.Doubt(
            lookups: input.below(4), notFounds: input.below(3), quietOver: input.bool())
        let transition = work.after(answer, of: request, doubt, jitter: 0.5)
        _ = RecordRows([transition])
        if isPaid(transition) {
            require(
                response.status == 200 && contains(response.body, "14900"),
                "a payment that is found carries our amount")
        }
        if case .lookedUp(_, _, found: .absent) = transition.attempt {
            require(
                doubt.notFounds >= 1 && doubt.quietOver, "absent needs two looks, the last one late"
            )
        }
    }

    private static func isPaid(_ transition: Transition) -> Bool {
        switch transition.chargeChange {
        case .paid, .refunded, .free: true
        case .failed, .skipped, .held, .waits, nil: false
        }
    }

    /// A crude second reading: an approval cannot do without these bytes (unless they are escaped).
    private static func hasAllSigns(_ body: [UInt8]) -> Bool {
        if contains(body, "\\u") { return true }
        return ["s7Gd2kQ9xW-0007-1", "DONE", "BILLING", "KRW"].allSatisfy { contains(body, $0) }
    }

    private static func contains(_ body: [UInt8], _ text: String) -> Bool {
        body.contains(Array(text.utf8))
    }

    // MARK: Making an answer

    private static func response(
        _ input: inout FuzzInput, isLookUp: Bool
    ) -> (HTTPResponse, isPayment: Bool?) {
        let status = input.pick([200, 200, 200, 400, 401, 403, 404, 409, 429, 500, 503, 302, 204])
        let trace = input.bool() ? [("x-tosspayments-trace-id", input.text())] : []
        func respond(_ body: [UInt8]) -> HTTPResponse {
            HTTPResponse(status: status, headers: trace, body: body, duration: .zero)
        }
        switch input.below(4) {
        case 0, 1: return (respond(input.remainder()), nil)
        case 2 where isLookUp || status != 200:
            let code = input.pick(codes)
            return (respond(Array("{\"code\":\"\(code)\",\"message\":\"m\"}".utf8)), nil)
        default:
            let (text, hasEverySign) = payment(&input)
            return (respond(Array(text.utf8)), hasEverySign && status == 200)
        }
    }

    private static let codes =
        Array(TossCode.table.keys).sorted() + [
            "NOT_FOUND_PAYMENT", "SOMETHING_NEW", "", "not a code",
        ]

    /// The fields that decide, each right, wrong in a way that was thought of, or missing.
    private static func payment(_ input: inout FuzzInput) -> (String, hasEverySign: Bool) {
        let fields: [(name: String, right: String, wrong: [String])] = [
            ("paymentKey", "\"pay-1\"", ["\"\"", "null", "7", "\"a\\u0000b\""]),
            ("orderId", "\"s7Gd2kQ9xW-0007-1\"", ["\"s7Gd2kQ9xW-0007-2\"", "null", "\"\"", "[]"]),
            (
                "status", "\"DONE\"",
                ["\"CANCELED\"", "\"ABORTED\"", "\"done\"", "null", "\"READY\""]
            ),
            ("type", "\"BILLING\"", ["\"NORMAL\"", "null", "\"billing\"", "1"]),
            ("currency", "\"KRW\"", ["\"USD\"", "null", "\"krw\"", "\"KRW \""]),
            (
                "totalAmount", "14900",
                ["14901", "1490", "\"14900\"", "14900.5", "1e400", "null", "-14900"]
            ),
        ]
        var parts: [String] = []
        var isRight = true
        for field in fields {
            switch input.below(8) {
            case 0:
                isRight = false
            case 1:
                isRight = false
                parts.append("\"\(field.name)\":\(input.pick(field.wrong))")
            default: parts.append("\"\(field.name)\":\(field.right)")
            }
        }
        // What nobody needs may be anything.
        for extra in ["balanceAmount", "card", "receipt", "failure", "approvedAt"] {
            switch input.below(4) {
            case 0: parts.append("\"\(extra)\":\(input.pick(["null", "{}", "7", "\"x\"", "[1]"]))")
            default: break
            }
        }
        return ("{\(parts.joined(separator: ","))}", isRight)
    }
}
