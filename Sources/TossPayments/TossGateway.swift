package import Billing
package import HTTP
package import Logging

/// The provider, as Billing's gateway: approve and look-up of Toss Payments automatic billing.
package struct TossGateway: Gateway {
    private let endpoint: TossEndpoint
    private let secretKey: SecretKey
    private let client: HTTPClient
    private let log: Logger?
    private let strangers = Strangers()

    package init(
        endpoint: TossEndpoint, secretKey: SecretKey, client: HTTPClient, log: Logger?
    ) {
        self.endpoint = endpoint
        self.secretKey = secretKey
        self.client = client
        self.log = log
    }

    /// `POST /v1/billing/{billingKey}`, exactly once.
    package func charge(_ request: AttemptRequest, timeout: Duration) async -> Outcome {
        let key = request.billingKey.reveal()
        guard Self.isLegal(key, 8...200, extra: "_=-"),
            Self.isLegal(request.orderID.value, 6...64, extra: "_-")
        else { return .faultOfRow(Answer(code: "ILLEGAL_KEY_OR_ORDER_ID")) }
        let call = HTTPRequest(
            method: .post(body: ApproveBody(request: request).bytes),
            url: address(ofKey: key),
            headers: secretKey.bodyHeaders,
            ownHeaders: [("Idempotency-Key", request.orderID.value)],
            timeout: timeout)
        do {
            return Self.outcome(try await client.send(call), log: log, strangers)
        } catch {
            let answer = Self.answer(error)
            return error.mayHaveLeft ? .unknown(answer) : .notSent(answer)
        }
    }

    private func address(ofKey key: String) -> String {
        var url: [UInt8] = []
        url.reserveCapacity(255)
        url.append(contentsOf: endpoint.base.utf8)
        url.append(contentsOf: "/v1/billing/".utf8)
        for byte in key.utf8 {
            // Of all legal characters only the padding has a meaning in a path.
            if byte == UInt8(ascii: "=") {
                url.append(contentsOf: "%3D".utf8)
            } else {
                url.append(byte)
            }
        }
        return String(decoding: url, as: UTF8.self)
    }

    /// `GET /v1/payments/orders/{orderId}`.
    package func lookUp(_ orderID: OrderID, timeout: Duration) async -> LookUp {
        guard Self.isLegal(orderID.value, 6...64, extra: "_-") else {
            return .unclear(Answer(code: "ILLEGAL_KEY_OR_ORDER_ID"))
        }
        return await lookUp("orders/\(orderID.value)", timeout)
    }

    /// `GET /v1/payments/{paymentKey}`.
    package func lookUp(paymentKey: String, timeout: Duration) async -> LookUp {
        guard Self.isLegal(paymentKey, 1...200, extra: "_-") else {
            return .unclear(Answer(code: "ILLEGAL_PAYMENT_KEY"))
        }
        return await lookUp(paymentKey, timeout)
    }

    private func lookUp(_ payment: String, _ timeout: Duration) async -> LookUp {
        do {
            return Self.lookUp(try await get("/v1/payments/\(payment)", timeout))
        } catch {
            return .unclear(Self.answer(error))
        }
    }

    /// What an answer to approve means. Total: any bytes have a meaning.
    /// `strangers`: the codes that were complained of before.
    static func outcome(
        _ response: HTTPResponse, log: Logger?, _ strangers: Strangers = Strangers()
    ) -> Outcome {
        guard response.status == 200 else {
            let answer = Reply.answer(response)
            if response.status != 429, TossCode.table[answer.code] == nil,
                strangers.isNew(answer.code)
            {
                log?.error(
                    "the provider answered with a code that is not known: the outcome is unknown",
                    metadata: ["code": "\(answer.code)", "http_status": "\(response.status)"])
            }
            return Outcome(answer, status: response.status)
        }
        let trace = Reply.trace(response)
        guard let payment = Reply.payment(response.body) else {
            return .unknown(Answer(code: "UNREADABLE_ANSWER", httpStatus: 200, traceID: trace))
        }
        return .approved(payment, traceID: trace)
    }

    /// What an answer to a look-up means.
    static func lookUp(_ response: HTTPResponse) -> LookUp {
        if response.status == 200 {
            guard let payment = Reply.payment(response.body) else {
                return .unclear(Answer(code: "UNREADABLE_ANSWER", httpStatus: 200))
            }
            return .found(payment)
        }
        let answer = Reply.answer(response)
        // Only this status with this code says "no payment"; any other 404 is a wrong address.
        if response.status == 404, answer.code == "NOT_FOUND_PAYMENT" { return .notFound(answer) }
        if TossCode.classify(answer.code, status: response.status) == .faultOfAll {
            return .faultOfAll(answer)
        }
        return .unclear(answer)
    }

    func get(_ path: String, _ timeout: Duration) async throws(HTTPError) -> HTTPResponse {
        try await client.send(
            HTTPRequest(
                method: .get, url: "\(endpoint.base)\(path)", headers: secretKey.headers,
                timeout: timeout))
    }

    static func isLegal(
        _ text: String, _ length: ClosedRange<Int>, extra: String
    ) -> Bool {
        length.contains(text.utf8.count)
            && text.utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: extra.utf8.contains($0)
                }
            }
    }

    /// All codes that an outcome can carry by plan: the provider's, and our own words.
    package static let listedCodes = Set(TossCode.table.keys).union([
        "TIMEOUT", "CONNECT_TIMEOUT", "HOST_NOT_FOUND", "CONNECTION_LOST", "NOT_CONNECTED",
        "TLS_FAILED", "ANSWER_TOO_LARGE", "ILLEGAL_REQUEST", "NO_ANSWER", Reply.unreadable,
        "ILLEGAL_KEY_OR_ORDER_ID", "NOT_FOUND_PAYMENT",
    ])

    /// Our own words for what never got an answer.
    static func answer(_ error: HTTPError) -> Answer {
        let code =
            switch error.kind {
            case .timeout: error.mayHaveLeft ? "TIMEOUT" : "CONNECT_TIMEOUT"
            case .resolve: "HOST_NOT_FOUND"
            case .connect: error.mayHaveLeft ? "CONNECTION_LOST" : "NOT_CONNECTED"
            case .tls: error.mayHaveLeft ? "CONNECTION_LOST" : "TLS_FAILED"
            case .reset, .resendRefused: "CONNECTION_LOST"
            case .tooLarge: "ANSWER_TOO_LARGE"
            case .invalid: "ILLEGAL_REQUEST"
            case .other: "NO_ANSWER"
            }
        return Answer(code: code, message: error.description)
    }
}

extension TossGateway {
    /// What `billingd check` learnt of the provider.
    package struct ProbeResult: Hashable, Sendable {
        package var text: String
        /// What to do about it; nil: the provider answers and takes the key.
        package var mend: String?
    }

    /// Asks for a payment that cannot exist: the answer tells whether the key is taken.
    package func probe() async -> ProbeResult {
        let order = OrderID(stored: "billingd-check-no-such-order")
        switch await lookUp(order, timeout: .seconds(65)) {
        case .notFound, .found:
            return ProbeResult(text: "\(endpoint.base) answers and takes the key")
        case .faultOfAll(let answer):
            return ProbeResult(
                text: "\(endpoint.base) answers \(answer.httpStatus ?? 0) \(answer.code)",
                mend: "compare the secret key, its contract for billing and TOSS_API_URL with the "
                    + "provider's developer centre")
        case .unclear(let answer):
            return ProbeResult(
                text: "\(endpoint.base): \(answer.code) \(answer.message ?? "")",
                mend: "is the address right, and may this machine reach it (DNS, firewall, proxy)?")
        }
    }
}
