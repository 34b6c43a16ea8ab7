import FoundationEssentials

/// The secret keys that the sandbox accepts, and how strictly it reads `Authorization`.
struct SecretKeys: Sendable {
    let keys: [String]
    /// The whole header of every valid key: the usual request costs one look-up.
    private let headers: [String: Int]
    /// Keys that were rotated away: refused, while their index stays what idempotency is counted by.
    var revoked: Set<Int> = []

    enum Verdict: Equatable {
        case accepted(Int)
        case refused(String)
    }

    init(_ keys: [String]) {
        self.keys = keys
        var headers: [String: Int] = [:]
        for (index, key) in keys.enumerated() {
            headers["Basic " + Data((key + ":").utf8).base64EncodedString()] = index
        }
        self.headers = headers
    }

    static func isWellFormed(_ key: String) -> Bool {
        (key.hasPrefix("test_sk_") || key.hasPrefix("live_sk_")) && key.utf8.count > 8
    }

    func isTest(_ index: Int) -> Bool { keys[index].hasPrefix("test_") }

    func check(_ header: String?) -> Verdict {
        guard let header, !header.isEmpty else { return .refused("UNAUTHORIZED_KEY") }
        if let index = headers[header] { return verdict(index) }
        guard header.lowercased().hasPrefix("basic "),
            let data = Data(base64Encoded: String(header.dropFirst(6))),
            let text = String(validating: data, as: UTF8.self),
            // A byte-order mark before the key: the base64 text then begins with 77u/.
            text.unicodeScalars.first?.value != 0xFEFF,
            text.hasSuffix(":")
        else { return .refused("INCORRECT_BASIC_AUTH_FORMAT") }
        let key = String(text.dropLast())
        guard !key.contains(":") else { return .refused("INCORRECT_BASIC_AUTH_FORMAT") }
        guard Self.isWellFormed(key) else { return .refused("INVALID_API_KEY") }
        guard let index = keys.firstIndex(of: key) else { return .refused("UNAUTHORIZED_KEY") }
        return verdict(index)
    }

    private func verdict(_ index: Int) -> Verdict {
        revoked.contains(index) ? .refused("UNAUTHORIZED_KEY") : .accepted(index)
    }
}
