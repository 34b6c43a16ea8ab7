/// One HTTP request to the sandbox, already read in full.
package struct SandboxRequest: Sendable {
    /// The method in upper case.
    package var method: String
    /// The path as it stood on the wire, percent-encoded, without the query.
    package var path: String
    /// What followed the `?`, percent-encoded; empty when nothing did.
    package var query: String
    /// The `Authorization` header.
    package var authorization: String?
    /// The `Content-Type` header.
    package var contentType: String?
    /// The `Idempotency-Key` header.
    package var idempotencyKey: String?
    /// The `TossPayments-Test-Code` header.
    package var testCode: String?
    /// The body.
    package var body: [UInt8]

    /// A request made in the same process. Header names are compared without case; headers that
    /// the sandbox does not know, `Accept-Language` among them, are ignored.
    package init(
        method: String, path: String, query: String = "", headers: [String: String] = [:],
        body: [UInt8] = []
    ) {
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        for (name, value) in headers {
            switch name.lowercased() {
            case "authorization": authorization = value
            case "content-type": contentType = value
            case "idempotency-key": idempotencyKey = value
            case "tosspayments-test-code": testCode = value
            default: break
            }
        }
    }

    /// The value of a query parameter, percent-decoded.
    func parameter(_ name: String) -> String? {
        for pair in query.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.first.map(String.init) == name {
                return parts.count == 2 ? PercentText.decode(parts[1]) : ""
            }
        }
        return nil
    }
}

/// Percent-decoding of path segments and query values.
enum PercentText {
    /// The decoded text, nil when an escape is cut short or the bytes are no UTF-8.
    static func decode(_ text: some StringProtocol) -> String? {
        let bytes = Array(text.utf8)
        guard bytes.contains(UInt8(ascii: "%")) else { return String(text) }
        var out: [UInt8] = []
        var at = 0
        while at < bytes.count {
            if bytes[at] == UInt8(ascii: "%") {
                guard at + 2 < bytes.count, let high = nibble(bytes[at + 1]),
                    let low = nibble(bytes[at + 2])
                else { return nil }
                out.append(high << 4 | low)
                at += 3
            } else {
                out.append(bytes[at])
                at += 1
            }
        }
        return String(validating: out, as: UTF8.self)
    }

    private static func nibble(_ byte: UInt8) -> UInt8? {
        Character(Unicode.Scalar(byte)).hexDigitValue.map(UInt8.init)
    }
}
