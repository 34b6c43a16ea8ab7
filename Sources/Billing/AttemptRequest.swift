/// All that one attempt sends, pinned in its row before the first send and never changed: the
/// billing key is part of the provider's URL, the secret key of the idempotency scope, and a
/// repeat is a repeat only while every field is the same.
package struct AttemptRequest: Hashable, Sendable {
    /// From 1.
    package var number: Int
    package var orderID: OrderID
    package var billingKeyID: Int64
    package var billingKey: BillingKey
    package var customerKey: CustomerKey
    package var amount: Won
    package var taxFreeAmount: Won
    package var orderName: String

    package init(
        number: Int, orderID: OrderID, billingKeyID: Int64, billingKey: BillingKey,
        customerKey: CustomerKey, amount: Won, taxFreeAmount: Won, orderName: String
    ) {
        self.number = number
        self.orderID = orderID
        self.billingKeyID = billingKeyID
        self.billingKey = billingKey
        self.customerKey = customerKey
        self.amount = amount
        self.taxFreeAmount = taxFreeAmount
        self.orderName = orderName
    }
}
