import Billing
import BillingStore
import Foundation
import Glibc
import Logging
import Postgres
import TestSupport
import TossPayments

/// The worker's own claims and records, over its own tables, with answers that cost nothing: what
/// PostgreSQL takes without a daemon and a provider around it.
///
/// They are the very calls of the store, because a record's rows are made from what its claim answered:
/// pgbench, which knows fixed statements, cannot play them. So the client's share, to read rows,
/// decide steps and write arrays, is in the rate, but not in PostgreSQL's processor time.
struct LedgerRun {
    struct Plan: Codable {
        var name: String
        var charges: Int
        /// Rows of a claim, and of a record.
        var batch: Int
        /// The next claim is made while the last one's results are recorded.
        var overlaps = true
        /// So many at once, each with connections of its own.
        var drivers = 1
    }

    struct Result: Codable {
        var plan: Plan
        /// From the first claim to the last record.
        var perSecond: Double
        /// Microseconds of processor time a charge.
        var clientCPU: Double
        var postgresCPU: Double
        /// Bytes of the write-ahead log a charge.
        var log: Double
        var statements: Double
        var commits: Double
        /// Milliseconds of one call.
        var claim: Spread
        var record: Spread
    }

    /// Of times in milliseconds.
    struct Spread: Codable {
        var median = 0.0
        var slowest1Percent = 0.0
        /// Medians of the first and of the last tenth.
        var first = 0.0
        var last = 0.0

        init(_ times: [Double]) {
            guard !times.isEmpty else { return }
            let tenth = max(1, times.count / 10)
            median = Self.part(times, 50)
            slowest1Percent = Self.part(times, 99)
            first = Self.part(Array(times.prefix(tenth)), 50)
            last = Self.part(Array(times.suffix(tenth)), 50)
        }

        private static func part(_ times: [Double], _ percent: Int) -> Double {
            times.sorted()[times.count * percent / 100]
        }
    }

    let site: Site

    /// Until so many charges are paid; `turn` is called before each of the `rounds`, in which the
    /// charges are done in equal parts.
    func run(
        _ plan: Plan, rounds: Int = 1, turn: (Int) async throws -> Void = { _ in }
    ) async throws -> Result {
        let stores = try (1...plan.drivers).map { try store("bench \($0)") }
        for store in stores { try await store.bind() }
        var times = Times()
        var spent = 0.0
        let before = try await site.counters()
        let clientBefore = ProcessCost.cpu(getpid())
        for round in 0..<rounds {
            try await turn(round)
            let start = BootClock.now
            times.add(try await drain(plan, plan.charges / rounds, stores))
            spent += Double(BootClock.now - start) / 1e9
        }
        let client = ProcessCost.cpu(getpid()) - clientBefore
        let after = try await site.counters()
        for store in stores { await store.close() }
        let charges = Double(plan.charges)
        return Result(
            plan: plan, perSecond: charges / spent, clientCPU: client / charges,
            postgresCPU: (after.cpu - before.cpu) / charges,
            log: (after.log - before.log) / charges,
            statements: (after.calls - before.calls) / charges,
            commits: (after.commits - before.commits) / charges,
            claim: Spread(times.claims), record: Spread(times.records))
    }

    private func store(_ worker: String) throws -> PostgresStore {
        let key = try SecretKey(parsing: Site.secretKey)
        return PostgresStore(
            site.database.configuration(as: .worker),
            identity: PostgresStore.Identity(
                worker: worker, host: "bench", pid: getpid(), version: "bench", mode: "test",
                fingerprint: key.fingerprint),
            log: Logger(label: "bench"))
    }

    private struct Times: Sendable {
        var claims: [Double] = []
        var records: [Double] = []

        mutating func add(_ others: Times) {
            claims += others.claims
            records += others.records
        }
    }

    private func drain(
        _ plan: Plan, _ charges: Int, _ stores: [PostgresStore]
    ) async throws -> Times {
        try await withThrowingTaskGroup(of: Times.self) { group in
            for (index, store) in stores.enumerated() {
                let share = charges * (index + 1) / stores.count - charges * index / stores.count
                group.addTask { try await Self.drain(plan, share, store) }
            }
            var times = Times()
            for try await others in group { times.add(others) }
            return times
        }
    }

    private static func drain(
        _ plan: Plan, _ charges: Int, _ store: PostgresStore
    ) async throws -> Times {
        var times = Times()
        var claimed = 0
        var pending: [Transition] = []
        while claimed < charges || !pending.isEmpty {
            let limit = min(plan.batch, charges - claimed)
            let batch = pending
            pending = []
            async let recording = record(batch, store)
            if !plan.overlaps, let time = try await recording { times.records.append(time) }
            if limit > 0 {
                let start = BootClock.now
                let claim = try await store.claim(limit: limit)
                times.claims.append(Double(BootClock.now - start) / 1e6)
                guard claim.work.count > 0, claim.local.isEmpty else {
                    throw BenchFailure(
                        "\(plan.name): after \(claimed) a claim brought \(claim.work.count) rows, "
                            + "\(claim.local.count) without a request")
                }
                claimed += claim.work.count
                pending = try claim.work.map(approved)
            }
            if plan.overlaps, let time = try await recording { times.records.append(time) }
        }
        return times
    }

    /// Milliseconds; nil: there was nothing to record.
    private static func record(
        _ batch: [Transition], _ store: PostgresStore
    ) async throws -> Double? {
        guard !batch.isEmpty else { return nil }
        let start = BootClock.now
        let verdicts = try await store.record(batch)
        guard verdicts.allSatisfy({ $0 == .applied }) else {
            throw BenchFailure("a record was not applied")
        }
        return Double(BootClock.now - start) / 1e6
    }

    /// What the worker makes of the cheap provider's answer.
    private static func approved(_ work: Work) throws -> Transition {
        guard case .send(let request, _, _, _) = work.task else {
            throw BenchFailure("subscription \(work.subscription.value) is not to be charged")
        }
        let payment = Payment(
            paymentKey: "tviva" + request.orderID.value, orderID: request.orderID, status: .done,
            totalAmount: request.amount, approvedAt: "2026-07-15T09:30:06+09:00",
            receiptURL: receipt, card: card)
        return work.after(
            .approved(payment, traceID: "5f3d7c1a9b2e4d6f8a0c1e3b5d7f9a2c"), of: request,
            isRepeat: false, tries: 0, jitter: 0)
    }

    private static let receipt =
        "https://dashboard.tosspayments.com/receipt/redirection?transactionId=tviva20260715093006&ref=PX"
    private static let card =
        #"{"issuerCode":"71","acquirerCode":"71","number":"12345678****000*","#
        + #""installmentPlanMonths":0,"isInterestFree":false,"interestPayer":null,"#
        + #""approveNo":"00000000","useCardPoint":false,"cardType":"신용","ownerType":"개인","#
        + #""acquireStatus":"READY","receiptUrl":"https://dashboard.tosspayments.com/receipt/"#
        + #"redirection?transactionId=tviva20260715&ref=PX","amount":14900}"#
}
