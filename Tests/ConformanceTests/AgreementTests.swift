import Foundation
import TestSupport
import Testing

/// The memory ledger of the simulation and the SQL of the product are held against each other.
@Suite(.timeLimit(.minutes(20)))
struct AgreementTests {
    private static let usual = 120
    /// Lists of a run: `BILLINGD_CONFORMANCE_SEEDS`, or what fits into half a minute on two cores.
    private static var seeds: Int {
        ProcessInfo.processInfo.environment["BILLINGD_CONFORMANCE_SEEDS"].flatMap { Int($0) }
            ?? usual
    }
    /// The first seed, to look for something new each night.
    private static var first: UInt64 {
        ProcessInfo.processInfo.environment["BILLINGD_CONFORMANCE_FIRST"].flatMap { UInt64($0) }
            ?? 1
    }
    private static let length = 60
    private static let lanes = 2

    @Test func theLedgerAndTheDatabaseAgreeAfterEveryOperation() async throws {
        let clock = ContinuousClock.now
        let seeds = Self.seeds
        let coverage = try await withThrowingTaskGroup(of: Coverage.self) { group in
            for lane in 0..<Self.lanes {
                group.addTask { try await Self.play(lane, of: seeds) }
            }
            return try await group.reduce(into: Coverage()) { $0.merge($1) }
        }
        for (name, count) in coverage.counts.sorted(by: { $0.key < $1.key }) {
            print("  \(name): \(count)")
        }
        if seeds >= Self.usual {
            let missing = Coverage.required.filter { coverage.counts[$0] == nil }
            #expect(missing.isEmpty, "never seen in \(seeds) lists: \(missing)")
        }
        print("\(seeds) lists of \(Self.length) operations in \(ContinuousClock.now - clock)")
    }

    /// Every list of one lane, on a database of its own.
    private static func play(_ lane: Int, of seeds: Int) async throws -> Coverage {
        var coverage = Coverage()
        let conformance = Conformance(postgres: try await PostgresSide())
        for index in stride(from: lane, to: seeds, by: lanes) {
            try await play(first + UInt64(index), conformance, &coverage)
        }
        await conformance.postgres.close()
        return coverage
    }

    private static func play(
        _ seed: UInt64, _ conformance: Conformance, _ coverage: inout Coverage
    ) async throws {
        let list = Operation.list(seed: seed, count: length)
        guard try await conformance.difference(list, &coverage) != nil else { return }
        // The database's clock runs while statements do, and the budget of requests with it: on a
        // machine that stands still for a second a tenth of a request comes of that. A difference of
        // the rules is there every time.
        var again = Coverage()
        guard let difference = try await conformance.difference(list, &again) else {
            print("seed \(seed): a difference that did not come again")
            return
        }
        let (short, found) = try await conformance.shrunk(list, difference)
        Issue.record(
            """
            seed \(seed): after \(short.count) of \(list.count) operations
            \(short.map { "    .\($0)," }.joined(separator: "\n"))
            the ledger and the database differ:
            \(found.description)
            """)
    }
}
