package import Billing

extension Transition.AttemptChange {
    /// The attempt that it speaks of; nil: of an ended one, by its order id.
    package var number: Int? {
        switch self {
        case .approved(let number, _, _), .declined(let number, _, _), .refused(let number, _),
            .notSent(let number, _), .unknown(let number, _), .lookedUp(let number, _, _):
            number
        case .earlierPaid: nil
        }
    }

    /// The payment that it brings.
    package var payment: Payment? {
        switch self {
        case .approved(_, let payment, _), .earlierPaid(_, let payment, _): payment
        case .declined, .refused, .notSent, .unknown, .lookedUp: nil
        }
    }
}
