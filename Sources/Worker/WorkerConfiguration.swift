/// The worker's own numbers. Those that a whole fleet must share come with each claim
/// (``Billing/FleetNumbers``).
package struct WorkerConfiguration: Hashable, Sendable {
    /// Subscriptions between claim and record at one time, at least 1.
    package var maxInFlight: Int
    /// Longest sleep between two claims while slots are free: a missed hint costs no more.
    package var pollInterval: Duration
    /// How long the recorder gathers transitions while others are still on their way; zero: it
    /// never waits. A batch that nothing else can join is written at once.
    package var recordFlushInterval: Duration
    /// Most transitions in one call of the store, at least 1.
    package var maxRecordBatch: Int
    /// Most rows in one claim, at least 1.
    package var maxClaim: Int
    /// Longest graceful stop: a request may take 65 s, and it must be recorded.
    package var stopTimeout: Duration
    /// How often `billing.workers` hears of this worker.
    package var reportInterval: Duration
    /// How often a summary is logged while there is work.
    package var summaryInterval: Duration

    package init(
        maxInFlight: Int = 256, pollInterval: Duration = .seconds(1),
        recordFlushInterval: Duration = .milliseconds(2), maxRecordBatch: Int = 500,
        maxClaim: Int = 500, stopTimeout: Duration = .seconds(70),
        reportInterval: Duration = .seconds(5), summaryInterval: Duration = .seconds(60)
    ) {
        self.maxInFlight = max(1, maxInFlight)
        self.pollInterval = pollInterval
        self.recordFlushInterval = recordFlushInterval
        self.maxRecordBatch = max(1, maxRecordBatch)
        self.maxClaim = max(1, maxClaim)
        self.stopTimeout = stopTimeout
        self.reportInterval = reportInterval
        self.summaryInterval = summaryInterval
    }
}
