package import Billing

/// Compares one day of the provider's books with the ledger and records cancels made in the console.
/// One request at a time, each off the fleet's budget.
package struct Reconciler: Sendable {
    /// Rows of one page. A row has at most some 2,000 bytes (documented lengths), and so a page fits
    /// into the client's limit of 1 MiB; a hundred thousand payments are 200 requests.
    package static let pageSize = 500
    /// A list that goes on after a million rows is no merchant's day.
    static let mostPages = 2_000
    /// So many payments to look up are a list that is not complete yet, or another merchant's.
    static let mostLookUps = 1_000
    /// How often one request is tried, and the wait after the first, second … failure.
    static let waits: [Duration] = [.seconds(2), .seconds(10), .seconds(30)]
    /// Longest wait for room in the fleet's budget of requests.
    static let longestWait: Duration = .seconds(600)
    /// The provider may take 60 s for a list.
    static let timeout: Duration = .seconds(65)

    private let ledger: any LedgerBooks
    private let provider: any ProviderBooks
    private let time: Timepiece

    package init(
        ledger: any LedgerBooks, provider: any ProviderBooks, time: Timepiece = Timepiece()
    ) {
        self.ledger = ledger
        self.provider = provider
        self.time = time
    }

    /// Why a comparison ends early, for a person.
    private struct Trouble: Error { var reason: String }

    /// Compares. What went wrong stands in the report, beside what was found until then; only
    /// cancellation is thrown.
    package func compare(_ day: BooksDay) async throws(CancellationError) -> DayReport {
        var comparison = DayComparison(day)
        var lookUps = 0
        do {
            try await readList(&comparison, &lookUps)
            try await readLedger(&comparison, &lookUps)
        } catch let error as CancellationError {
            throw error
        } catch let trouble as Trouble {
            comparison.stop(trouble.reason)
        } catch let error as StoreError {
            comparison.stop("the database: \(singleLine(error.text))")
        } catch {
            comparison.stop("\(type(of: error))")
        }
        return comparison.report
    }

    /// The provider's list, page by page, each compared with what the ledger says after it came.
    private func readList(_ comparison: inout DayComparison, _ lookUps: inout Int) async throws {
        var cursor: String?
        var before: Set<String> = []
        var cursors: Set<String> = []
        for _ in 0..<Self.mostPages {
            let rows = try await page(of: comparison.report.day, after: cursor)
            let entries = try await ledger.entries(rows.map(\.orderID))
            let questions = comparison.compare(Array(zip(rows, entries)))
            try await ask(questions, &comparison, &lookUps)
            // Short of the limit is no end: only an empty page is, whatever the provider's rule.
            guard let last = rows.last?.transactionKey else { return }
            let keys = Set(rows.map(\.transactionKey))
            guard before.isDisjoint(with: keys), cursors.insert(last).inserted else {
                throw Trouble(reason: "the provider's list does not advance: a page came again")
            }
            before = keys
            cursor = last
        }
        throw Trouble(
            reason: "the provider's list has more than \(Self.mostPages * Self.pageSize) rows")
    }

    private func page(of day: BooksDay, after cursor: String?) async throws -> [BooksRow] {
        try await insistently("the list of transactions", day) {
            switch await provider.transactions(
                of: day, after: cursor, limit: Self.pageSize, timeout: Self.timeout)
            {
            case .rows(let rows): .success(rows)
            case .unavailable(let answer): .failure(answer, isFinal: false)
            case .refused(let answer): .failure(answer, isFinal: true)
            }
        }
    }

    private func readLedger(_ comparison: inout DayComparison, _ lookUps: inout Int) async throws {
        var last: LedgerPayment?
        while true {
            try Task.checkCancellation()
            let payments = try await ledger.payments(of: comparison.report.day, after: last)
            guard !payments.isEmpty else { return }
            try await ask(comparison.compare(payments), &comparison, &lookUps)
            last = payments.last
        }
    }

    private func ask(
        _ questions: [DayComparison.Question], _ comparison: inout DayComparison,
        _ lookUps: inout Int
    ) async throws {
        for question in questions {
            lookUps += 1
            guard lookUps <= Self.mostLookUps else {
                throw Trouble(
                    reason: """
                        more than \(Self.mostLookUps) payments would have to be looked up: the \
                        provider's list is not complete yet, or is another merchant's
                        """)
            }
            let payment = try await payment(question.about, comparison.report.day)
            if let refund = comparison.answer(question, payment) {
                comparison.recorded(refund, question, try await ledger.record(refund))
            }
        }
    }

    private func payment(
        _ asked: DayComparison.Question.Asked, _ day: BooksDay
    ) async throws -> Payment? {
        try await insistently("a look-up", day) {
            let answer =
                switch asked {
                case .payment(let key):
                    await provider.lookUp(paymentKey: key, timeout: Self.timeout)
                case .order(let order): await provider.lookUp(order, timeout: Self.timeout)
                }
            return switch answer {
            case .found(let payment): .success(payment)
            case .notFound: .success(nil)
            case .unclear(let answer): .failure(answer, isFinal: false)
            case .faultOfAll(let answer): .failure(answer, isFinal: true)
            }
        }
    }

    private enum Reply<Value> {
        case success(Value)
        case failure(Answer, isFinal: Bool)
    }

    /// Asks until there is an answer, a few times.
    private func insistently<Value>(
        _ what: String, _ day: BooksDay, _ ask: () async -> Reply<Value>
    ) async throws -> Value {
        for attempt in 0...Self.waits.count {
            try await room(day)
            switch await ask() {
            case .success(let value): return value
            case .failure(let answer, let isFinal):
                guard !isFinal, attempt < Self.waits.count else {
                    let words = answer.message.map { ", \(singleLine($0))" } ?? ""
                    throw Trouble(
                        reason: "\(what) failed: \(answer.httpStatus ?? 0) \(answer.code)\(words)")
                }
                try await time.sleep(time.spread(Self.waits[attempt]))
            }
        }
        throw Trouble(reason: "\(what) failed")
    }

    /// Waits until the fleet's budget has room for a request. Charging comes first.
    private func room(_ day: BooksDay) async throws {
        let limit = time.now() + Self.longestWait
        while true {
            try Task.checkCancellation()
            let wait = try await ledger.admit(day)
            guard wait > .zero else { return }
            guard time.now() + wait < limit else {
                throw Trouble(reason: "settings.max_requests_per_minute left no room for it")
            }
            try await time.sleep(min(max(wait, .milliseconds(100)), .seconds(10)))
        }
    }
}
