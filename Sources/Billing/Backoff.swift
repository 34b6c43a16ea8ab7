/// The two technical ladders: seconds to hours, for failures that are nobody's doing. Declines have
/// a ladder of days of their own (the plan's dunning) and never touch these counters.
package enum Backoff {
    /// When to look an attempt in doubt up again, after `lookups` looks: the design's 1 min, 5 min,
    /// 30 min, 2 h, 6 h, 24 h, then daily.
    package static func lookUp(after lookups: Int) -> Duration {
        .seconds(ladder[min(max(lookups, 0), ladder.count - 1)])
    }

    private static let ladder: [Int64] = [60, 300, 1_800, 7_200, 21_600, 86_400]

    /// The rung that looks from `start` on have come to: each look waits for about as long as they
    /// have lasted.
    package static func rung(from start: Instant, to now: Instant) -> Int {
        var rung = 0
        var date = start + lookUp(after: 0)
        while date <= now, rung < ladder.count {
            rung += 1
            date = date + lookUp(after: rung)
        }
        return rung
    }

    /// The rung of 2 h, the highest while the name may still be sent again, or a charge waits for its end.
    package static let lastRungOfSends = 3

    /// Wait before the same name is tried again after `tries` sends that never left: 5 s doubling
    /// to 10 min, with full jitter so that an outage does not end in a stampede. `jitter`: 0 ..< 1.
    package static func notSent(tries: Int, jitter: Double) -> Duration {
        spread(base: 5, cap: 600, tries: tries, jitter: jitter)
    }

    /// Wait before a new name after the refusal of attempt `number`: 1 min doubling to 1 h, and 6 h from
    /// the tenth on: an outage of a day must not use up the twenty names that a charge can have.
    package static func refused(number: Int, jitter: Double) -> Duration {
        if number >= 10 { return spread(base: 21_600, cap: 21_600, tries: 0, jitter: jitter) }
        return spread(base: 60, cap: 3_600, tries: number - 1, jitter: jitter)
    }

    /// Wait before a day that could not be compared is tried again, after `failures` in a row: 5 min,
    /// 15 min, 1 h, 3 h, then every 6 h.
    package static func reconcile(after failures: Int) -> Duration {
        let ladder: [Int64] = [300, 900, 3_600, 10_800, 21_600]
        return .seconds(ladder[min(max(failures, 1), ladder.count) - 1])
    }

    /// The same while the provider is under maintenance: 1 h doubling to 6 h.
    package static func maintained(number: Int, jitter: Double) -> Duration {
        spread(base: 3_600, cap: 21_600, tries: number - 1, jitter: jitter)
    }

    /// How long after midnight a card is tried again whose limit of the day was reached: 1 to 3 h,
    /// because issuers do their own maintenance around midnight, and not all at once.
    package static func nextDay(jitter: Double) -> Duration {
        .seconds(3_600) + .milliseconds(Int64(7_200_000 * min(max(jitter, 0), 1)))
    }

    /// Full jitter above half: at least half the step, so that a low draw is no retry at once.
    private static func spread(base: Int, cap: Int, tries: Int, jitter: Double) -> Duration {
        let step = min(cap, base << min(max(tries, 0), 16))
        return .milliseconds(Int64((0.5 + 0.5 * min(max(jitter, 0), 1)) * Double(step) * 1_000))
    }
}
