/// One thing in which the ledger and the provider's books do not agree.
package struct Finding: Hashable, Sendable {
    /// The word of it, which machines may rely on.
    package enum Kind: String, CaseIterable, Sendable {
        /// Paid there under a name of ours; the ledger has no payment for that period.
        case unrecordedPayment = "unrecorded_payment"
        /// Paid there more than once for one subscription and period.
        case doublePayment = "double_payment"
        /// Paid there under a name as this program makes them, of a subscription that is not here.
        case unknownSubscription = "unknown_subscription"
        /// Paid here; there is no such payment there.
        case missingPayment = "missing_payment"
        /// Paid here by one payment, and there, under the same name, by another.
        case paymentDiffers = "payment_differs"
        case amountDiffers = "amount_differs"
        case customerDiffers = "customer_differs"
        /// A cancel made in the console that could not be recorded.
        case unrecordedRefund = "unrecorded_refund"
        /// The ledger and the provider disagree on what went back.
        case refundDiffers = "refund_differs"
    }

    package var kind: Kind
    package var subscription: SubscriptionID?
    package var charge: ChargeID?
    package var period: Int?
    package var orderID: OrderID?
    /// The provider's; the ledger's when the provider shows none.
    package var paymentKey: String
    /// The provider's.
    package var amount: Won?
    /// The ledger's.
    package var ledgerAmount: Won?
    /// Korean time of the payment.
    package var at: String
    /// What else is known, a part of a sentence.
    package var detail: String

    package init(
        _ kind: Kind, subscription: SubscriptionID? = nil, charge: ChargeID? = nil,
        period: Int? = nil, orderID: OrderID?, paymentKey: String, amount: Won?,
        ledgerAmount: Won? = nil, at: String, detail: String
    ) {
        self.kind = kind
        self.subscription = subscription
        self.charge = charge
        self.period = period
        self.orderID = orderID
        self.paymentKey = paymentKey
        self.amount = amount
        self.ledgerAmount = ledgerAmount
        self.at = at
        self.detail = detail
    }

    /// The same for the same finding, whenever and by whomever it is found.
    package var key: String { "\(kind.rawValue) \(orderID?.value ?? "-") \(paymentKey)" }

    /// What a person should do, one sentence.
    package var advice: String {
        switch kind {
        case .unrecordedPayment:
            "Let billingd resolve it if the attempt is open; otherwise cancel payment "
                + "\(paymentKey) in the provider's console, or write the period off as paid."
        case .doublePayment:
            "Cancel payment \(paymentKey) in the provider's console, and not the one in the ledger."
        case .unknownSubscription:
            "Find out which database made this name (a restored, cloned or test one?); if none "
                + "is charged for it, cancel payment \(paymentKey) in the provider's console."
        case .missingPayment:
            "Ask the provider about the order id and the payment key: the customer may not have "
                + "paid what the ledger calls paid."
        case .paymentDiffers:
            "Ask the provider which of the two payments stands, and cancel the other one."
        case .amountDiffers:
            "Compare the receipt with the plan's price; refund the difference in the "
                + "provider's console, or ask the provider."
        case .customerDiffers:
            "Find out whose card paid: the billing key belongs to another customer than the "
                + "ledger says."
        case .unrecordedRefund:
            "Run this as a member of billing_admin, or let the daemon record it; if the database "
                + "refused it, its words say why."
        case .refundDiffers:
            "Compare the cancels in the provider's console with charges.refunded_amount."
        }
    }
}

/// What the comparison of one day came to.
package struct DayReport: Hashable, Sendable {
    /// Findings that are listed and told one by one; further ones are counted.
    package static let mostFindings = 1_000
    /// Foreign payments that are listed; further ones are counted.
    package static let mostForeign = 100

    package var day: BooksDay
    /// Approvals of the list that the ledger has, too.
    package var payments = 0
    package var won: Int64 = 0
    /// Cancels that were recorded now.
    package var refunds = 0
    /// Payments of the ledger that the list does not show yet, but a look-up does; or, being young,
    /// was not asked about.
    package var late = 0
    /// Young payments whose attempt is open: on their way into the ledger.
    package var underWay = 0
    /// Payments that the ledger does not have, and that went back in full.
    package var undone = 0
    /// Payments under order ids that are not ours: another system of the same merchant.
    package var foreign = 0
    /// The first of them.
    package var foreignRows: [BooksRow] = []
    package var findings: [Finding] = []
    package var moreFindings = 0
    /// Why the comparison was not finished; nil: it was.
    package var trouble: String?

    package init(day: BooksDay) { self.day = day }

    /// Both books were compared to the end and say the same.
    package var agrees: Bool { trouble == nil && findings.isEmpty }
    package var findingsCount: Int { findings.count + moreFindings }

    mutating func add(_ finding: Finding) {
        if findings.count < Self.mostFindings {
            findings.append(finding)
        } else {
            moreFindings += 1
        }
    }
}
