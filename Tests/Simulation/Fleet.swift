import Foundation

/// Runs ranges of seeds in processes of their own, as many at a time as there are jobs: one history
/// owns all tasks of its process, and what dead workers leave behind goes with the process.
struct Fleet {
    /// Sums over many trials.
    struct Sum {
        var passed = 0
        var failed = 0
        var steps = 0
        var charges = 0
        var attempts = 0
        var days = 0
        var replays = 0
        var tallies = Tallies()
        var lengths = Lengths()
        var failures: [String] = []

        mutating func add(_ line: Substring) {
            let words = line.split(separator: " ", maxSplits: 1)
            guard words.count == 2 else { return }
            switch words[0] {
            case "failed":
                failed += 1
                if failures.count < 20 { failures.append(String(words[1])) }
            case "sum":
                let numbers = words[1].split(separator: " ").compactMap { Int($0) }
                guard numbers.count == 6 else { return }
                passed += numbers[0]
                steps += numbers[1]
                charges += numbers[2]
                attempts += numbers[3]
                days += numbers[4]
                replays += numbers[5]
            case "lengths":
                for (index, text) in words[1].split(separator: " ").enumerated() {
                    lengths.counts[index] += Int(text) ?? 0
                }
            case "marks":
                for (index, text) in words[1].split(separator: " ").enumerated() {
                    tallies.counts[index] += Int(text) ?? 0
                }
            default: break
            }
        }
    }

    let options: Options

    /// Runs `count` seeds from `from`, or until the time is up, or until `isEnough`.
    func run(
        from: UInt64, count: UInt64, mutant: Mutant?, seconds: Double?, chunk: UInt64 = 1_000,
        isEnough: (Sum) -> Bool = { _ in false }
    ) -> Sum {
        let start = ContinuousClock.now
        var sum = Sum()
        var next = from
        let end = from + count
        var lanes: [Lane] = []
        func isTimeUp() -> Bool {
            guard let seconds else { return false }
            return (ContinuousClock.now - start) / .seconds(1) > seconds
        }
        while true {
            while lanes.count < options.jobs, next < end, !isTimeUp(), !isEnough(sum) {
                let size = min(chunk, end - next)
                lanes.append(Lane(options.child(from: next, count: size, mutant: mutant)))
                next += size
            }
            if lanes.isEmpty { return sum }
            var files = lanes.map { pollfd(fd: $0.file, events: Int16(POLLIN), revents: 0) }
            poll(&files, nfds_t(files.count), 1_000)
            for index in lanes.indices.reversed() where files[index].revents != 0 {
                if lanes[index].read(into: &sum) { continue }
                if let complaint = lanes[index].close() {
                    sum.failed += 1
                    sum.failures.append(complaint)
                }
                lanes.remove(at: index)
            }
        }
    }

    /// One child and what it prints.
    private struct Lane {
        let words: [String]
        let stream: UnsafeMutablePointer<FILE>
        var text = ""
        var file: Int32 { fileno(stream) }

        init(_ words: [String]) {
            self.words = words
            guard let stream = Self.start(words) else { fatalError("popen failed") }
            self.stream = stream
        }

        static func start(_ words: [String]) -> UnsafeMutablePointer<FILE>? {
            // One order of every Set and Dictionary, or a seed is no history.
            popen(
                "SWIFT_DETERMINISTIC_HASHING=1 exec '\(Fleet.program)' \(words.joined(separator: " "))",
                "r")
        }

        /// False: the child has ended.
        mutating func read(into sum: inout Sum) -> Bool {
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let count = Foundation.read(file, &buffer, buffer.count)
            if count <= 0 { return false }
            text += String(decoding: buffer[..<count], as: UTF8.self)
            while let end = text.firstIndex(of: "\n") {
                sum.add(text[..<end])
                text.removeSubrange(...end)
            }
            return true
        }

        func close() -> String? {
            let status = pclose(stream)
            return status == 0 ? nil : "\(words.joined(separator: " ")) ended with status \(status)"
        }
    }

    static let program: String = {
        var path = [CChar](repeating: 0, count: 4_096)
        let count = readlink("/proc/self/exe", &path, path.count - 1)
        return String(decoding: path[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()

    /// Runs one child whose output is the reader's.
    static func show(_ words: [String]) -> Int32 {
        guard let stream = Lane.start(words) else { return 1 }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(fileno(stream), &buffer, buffer.count)
            if count <= 0 { break }
            _ = write(1, buffer, count)
        }
        return pclose(stream) == 0 ? 0 : 1
    }
}
