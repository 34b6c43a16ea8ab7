import Billing
import BillingStore
import Logging
import ServiceLifecycle

/// The loop of `run --shadow`: looks for periods that have begun and notes what they would come to.
/// What it cannot write now it writes at the next look; a lost database is waited for.
struct ShadowService: Service {
    let shadow: PostgresShadow
    /// Between two looks.
    let rhythm: Duration
    let log: Logger
    private let systemd = Systemd()

    init(shadow: PostgresShadow, rhythm: Duration, log: Logger) {
        self.shadow = shadow
        self.rhythm = rhythm
        self.log = log
    }

    /// The first look. Throws what must be mended; a database that is not there yet is waited for, a
    /// minute at most.
    func prepare() async throws {
        systemd.status("checking the database")
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            do throws(StoreError) {
                guard let pass = try await shadow.pass(alive: systemd.stillStarting) else {
                    throw StoreError.refused(
                        "this database is not in shadow mode. To begin it, as a role in "
                            + "billing_admin: SELECT billing.begin_shadow('why')")
                }
                tell(pass)
                return
            } catch {
                guard case .unavailable(let reason, _) = error, ContinuousClock.now < deadline
                else { throw Failure("billingd does not start: \(error.text)") }
                log.warning(
                    "the database cannot be reached; trying again",
                    metadata: [
                        "reason": "\(reason)", "action": "start PostgreSQL, or mend DATABASE_URL",
                    ])
                try await Task.sleep(for: .seconds(1))
            }
        }
    }

    func run() async throws {
        systemd.ready()
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await look() }
            group.addTask { try? await gracefulShutdown() }
            // A signal, or the end of shadow mode.
            await group.next()
            systemd.stopping()
            group.cancelAll()
        }
        await shadow.close()
    }

    private func look() async {
        var failures = 0
        var wrong: Set<Int64> = []
        while true {
            var wait = rhythm
            do throws(StoreError) {
                guard let pass = try await shadow.pass(alive: systemd.alive) else {
                    log.notice("shadow mode has ended: billingd run charges from now on")
                    return
                }
                if failures > 0 { log.notice("the database is back") }
                failures = 0
                tell(pass)
                for id in pass.wrong.subtracting(wrong).sorted().prefix(10) {
                    log.error(
                        "a row makes no sense and would be held",
                        metadata: [
                            "subscription": "\(id)",
                            "action": "billingd explain \(id); mend the row",
                        ])
                }
                wrong = pass.wrong
            } catch {
                if Task.isCancelled { return }
                wait = min(.seconds(30), .milliseconds(250 << min(failures, 7)))
                failures += 1
                log.error(
                    "what would be charged could not be noted; trying again",
                    metadata: [
                        "reason": "\(error.text)", "wait": "\(wait)",
                        "action": "none, if it is over soon; else billingd check",
                    ])
                systemd.status("waiting for the database: \(error.text)")
            }
            if let watchdog = systemd.watchdog { wait = min(wait, watchdog / 4) }
            do { try await Task.sleep(for: wait) } catch { return }
            systemd.alive()
        }
    }

    private func tell(_ pass: PostgresShadow.Pass) {
        systemd.status("shadow mode: nothing is charged; last look noted \(pass.periods) periods")
        guard pass.periods > 0 || pass.charges > 0 else { return }
        log.info(
            "noted what would be charged",
            metadata: [
                "periods": "\(pass.periods)", "charges": "\(pass.charges)", "won": "\(pass.won)",
                "without_card": "\(pass.withoutCard)", "skipped": "\(pass.skipped)",
                "held": "\(pass.held)",
            ])
    }
}
