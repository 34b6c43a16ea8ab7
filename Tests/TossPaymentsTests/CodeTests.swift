import Billing
import HTTP
import Logging
import Synchronization
import Testing

@testable import TossPayments

/// Every code that the provider documents, or is known to send, with its documented status and what
/// it means for a charge. One line a code, so that a changed class shows in a review.
struct CodeTests {
    private static let listed: [(code: String, status: Int, is: TossCode.Class)] = [
        // The approve call's own.
        ("INVALID_REQUEST", 400, .faultOfRow),
        ("BELOW_MINIMUM_AMOUNT", 400, .faultOfRow),
        ("NOT_MATCHES_CUSTOMER_KEY", 400, .faultOfRow),
        ("INVALID_BILL_KEY_REQUEST", 400, .hardUnlessNew),
        ("ALREADY_REMOVED_BILLING_KEY", 400, .hard),
        ("INVALID_STOPPED_CARD", 400, .hard),
        ("INVALID_CARD_LOST_OR_STOLEN", 400, .hard),
        ("INVALID_CARD_EXPIRATION", 400, .hard),
        ("INVALID_CARD_NUMBER", 400, .hard),
        ("NOT_SUPPORTED_CARD_TYPE", 400, .hard),
        ("NOT_REGISTERED_CARD_COMPANY", 400, .hard),
        ("INVALID_REJECT_CARD", 400, .softOnce),
        ("DUPLICATED_ORDER_ID", 400, .duplicate),
        ("NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT", 400, .faultOfRow),
        ("INVALID_CARD_INSTALLMENT_PLAN", 400, .faultOfRow),
        ("NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN", 400, .faultOfRow),
        ("UNAUTHORIZED_KEY", 401, .faultOfAll),
        ("REJECT_CARD_PAYMENT", 403, .soft),
        ("REJECT_ACCOUNT_PAYMENT", 403, .soft),
        ("REJECT_CARD_COMPANY", 403, .softFew),
        ("EXCEED_MAX_AUTH_COUNT", 403, .softOnce),
        ("INCORRECT_BASIC_AUTH_FORMAT", 403, .faultOfAll),
        ("FORBIDDEN_REQUEST", 403, .faultOfRow),
        ("FAILED_INTERNAL_SYSTEM_PROCESSING", 500, .unknown),
        ("FAILED_DB_PROCESSING", 500, .unknownOfBadInput),
        ("FAILED_CARD_COMPANY_RESPONSE", 500, .unknown),
        // General and neighbouring calls'.
        ("PROVIDER_ERROR", 400, .unknown),
        ("CARD_PROCESSING_ERROR", 400, .unknown),
        ("ALREADY_PROCESSED_PAYMENT", 400, .duplicate),
        ("DUPLICATED_REQUEST", 400, .duplicate),
        ("EXCEED_MAX_DAILY_PAYMENT_COUNT", 400, .softNextDay),
        ("EXCEED_MAX_PAYMENT_AMOUNT", 400, .softNextDay),
        ("EXCEED_MAX_ONE_DAY_AMOUNT", 403, .softNextDay),
        ("EXCEED_UNKNOWN_CASE", 400, .soft),
        ("EXCEED_MAX_AMOUNT", 400, .softThenFault),
        ("MAINTAINED_METHOD", 400, .transientForHours),
        ("INVALID_API_KEY", 400, .faultOfAll),
        ("INVALID_CLIENT_KEY", 400, .faultOfAll),
        ("NOT_SUPPORTED_METHOD", 400, .faultOfAll),
        ("NOT_FOUND_TERMINAL_ID", 400, .faultOfAll),
        ("NOT_REGISTERED_BUSINESS", 400, .faultOfAll),
        ("INVALID_UNREGISTERED_SUBMALL", 400, .faultOfAll),
        ("API_VERSION_UPDATE_NEEDED", 400, .faultOfAll),
        ("INVALID_ORDER_ID", 400, .faultOfRow),
        ("INVALID_ORDER_NAME", 400, .faultOfRow),
        ("INVALID_CUSTOMER_KEY", 400, .faultOfRow),
        ("INVALID_REQUIRED_PARAM", 400, .faultOfRow),
        ("REQUIRED_AMOUNT", 400, .faultOfRow),
        ("BELOW_ZERO_AMOUNT", 400, .faultOfRow),
        ("INVALID_EMAIL", 400, .faultOfRow),
        ("INVALID_BILLING_AUTH", 400, .hard),
        ("INVALID_TEST_CODE", 400, .faultOfAll),
        ("INVALID_IDEMPOTENCY_KEY", 400, .faultOfRow),
        ("FDS_ERROR", 403, .faultOfRow),
        ("FORBIDDEN_CONSECUTIVE_REQUEST", 403, .unknown),
        ("NOT_FOUND_BILLING", 404, .hard),
        ("NOT_FOUND_MERCHANT", 404, .faultOfAll),
        ("NOT_FOUND_MERCHANT_INTEGRATION", 404, .faultOfAll),
        ("NOT_FOUND", 404, .faultOfAll),
        ("NOT_FOUND_HTTP_METHOD", 404, .faultOfAll),
        ("IDEMPOTENT_REQUEST_PROCESSING", 409, .unknown),
        ("COMMON_ERROR", 500, .unknown),
        ("UNKNOWN_ERROR", 500, .unknown),
        ("UNKNOWN_PAYMENT_ERROR", 500, .unknown),
        ("FAILED_METHOD_HANDLING", 500, .unknown),
        ("FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING", 500, .unknown),
        ("FAILED_BILLING_AUTO_CANCEL", 500, .unknown),
    ]

    @Test func everyDocumentedCodeIsListedAndNoOther() {
        #expect(Set(TossCode.table.keys) == Set(Self.listed.map(\.code)))
        #expect(Self.listed.count == TossCode.table.count)
        // Of community code; the provider has no such codes.
        for invented in ["NOT_ENOUGH_BALANCE", "NOT_FOUND_BILLING_KEY"] {
            #expect(TossCode.table[invented] == nil)
        }
    }

    @Test(arguments: listed.map { ($0.code, $0.is) })
    func aCodeMeansWhatItsDocumentationSays(_ code: String, _ is: TossCode.Class) {
        let status = Self.listed.first { $0.code == code }?.status ?? 0
        #expect(TossCode.classify(code, status: status) == `is`)
    }

    /// The same code under any status of an answer that the provider gives knowingly.
    @Test(arguments: listed.filter { (400...404).contains($0.status) }.map { ($0.code, $0.is) })
    func theStatusNeverDecides(_ code: String, _ is: TossCode.Class) {
        for status in [400, 401, 402, 403, 404, 405, 410, 422] {
            #expect(TossCode.classify(code, status: status) == `is`, "\(status)")
        }
    }

    /// A server error or a conflict may hide an execution, whatever code stands beside it; a 3xx and
    /// any other status is not the provider's.
    @Test(arguments: listed.map(\.code))
    func noCodeMakesAServerErrorOrARedirectCertain(_ code: String) {
        for status in [100, 201, 204, 301, 302, 307, 308, 409, 500, 502, 503, 504, 520, 599] {
            let found = TossCode.classify(code, status: status)
            #expect(found == .unknown || found == .unknownOfBadInput, "\(status)")
        }
    }

    @Test func anUnlistedCodeIsUnknownUnderEveryStatus() {
        for status in [400, 401, 403, 404, 409, 500, 503] {
            for code in ["A_NEW_CODE", "", "UNREADABLE_ANSWER", "reject_card_payment"] {
                #expect(TossCode.classify(code, status: status) == .unknown, "\(status) \(code)")
            }
        }
        // "No payment of this name" answers a look-up, never an approve.
        #expect(TossCode.classify("NOT_FOUND_PAYMENT", status: 404) == .unknown)
    }

    @Test func tooManyRequestsIsTransientWhateverItsBodySays() {
        for code in ["TOO_MANY_REQUESTS", "UNREADABLE_ANSWER", "A_NEW_CODE"] {
            #expect(TossCode.classify(code, status: 429) == .transient)
        }
    }
}

/// What becomes of a whole answer.
struct AnswerTests {
    private func response(_ status: Int, _ body: String) -> HTTPResponse {
        HTTPResponse(status: status, headers: [], body: Array(body.utf8), duration: .zero)
    }

    /// Nothing of it says that money did not move.
    @Test(arguments: [
        (404, "<html>not found</html>"), (404, "{}"), (404, #"{"code":"NOT_FOUND_PAYMENT"}"#),
        (301, ""), (302, #"{"code":"INVALID_REQUEST"}"#), (200, "<html></html>"), (200, "{}"),
        (502, "Bad Gateway"), (400, "<html>Bad Request</html>"), (400, #"{"code":"reject"}"#),
        (403, #"{"code":"A_NEW_CODE","message":"m"}"#), (400, #"["REJECT_CARD_PAYMENT"]"#),
    ])
    func whatIsNotTheProvidersKnownWordIsUnknown(_ status: Int, _ body: String) {
        guard case .unknown = TossGateway.outcome(response(status, body), log: nil) else {
            Issue.record("\(TossGateway.outcome(response(status, body), log: nil))")
            return
        }
    }

    /// Only the provider's own words may be repeated under a key.
    @Test(arguments: [
        (400, "PROVIDER_ERROR", Answer.Trait.finalWord), (500, "COMMON_ERROR", .finalWord),
        (500, "FAILED_DB_PROCESSING", .badInput), (403, "A_NEW_CODE", .finalWord),
        (409, "IDEMPOTENT_REQUEST_PROCESSING", .none), (502, "<html>", .none),
    ])
    func anUnknownThatTheProviderMayKeep(_ status: Int, _ code: String, _ trait: Answer.Trait) {
        let body = #"{"code":"\#(code)","message":"m"}"#
        let outcome = TossGateway.outcome(response(status, body), log: nil)
        guard case .unknown(let answer) = outcome else {
            Issue.record("\(outcome)")
            return
        }
        #expect(answer.trait == trait)
    }

    @Test func anUnknownCodeIsComplainedOfOnceWithItsName() {
        let book = Book()
        var logger = Logger(label: "test") { _ in Keeper(book: book) }
        logger.logLevel = .error
        let strangers = Strangers()
        for code in ["A_NEW_CODE", "A_NEW_CODE", "ANOTHER", "A_NEW_CODE", "COMMON_ERROR"] {
            let answer = response(500, #"{"code":"\#(code)","message":"secret words"}"#)
            _ = TossGateway.outcome(answer, log: logger, strangers)
        }
        let kept = book.lines.withLock { $0 }
        #expect(kept.count == 2)
        #expect(kept.first?.contains("A_NEW_CODE 500") == true)
        #expect(kept.allSatisfy { !$0.contains("secret") })
    }

    private final class Book: Sendable {
        let lines = Mutex<[String]>([])
    }

    private struct Keeper: LogHandler {
        let book: Book
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let metadata = event.metadata ?? [:]
            let line =
                "\(event.message) \(metadata["code"] ?? "") \(metadata["http_status"] ?? "")"
            book.lines.withLock { $0.append(line) }
        }
    }
}
