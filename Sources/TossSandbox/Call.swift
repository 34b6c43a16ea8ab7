/// The calls of the API by name, as the books count them and fault rules choose them.
package enum APIEndpoint: String, Sendable, CaseIterable {
    case approve, issue, card, delete, payment, order, cancel, transactions, settlements
    /// A wrong method or path.
    case other
}

/// The calls of the API, told apart by method and path. Path parts are percent-decoded.
enum Call {
    case approve(String)
    case issue, card
    case delete(String)
    case payment(String)
    case order(String)
    case cancel(String)
    case transactions, settlements
    /// A path of the API under a method that it does not have.
    case wrongMethod
    case unknown

    init(method: String, path: String) {
        let parts = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
            .map { PercentText.decode($0) ?? "" }
        self = .unknown
        guard parts.first == "v1", parts.count >= 2, !parts.contains("") else { return }
        let rest = Array(parts.dropFirst())
        switch (rest[0], rest.count) {
        case ("billing", 2):
            self =
                method == "POST"
                ? .approve(rest[1]) : method == "DELETE" ? .delete(rest[1]) : .wrongMethod
        case ("billing", 3) where rest[1] == "authorizations" && rest[2] == "issue":
            self = method == "POST" ? .issue : .wrongMethod
        case ("billing", 3) where rest[1] == "authorizations" && rest[2] == "card":
            self = method == "POST" ? .card : .wrongMethod
        case ("payments", 2): self = method == "GET" ? .payment(rest[1]) : .wrongMethod
        case ("payments", 3) where rest[1] == "orders":
            self = method == "GET" ? .order(rest[2]) : .wrongMethod
        case ("payments", 3) where rest[2] == "cancel":
            self = method == "POST" ? .cancel(rest[1]) : .wrongMethod
        case ("transactions", 1): self = method == "GET" ? .transactions : .wrongMethod
        case ("settlements", 1): self = method == "GET" ? .settlements : .wrongMethod
        default: break
        }
    }

    var endpoint: APIEndpoint {
        switch self {
        case .approve: .approve
        case .issue: .issue
        case .card: .card
        case .delete: .delete
        case .payment: .payment
        case .order: .order
        case .cancel: .cancel
        case .transactions: .transactions
        case .settlements: .settlements
        case .wrongMethod, .unknown: .other
        }
    }
}
