import Billing
import Logging

extension WorkerCounters {
    var declines: UInt64 { declined.values.reduce(0, +) }

    /// What happened since `last`, for one log line; nil: no work.
    func summary(since last: WorkerCounters) -> Logger.Metadata? {
        let counts = [
            ("approved", approved - last.approved), ("declined", declines - last.declines),
            ("refused", refused - last.refused), ("unknown", unknown - last.unknown),
            ("not_sent", notSent - last.notSent), ("held", held - last.held),
            ("released", released - last.released),
            ("record_failures", recordFailures - last.recordFailures),
        ]
        guard counts.contains(where: { $0.1 > 0 }) else { return nil }
        var metadata: Logger.Metadata = ["claims": "\(claims - last.claims)"]
        for (name, count) in counts { metadata[name] = "\(count)" }
        return metadata
    }
}

extension WorkerStatus.State {
    /// Why `runOnce` goes no further, if so.
    var onceEnds: String? {
        if isStopping { return "stopped" }
        switch breaker.cause {
        case .fault(let code): return "faulted: \(code)"
        case .silence(let code): return "the provider does not serve: \(code)"
        case nil: return nil
        }
    }
}
