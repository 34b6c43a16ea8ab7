import Crypto

/// The merchant's secret key. Has no description; its one way out is the Authorization header.
package struct SecretKey: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    package enum Mode: String, Sendable { case test, live }

    package let mode: Mode
    private let text: String
    /// Of every request: `Basic base64(key:)`; the colon is mandatory, a password does not exist (Toss
    /// Payments, using-api/authorization). Made once, and here, where nothing prints it.
    let headers: [(name: String, value: String)]
    /// Of every request with a body.
    let bodyHeaders: [(name: String, value: String)]

    /// Reads a key as it stands in a file: white space around it is dropped. Throws what is wrong
    /// and how to mend it, without quoting the key.
    package init(parsing input: String) throws(SecretKeyError) {
        let words = input.split(whereSeparator: \.isWhitespace)
        guard let word = words.first else { throw SecretKeyError("it is empty") }
        guard words.count == 1 else { throw SecretKeyError("it has white space inside") }
        let key = String(word)
        guard !key.hasPrefix("\u{FEFF}"), !key.hasPrefix("77u/") else {
            throw SecretKeyError("it begins with a byte-order mark: save the file without one")
        }
        guard key.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: ":") }),
            key.utf8.count <= 200
        else { throw SecretKeyError("it has characters that no key has, or more than 200") }
        if key.hasPrefix("test_gsk") || key.hasPrefix("live_gsk") {
            throw SecretKeyError(
                "it is a widget key (gsk); billing needs the API key pair's (test_sk_, live_sk_)")
        }
        if key.contains("_ck_") {
            throw SecretKeyError(
                "it is a client key (ck); the secret key begins test_sk_ or live_sk_")
        }
        if key.hasPrefix("test_sk_") {
            mode = .test
        } else if key.hasPrefix("live_sk_") {
            mode = .live
        } else {
            throw SecretKeyError("it does not begin with test_sk_ or live_sk_")
        }
        text = key
        headers = [("Authorization", "Basic " + base64(Array((key + ":").utf8)))]
        bodyHeaders = headers + [("Content-Type", "application/json")]
    }

    /// Tells keys apart without giving them away: 16 hex digits of SHA-256.
    package var fingerprint: String {
        SHA256.hash(data: Array("billingd secret key:\(text)".utf8)).prefix(8)
            .map { byte in
                let digits = String(byte, radix: 16)
                return digits.count == 1 ? "0" + digits : digits
            }.joined()
    }

    package var description: String { "SecretKey(\(mode.rawValue), redacted)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// What is wrong with a secret key; never quotes it.
package struct SecretKeyError: Error, Sendable, CustomStringConvertible {
    private let reason: String
    init(_ reason: String) { self.reason = reason }
    package var description: String { "the secret key cannot be used: \(reason)" }
}
