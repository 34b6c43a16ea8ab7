import Billing
import HTTP
import Logging
import Synchronization
import TestSupport

@testable import TossPayments

/// Secrets that no other text contains.
enum Secret {
    static let secretKey = "test_sk_Qx7mVw2Rk9LpTz4N"
    static let billingKey = "Zk3vXw8_Bt5nHq1-Lm7pRd2sYc6uGf9jAe4oKi0xWbE="
    static let customerKey = "cust.Ph8Ks2Wd@Vq5Nj"

    /// Twelve characters of each, and of what Basic authentication makes of the first.
    static var parts: [String] {
        [secretKey, billingKey, customerKey, base64(Array("\(secretKey):".utf8))].map {
            String($0.dropFirst(8).prefix(12))
        }
    }
}

extension AttemptRequest {
    /// What the tests charge: 14,900 won under order-0007-1.
    static func sample(
        order: String = "order-0007-1", name: String = "Standard plan", taxFree: Int64 = 0,
        billingKey: String = Secret.billingKey
    ) -> AttemptRequest {
        AttemptRequest(
            number: 1, orderID: OrderID(stored: order), billingKeyID: 1,
            billingKey: BillingKey(billingKey), customerKey: CustomerKey(Secret.customerKey),
            amount: Won(14_900), taxFreeAmount: Won(taxFree), orderName: name)
    }
}

/// A gateway that talks to a server of this machine, with everything it logs.
struct Calls {
    let gateway: TossGateway
    let client: HTTPClient
    let address: String
    let log = LogLines()

    init(_ address: String, secretKey: String = Secret.secretKey) throws {
        var configuration = HTTPClient.Configuration()
        configuration.allowsPlainHTTP = true
        client = try HTTPClient(configuration)
        self.address = address
        let key = try SecretKey(parsing: secretKey)
        var logger = Logger(label: "test") { [log] _ in log }
        logger.logLevel = .trace
        gateway = TossGateway(
            endpoint: try TossEndpoint(address, mode: key.mode), secretKey: key, client: client,
            log: logger)
    }

    func charge(
        _ request: AttemptRequest = .sample(), timeout: Duration = .seconds(20)
    ) async -> Outcome {
        await gateway.charge(request, timeout: timeout)
    }

    func lookUp(_ order: String = "order-0007-1") async -> LookUp {
        await gateway.lookUp(OrderID(stored: order), timeout: .seconds(20))
    }
}

/// Everything that was logged.
final class LogLines: LogHandler {
    private let lines = Mutex<[String]>([])
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .trace }
        set {}
    }

    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }

    func log(event: LogEvent) {
        lines.withLock { $0.append("\(event.message) \(event.metadata ?? [:])") }
    }
}

/// A Payment of the provider with some members changed: `nil` takes one away.
func paymentText(_ changes: [String: String?] = [:]) -> String {
    var members: [(name: String, value: String)] = [
        ("mId", #""sandbox01""#), ("paymentKey", #""sandb20260715093004Qk7Zp""#),
        ("status", #""DONE""#), ("orderId", #""order-0007-1""#),
        ("orderName", #""Standard plan""#), ("approvedAt", #""2026-07-15T09:30:06+09:00""#),
        ("card", #"{"number":"94100012****789*","issuerCode":"21","approveNo":"00000000"}"#),
        ("type", #""BILLING""#), ("failure", "null"),
        ("receipt", #"{"url":"https://dashboard.tosspayments.com/receipt/example"}"#),
        ("currency", #""KRW""#), ("totalAmount", "14900"), ("balanceAmount", "14900"),
        ("method", #""카드""#),
    ]
    for (name, value) in changes.sorted(by: { $0.key < $1.key }) {
        members.removeAll { $0.name == name }
        if let value { members.append((name, value)) }
    }
    return "{" + members.map { "\"\($0.name)\":\($0.value)" }.joined(separator: ",") + "}"
}
