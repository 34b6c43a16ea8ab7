/// How long calls took, as a histogram with fixed bounds. Counting one is an addition: no allocation.
package struct LatencyHistogram: Hashable, Sendable {
    /// Upper bounds in seconds, ascending; a last bucket has none. From a store call on the same
    /// machine to the 65 s after which a request is given up.
    package static let bounds: [Double] = [
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 65,
    ]

    /// Calls in each bucket alone; one more than ``bounds``.
    package private(set) var counts = [UInt64](repeating: 0, count: bounds.count + 1)
    package private(set) var sum = Duration.zero

    package init() {}

    package var count: UInt64 { counts.reduce(0, +) }

    package mutating func add(_ duration: Duration) {
        let seconds = duration / .seconds(1)
        var place = 0
        while place < Self.bounds.count, seconds > Self.bounds[place] { place += 1 }
        counts[place] += 1
        sum += duration
    }
}

/// Calls of the store and of the provider since the start, for graphs. Never reset.
package struct WorkerMeters: Hashable, Sendable {
    /// A call of the store.
    package enum StoreCall: String, CaseIterable, Sendable { case claim, record, release, report }

    package var charges = LatencyHistogram()
    package var lookUps = LatencyHistogram()
    package var claims = LatencyHistogram()
    package var records = LatencyHistogram()
    package var releases = LatencyHistogram()
    package var reports = LatencyHistogram()
    /// Calls of the store that failed, by call.
    package var claimFailures: UInt64 = 0
    package var reportFailures: UInt64 = 0
    /// Charges sent for which an earlier request had been made: a repeat, or a later attempt.
    package var retries: UInt64 = 0
    /// Works that the provider answered with "not now".
    package var busy: UInt64 = 0
    /// Claims of rows whose claim before ended without a word: somebody died or stood still.
    package var takenOver: UInt64 = 0
    /// Records that came too late: somebody else had claimed the row.
    package var stale: UInt64 = 0

    package init() {}

    /// Latencies of one call of the store.
    package subscript(call: StoreCall) -> LatencyHistogram {
        get {
            switch call {
            case .claim: claims
            case .record: records
            case .release: releases
            case .report: reports
            }
        }
        _modify {
            switch call {
            case .claim: yield &claims
            case .record: yield &records
            case .release: yield &releases
            case .report: yield &reports
            }
        }
    }
}
