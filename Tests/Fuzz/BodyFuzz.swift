import Billing
import FoundationEssentials

@testable import TossPayments

/// The body of an approve is JSON whatever the names hold, says what was pinned, and twice the same.
enum BodyFuzz {
    private struct Shape: Decodable {
        var amount: Int64
        var customerKey: String
        var orderId: String
        var orderName: String
        var taxFreeAmount: Int64?
    }

    static func run(_ input: inout FuzzInput) {
        let request = AttemptRequest(
            number: 1, orderID: OrderID(stored: input.text()), billingKeyID: 1,
            billingKey: BillingKey("secret-of-the-card"),
            customerKey: CustomerKey(input.text()), amount: Won(input.integer()),
            taxFreeAmount: Won(input.integer()), orderName: input.text())
        let bytes = ApproveBody(request: request).bytes
        require(bytes == ApproveBody(request: request).bytes, "a repeat is the same to the byte")
        let text = String(decoding: bytes, as: UTF8.self)
        require(!text.contains("secret-of-the-card"), "the billing key is not in the body")
        guard let shape = try? JSONDecoder().decode(Shape.self, from: Data(bytes)) else {
            fatalError("broken: the body is JSON: \(text)")
        }
        require(shape.amount == request.amount.value, "amount as pinned")
        // Scalar by scalar: == on String takes two spellings of one character for the same.
        func same(_ left: String, _ right: String) -> Bool {
            left.unicodeScalars.elementsEqual(right.unicodeScalars)
        }
        require(same(shape.customerKey, request.customerKey.reveal()), "customer key as pinned")
        require(same(shape.orderId, request.orderID.value), "order id as pinned")
        require(same(shape.orderName, request.orderName), "order name as pinned")
        require(
            shape.taxFreeAmount
                == (request.taxFreeAmount.value > 0 ? request.taxFreeAmount.value : nil),
            "tax-free amount as pinned")
    }
}
