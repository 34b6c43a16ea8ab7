import Synchronization

/// A stand-in for the provider's billing API: requests in, answers out, no I/O and no waiting.
///
/// Delays, hangs and lost connections are part of the answer; a transport carries them out and then
/// reports with ``finish(_:delivered:)``. Safe to call from any thread.
package final class SandboxProvider: Sendable {
    /// What is fixed for a provider's life.
    package struct Settings: Sendable {
        /// Accepted secret keys, `test_sk_…` or `live_sk_…`.
        package var secretKeys = ["test_sk_sandbox"]
        /// A well-formed billing key that nobody issued belongs to whoever uses it first.
        package var acceptsAnyKey = false
        /// Two providers of one seed give the same ids to the same calls.
        package var seed: UInt64 = 1
        /// The clock at the start.
        package var clock = SandboxClock.running(offsetMilliseconds: 0)
        /// The switches at the start.
        package var switches = Switches()
        /// Milliseconds that every approve takes.
        package var latencyMilliseconds: Int64 = 0
        /// One secret key, `test_sk_sandbox`, and real time.
        package init() {}
    }

    private let state: Mutex<SandboxState>

    /// A provider with empty books, or with those of `journal`.
    ///
    /// - Parameters:
    ///   - journal: lines of earlier books, oldest first.
    ///   - record: called with every line that the books grow by, in order, before the answer is
    ///     returned. It must not call back into the provider.
    package init(
        _ settings: Settings = Settings(), journal: [JSONValue] = [],
        record: (@Sendable ([UInt8]) -> Void)? = nil
    ) {
        var initial = SandboxState(settings)
        for line in journal { initial.restore(line) }
        // What the books' last user set is taken up again, unless this one says otherwise.
        if settings.clock != Settings().clock { initial.clock = settings.clock }
        if settings.switches != Switches() { initial.switches = settings.switches }
        initial.record = record
        state = Mutex(initial)
    }

    /// Answers one request of the provider's API or of `/_sandbox`.
    package func handle(_ request: SandboxRequest) -> SandboxReply {
        state.withLock { $0.handle(request) }
    }

    /// Ends a request whose answer carried a ticket: it no longer counts as running.
    package func finish(_ ticket: SandboxReply.Ticket, delivered: Bool) {
        state.withLock { $0.finish(ticket, delivered: delivered) }
    }

    /// Books that the answer of an execution could not be delivered after all.
    package func lost(payment: Int32) {
        state.withLock { $0.lost(payment) }
    }

    /// The clock, for tests in the same process.
    package var clock: SandboxClock {
        get { state.withLock { $0.clock } }
        set {
            state.withLock {
                $0.clock = newValue
                $0.journalClock()
                $0.runLateRequests()
            }
        }
    }

    /// The switches, for tests in the same process.
    package var switches: Switches {
        get { state.withLock { $0.switches } }
        set {
            state.withLock {
                $0.switches = newValue
                $0.journalSwitches()
            }
        }
    }

    /// The fault rules, for tests in the same process.
    package var faults: [FaultRule] {
        get { state.withLock { $0.faults } }
        set { state.withLock { $0.faults = newValue } }
    }

    /// Issues a billing key without the card window.
    package func issue(customerKey: String, script: CardScript? = nil) -> String {
        state.withLock { $0.issueDirectly(customerKey: customerKey, script: script) }
    }

    /// The webhooks so far, the newest last.
    package var webhooks: [Webhook] { state.withLock { $0.webhooks } }

    /// What is to be delivered now. Each is handed out once until ``webhookEnded(_:status:)``.
    package func takeDueWebhooks() -> [Webhook.Delivery] {
        state.withLock { $0.takeDueWebhooks() }
    }

    /// Ends a delivery with the HTTP status of its answer, 0 when none came.
    package func webhookEnded(_ number: Int64, status: Int) {
        state.withLock { $0.webhookEnded(number, status: status) }
    }
}
