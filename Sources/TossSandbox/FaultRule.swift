/// A fault of the wire or of the provider's inside, for the calls that it matches.
///
/// Rules are looked at twice: before anything is executed (``Action/isBeforeExecution``) and after
/// it, before the answer leaves. At each point the first rule that strikes counts, `latency` apart.
/// All fields and their JSON names are in ``fields``, all actions in ``Action/meaning``, and rules to
/// copy in ``SandboxManual/examples``; `toss-sandbox --help` prints them:
///
///     curl -X PUT http://127.0.0.1:8080/_sandbox/faults -d '[{"action":"hang","every":10}]'
///
package struct FaultRule: Sendable, Equatable {
    /// What a 5xx, 429 or other answer of a rule carries.
    package enum Body: String, Sendable, CaseIterable {
        /// The provider's error object.
        case json
        /// Nothing.
        case empty
        /// A gateway's page.
        case html
    }

    /// Which answers a rule after the execution takes.
    package enum Answered: String, Sendable, CaseIterable { case approved, declined, any }

    /// What a client is told of a request that is executed later.
    package enum Farewell: String, Sendable, CaseIterable { case drop, hang, code }

    /// What the fault does.
    package var action: Action
    /// The calls that it may strike.
    package var calls: Set<APIEndpoint> = [.approve]
    /// The code of `refuse`, `executeAndFail` and `late`.
    package var code = "FAILED_INTERNAL_SYSTEM_PROCESSING"
    /// The HTTP status in place of the code's own, such as 502.
    package var status: Int?
    /// The body in place of the error object.
    package var body: Body?
    /// `late`, `double`: milliseconds on the sandbox's clock until the request arrives; all other
    /// actions: milliseconds until the answer.
    package var milliseconds: ClosedRange<Int64> = 0...0
    /// What the answer must be; nil is the action's own default.
    package var answered: Answered?
    /// Only this customer.
    package var customerKey: String?
    /// Only this order.
    package var orderID: String?
    /// Only order ids that begin so.
    package var orderPrefix: String?
    /// Only this billing key, with or without its `=`.
    package var billingKey: String?
    /// Only this card: its number, whole or masked.
    package var card: String?
    /// Only from this instant on, in seconds since 1970 on the sandbox's clock.
    package var from: Int64?
    /// Only before this instant.
    package var until: Int64?
    /// Only every n-th of the calls that match the rest.
    package var every = 1
    /// Strikes with this probability, by the sandbox's seed.
    package var probability = 1.0
    /// At most so many times; nil is for ever.
    package var count: Int?
    /// Answers replayed under an idempotency key are hit, too.
    package var replays = false
    /// With `executeAndFail`: the answer stays stored under the idempotency key, as if a gateway
    /// had lost it. Without, nothing is stored, as if the provider's inside had failed.
    package var remembers = true
    /// `late`, `double`: when the request arrives, its idempotency key is forgotten.
    package var forgetsKey = false
    /// `late`: until the request arrives its key counts as in progress (409).
    package var holdsKey = false
    /// `late`: what the client is told at once.
    package var farewell = Farewell.drop
    /// How many calls matched so far.
    package var seen = 0
    /// How many times the fault struck so far.
    package var struck = 0

    /// A rule that strikes every approve call, or every one of `calls`.
    package init(_ action: Action, on calls: Set<APIEndpoint> = [.approve]) {
        self.action = action
        self.calls = calls
    }

    /// Whether an answer is one that the rule takes. An approval is the default of what damages
    /// answers of approve, so that `every` counts executions.
    func takes(isError: Bool, of call: APIEndpoint) -> Bool {
        switch answered ?? (action.damagesAnswers && call == .approve ? .approved : .any) {
        case .any: true
        case .approved: !isError
        case .declined: isError
        }
    }

    /// The error that the rule answers with.
    func answer(_ switches: Switches) -> Answer {
        var answer = code == "TOO_MANY_REQUESTS" ? switches.tooMany : Answer.error(code)
        if let status { answer.status = status }
        if let body { answer.dress(body) }
        return answer
    }

    /// Counts a call and says whether the fault strikes it. `dice` is a random number of the call.
    mutating func strikes(
        _ subject: FaultSubject, replayed: Bool, now: Int64, dice: UInt64
    ) -> Bool {
        if replayed && !replays { return false }
        if let from, now < from { return false }
        if let until, now >= until { return false }
        if let customerKey, customerKey != subject.customerKey { return false }
        if let orderID, orderID != subject.orderID { return false }
        if let orderPrefix, !subject.orderID.hasPrefix(orderPrefix) { return false }
        if let billingKey, KeyRing.bare(billingKey) != KeyRing.bare(subject.billingKey) {
            return false
        }
        if let card, card != subject.card, KeyRing.Card(number: card).number != subject.card {
            return false
        }
        if let count, struck >= count { return false }
        seen += 1
        guard seen % every == 0 else { return false }
        // The upper 53 bits are a fraction without rounding.
        guard probability >= 1 || Double(dice >> 11) * 0x1p-53 < probability else { return false }
        struck += 1
        return true
    }
}

/// What rules filter by; empty where a call has no such thing.
struct FaultSubject {
    var customerKey = ""
    var orderID = ""
    var billingKey = ""
    /// Masked.
    var card = ""
}

extension FaultRule {
    /// What happens to a matching call.
    package enum Action: String, Sendable, CaseIterable {
        case latency, refuse, dropBefore, executeAndDrop, executeAndFail, hang, cut, garbage
        case otherOrder, otherAmount, otherPayment, stale, forget, late, double

        /// One line for people.
        package var meaning: String {
            switch self {
            case .latency: "the answer comes milliseconds (up to toMilliseconds) late"
            case .refuse: "nothing is executed; the answer is code"
            case .dropBefore: "nothing is executed; the connection closes"
            case .executeAndDrop: "executed; the connection closes without an answer"
            case .executeAndFail: "executed; the answer is code all the same"
            case .hang: "executed; the answer never comes, the connection stays open"
            case .cut: "executed; half of the body comes, then the connection closes"
            case .garbage: "executed; a 200 that is no JSON"
            case .otherOrder: "executed; a 200 that names another order"
            case .otherAmount: "executed; a 200 with another amount"
            case .otherPayment: "executed; a 200 with another customer's payment"
            case .stale: "a look-up shows what was before the last change: no payment, no cancel"
            case .forget: "executed; the answer is not stored under the idempotency key"
            case .late: "told lost (farewell) and executed milliseconds later"
            case .double: "executed, and the same request arrives again milliseconds later"
            }
        }

        /// Whether the fault acts before anything is executed.
        package var isBeforeExecution: Bool {
            self == .refuse || self == .dropBefore || self == .late
        }

        /// Whether the client gets something else than the answer.
        var damagesAnswers: Bool {
            switch self {
            case .latency, .refuse, .dropBefore, .late, .double, .forget: false
            default: true
            }
        }

        /// The calls that have what the action needs.
        package var possibleCalls: Set<APIEndpoint> {
            switch self {
            case .latency, .refuse, .dropBefore, .executeAndDrop, .executeAndFail, .hang, .cut,
                .garbage:
                Set(APIEndpoint.allCases).subtracting([.other])
            case .otherOrder, .otherAmount, .otherPayment: [.approve, .order, .payment]
            case .stale: [.order, .payment]
            case .forget, .late, .double: [.approve, .cancel, .issue, .card]
            }
        }
    }
}
