/// The billing keys that were issued, and the cards behind them.
struct KeyRing: Sendable {
    struct Key: Sendable {
        /// As issued, with its `=`.
        var billingKey: String
        /// Empty until the first use of a key that nobody issued (any-key mode).
        var customerKey: String
        var card: Card
        var issuedAt: Int64
        var isDeleted = false
        /// Approvals that reached the card.
        var attempts = 0
        var script: CardScript?
    }

    struct Card: Sendable, Equatable {
        var issuerCode = "21"
        /// Masked: eight digits, four stars, three digits, a star.
        var number = "94100012****789*"
        var cardType = "신용"
        var ownerType = "개인"
        /// The first second after the card's validity, 0 for none.
        var expiresAt: Int64 = 0
        /// The code that every approval of this card gets.
        var refusal: String?

        init() {}

        /// The card of a full number. Numbers outside of the provider's test cards approve.
        init(number: String, expiresAt: Int64 = 0) {
            let digits = Array(number)
            if digits.count >= 12 {
                self.number =
                    String(digits[0..<8]) + "****" + String(digits[12..<min(15, digits.count)])
                    + "*"
            }
            self.expiresAt = expiresAt
            switch number {
            case "4330121234567890", "5520221234567890":
                cardType = "미확인"
                ownerType = "미확인"
                refusal = "NOT_SUPPORTED_CARD_TYPE"
            default: break
            }
        }
    }

    private(set) var keys: [Key] = []
    private var indexes: [String: Int32] = [:]
    /// Unspent authorization keys of the card window.
    var authKeys: [String: AuthKey] = [:]
    private(set) var authKeysMade = 0
    private(set) var keysMade = 0
    /// Scripts that keys of a card number get when they are issued.
    var cardScripts: [String: CardScript] = [:]

    struct AuthKey: Sendable {
        var customerKey: String
        var cardNumber: String
    }

    /// A key without its `=`, the form that is compared: the provider is loose about it.
    static func bare(_ billingKey: String) -> String {
        billingKey.hasSuffix("=") ? String(billingKey.dropLast()) : billingKey
    }

    /// Whether a text has the form of a billing key: 43 characters of base64url and perhaps `=`.
    static func isWellFormed(_ billingKey: String) -> Bool {
        let bare = bare(billingKey).utf8
        return bare.count == 43
            && bare.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
                    || $0 == 45 || $0 == 95
            }
    }

    func index(_ billingKey: String) -> Int32? {
        indexes[billingKey] ?? indexes[Self.bare(billingKey) + "="]
    }

    subscript(_ index: Int32) -> Key {
        get { keys[Int(index)] }
        set { keys[Int(index)] = newValue }
    }

    /// Adds a key; its text is stored with the `=`.
    mutating func add(_ key: Key) -> Int32 {
        var key = key
        key.billingKey = Self.bare(key.billingKey) + "="
        let index = Int32(keys.count)
        keys.append(key)
        indexes[key.billingKey] = index
        return index
    }

    /// A fresh key text.
    mutating func nextBillingKey(_ ids: SandboxIDs) -> String {
        while true {
            keysMade += 1
            let text = ids.billingKey(keysMade)
            if indexes[text] == nil { return text }
        }
    }

    /// Makes sure that the next key is none of the first `count` ones.
    mutating func skip(to count: Int) { keysMade = max(keysMade, count) }

    /// Takes back an authorization key that was made before a restart.
    mutating func restoreAuthKey(_ text: String, _ key: AuthKey, made: Int) {
        authKeys[text] = key
        authKeysMade = max(authKeysMade, made)
    }

    mutating func addAuthKey(_ key: AuthKey, _ ids: SandboxIDs) -> String {
        authKeysMade += 1
        let text = ids.authKey(authKeysMade)
        authKeys[text] = key
        return text
    }
}
