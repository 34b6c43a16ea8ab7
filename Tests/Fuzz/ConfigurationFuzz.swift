import TossPayments

/// What people write into files, variables and command lines: refused in words that never quote the
/// secret, or taken with the guarantees that the rest of the program relies on.
enum ConfigurationFuzz {
    static func run(_ input: inout FuzzInput) {
        if input.bool() { secretKey(&input) } else { address(&input) }
    }

    private static func secretKey(_ input: inout FuzzInput) {
        let prefix = input.pick(["", "test_sk_", "live_sk_", " test_sk_", "test_gsk_", "\u{FEFF}"])
        let text = prefix + String(decoding: input.remainder(), as: UTF8.self)
        do {
            let key = try SecretKey(parsing: text)
            require(text.contains("\(key.mode.rawValue)_sk_"), "the mode is the prefix")
            require(key.fingerprint.utf8.count == 16, "a fingerprint has 16 digits")
            require(!"\(key) \(String(reflecting: key))".contains("_sk_"), "a key never prints")
        } catch {
            // Long enough to be no word of the message by chance.
            let secret = text.dropFirst(prefix.count)
            require(
                secret.utf8.count < 12 || !error.description.contains(secret),
                "a refusal does not quote the key")
        }
    }

    private static func address(_ input: inout FuzzInput) {
        let mode: SecretKey.Mode = input.bool() ? .live : .test
        let start = input.pick([
            "", "https://", "http://", "http://127.0.0.1", "https://api.tosspayments.com",
            "http://[",
        ])
        let text = start + String(decoding: input.remainder(), as: UTF8.self)
        guard let endpoint = try? TossEndpoint(text, mode: mode) else { return }
        require(!(mode == .live && endpoint.isPlain), "a live key never speaks plain http")
        require(
            !(mode == .live) || text.lowercased().hasPrefix("https://api.tosspayments.com"),
            "a live key speaks to the provider only: \(text)")
    }
}
