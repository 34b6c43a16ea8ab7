import Synchronization
import TestSupport
import Testing

@testable import Dashboard

/// However many look, the database is asked once in a while.
@Suite(.timeLimit(.minutes(1))) struct CacheTests {
    private final class Source: Sendable {
        private let asked = Mutex(0)
        var times: Int { asked.withLock { $0 } }
        func next() -> Int {
            asked.withLock {
                $0 += 1
                return $0
            }
        }
    }

    private struct Trouble: Error {}

    @Test func allWhoAskTogetherGetOneReading() async {
        let source = Source()
        let cache = Cache<Int>(lifetime: .seconds(3_600), patience: .seconds(60)) { source.next() }
        let values = await withTaskGroup(of: Int?.self) { group in
            for _ in 0..<50 { group.addTask { await cache.read().value } }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(values == Array(repeating: 1, count: 50) && source.times == 1)
    }

    @Test func anOldOneIsReadAgain() async {
        let source = Source()
        let cache = Cache<Int>(lifetime: .zero, patience: .seconds(60)) { source.next() }
        #expect(await cache.read().value == 1)
        #expect(await cache.read().value == 2)
    }

    @Test func aFailureIsToldAndNotRepeatedAtOnce() async {
        let source = Source()
        let cache = Cache<Int>(lifetime: .seconds(3_600), patience: .seconds(60)) {
            _ = source.next()
            throw Trouble()
        }
        for _ in 0..<5 {
            let reading = await cache.read()
            #expect(reading.value == nil && reading.trouble == "Trouble()")
        }
        #expect(source.times == 1)
    }

    @Test func nobodyWaitsLongForAHangingOne() async {
        let hanging = AsyncStream<Void>.makeStream()
        let cache = Cache<Int>(lifetime: .zero, patience: .milliseconds(20)) {
            for await _ in hanging.stream { break }
            return 7
        }
        let reading = await cache.read()
        #expect(reading.value == nil && reading.trouble == "it takes too long")
        hanging.continuation.yield()
        await #expect(throws: Never.self) {
            try await eventually("it came") { await cache.read().value == 7 }
        }
    }
}
