/// Ids made from a seed and a number: the same seed and the same calls give the same ids.
struct SandboxIDs: Sendable {
    let seed: UInt64
    private static let alphanumerics = Array(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".utf8)
    private static let base64url = Array(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    private static let hexDigits = Array("0123456789abcdef".utf8)

    /// SplitMix64's output function: spreads neighbouring inputs over all 64 bits.
    private static func mix(_ value: UInt64) -> UInt64 {
        var z = value &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    private func word(_ purpose: UInt64, _ number: UInt64, _ part: UInt64) -> UInt64 {
        Self.mix(Self.mix(Self.mix(seed ^ purpose &* 0xA24B_AED4_963E_E407) &+ number) &+ part)
    }

    private func text(
        _ purpose: UInt64, _ number: UInt64, _ alphabet: [UInt8], _ count: Int,
        after prefix: String = ""
    ) -> String {
        var out = Array(prefix.utf8)
        out.reserveCapacity(out.count + count)
        var bits: UInt64 = 0
        for position in 0..<count {
            if position % 8 == 0 { bits = word(purpose, number, UInt64(position / 8)) }
            out.append(alphabet[Int(bits & 0xFF) % alphabet.count])
            bits >>= 8
        }
        return String(decoding: out, as: UTF8.self)
    }

    /// 32 hex digits of one request.
    func traceID(_ number: UInt64) -> String { text(1, number, Self.hexDigits, 32) }

    /// A billing key: 43 characters of base64url and `=`.
    func billingKey(_ number: Int) -> String {
        text(2, UInt64(number), Self.base64url, 43) + "="
    }

    /// The `secret` of a payment.
    func paymentSecret(_ number: Int32) -> String {
        text(3, UInt64(number), Self.alphanumerics, 28, after: "ps_")
    }

    /// A number that looks random, for the latency of one request.
    func dice(_ number: UInt64) -> UInt64 { word(6, number, 0) }

    /// A one-use authorization key of the card window.
    func authKey(_ number: Int) -> String {
        text(4, UInt64(number), Self.alphanumerics, 20, after: "bln_")
    }

    /// The transmission id of a webhook.
    func transmission(_ number: Int64) -> String {
        text(7, UInt64(number), Self.alphanumerics, 22, after: "whtrans_")
    }

    /// The last five characters of a payment key: the payment's number in base 62, so that a
    /// payment key leads back to its payment without an index.
    static func paymentSuffix(_ number: Int32) -> [UInt8] {
        var rest = (UInt64(number) &* spread + shift) % suffixes
        var out = [UInt8](repeating: 0, count: 5)
        for position in (0..<5).reversed() {
            out[position] = alphanumerics[Int(rest % 62)]
            rest /= 62
        }
        return out
    }

    static func paymentNumber(suffix: some Sequence<UInt8>) -> Int32? {
        var value: UInt64 = 0
        for byte in suffix {
            guard let digit = alphanumerics.firstIndex(of: byte) else { return nil }
            value = value * 62 + UInt64(digit)
        }
        return Int32(exactly: (value + suffixes - shift) % suffixes * unspread % suffixes)
    }

    /// 62^5 suffixes; the multiplier shares no factor with 62, so it permutes them.
    private static let suffixes: UInt64 = 916_132_832
    private static let spread: UInt64 = 387_420_489
    private static let shift: UInt64 = 123_456_789
    private static let unspread: UInt64 = {
        // Euler: 62^5 = 2^5 · 31^5, so the inverse is the power φ(62^5) - 1.
        var result: UInt64 = 1
        var base = spread
        var exponent: UInt64 = 16 * 30 * 923_521 - 1
        while exponent > 0 {
            if exponent & 1 == 1 { result = result * base % suffixes }
            base = base * base % suffixes
            exponent >>= 1
        }
        return result
    }()

    /// The transaction key of a row: `txrd_a` and 26 characters, of which the last 8 are the row's
    /// number, so that paging needs no index.
    func transactionKey(_ row: Int) -> String {
        let noise = text(5, UInt64(row), Array(Self.alphanumerics[0..<10]), 18, after: "txrd_a")
        let number = String(row, radix: 36)
        return noise + String(repeating: "0", count: 8 - number.utf8.count) + number
    }

    func transactionRow(_ key: String) -> Int? {
        guard let row = Int(key.suffix(8), radix: 36), row >= 0, row < Int32.max,
            transactionKey(row) == key
        else { return nil }
        return row
    }
}
