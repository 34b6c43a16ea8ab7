/// Compares one day of the provider's books with the ledger. Sans I/O: rows of both go in, payments
/// to look up come out, and their answers go in again.
package struct DayComparison: Sendable {
    package private(set) var report: DayReport
    /// Charges whose recorded payment the list shows.
    private var matched: Set<ChargeID> = []
    /// Payments that were asked about: an approval and its cancels are one question.
    private var asked: Set<String> = []
    /// Periods without a recorded payment, and the first payment that the provider shows for them.
    private var unrecorded: [Period: String] = [:]

    private struct Period: Hashable {
        var subscription: SubscriptionID
        var index: Int
    }

    /// A payment that must be looked up before anything is said of it.
    package struct Question: Hashable, Sendable {
        enum Subject: Hashable {
            /// The list shows a payment that the ledger does not have; nil: nor its subscription.
            case extra(BooksRow, LedgerEntry?)
            /// The list shows a cancel of the recorded payment.
            case cancel(BooksRow, LedgerEntry)
            /// The list does not show the recorded payment.
            case missing(LedgerPayment)
        }
        var subject: Subject

        /// By the provider's id, or by our name when that is what is doubted.
        package enum Asked: Hashable, Sendable {
            case payment(String)
            case order(OrderID)
        }
        package var about: Asked {
            switch subject {
            case .extra(let row, _), .cancel(let row, _): .payment(row.paymentKey)
            case .missing(let payment):
                payment.orderID.map { .order($0) } ?? .payment(payment.charge.paymentKey ?? "")
            }
        }
    }

    package init(_ day: BooksDay) { report = DayReport(day: day) }

    // MARK: The provider's rows

    /// One page of the list, each row with what the ledger, read after the page, says of its order
    /// id. Rows of other days do not count. Returns what must be looked up.
    package mutating func compare(_ rows: [(BooksRow, LedgerEntry?)]) -> [Question] {
        rows.compactMap { row, entry in
            guard row.isOf(report.day), row.kind != .other else { return nil }
            guard let entry else { return stranger(row) }
            guard let charge = entry.charge, charge.paymentKey == row.paymentKey else {
                return extra(row, entry)
            }
            matched.insert(charge.id)
            if row.kind == .approval {
                approved(row, entry, charge)
                return nil
            }
            // All of it is back already, and recorded: nothing can be added.
            guard charge.refunded < charge.amount else { return nil }
            return ask(.cancel(row, entry), about: row)
        }
    }

    private mutating func stranger(_ row: BooksRow) -> Question? {
        guard !row.orderID.isMadeHere else { return ask(.extra(row, nil), about: row) }
        guard row.kind == .approval else { return nil }
        report.foreign += 1
        if report.foreignRows.count < DayReport.mostForeign { report.foreignRows.append(row) }
        return nil
    }

    private mutating func extra(_ row: BooksRow, _ entry: LedgerEntry) -> Question? {
        let isOpen = entry.attempt?.state == "open" && entry.charge?.paymentKey == nil
        if isOpen, row.isYoung(in: report.day) {
            report.underWay += 1
            return nil
        }
        return ask(.extra(row, entry), about: row)
    }

    private mutating func ask(_ subject: Question.Subject, about row: BooksRow) -> Question? {
        asked.insert(row.paymentKey).inserted ? Question(subject: subject) : nil
    }

    private mutating func approved(
        _ row: BooksRow, _ entry: LedgerEntry, _ charge: LedgerEntry.Charge
    ) {
        let wanted = entry.attempt?.amount ?? charge.amount
        var isSame = true
        if row.amount != wanted || row.currency != "KRW" || charge.amount != wanted {
            report.add(
                finding(
                    .amountDiffers, row, entry,
                    "the provider took \(row.amount.map { "\($0.value)" } ?? "?") "
                        + "\(row.currency), the ledger says \(charge.amount.value) KRW"))
            isSame = false
        }
        if let theirs = row.customerKey, let ours = entry.attempt?.customerKey, theirs != ours {
            report.add(
                finding(
                    .customerDiffers, row, entry,
                    "the provider's customer key is not the one that was sent"))
            isSame = false
        }
        guard isSame else { return }
        report.payments += 1
        report.won += wanted.value
    }

    // MARK: The ledger's payments

    /// Payments that the ledger recorded on the day, after all pages. Returns those that the list
    /// does not show and that must be looked up.
    package mutating func compare(_ payments: [LedgerPayment]) -> [Question] {
        payments.compactMap { payment in
            guard !matched.contains(payment.charge.id) else { return nil }
            if payment.at.prefix(19) > report.day.recent {
                report.late += 1
                return nil
            }
            return Question(subject: .missing(payment))
        }
    }

    // MARK: Answers

    /// What the provider says of a question; nil: there is no such payment. Returns a refund that
    /// must be recorded.
    package mutating func answer(_ question: Question, _ payment: Payment?) -> Refund? {
        switch question.subject {
        case .extra(let row, let entry):
            answerExtra(row, entry, payment)
            return nil
        case .cancel(let row, let entry):
            guard let charge = entry.charge else { return nil }
            guard let payment, payment.paymentKey == row.paymentKey else {
                report.add(
                    finding(
                        .refundDiffers, row, entry,
                        "the list shows a cancel of a payment that cannot be looked up"))
                return nil
            }
            return refund(
                of: charge, payment, isListed: !row.isYoung(in: report.day),
                finding(.refundDiffers, row, entry, ""))
        case .missing(let recorded): return answerMissing(recorded, payment)
        }
    }

    private mutating func answerExtra(
        _ row: BooksRow, _ entry: LedgerEntry?, _ payment: Payment?
    ) {
        if let payment, payment.paymentKey == row.paymentKey,
            payment.balanceAmount.value == 0 || payment.isDead(as: row.orderID)
        {
            report.undone += 1
            return
        }
        guard let entry else {
            report.add(
                finding(
                    .unknownSubscription, row, nil,
                    "no subscription here has the prefix of this order id"))
            return
        }
        if let known = entry.charge?.paymentKey {
            report.add(
                finding(
                    .doublePayment, row, entry, "the ledger has payment \(known) for this period"))
            return
        }
        let period = Period(subscription: entry.subscription, index: entry.period)
        if let first = unrecorded[period] {
            report.add(
                finding(
                    .doublePayment, row, entry,
                    "payment \(first) is for this period, too, and the ledger has neither"))
            return
        }
        unrecorded[period] = row.paymentKey
        let attempt =
            entry.attempt.map { "the attempt is \($0.state)" }
            ?? "the ledger has no attempt of this name"
        let charge = entry.charge.map { "the charge \($0.state)" } ?? "and there is no charge"
        report.add(finding(.unrecordedPayment, row, entry, "\(attempt), \(charge)"))
    }

    private mutating func answerMissing(
        _ recorded: LedgerPayment, _ payment: Payment?
    ) -> Refund? {
        var finding = Finding(
            .missingPayment, subscription: recorded.subscription, charge: recorded.charge.id,
            period: recorded.period, orderID: recorded.orderID,
            paymentKey: recorded.charge.paymentKey ?? "", amount: payment?.totalAmount,
            ledgerAmount: recorded.charge.amount, at: recorded.at,
            detail: "neither the provider's list nor a look-up shows it")
        guard let payment else {
            report.add(finding)
            return nil
        }
        if let order = recorded.orderID, payment.isDead(as: order) {
            finding.detail = "the provider says that it ended without money"
            report.add(finding)
            return nil
        }
        guard payment.paymentKey == recorded.charge.paymentKey else {
            finding.kind = .paymentDiffers
            finding.detail = "the provider shows payment \(payment.paymentKey) under this order id"
            report.add(finding)
            return nil
        }
        guard payment.totalAmount == recorded.charge.amount, payment.currency == "KRW" else {
            finding.kind = .amountDiffers
            finding.detail =
                "the provider took \(payment.totalAmount.value) \(payment.currency), the ledger "
                + "says \(recorded.charge.amount.value) KRW"
            report.add(finding)
            return nil
        }
        report.late += 1
        guard payment.balanceAmount < payment.totalAmount else { return nil }
        finding.kind = .refundDiffers
        return refund(of: recorded.charge, payment, isListed: false, finding)
    }

    /// What went back of the recorded payment, if it is more than the ledger says. `isListed`: the
    /// list shows a cancel that is not young.
    private mutating func refund(
        of charge: LedgerEntry.Charge, _ payment: Payment, isListed: Bool, _ finding: Finding
    ) -> Refund? {
        var finding = finding
        guard payment.totalAmount == charge.amount, payment.balanceAmount >= Won(0),
            payment.balanceAmount <= charge.amount
        else {
            finding.kind = .amountDiffers
            finding.amount = payment.totalAmount
            finding.ledgerAmount = charge.amount
            finding.detail =
                "of \(payment.totalAmount.value) won there \(payment.balanceAmount.value) are left, "
                + "the ledger says \(charge.amount.value)"
            report.add(finding)
            return nil
        }
        let back = Won(charge.amount.value - payment.balanceAmount.value)
        finding.amount = back
        finding.ledgerAmount = charge.refunded
        if back > charge.refunded {
            return Refund(
                charge: charge.id, orderID: payment.orderID, paymentKey: payment.paymentKey,
                amount: back)
        }
        if back < charge.refunded || back.value == 0 && isListed {
            finding.detail =
                "\(back.value) won went back by the look-up, \(charge.refunded.value) by the ledger"
            report.add(finding)
        } else if back.value == 0 {
            report.late += 1
        }
        return nil
    }

    /// What became of a refund.
    package mutating func recorded(_ refund: Refund, _ question: Question, _ verdict: RefundVerdict)
    {
        switch verdict {
        case .recorded: report.refunds += 1
        case .repeated: break
        case .refused(let why):
            let base =
                switch question.subject {
                case .extra(let row, let entry): finding(.unrecordedRefund, row, entry, "")
                case .cancel(let row, let entry): finding(.unrecordedRefund, row, entry, "")
                case .missing(let recorded):
                    Finding(
                        .unrecordedRefund, subscription: recorded.subscription,
                        charge: recorded.charge.id, period: recorded.period,
                        orderID: recorded.orderID, paymentKey: refund.paymentKey, amount: nil,
                        at: recorded.at, detail: "")
                }
            var finding = base
            finding.amount = refund.amount
            finding.detail = "\(refund.amount.value) won went back, which was not recorded: \(why)"
            report.add(finding)
        }
    }

    /// Why the comparison ends here.
    package mutating func stop(_ trouble: String) { report.trouble = trouble }

    private func finding(
        _ kind: Finding.Kind, _ row: BooksRow, _ entry: LedgerEntry?, _ detail: String
    ) -> Finding {
        Finding(
            kind, subscription: entry?.subscription, charge: entry?.charge?.id,
            period: entry?.period, orderID: row.orderID, paymentKey: row.paymentKey,
            amount: row.amount, ledgerAmount: entry?.charge?.amount, at: row.at, detail: detail)
    }
}

extension OrderID {
    /// Prefix of the subscription, period and attempt, when it has the form of this program's names.
    /// The prefix may have dashes of its own.
    package var parts: (prefix: String, period: Int, attempt: Int)? {
        let pieces = value.split(separator: "-", omittingEmptySubsequences: false)
        guard pieces.count >= 3, let period = Self.number(pieces[pieces.count - 2], 10),
            let attempt = Self.number(pieces[pieces.count - 1], 2)
        else { return nil }
        return (pieces.dropLast(2).joined(separator: "-"), period, attempt)
    }

    /// Whether the name is one that this program makes for a subscription, here or elsewhere: 24 hex
    /// digits, period, attempt.
    package var isMadeHere: Bool {
        guard let parts else { return false }
        return parts.prefix.utf8.count == 24
            && parts.prefix.utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
    }

    private static func number(_ text: Substring, _ most: Int) -> Int? {
        guard (1...most).contains(text.utf8.count),
            text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return nil }
        return Int(text)
    }
}
