import Billing
import TestSupport

/// One seed's history: the true time, the events to come, the dice, the trace and its hash.
///
/// Everything here runs on one thread (``Stage``); that is what `@unchecked` rests on.
final class World: @unchecked Sendable {
    let seed: UInt64
    let swarm: Swarm
    let mutant: Mutant?
    var dice: Dice
    /// True time since the history began, in microseconds. Workers' clocks show it.
    private(set) var now: Int64 = 0
    private var agenda = Agenda()
    private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    private(set) var steps = 0
    var tallies = Tallies()
    /// The first broken promise; the history ends there.
    private(set) var failure: String?
    /// Print the story.
    let tells: Bool
    /// No faults from here on.
    var isCalm = false

    init(seed: UInt64, mutant: Mutant?, tells: Bool) {
        self.seed = seed
        self.mutant = mutant
        self.tells = tells
        var dice = Dice(seed: seed)
        swarm = Swarm(&dice, mutant: mutant)
        self.dice = dice
    }

    // MARK: Time

    func after(_ delay: Duration, _ action: @escaping () -> Void) {
        // Rounded up: a sleeper never wakes before its time.
        at(now + Int64((max(delay, .zero) / .microseconds(1)).rounded(.up)), action)
    }

    func at(_ time: Int64, _ action: @escaping () -> Void) {
        agenda.add(at: max(time, now), tie: dice.next(), action)
    }

    /// Runs the next event if it comes before `limit`. False: none does, and `limit` is now.
    func step(until limit: Int64) -> Bool {
        guard let event = agenda.next(until: limit) else {
            now = max(now, limit)
            return false
        }
        now = event.time
        event.action()
        Stage.run { dice.below($0) }
        return true
    }

    // MARK: Faults

    /// Whether a fault of this rate happens now.
    func strikes(_ rate: Double) -> Bool { !isCalm && dice.happens(rate) }

    // MARK: Trace

    /// Something happened: counted, part of the trace's hash, and told if somebody reads.
    func note(_ mark: Mark, _ subject: Int64, _ story: @autoclosure () -> String) {
        note(mark, subject, 0, story())
    }

    func note(
        _ mark: Mark, _ first: Int64, _ second: Int64, _ story: @autoclosure () -> String
    ) {
        steps += 1
        tallies[mark] += 1
        for value in [
            UInt64(mark.rawValue), UInt64(bitPattern: now), UInt64(bitPattern: first),
            UInt64(bitPattern: second),
        ] {
            hash = (hash ^ value) &* 0x100_0000_01B3
            hash ^= hash >> 29
        }
        if tells { tell("\(mark)", story()) }
    }

    func fail(_ promise: String) {
        guard failure == nil else { return }
        failure = promise
        if tells { tell("BROKEN", promise) }
    }

    private func tell(_ what: String, _ story: String) {
        let name = what + String(repeating: " ", count: max(1, 22 - what.count))
        print("\(String(steps).leftPadded(6)) \(Self.time(now))  \(name) \(story)")
    }

    /// Days, hours, minutes, seconds and milliseconds of true time.
    static func time(_ moment: Int64) -> String {
        let milliseconds = moment / 1_000
        let seconds = milliseconds / 1_000
        let clock = [seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60]
            .map { String($0).leftPadded(2, "0") }.joined(separator: ":")
        return String(seconds / 86_400).leftPadded(3) + "d " + clock + "."
            + String(milliseconds % 1_000).leftPadded(3, "0")
    }
}

extension String {
    func leftPadded(_ width: Int, _ fill: Character = " ") -> String {
        String(repeating: fill, count: max(0, width - count)) + self
    }
}
