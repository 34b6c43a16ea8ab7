import Billing
import TestSupport

/// One operation on the database, the same on both sides. What it refers to by number is taken
/// modulo what is there, so that a list stays a list when operations are left out of it.
enum Operation: Sendable, Hashable {
    /// `in`: seconds until the first charge is due.
    case subscribe(customer: Int, plan: Int, in: Int)
    case changePlan(Int, plan: Int)
    case changeAmount(Int, Int64?)
    case cancel(Int, now: Bool)
    case uncancel(Int)
    case pause(Int)
    case resume(Int)
    case newCard(customer: Int)
    case deleteCard(Int)
    /// Binds a subscription to one of its customer's cards; nil: to none in particular.
    case choose(Int, card: Int?)
    case retryNow(Int)
    case changePrice(plan: Int, Int64, taxFree: Int64)
    case changeManners(plan: Int, dunning: Int, cancels: Bool, catchUp: Int, cycle: Cycle)
    /// Business time passes.
    case pass(seconds: Int)
    /// Real time passes, in steps after which no lease and no quiet time ends by a hair's breadth.
    case elapse(steps: Int)
    case claim(worker: Int, limit: Int)
    case claimRefused(Refusal)
    /// News of everything that the last claim brought, in one call.
    case recordAll([News])
    /// News of one claim, counted back from the last; by another worker than the one who claimed it.
    case record(back: Int, News, byAnother: Bool)
    case release(back: Int)
    case pauseFleet(Bool)
    case rotateKey
    case limit(wonPerDay: Int64?, requestsPerMinute: Int?)
    /// `lost`: in steps of ``elapse(steps:)``.
    case adopt(lost: Int)
    case endHold(Int, End)

    enum Refusal: CaseIterable { case key, mode, schema, database }
    enum End: CaseIterable { case open, failed, held, paid, paidFirst, refunded }

    /// Seconds of one step of real time: no sum of steps comes near a lease (240 s), a quiet time
    /// (370 s, or 130 s after a record), the late bound (600 s) or their sums with them.
    static let step = 110
}

extension Operation {
    /// What a worker learns about the claim in its hands.
    enum News: Sendable, Hashable, CaseIterable {
        case approved, approvedAgain, approvedUnderAnothersKey, approvedWrongly
        case soft, softOther, softOnce, softThenFault, hard
        case refused, faultOfRow, faultOfAll, duplicate, notSent, unknown, kept
        case absent, unclear, aborted, abortedForGood, refunded, refundedInPart, anothers
    }
}

/// A deterministic stream of numbers (SplitMix64).
struct Dice: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
    mutating func chance(_ percent: Int) -> Bool { below(100) < percent }
    mutating func among<Element>(_ all: [Element]) -> Element { all[below(all.count)] }
}

extension Operation {
    /// A list of `count` operations; each seed has its own tastes.
    static func list(seed: UInt64, count: Int) -> [Operation] {
        var dice = Dice(seed: seed)
        var weights = weights
        // Swarm: a history without cards that change reaches other corners than one full of them.
        for index in weights.indices where index >= essentials {
            weights[index] = dice.among([0, weights[index], weights[index], 3 * weights[index]])
        }
        // What the provider of this history is like.
        let favourites = dice.among([
            [.approved, .soft], [.unknown, .absent, .absent], [.unknown, .absent, .absent],
            [.hard, .soft, .approved],
            [.refused, .notSent], [.kept, .absent, .absent, .kept],
            [.approvedUnderAnothersKey, .approved, .unknown],
            [.approvedUnderAnothersKey, .soft], [.soft, .softOther],
            (0..<4).map { _ in dice.among(News.allCases) },
        ])
        var list = [
            subscribe(customer: 0, plan: dice.below(3), in: 0),
            subscribe(customer: 1, plan: dice.below(3), in: 0),
        ]
        // Bound to a card from the start.
        if dice.chance(30) { list.append(choose(0, card: 0)) }
        while list.count < count {
            var pick = dice.below(weights.reduce(0, +))
            let kind = weights.firstIndex { weight in
                pick -= weight
                return pick < 0
            }
            if kind == 1 {
                list += round(&dice, favourites)
            } else {
                list.append(make(kind ?? 0, &dice, favourites))
            }
        }
        return list
    }

    /// By the number of ``make(_:_:_:)``, and 1 a ``round(_:_:)``; the first six are in every history.
    private static let essentials = 6
    private static let weights = [
        8, 44, 6, 8, 5, 5, 2, 2, 2, 2, 1, 3, 3, 2, 2, 3, 1, 2, 3, 1, 1, 2, 1, 4,
    ]

    /// What workers do all day: time goes by, a claim, its news. Or none.
    private static func round(_ dice: inout Dice, _ favourites: [News]) -> [Operation] {
        var round: [Operation] = []
        if dice.chance(70) { round.append(.pass(seconds: span(&dice))) }
        if dice.chance(40) { round.append(.elapse(steps: 4)) }
        round.append(.claim(worker: 1 + dice.below(2), limit: dice.among([1, 2, 10, 10])))
        if dice.chance(85) {
            round.append(.recordAll((0..<3).map { _ in news(&dice, favourites) }))
        }
        return round
    }

    private static func make(_ kind: Int, _ dice: inout Dice, _ favourites: [News]) -> Operation {
        let some = dice.below(8)
        switch kind {
        case 0: return .claim(worker: 1 + dice.below(2), limit: dice.among([1, 2, 10, 10]))
        case 2: return .pass(seconds: span(&dice))
        case 3:
            return .record(
                back: dice.among([0, 0, 1, 2, 3, 5, 8]), news(&dice, favourites),
                byAnother: dice.chance(10))
        case 4: return .elapse(steps: dice.among([1, 2, 4, 4, 11]))
        case 5:
            return .subscribe(
                customer: dice.below(3), plan: dice.below(3),
                in: dice.among([0, 0, -86_400 * 40, 3_600, 86_400]))
        case 6: return .changePlan(some, plan: dice.below(3))
        case 7: return .changeAmount(some, dice.among([nil, 0, 100, 50_000]))
        case 8: return .cancel(some, now: dice.chance(50))
        case 9: return .uncancel(some)
        case 10: return .pause(some)
        case 11: return .resume(some)
        case 12: return .newCard(customer: dice.below(3))
        case 13: return .deleteCard(some)
        case 14: return .choose(some, card: dice.among([nil, 0, 1, 2]))
        case 15: return .retryNow(some)
        case 16:
            let price = dice.among([0, 100, 9_900, 50_000] as [Int64])
            return .changePrice(
                plan: dice.below(3), price, taxFree: dice.chance(50) ? 0 : price / 3)
        case 17:
            return .changeManners(
                plan: dice.below(3), dunning: dice.below(4), cancels: dice.chance(50),
                catchUp: dice.below(3),
                cycle: dice.among([.months(1), .months(3), .months(12), .days(7), .days(30)]))
        case 18: return .release(back: dice.among([0, 0, 0, 1, 2]))
        case 19: return .pauseFleet(dice.chance(30))
        case 20: return .rotateKey
        case 21:
            return .limit(
                wonPerDay: dice.among([nil, nil, 0, 12_000, 60_000]),
                requestsPerMinute: dice.among([nil, nil, 1, 7, 45]))
        case 22:
            return dice.chance(40)
                ? .adopt(lost: dice.below(20)) : .claimRefused(dice.among(Refusal.allCases))
        default: return .endHold(some, dice.among(End.allCases))
        }
    }

    private static func news(_ dice: inout Dice, _ favourites: [News]) -> News {
        dice.chance(75) ? dice.among(favourites) : dice.among(News.allCases)
    }

    private static func span(_ dice: inout Dice) -> Int {
        let minute = 60
        let day = 86_400
        return dice.among([
            10, minute, 5 * minute, 21 * minute, 61 * minute, 61 * minute, 61 * minute, 6 * 3_600,
            day, day, 3 * day, 3 * day, 7 * day, 13 * day + 7, 14 * day + 7, 31 * day, 31 * day,
            70 * day,
        ])
    }
}
