import Billing
import Postgres

/// Transitions as columns, for `unnest`: one element a transition.
struct RecordRows {
    var subscription: [Int64] = []
    var lease: [Int64] = []
    var charge: [Int64?] = []
    var attemptKind: [String?] = []
    var attemptNumber: [Int32?] = []
    var code: [String?] = []
    var message: [String?] = []
    var httpStatus: [Int32?] = []
    var traceID: [String?] = []
    var killsKey: [Bool] = []
    var paymentKey: [String?] = []
    var approvedAt: PostgresValue = .timestamps([])
    var receiptURL: [String?] = []
    var card: PostgresValue = .jsons([])
    var refunded: [Int64?] = []
    var paidOrder: [String?] = []
    var chargeKind: [String?] = []
    var reason: [String?] = []
    var standing: [String?] = []
    var nextKind: [String] = []
    var nextSeconds: [Double?] = []
    var nextStep: [Int32?] = []
    var nextAt: PostgresValue = .timestamps([])

    init(_ transitions: [Transition]) {
        var approved: [PostgresTimestamp?] = []
        var cards: [String?] = []
        var nextAts: [PostgresTimestamp?] = []
        for transition in transitions {
            subscription.append(transition.subscription.value)
            lease.append(transition.lease.value)
            charge.append(transition.charge?.value)
            let payment = append(transition.attempt) ?? transition.chargeChange?.payment
            paymentKey.append(payment?.paymentKey)
            approved.append(payment?.approvedAt.flatMap { PostgresTimestamp(iso8601: $0) })
            receiptURL.append(payment?.receiptURL)
            cards.append(payment?.card)
            append(transition.chargeChange)
            standing.append(transition.standing?.column)
            nextAts.append(append(transition.next))
        }
        approvedAt = .timestamps(approved)
        card = .jsons(cards)
        nextAt = .timestamps(nextAts)
    }

    /// Appends the columns of the attempt; returns the payment it brings.
    private mutating func append(_ change: Transition.AttemptChange?) -> Payment? {
        var kind: String?
        var number: Int?
        var answer: Answer?
        var payment: Payment?
        var kills = false
        var order: OrderID?
        switch change {
        case nil: break
        case .approved(let attempt, let paid, let reply):
            (kind, number, answer, payment) = ("approved", attempt, reply, paid)
            order = paid.orderID
        case .declined(let attempt, let reply, let killsKey):
            (kind, number, answer, kills) = ("declined", attempt, reply, killsKey)
        case .refused(let attempt, let reply): (kind, number, answer) = ("refused", attempt, reply)
        case .notSent(let attempt, let reply): (kind, number, answer) = ("not_sent", attempt, reply)
        case .unknown(let attempt, let reply): (kind, number, answer) = ("unknown", attempt, reply)
        case .lookedUp(let attempt, let reply, let found):
            (kind, number, answer) = ("looked_up_\(found)", attempt, reply)
        case .earlierPaid(let paidOrder, let paid, let unsent):
            (kind, number, payment, order) = ("earlier_paid", unsent, paid, paidOrder)
            answer = Answer(code: "EARLIER_ATTEMPT_PAID")
        }
        attemptKind.append(kind)
        attemptNumber.append(number.map { Int32($0) })
        code.append(answer?.code)
        message.append(answer?.message)
        httpStatus.append(answer?.httpStatus.map { Int32($0) })
        traceID.append(answer?.traceID)
        killsKey.append(kills)
        paidOrder.append(order?.value)
        return payment
    }

    private mutating func append(_ change: Transition.ChargeChange?) {
        var kind: String?
        var why: String?
        var back: Int64?
        switch change {
        case nil: break
        case .paid: kind = "paid"
        case .free: kind = "free"
        case .refunded(let payment):
            kind = "refunded"
            back = payment.totalAmount.value - payment.balanceAmount.value
        case .failed(let reason): (kind, why) = ("failed", reason.rawValue)
        case .skipped(let reason): (kind, why) = ("skipped", reason.rawValue)
        case .held(let reason): (kind, why) = ("held", reason)
        case .waits(let reason): (kind, why) = ("waits", reason.rawValue)
        }
        chargeKind.append(kind)
        reason.append(why)
        refunded.append(back)
    }

    /// Appends the columns of the next date; returns its instant, if it is one.
    private mutating func append(_ next: Transition.Next) -> PostgresTimestamp? {
        var seconds: Double?
        var step: Int32?
        var instant: PostgresTimestamp?
        switch next {
        case .advance: nextKind.append("advance")
        case .after(let wait):
            nextKind.append("after")
            seconds = wait / .seconds(1)
        case .dunning(let rung):
            nextKind.append("dunning")
            step = Int32(rung)
        case .nextDay(let wait):
            nextKind.append("next_day")
            seconds = wait / .seconds(1)
        case .sealAfterGap: nextKind.append("seal_after_gap")
        case .periodEnd: nextKind.append("period_end")
        case .at(let then):
            nextKind.append("at")
            instant = PostgresTimestamp(microseconds: then.microseconds)
        case .never: nextKind.append("never")
        }
        nextSeconds.append(seconds)
        nextStep.append(step)
        return instant
    }
}

extension Transition.ChargeChange {
    fileprivate var payment: Payment? {
        switch self {
        case .paid(let payment), .refunded(let payment): payment
        case .free, .failed, .skipped, .held, .waits: nil
        }
    }
}

extension Transition.Standing {
    fileprivate var column: String {
        switch self {
        case .good: "good"
        case .pastDue: "past_due"
        case .suspended: "suspended"
        case .canceled: "canceled"
        case .exhausted: "exhausted"
        }
    }
}
