package import Billing
package import Logging
import ServiceLifecycle

/// Compares the days that are due, one after another, for as long as the daemon runs. Which days,
/// and whose turn it is, the ledger says; a worker that dies half-way is replaced when its claim ends.
///
/// Charging never waits for it: it has a connection and an HTTP client of its own, sends one request
/// at a time and leaves half of the budget of requests alone. A stop does not wait for it either:
/// whatever it is doing is given up, and the next worker compares that day from the start.
package struct ReconcileService: Service {
    private let ledger: any LedgerBooks
    private let reconciler: Reconciler
    private let logger: Logger
    private let time: Timepiece

    /// How often it looks for a day that is due.
    static let pause: Duration = .seconds(10)
    /// How long after a failure of the database.
    static let longPause: Duration = .seconds(60)

    package init(
        ledger: any LedgerBooks, provider: any ProviderBooks, logger: Logger,
        time: Timepiece = Timepiece()
    ) {
        self.ledger = ledger
        self.logger = logger
        self.time = time
        reconciler = Reconciler(ledger: ledger, provider: provider, time: time)
    }

    /// Returns as soon as it is told to stop. A request that is under way by then ends with the
    /// process: nothing depends on its answer.
    package func run() async throws {
        let ended = Signal()
        let loop = Task { await self.loop() }
        await withTaskCancellationOrGracefulShutdownHandler {
            await ended.wait(by: time)
        } onCancelOrGracefulShutdown: {
            loop.cancel()
            ended.raise()
        }
    }

    private func loop() async {
        while !Task.isCancelled {
            do {
                if try await compareNext() { continue }
                try await time.sleep(time.spread(Self.pause))
            } catch is CancellationError {
                return
            } catch {
                logger.warning(
                    "the books cannot be compared now",
                    metadata: [
                        "reason": "\(singleLine((error as? StoreError)?.text ?? "\(error)"))",
                        "action":
                            "none, if it is over soon: it is tried again; else billingd check",
                    ])
                do { try await time.sleep(time.spread(Self.longPause)) } catch { return }
            }
        }
    }

    /// Compares one day; false: none is due.
    private func compareNext() async throws -> Bool {
        guard let day = try await ledger.claimDay() else { return false }
        let report = try await reconciler.compare(day)
        // Given up in the middle: what was found is found again by whoever compares it next.
        try Task.checkCancellation()
        try await ledger.finish(day, report)
        tell(report)
        return true
    }

    private func tell(_ report: DayReport) {
        for finding in report.findings {
            var metadata = finding.metadata
            metadata["action"] = "billingd reconcile --day \(report.day.day); see the runbook"
            logger.error("the books do not agree", metadata: metadata)
        }
        var metadata: Logger.Metadata = [
            "day": "\(report.day.day)", "payments": "\(report.payments)", "won": "\(report.won)",
            "refunds": "\(report.refunds)", "late": "\(report.late)",
            "foreign": "\(report.foreign)", "findings": "\(report.findingsCount)",
        ]
        if let trouble = report.trouble {
            metadata["reason"] = "\(trouble)"
            metadata["action"] = "billingd reconcile --day \(report.day.day) tells more"
            logger.error("a day could not be compared; it is tried again", metadata: metadata)
        } else {
            logger.notice("the books of a day were compared", metadata: metadata)
        }
    }
}

extension Finding {
    fileprivate var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = [
            "kind": "\(kind.rawValue)", "payment_key": "\(paymentKey)", "at": "\(at)",
            "detail": "\(detail)",
        ]
        metadata["subscription"] = subscription.map { "\($0.value)" }
        metadata["charge"] = charge.map { "\($0.value)" }
        metadata["order_id"] = orderID.map { "\($0.value)" }
        metadata["amount"] = amount.map { "\($0.value)" }
        return metadata
    }
}
