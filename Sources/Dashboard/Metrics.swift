package import BillingStore
package import Worker

/// What `/metrics` tells, from values that are there already: a scrape counts nothing and asks nobody.
package struct Metrics: Sendable {
    package var version: String
    package var schemaVersion: Int
    /// Codes that may become labels; others are `other`, so that a provider that invents codes makes
    /// no time series.
    package var listedCodes: Set<String>
    package var health: WorkerHealth
    package var isAlive: Bool
    package var figures: Cache<Figures>.Reading
    package var reconnects: Int

    package init(
        version: String, schemaVersion: Int, listedCodes: Set<String>, health: WorkerHealth,
        isAlive: Bool, figures: Cache<Figures>.Reading, reconnects: Int
    ) {
        self.version = version
        self.schemaVersion = schemaVersion
        self.listedCodes = listedCodes
        self.health = health
        self.isAlive = isAlive
        self.figures = figures
        self.reconnects = reconnects
    }

    package var text: String {
        var page = Exposition()
        page.family(
            "billingd_build_info", .gauge, "The program and the schema that it speaks.",
            [([("version", version), ("schema", "\(schemaVersion)")], 1)])
        worker(&page)
        provider(&page)
        store(&page)
        if let value = figures.value { database(value, &page) }
        return page.text
    }

    // MARK: The worker

    private func worker(_ page: inout Exposition) {
        page.gauge("billingd_live", "1: the loops make progress.", isAlive ? 1 : 0)
        page.gauge(
            "billingd_ready", "1: it would charge now; /readyz says why not.",
            health.ready && isAlive ? 1 : 0)
        page.gauge(
            "billingd_seconds_since_progress", "Since a loop turned and the database answered.",
            health.sinceProgress.map { $0 / .seconds(1) })
        page.gauge(
            "billingd_in_flight", "Subscriptions between claim and record.",
            Double(health.inFlight))
        page.counter(
            "billingd_claims_total", "Claims that the database answered.", health.counters.claims)
        page.family(
            "billingd_outcomes_total", .counter,
            "Outcomes of charges by class and by the provider's code.", outcomes)
        page.counter(
            "billingd_holds_total", "Charges held for a person.", health.counters.held)
        page.counter(
            "billingd_releases_total", "Claims given back unsent.", health.counters.released)
        page.counter(
            "billingd_retries_total",
            "Charges sent after an earlier request for the same period.", health.meters.retries)
        page.counter(
            "billingd_lease_expiries_total",
            "Rows claimed whose claim before ended without a record.", health.meters.takenOver)
        page.counter(
            "billingd_stale_records_total", "Records that came after the lease.",
            health.meters.stale)
    }

    private var outcomes: [(labels: [(String, String)], value: Double)] {
        var sums: [OutcomeKey: UInt64] = [:]
        for (key, count) in health.counters.outcomes {
            let code = key.code.isEmpty || listedCodes.contains(key.code) ? key.code : "other"
            sums[OutcomeKey(kind: key.kind, code: code), default: 0] += count
        }
        // All kinds from the start, so that the first one is an increase.
        for kind in OutcomeKey.Kind.allCases where !sums.keys.contains(where: { $0.kind == kind }) {
            sums[OutcomeKey(kind: kind, code: "")] = 0
        }
        return sums.sorted {
            ($0.key.kind.rawValue, $0.key.code) < ($1.key.kind.rawValue, $1.key.code)
        }
        .map { ([("class", $0.key.kind.rawValue), ("code", $0.key.code)], Double($0.value)) }
    }

    // MARK: The provider

    private func provider(_ page: inout Exposition) {
        page.histograms(
            "billingd_request_duration_seconds", "Requests to the provider.", label: "call",
            [
                Self.series("charge", health.meters.charges),
                Self.series("look_up", health.meters.lookUps),
            ])
        page.family(
            "billingd_breaker_state", .gauge, "1: the circuit breaker is in this state.",
            ["closed", "limited", "open"].map { word in
                ([("state", word)], word == health.breaker.word ? 1 : 0)
            })
        page.gauge(
            "billingd_in_flight_limit", "Most subscriptions under way that the provider bears.",
            Double(mostInFlight))
        page.gauge(
            "billingd_pause_seconds", "Left of a pause that the provider asked for.",
            health.pause / .seconds(1))
        page.counter(
            "billingd_busy_total", "Works that the provider answered with not now.",
            health.meters.busy)
    }

    private var mostInFlight: Int {
        switch health.breaker {
        case .closed: health.maximum
        case .limited(let most): most
        case .open: 1
        }
    }

    private static func series(
        _ name: String, _ histogram: LatencyHistogram
    ) -> (value: String, bounds: [Double], counts: [UInt64], sum: Double) {
        (name, LatencyHistogram.bounds, histogram.counts, histogram.sum / .seconds(1))
    }

    // MARK: The database

    private func store(_ page: inout Exposition) {
        page.histograms(
            "billingd_database_duration_seconds", "Calls of the database, well or not.",
            label: "call",
            WorkerMeters.StoreCall.allCases.map {
                Self.series($0.rawValue, health.meters[$0])
            })
        page.family(
            "billingd_database_failures_total", .counter, "Calls of the database that failed.",
            [
                ([("call", "claim")], Double(health.meters.claimFailures)),
                ([("call", "record")], Double(health.counters.recordFailures)),
                ([("call", "report")], Double(health.meters.reportFailures)),
            ])
        page.counter(
            "billingd_database_reconnects_total", "Connections that replaced a broken one.",
            UInt64(reconnects))
        page.gauge(
            "billingd_database_figures_up", "1: the figures below could be read.",
            figures.trouble == nil && figures.value != nil ? 1 : 0)
        page.gauge(
            "billingd_database_figures_age_seconds", "Age of the figures below.",
            figures.age.map { $0 / .seconds(1) })
    }

    private func database(_ figures: Figures, _ page: inout Exposition) {
        let status = figures.status
        let gauges: [(String, String, Double?)] = [
            ("due", "Subscriptions that are due, in hand or not.", Double(status.due)),
            ("due_oldest_seconds", "Since the oldest of them fell due.", status.oldestDueSeconds),
            ("leased", "Due subscriptions that a worker has in hand.", Double(status.inFlight)),
            (
                "leases_expired", "Claims that ran out and nobody took over.",
                Double(figures.expiredLeases)
            ),
            ("open_attempts", "Attempts without a definite answer.", Double(status.openAttempts)),
            ("unknown", "Attempts whose outcome is unknown.", Double(status.unknown)),
            (
                "unknown_oldest_seconds", "Since the oldest of them became so.",
                figures.oldestUnknownSeconds
            ),
            ("held", "Charges that wait for a person.", Double(status.held)),
            (
                "set_aside", "Subscriptions that make no sense and wait for a person.",
                Double(status.setAside)
            ),
            ("past_due", "Subscriptions in dunning.", Double(status.pastDue)),
            ("suspended", "Subscriptions that are suspended.", Double(status.suspended)),
            (
                "renewals_missed", "Renewals due for more than an hour without a charge.",
                Double(figures.missedRenewals)
            ),
            ("workers", "Workers heard of in the last 30 s.", Double(figures.workersAlive)),
            ("paused", "1: settings.paused.", status.paused ? 1 : 0),
            (
                "requests_per_minute_limit", "settings.max_requests_per_minute, if set.",
                figures.requestsPerMinute.map { Double($0) }
            ),
            (
                "requests_left", "Requests that the fleet may send at once, if limited.",
                figures.requestsPerMinute.map { _ in figures.requestBudget }
            ),
            (
                "reconcile_findings", "Things in which the books do not agree.",
                Double(status.books.findings)
            ),
            (
                "reconcile_overdue_days", "Days that should have been compared and were not.",
                Double(status.books.overdueDays)
            ),
            (
                "clock_skew_seconds", "The database's clock less this machine's.",
                figures.clockSkewSeconds
            ),
        ]
        for (name, help, value) in gauges { page.gauge("billingd_" + name, help, value) }
    }
}
