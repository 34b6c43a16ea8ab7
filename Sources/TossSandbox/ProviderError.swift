/// The provider's error codes, with HTTP status and Korean text, as its pages print them.
///
/// Odd spacing and missing full stops are the provider's. `TOO_MANY_REQUESTS` is the one code
/// that it does not document: its 429 body is unknown.
package struct ProviderError: Sendable, Equatable {
    /// The code, upper case with underscores.
    package let code: String
    /// The HTTP status of the answer.
    package let status: Int
    /// The Korean text.
    package let message: String

    /// The documented error of that code, nil for a code that the provider does not have.
    package init?(code: String) {
        guard let entry = Self.table[code] else { return nil }
        self = entry
    }

    init(code: String, status: Int, message: String) {
        self.code = code
        self.status = status
        self.message = message
    }

    /// The v1 error body: exactly `{"code":"…","message":"…"}`.
    package var body: [UInt8] {
        var out = JSONBuffer()
        out.raw("{\"code\":")
        out.string(code)
        out.raw(",\"message\":")
        out.string(message)
        out.raw("}")
        return out.bytes
    }

    private static let table: [String: ProviderError] = {
        let groups: [(Int, [String: String])] = [
            (400, badRequest), (401, unauthorized), (403, forbidden), (404, notFound),
            (409, conflict), (429, tooMany), (500, serverError),
        ]
        var table: [String: ProviderError] = [:]
        for (status, texts) in groups {
            for (code, message) in texts {
                table[code] = ProviderError(code: code, status: status, message: message)
            }
        }
        return table
    }()
}

extension ProviderError {
    private static let badRequest: [String: String] = [
        "INVALID_REQUEST": "잘못된 요청입니다.",
        "BELOW_MINIMUM_AMOUNT": "신용카드는 결제금액이 100원 이상, 계좌는 200원이상부터 결제가 가능합니다.",
        "NOT_MATCHES_CUSTOMER_KEY": "빌링 인증 고객키와 결제 요청 고객키가 일치하지 않습니다.",
        "INVALID_BILL_KEY_REQUEST": "빌링키 인증이 완료되지 않았거나 유효하지 않은 빌링 거래 건입니다.",
        "ALREADY_REMOVED_BILLING_KEY": "이미 삭제된 빌링키입니다",
        "INVALID_STOPPED_CARD": "정지된 카드 입니다.",
        "INVALID_CARD_LOST_OR_STOLEN": "분실 혹은 도난 카드입니다.",
        "INVALID_CARD_EXPIRATION": "카드 정보를 다시 확인해주세요. (유효기간)",
        "INVALID_CARD_NUMBER": "카드번호를 다시 확인해주세요.",
        "NOT_SUPPORTED_CARD_TYPE": "지원되지 않는 카드 종류입니다.",
        "NOT_REGISTERED_CARD_COMPANY": "카드를 사용 등록 후 이용해주세요.",
        "INVALID_REJECT_CARD": "카드 사용이 거절되었습니다. 카드사 문의가 필요합니다.",
        "DUPLICATED_ORDER_ID": "이미 승인 및 취소가 진행된 중복된 주문번호 입니다. 다른 주문번호로 진행해주세요.",
        "NOT_SUPPORTED_INSTALLMENT_PLAN_CARD_OR_MERCHANT": "할부가 지원되지 않는 카드 또는 가맹점 입니다.",
        "INVALID_CARD_INSTALLMENT_PLAN": "할부 개월 정보가 잘못되었습니다.",
        "NOT_SUPPORTED_MONTHLY_INSTALLMENT_PLAN": "할부가 지원되지 않는 카드입니다.",
        "PROVIDER_ERROR": "일시적인 오류가 발생했습니다. 잠시 후 다시 시도해주세요.",
        "CARD_PROCESSING_ERROR": "카드사에서 오류가 발생했습니다.",
        "ALREADY_PROCESSED_PAYMENT": "이미 처리된 결제 입니다.",
        "DUPLICATED_REQUEST": "중복된 요청입니다.",
        "EXCEED_MAX_DAILY_PAYMENT_COUNT": "하루 결제 가능 횟수를 초과했습니다.",
        "EXCEED_MAX_PAYMENT_AMOUNT": "하루 결제 가능 금액을 초과했습니다.",
        "EXCEED_UNKNOWN_CASE": "한도 초과 되었습니다.",
        "EXCEED_MAX_AMOUNT": "거래금액 한도를 초과했습니다.",
        "MAINTAINED_METHOD": "현재 점검 중 입니다.",
        "INVALID_API_KEY": "잘못된 시크릿키 연동 정보 입니다.",
        "INVALID_CLIENT_KEY": "잘못된 클라이언트 연동 정보 입니다.",
        "NOT_SUPPORTED_METHOD": "지원되지 않는 결제수단입니다.",
        "NOT_FOUND_TERMINAL_ID": "단말기번호(Terminal Id)가 없습니다. 토스페이먼츠로 문의 바랍니다.",
        "NOT_REGISTERED_BUSINESS": "등록되지 않은 사업자 번호입니다.",
        "INVALID_UNREGISTERED_SUBMALL": "등록되지 않은 서브몰입니다. 서브몰이 없는 가맹점이라면 안심클릭이나 ISP 결제가 필요합니다.",
        "API_VERSION_UPDATE_NEEDED": "이 API를 사용하려면 [VERSION] 이상의 버전을 사용해야 합니다. (…)",
        "INVALID_ORDER_ID": "`orderId`는 영문 대소문자, 숫자, 특수문자(-, _) 만 허용합니다. 6자 이상 64자 이하여야 합니다.",
        "INVALID_ORDER_NAME": "주문 이름은 100자 이하여야 합니다.",
        "INVALID_CUSTOMER_KEY":
            "`customerKey`는 영문 대소문자, 숫자, 특수문자 -, _, =, ., @로 2자 이상 255자 이하여야 합니다.",
        "INVALID_REQUIRED_PARAM": "필수 파라미터가 누락되었습니다.",
        "REQUIRED_AMOUNT": "금액 값이 필수입니다.",
        "BELOW_ZERO_AMOUNT": "금액은 0보다 커야 합니다.",
        "INVALID_EMAIL": "이메일 주소 형식에 맞지 않습니다.",
        "INVALID_BILLING_AUTH": "유효하지 않은 빌링 인증입니다.",
        "INVALID_TEST_CODE": "유효하지 않은 테스트 코드입니다.",
        "INVALID_IDEMPOTENCY_KEY": "멱등키는 300자 이하여야 합니다.",
        "ALREADY_CANCELED_PAYMENT": "이미 취소된 결제 입니다.",
        "NOT_MATCHES_REFUNDABLE_AMOUNT": "잔액 결과가 일치하지 않습니다.",
        "REFUND_REJECTED": "환불이 거절됐습니다. 결제사에 문의 부탁드립니다.",
        "ALREADY_REFUND_PAYMENT": "이미 환불된 결제입니다.",
        "EXCEED_CANCEL_AMOUNT_DISCOUNT_AMOUNT": "즉시할인금액보다 적은 금액은 부분취소가 불가능합니다.",
        "INVALID_CARD_PASSWORD": "카드 정보를 다시 확인해주세요. (비밀번호)",
        "INVALID_CARD_IDENTITY": "입력하신 주민번호/사업자번호가 카드 소유주 정보와 일치하지 않습니다.",
        "INVALID_BIRTH_DAY_FORMAT": "생년월일 정보는 6자리의 `yyMMdd` 형식이어야 합니다. 사업자등록번호는 10자리의 숫자여야 합니다.",
        "INVALID_DATE": "날짜 데이터가 잘못 되었습니다.",
        "INVALID_PAGING_KEY": "잘못된 페이징 키 입니다.",
        "EXCEED_MAX_QUERY_LIMIT": "최대 조회 개수를 초과했습니다.",
        "BILLING_KEY_NOT_FOUND": "빌링키가 존재하지 않습니다",
    ]

    private static let unauthorized: [String: String] = [
        "UNAUTHORIZED_KEY": "인증되지 않은 시크릿 키 혹은 클라이언트 키 입니다."
    ]

    private static let forbidden: [String: String] = [
        "REJECT_CARD_PAYMENT": "한도초과 혹은 잔액부족으로 결제에 실패했습니다.",
        "REJECT_ACCOUNT_PAYMENT": "잔액부족으로 결제에 실패했습니다.",
        "REJECT_CARD_COMPANY": "결제 승인이 거절되었습니다.",
        "EXCEED_MAX_AUTH_COUNT": "최대 인증 횟수를 초과했습니다. 카드사로 문의해주세요.",
        "INCORRECT_BASIC_AUTH_FORMAT": "잘못된 요청입니다. ':' 를 포함해 인코딩해주세요.",
        "FORBIDDEN_REQUEST": "허용되지 않은 요청입니다.",
        "EXCEED_MAX_ONE_DAY_AMOUNT": "일일 한도를 초과했습니다.",
        "FDS_ERROR":
            "[토스페이먼츠] 위험거래가 감지되어 결제가 제한됩니다. 발송된 문자에 포함된 링크를 통해 본인인증 후 결제가 가능합니다. (고객센터: 1644-8051)",
        "FORBIDDEN_CONSECUTIVE_REQUEST": "반복적인 요청은 허용되지 않습니다. 잠시 후 다시 시도해주세요.",
        "NOT_CANCELABLE_AMOUNT": "취소 할 수 없는 금액 입니다.",
        "NOT_CANCELABLE_PAYMENT": "취소 할 수 없는 결제 입니다.",
        "EXCEED_MAX_REFUND_DUE": "환불 가능한 기간이 지났습니다.",
        "EXCEED_CANCEL_LIMIT": "취소 한도 금액을 초과 하였습니다.",
    ]

    private static let notFound: [String: String] = [
        "NOT_FOUND_BILLING": "존재하지 않는 빌링 결제 인증 정보 입니다.",
        "NOT_FOUND_MERCHANT": "존재하지 않는 상점 정보 입니다.",
        "NOT_FOUND_MERCHANT_INTEGRATION": "존재하지 않는 상점 연동 정보 입니다.",
        "NOT_FOUND": "존재하지 않는 정보 입니다.",
        "NOT_FOUND_HTTP_METHOD": "존재하지 않는 HTTP 메소드 접근입니다.",
        "NOT_FOUND_PAYMENT": "존재하지 않는 결제 정보 입니다.",
    ]

    private static let conflict: [String: String] = [
        "IDEMPOTENT_REQUEST_PROCESSING": "이전 멱등 요청이 처리중입니다."
    ]

    private static let tooMany: [String: String] = [
        "TOO_MANY_REQUESTS": "요청이 너무 많습니다. 잠시 후 다시 시도해주세요."
    ]

    private static let serverError: [String: String] = [
        "FAILED_INTERNAL_SYSTEM_PROCESSING": "내부 시스템 처리 작업이 실패했습니다. 잠시 후 다시 시도해주세요.",
        "FAILED_DB_PROCESSING": "잘못된 요청 값으로 처리 중 DB 에러가 발생했습니다.",
        "FAILED_CARD_COMPANY_RESPONSE": "카드사에서 에러가 발생했습니다. 잠시 후 다시 시도해 주세요.",
        "COMMON_ERROR": "일시적인 오류가 발생했습니다. 잠시 후 다시 시도해주세요.",
        "UNKNOWN_ERROR": "확인되지 않은 오류입니다. 잠시 후 다시 시도해주세요.",
        "UNKNOWN_PAYMENT_ERROR": "결제에 실패했어요. 같은 문제가 반복된다면 은행이나 카드사로 문의해주세요.",
        "FAILED_METHOD_HANDLING": "결제 중 선택한 결제수단 처리에 일시적인 오류가 발생했습니다.",
        "FAILED_PAYMENT_INTERNAL_SYSTEM_PROCESSING": "결제가 완료되지 않았어요. 다시 시도해주세요.",
        "FAILED_BILLING_AUTO_CANCEL": "빌링 자동결제 취소에 일시적인 오류가 발생했습니다.",
        "FAILED_REFUND_PROCESS": "은행 응답시간 지연이나 일시적인 오류로 환불요청에 실패했습니다.",
        "FAILED_PARTIAL_REFUND": "은행 점검, 해약 계좌 등의 사유로 부분 환불이 실패했습니다.",
        "FAILED_METHOD_HANDLING_CANCEL": "취소 중 결제 시 사용한 결제수단 처리과정에서 일시적인 오류가 발생했습니다.",
        "FAILED_BILL_KEY_AUTH_CREATION": "빌링 결제 인증 중 키 생성에 실패했습니다. 잠시 후 다시 시도해주세요.",
    ]
}
