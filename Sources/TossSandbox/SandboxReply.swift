/// What the sandbox answers, and how the answer is to travel.
package struct SandboxReply: Sendable {
    /// How the transport treats the answer.
    package enum Delivery: Sendable, Equatable {
        /// Send it.
        case send
        /// Close the connection without sending a byte.
        case drop
        /// Keep the connection open and never send a byte.
        case hang
        /// Send the head and this many bytes of the body, then close.
        case cut(bytes: Int)
    }

    /// Names an answer that is still to be delivered.
    package struct Ticket: Sendable, Hashable {
        let number: UInt64
    }

    /// The HTTP status.
    package var status: Int
    /// The headers, in order.
    package var headers: [(name: String, value: String)]
    /// The body.
    package var body: [UInt8]
    /// Milliseconds that the transport waits before it delivers.
    package var delayMilliseconds: Int64 = 0
    /// How the answer travels.
    package var delivery: Delivery = .send
    /// When set, the request counts as running until ``SandboxProvider/finish(_:delivered:)``.
    package var ticket: Ticket?
    /// The place of the execution behind this answer in the books, when there was one.
    package var payment: Int32?

    /// The value of a header, compared without case.
    package func header(_ name: String) -> String? {
        headers.first { $0.name.lowercased() == name.lowercased() }?.value
    }
}

/// An answer of a call, before idempotency and faults have had their say.
struct Answer {
    var status: Int
    var body: [UInt8]
    /// The provider's error code, nil when the call succeeded.
    var code: String?
    /// The payment that this very request executed.
    var executed: Int32?
    /// The payment that the body shows.
    var shows: Int32?
    var contentType = "application/json;charset=UTF-8"
    var retryAfter: Int64?

    static func success(_ body: [UInt8], shows: Int32? = nil) -> Answer {
        Answer(status: 200, body: body, shows: shows)
    }

    /// An error of the provider's table. A code outside of it is a mistake of ours and answers
    /// `UNKNOWN_ERROR`, so that the sandbox never invents a code.
    static func error(_ code: String, status: Int? = nil) -> Answer {
        let error =
            ProviderError(code: code)
            ?? ProviderError(
                code: "UNKNOWN_ERROR", status: 500, message: "확인되지 않은 오류입니다. 잠시 후 다시 시도해주세요.")
        return Answer(status: status ?? error.status, body: error.body, code: error.code)
    }

    /// Puts another body in place of an error object.
    mutating func dress(_ shape: FaultRule.Body) {
        switch shape {
        case .json: break
        case .empty: body = []
        case .html:
            body = Array("<html><body><h1>\(status)</h1></body></html>".utf8)
            contentType = "text/html"
        }
    }
}
