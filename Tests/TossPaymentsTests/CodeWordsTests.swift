import Testing
import TossPayments

/// What people read of a code.
struct CodeWordsTests {
    @Test func everyCodeOfTheTableHasWords() {
        for code in TossCode.table.keys {
            let words = TossCode.words(code)
            #expect(words?.isEmpty == false, "\(code)")
        }
    }

    /// The class decides what is done; the words must not say otherwise.
    @Test(arguments: [
        ("INVALID_CARD_NUMBER", "not valid"),
        ("EXCEED_UNKNOWN_CASE", "declined, may succeed later"),
        ("COMMON_ERROR", "the money may have moved"), ("MAINTAINED_METHOD", "surely not executed"),
        ("DUPLICATED_ORDER_ID", "executed before"), ("TIMEOUT", "the money may have moved"),
        ("NOT_CONNECTED", "nothing left"), ("INVALID_ORDER_NAME", "this row's data is wrong"),
    ])
    func itSaysWhatItMeansForTheMoney(_ code: String, _ words: String) {
        #expect(TossCode.words(code)?.contains(words) == true, "\(TossCode.words(code) ?? "")")
    }

    @Test func aCodeThatNobodyKnowsHasNone() {
        #expect(TossCode.words("NO_SUCH_CODE") == nil)
    }
}
