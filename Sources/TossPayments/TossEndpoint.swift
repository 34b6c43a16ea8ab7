import FoundationEssentials

/// Where the provider is. A live key speaks https to the provider's own host and to nothing else;
/// plain http is for test keys and this very machine.
package struct TossEndpoint: Hashable, Sendable {
    /// The provider's own address.
    package static let official = "https://api.tosspayments.com"

    /// Without a slash at the end.
    let base: String
    package let isPlain: Bool

    /// Throws what is wrong with `address` and what is allowed.
    package init(_ address: String, mode: SecretKey.Mode) throws(TossEndpointError) {
        guard let url = URL(string: address), let scheme = url.scheme?.lowercased(),
            let host = url.host()?.lowercased(), !host.isEmpty
        else { throw TossEndpointError("it is no address such as \(Self.official)") }
        guard url.user() == nil, url.password() == nil, url.query() == nil, url.fragment() == nil,
            url.path().isEmpty || url.path() == "/"
        else { throw TossEndpointError("it must be scheme, host and port only") }
        switch scheme {
        case "https": isPlain = false
        case "http": isPlain = true
        default: throw TossEndpointError("its scheme is \(scheme): https (http for a sandbox)")
        }
        if mode == .live {
            guard !isPlain, host == "api.tosspayments.com", url.port == nil || url.port == 443
            else { throw TossEndpointError("a live key speaks to \(Self.official) only") }
        }
        if isPlain, !["127.0.0.1", "localhost", "::1", "[::1]"].contains(host) {
            throw TossEndpointError("plain http is for a sandbox on this machine only")
        }
        let name = host.contains(":") && !host.hasPrefix("[") ? "[\(host)]" : host
        base = "\(scheme)://\(name)" + (url.port.map { ":\($0)" } ?? "")
    }
}

/// What is wrong with the provider's address.
package struct TossEndpointError: Error, Sendable, CustomStringConvertible {
    private let reason: String
    init(_ reason: String) { self.reason = reason }
    package var description: String { "TOSS_API_URL cannot be used: \(reason)" }
}
