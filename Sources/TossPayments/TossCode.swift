package import Billing

/// What a code of the provider means for a charge. Classified by code, never by HTTP status or
/// message: a 400 may be an open outcome, a decline is a 403, a wrong URL a 404.
package enum TossCode {
    package enum Class: Hashable, Sendable {
        case soft, softNextDay, softOnce, softFew, softThenFault, hard, hardUnlessNew
        case transient, transientForHours, faultOfRow, faultOfAll, duplicate
        case unknown, unknownOfBadInput
    }

    /// The class of an answer to an approve. Codes that are not listed are unknown, and so is every
    /// 5xx: a gateway may say anything after the money moved.
    package static func classify(_ code: String, status: Int) -> Class {
        // Documented, but its code is not: any 429 says "too many", before execution.
        if status == 429 { return .transient }
        guard (400...499).contains(status), status != 409 else {
            return table[code] == .unknownOfBadInput ? .unknownOfBadInput : .unknown
        }
        return table[code] ?? .unknown
    }

    /// Every documented code (Toss Payments, reference/error-codes, and the approve call's table).
    package static let table: [String: Class] = [
        // Declined, may succeed later.
        "REJECT_CARD_PAYMENT": .soft,
        "REJECT_ACCOUNT_PAYMENT": .soft,
        "REJECT_CARD_COMPANY": .softFew,
        "EXCEED_MAX_DAILY_PAYMENT_COUNT": .softNextDay,
        "EXCEED_MAX_PAYMENT_AMOUNT": .softNextDay,
        "EXCEED_MAX_ONE_DAY_AMOUNT": .softNextDay,
        "EXCEED_UNKNOWN_CASE": .soft,
        // Declined, final the second time.
        "INVALID_REJECT_CARD": .softOnce,
        "EXCEED_MAX_AUTH_COUNT": .softOnce,
        // Declined, the row's fault the second time.
        "EXCEED_MAX_AMOUNT": .softThenFault,
        // This card or key is finished.
        "INVALID_BILL_KEY_REQUEST": .hardUnlessNew,
        "ALREADY_REMOVED_BILLING_KEY": .hard,
        "INVALID_STOPPED_CARD": .hard,
        "INVALID_CARD_LOST_OR_STOLEN": .hard,
        "INVALID_CARD_EXPIRATION": .hard,
        "INVALID_CARD_NUMBER": .hard,
        "NOT_SUPPORTED_CARD_TYPE": .hard,
        "NOT_REGISTERED_CARD_COMPANY": .hard,
        "INVALID_BILLING_AUTH": .hard,
        "NOT_FOUND_BILLING": .hard,
        // This row's data is wrong, or needs a person.
        "INVALID_REQUEST": .faultOfRow,
        "BELOW_MINIMUM_AMOUNT": .faultOfRow,
        "NOT_MATCHES_CUSTOMER_KEY": .faultOfRow,
        "NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT": .faultOfRow,
        "INVALID_CARD_INSTALLMENT_PLAN": .faultOfRow,
        "NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN": .faultOfRow,
        "FORBIDDEN_REQUEST": .faultOfRow,
        "INVALID_ORDER_ID": .faultOfRow,
        "INVALID_ORDER_NAME": .faultOfRow,
        "INVALID_CUSTOMER_KEY": .faultOfRow,
        "INVALID_REQUIRED_PARAM": .faultOfRow,
        "REQUIRED_AMOUNT": .faultOfRow,
        "BELOW_ZERO_AMOUNT": .faultOfRow,
        "INVALID_EMAIL": .faultOfRow,
        "INVALID_IDEMPOTENCY_KEY": .faultOfRow,
        "FDS_ERROR": .faultOfRow,
        // Our key, contract or program is wrong.
        "UNAUTHORIZED_KEY": .faultOfAll,
        "INCORRECT_BASIC_AUTH_FORMAT": .faultOfAll,
        "INVALID_API_KEY": .faultOfAll,
        "INVALID_CLIENT_KEY": .faultOfAll,
        "NOT_SUPPORTED_METHOD": .faultOfAll,
        "NOT_FOUND_TERMINAL_ID": .faultOfAll,
        "NOT_REGISTERED_BUSINESS": .faultOfAll,
        "INVALID_UNREGISTERED_SUBMALL": .faultOfAll,
        "API_VERSION_UPDATE_NEEDED": .faultOfAll,
        "INVALID_TEST_CODE": .faultOfAll,
        "NOT_FOUND_MERCHANT": .faultOfAll,
        "NOT_FOUND_MERCHANT_INTEGRATION": .faultOfAll,
        "NOT_FOUND": .faultOfAll,
        "NOT_FOUND_HTTP_METHOD": .faultOfAll,
        // Executed before: look it up, whatever the message advises.
        "DUPLICATED_ORDER_ID": .duplicate,
        "ALREADY_PROCESSED_PAYMENT": .duplicate,
        "DUPLICATED_REQUEST": .duplicate,
        // Surely not executed.
        "MAINTAINED_METHOD": .transientForHours,
        // The money may have moved.
        "PROVIDER_ERROR": .unknown,
        "CARD_PROCESSING_ERROR": .unknown,
        "FORBIDDEN_CONSECUTIVE_REQUEST": .unknown,
        "IDEMPOTENT_REQUEST_PROCESSING": .unknown,
        "FAILED_INTERNAL_SYSTEM_PROCESSING": .unknown,
        "FAILED_DB_PROCESSING": .unknownOfBadInput,
        "FAILED_CARD_COMPANY_RESPONSE": .unknown,
        "COMMON_ERROR": .unknown,
        "UNKNOWN_ERROR": .unknown,
        "UNKNOWN_PAYMENT_ERROR": .unknown,
        "FAILED_METHOD_HANDLING": .unknown,
        "FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING": .unknown,
        "FAILED_BILLING_AUTO_CANCEL": .unknown,
    ]
}

extension DeclineClass {
    /// What the failure code of an aborted payment says of the card. The payment is over whatever the
    /// code, so one that is no decline counts as soft.
    init(failure code: String) {
        switch TossCode.table[code] {
        case .hard: self = .hard
        case .hardUnlessNew: self = .hardUnlessNew
        case .softNextDay: self = .softNextDay
        case .softOnce: self = .softOnce
        case .softFew: self = .softFew
        case .softThenFault: self = .softThenFault
        default: self = .soft
        }
    }
}

extension Outcome {
    /// The outcome of an error answer to an approve.
    package init(_ answer: Answer, status: Int) {
        switch TossCode.classify(answer.code, status: status) {
        case .transient: self = .refused(answer)
        case .transientForHours: self = .refused(answer.with(.lastsHours))
        case .unknownOfBadInput: self = .unknown(answer.with(.badInput))
        case .unknown:
            // Not a gateway's page, and not "the first request still runs", which is no last word.
            let isWord = status != 409 && answer.code != Reply.unreadable
            self = .unknown(isWord ? answer.with(.finalWord) : answer)
        case .soft: self = .declined(answer, .soft)
        case .softNextDay: self = .declined(answer, .softNextDay)
        case .softFew: self = .declined(answer, .softFew)
        case .hardUnlessNew: self = .declined(answer, .hardUnlessNew)
        case .softOnce: self = .declined(answer, .softOnce)
        case .softThenFault: self = .declined(answer, .softThenFault)
        case .hard: self = .declined(answer, .hard)
        case .faultOfRow: self = .faultOfRow(answer)
        case .faultOfAll: self = .faultOfAll(answer)
        case .duplicate: self = .duplicate(answer)
        }
    }
}

extension Answer {
    fileprivate func with(_ trait: Trait) -> Answer {
        var answer = self
        answer.trait = trait
        return answer
    }
}
