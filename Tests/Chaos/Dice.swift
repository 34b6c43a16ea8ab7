/// Random numbers of one seed (splitmix64): the same on every machine.
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

    /// 0 ..< count.
    mutating func below(_ count: Int) -> Int { Int(next() % UInt64(count)) }

    mutating func among<T>(_ choices: [T]) -> T { choices[below(choices.count)] }

    /// Between the two, evenly.
    mutating func seconds(_ range: ClosedRange<Double>) -> Duration {
        let fraction = Double(next() >> 11) * 0x1p-53
        return .seconds(range.lowerBound + fraction * (range.upperBound - range.lowerBound))
    }

    /// Letters and digits.
    mutating func text(_ count: Int) -> String {
        let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
        return String((0..<count).map { _ in letters[below(letters.count)] })
    }
}
