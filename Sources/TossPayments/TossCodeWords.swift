extension TossCode {
    /// A code in a few words of plain English: the provider's own where they say more than its class,
    /// ours for what never got an answer. Nil: neither of us knows it.
    package static func words(_ code: String) -> String? {
        if let words = own[code] ?? special[code] { return words }
        return table[code].map { words($0) }
    }

    private static func words(_ kind: Class) -> String {
        switch kind {
        case .soft: "declined, may succeed later"
        case .softNextDay: "declined, may succeed on another day"
        case .softFew: "declined, may succeed later, but is tried a few times only"
        case .softOnce: "declined, final when it comes twice"
        case .softThenFault: "declined, a person must look when it comes twice"
        case .hard, .hardUnlessNew: "this card or billing key is finished"
        case .faultOfRow: "the provider says that this row's data is wrong"
        case .faultOfAll: "our key, contract or address is wrong"
        case .duplicate: "an order of this name was executed before"
        case .transient, .transientForHours: "not now; surely not executed"
        case .unknown, .unknownOfBadInput: "the money may have moved"
        }
    }

    private static let special = [
        "REJECT_CARD_PAYMENT": "the card's limit or balance does not allow it",
        "REJECT_ACCOUNT_PAYMENT": "the account's balance does not allow it",
        "REJECT_CARD_COMPANY": "the card's issuer refused it",
        "EXCEED_MAX_DAILY_PAYMENT_COUNT": "too many payments with this card today",
        "EXCEED_MAX_PAYMENT_AMOUNT": "above what this card may pay today",
        "EXCEED_MAX_ONE_DAY_AMOUNT": "above what this card may pay in a day",
        "EXCEED_MAX_AMOUNT": "above what one payment may be",
        "INVALID_REJECT_CARD": "the card refuses use; its holder must ask the issuer",
        "INVALID_BILL_KEY_REQUEST": "the billing key is not valid",
        "ALREADY_REMOVED_BILLING_KEY": "the billing key was deleted at the provider",
        "NOT_FOUND_BILLING": "the billing key is not known to the provider",
        "INVALID_STOPPED_CARD": "the card is stopped",
        "INVALID_CARD_LOST_OR_STOLEN": "the card is reported lost or stolen",
        "INVALID_CARD_EXPIRATION": "the card has expired",
        "INVALID_CARD_NUMBER": "the card's number is not valid",
        "FDS_ERROR": "the provider's fraud detection stopped it; a person must look",
        "NOT_MATCHES_CUSTOMER_KEY": "the billing key belongs to another customer key",
        "BELOW_MINIMUM_AMOUNT": "less than a card may pay",
        "UNAUTHORIZED_KEY": "the provider does not take the secret key",
        "INVALID_API_KEY": "the provider does not take the secret key",
        "NOT_SUPPORTED_METHOD": "the contract does not cover billing",
        "MAINTAINED_METHOD": "under maintenance; surely not executed",
        "PROVIDER_ERROR": "the provider failed; the money may have moved",
        "IDEMPOTENT_REQUEST_PROCESSING": "an earlier request of this name is still running",
        "NOT_FOUND_PAYMENT": "the provider shows no payment of this name",
    ]

    private static let own = [
        "DONE": "approved", "LOOKED_UP": "found by a look-up",
        "ABORTED": "ended at the provider without money",
        "TIMEOUT": "no answer in time; the money may have moved",
        "CONNECTION_LOST": "the connection broke; the money may have moved",
        "NO_ANSWER": "no answer; the money may have moved",
        "UNREADABLE_ANSWER": "an answer that cannot be read; the money may have moved",
        "ANSWER_TOO_LARGE": "an answer that is too large to be one; the money may have moved",
        "NAME_USED_UP": "the name was taken by a payment that is not ours and was cancelled",
        "WRONG_PAYMENT_CANCELED": "the provider shows a payment that is not ours and was cancelled",
        "NOT_FINISHED": "the provider shows a payment that has neither happened nor ended",
        "MISMATCHED_PAYMENT": "the answer shows another payment than was asked for",
        "CONNECT_TIMEOUT": "not connected in time; nothing left",
        "NOT_CONNECTED": "not connected; nothing left", "HOST_NOT_FOUND": "the host has no address",
        "TLS_FAILED": "no safe connection; nothing left",
        "ILLEGAL_KEY_OR_ORDER_ID": "a billing key or order id that may not be sent",
        "ILLEGAL_REQUEST": "a request that may not be sent",
        "EARLIER_ATTEMPT_PAID": "an earlier attempt turned out to be paid",
        "LOOK_UPS_TOO_SLOW": "looking its names up took too long to send it as well",
        "CANCELED_UNSENT": "never sent: the subscription was cancelled before it could be",
        "SECRET_KEY_ROTATED": "it never left, and its secret key was rotated away",
    ]
}
