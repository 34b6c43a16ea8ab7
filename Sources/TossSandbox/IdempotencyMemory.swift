/// What was answered under an idempotency key, for 15 days from its first use.
struct IdempotencyMemory: Sendable {
    /// The API address of a POST call; the billing key belongs to it, the body does not.
    enum Address: Sendable, Hashable {
        case issue, card
        case approve(Int32)
        case approveUnknown(String)
        case cancel(String)
    }

    struct Identity: Sendable, Hashable {
        var secret: Int
        var address: Address
        var key: String
    }

    /// An approval is rendered again from the books; anything else is kept as it was sent.
    enum Stored: Sendable {
        case approval(Int32)
        case answer(status: Int, body: [UInt8], code: String?)
    }

    struct Entry: Sendable {
        /// Seconds since 1970 of the first use.
        var firstUsed: Int64
        /// The number of the first request, which gives its trace id.
        var sequence: UInt64
        /// Until then, in milliseconds since 1970, the first request counts as running.
        var readyAt: Int64
        var stored: Stored
    }

    static let lifeSeconds: Int64 = 15 * 86_400

    private(set) var entries: [Identity: Entry] = [:]

    /// The live entry, if any; one that is too old counts as none.
    func entry(_ identity: Identity, now: Int64) -> Entry? {
        guard let entry = entries[identity], now < entry.firstUsed + Self.lifeSeconds else {
            return nil
        }
        return entry
    }

    mutating func store(_ identity: Identity, _ entry: Entry) { entries[identity] = entry }

    mutating func setReady(_ identity: Identity, at milliseconds: Int64) {
        entries[identity]?.readyAt = milliseconds
    }

    mutating func remove(_ identity: Identity) { entries[identity] = nil }
}
