import Foundation
import TestSupport
import Testing

/// Two sessions on PostgreSQL, with the statements that the daemon and the web app send, in every
/// order: what comes of it is what one of the two serial orders makes.
@Suite(.serialized, .timeLimit(.minutes(20)))
struct InterleavingTests {
    /// Where the two start from.
    enum Stage: String, CaseIterable {
        case due, inFlight, leaseOver, overtaken, declined, declinedDue, held, withoutCard

        var operations: [Operation] {
            switch self {
            case .due: [.subscribe(customer: 0, plan: 0, in: 0)]
            case .inFlight: Self.due.operations + [.claim(worker: 1, limit: 10)]
            case .leaseOver: Self.inFlight.operations + [.elapse(steps: 4)]
            case .overtaken: Self.leaseOver.operations + [.claim(worker: 2, limit: 10)]
            case .declined: Self.inFlight.operations + [.recordAll([.soft])]
            case .declinedDue: Self.declined.operations + [.pass(seconds: 86_400)]
            case .held: Self.inFlight.operations + [.recordAll([.faultOfRow])]
            case .withoutCard:
                [.subscribe(customer: 2, plan: 0, in: 0), .claim(worker: 1, limit: 10)]
            }
        }
    }

    private static let claim = Operation.claim(worker: 2, limit: 10)
    private static let wishes: [Operation] = [
        .cancel(0, now: true), .cancel(0, now: false), .newCard(customer: 0), .pause(0),
        .changeAmount(0, 50_000), .retryNow(0), .deleteCard(0),
    ]

    private static func record(_ news: Operation.News, back: Int = 0) -> Operation {
        .record(back: back, news, byAnother: false)
    }

    /// Each stage with the pairs that meet there.
    static func pairs(_ stage: Stage) -> [(Operation, Operation)] {
        func each(_ one: Operation, _ others: [Operation]) -> [(Operation, Operation)] {
            others.map { (one, $0) }
        }
        switch stage {
        case .due:
            return each(
                claim,
                wishes + [.claim(worker: 1, limit: 10), .changePrice(plan: 0, 100, taxFree: 0)])
        case .inFlight:
            return [.approved, .soft, .hard, .unknown].flatMap {
                each(record($0), wishes + [claim, record($0), .release(back: 0)])
            }
        case .leaseOver:
            return each(
                claim,
                wishes + [
                    .claim(worker: 1, limit: 10), record(.approved), record(.soft),
                    record(.unknown), .release(back: 0),
                ])
        case .overtaken:
            return [.approved, .aborted, .unclear, .absent].flatMap {
                each(record($0), [record(.approved, back: 1), record(.soft, back: 1)])
            }
        case .declined:
            // The same card from two sessions is one card: the ledger knows no card by its key.
            return wishes.indices.flatMap { index in
                each(wishes[index], Array(wishes[index...]))
            }.filter { ($0, $1) != (.newCard(customer: 0), .newCard(customer: 0)) }
        case .declinedDue:
            return each(claim, wishes + [.claim(worker: 1, limit: 10)])
        case .held:
            return each(
                .endHold(0, .open),
                wishes + [claim, .endHold(0, .open), .endHold(0, .failed), record(.approved)])
        case .withoutCard:
            return each(
                record(.approved),
                [.newCard(customer: 2), .cancel(0, now: true), .pause(0), claim])
        }
    }

    private static var stops: @Sendable (String) -> Bool {
        ProcessInfo.processInfo.environment["BILLINGD_INTERLEAVINGS"] == "all"
            ? Gate.everywhere : Gate.changesSomething
    }

    @Test(arguments: Stage.allCases)
    func everyOrderEndsAsASerialOne(_ stage: Stage) async throws {
        let clock = ContinuousClock.now
        let duel = try await Duel(stops: Self.stops)
        var orders = 0
        for (first, second) in Self.pairs(stage) {
            let played = try await duel.play(
                Interleaving(stage: stage.operations, first: first, second: second))
            orders += played.orders
            if let violation = played.violations.first {
                Issue.record(
                    """
                    \(first) beside \(second): \(played.violations.count) of \(played.orders) orders
                    \(violation)
                    """)
            }
        }
        await duel.close()
        print("\(stage.rawValue): \(orders) orders in \(ContinuousClock.now - clock)")
        #expect(orders > Self.pairs(stage).count)
    }
}
