import BillingStore
import Dashboard
import TossPayments
import Worker

/// What those who look at this worker are answered.
struct Observation: Sendable {
    private let service: ChargingService
    private let store: PostgresStore
    /// `billing.workers.worker_id`.
    private let name: String
    private let figures: Cache<Figures>
    private let ledger: Cache<PageReport>
    /// How long the loops may stand still before somebody should worry.
    private let patience: Duration
    private let start: StartProgress
    private let explainer: Explainer

    /// `rhythm`: the longest sleep of the poll loop. It answers from now on, also while `start` waits.
    init(_ daemon: Daemon, rhythm: Duration, start: StartProgress) {
        self.start = start
        service = daemon.service
        store = daemon.store
        name = daemon.worker
        explainer = Explainer(daemon.database)
        // A call of the store that hangs ends within some 20 s.
        patience = max(.seconds(60), rhythm * 2 + .seconds(30))
        let store = daemon.store
        // A scraper gives up after 10 s.
        figures = Cache(lifetime: .seconds(10), patience: .seconds(3)) {
            try await store.figures()
        }
        ledger = Cache(lifetime: .seconds(30), patience: .seconds(8)) {
            try await store.page()
        }
    }

    @concurrent func answer(_ question: Listener.Question) async -> Listener.Reply {
        switch question.path {
        case "/livez":
            let health = health()
            return health.reply(isGood: health.live)
        case "/readyz":
            let health = health()
            return health.reply(isGood: health.ready)
        case "/metrics":
            return Listener.Reply(
                contentType: "text/plain; version=0.0.4; charset=utf-8", body: await metrics())
        case "/":
            return await page(question)
        case "/style.css":
            return Page.style
        case let path where path.hasPrefix("/explain/"):
            return await explain(path.dropFirst("/explain/".count))
        default:
            return Listener.Reply(
                status: 404, contentType: "text/plain; charset=utf-8",
                body: "/, /explain/SUBSCRIPTION, /livez, /readyz and /metrics are here\n")
        }
    }

    private func health() -> HealthReply {
        HealthReply(
            worker(), worker: name, patience: patience, uptime: start.sinceSign)
    }

    private func worker() -> WorkerHealth {
        var health = service.health()
        if let what = start.waitsFor { health.reason = "starting: waits for \(what)" }
        return health
    }

    private func page(_ question: Listener.Question) async -> Listener.Reply {
        async let figures = figures.read()
        async let ledger = ledger.read()
        let page = Page(
            version: Version.text, health: worker(), isAlive: health().live,
            figures: await figures, ledger: await ledger,
            acceptLanguage: question.acceptLanguage, refreshes: question.query != "refresh=off")
        do {
            return try page.reply
        } catch {
            return Listener.Reply(
                status: 500, contentType: "text/plain; charset=utf-8", body: "\(error)\n")
        }
    }

    private func explain(_ id: Substring) async -> Listener.Reply {
        let told = await explainer.tell(id)
        return Listener.Reply(
            status: told.status, contentType: "text/plain; charset=utf-8", body: told.text + "\n")
    }

    private func metrics() async -> String {
        let figures = await figures.read()
        return Metrics(
            version: Version.text, schemaVersion: PostgresStore.schemaVersion,
            listedCodes: TossGateway.listedCodes, health: worker(),
            isAlive: health().live, figures: figures, reconnects: store.reconnects
        ).text
    }
}
