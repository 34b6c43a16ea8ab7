import Billing
import BillingStore
import FoundationEssentials
import HTTP
import Logging
import Postgres
import TossPayments
import Worker

/// The parts of one worker process, built bottom-up from its options.
struct Daemon {
    let store: PostgresStore
    let gateway: TossGateway
    let service: ChargingService
    /// `billing.workers.worker_id`.
    let worker: String
    let database: PostgresConfiguration
    let client: HTTPClient
    let isPooled: Bool

    /// What the secret key says of itself, for checks that need no daemon.
    static func fingerprint(_ key: SecretKey) -> (mode: String, fingerprint: String) {
        (key.mode == .live ? "live" : "test", key.fingerprint)
    }

    init(
        database options: DatabaseOptions, provider: ProviderOptions,
        worker workerOptions: WorkerOptions,
        log: Logger
    ) throws {
        let key = try provider.secretKey()
        let endpoint = try TossEndpoint(provider.address, mode: key.mode)
        let (mode, fingerprint) = Self.fingerprint(key)
        let identity = PostgresStore.Identity(
            worker: "\(LibC.hostName)/\(LibC.processID)/\(UUID().uuidString.prefix(8))",
            host: LibC.hostName, pid: LibC.processID, version: Version.text, mode: mode,
            fingerprint: fingerprint)
        let configuration = try workerOptions.configuration()
        worker = identity.worker
        database = try options.configuration(name: "billingd")
        isPooled = try options.isPooled()
        client = try Self.client(provider, endpoint)
        store = PostgresStore(database, identity: identity, log: log)
        gateway = TossGateway(endpoint: endpoint, secretKey: key, client: client, log: log)
        service = ChargingService(
            store: store, gateway: gateway, configuration: configuration, logger: log,
            executor: client.executor)
    }

    /// What compares the books of past days. It has a client and a connection of its own: neither
    /// charging nor a stop waits for it, and both end with the process.
    func reconciliation(_ provider: ProviderOptions, log: Logger) throws -> ReconcileService {
        let key = try provider.secretKey()
        let endpoint = try TossEndpoint(provider.address, mode: key.mode)
        let (mode, fingerprint) = Self.fingerprint(key)
        var books = database
        books.applicationName = "billingd reconcile"
        return ReconcileService(
            ledger: PostgresBooks(
                books, identity: .init(worker: worker, mode: mode, fingerprint: fingerprint),
                beside: store),
            provider: TossGateway(
                endpoint: endpoint, secretKey: key, client: try Self.client(provider, endpoint),
                log: log), logger: log)
    }

    static func client(_ provider: ProviderOptions, _ endpoint: TossEndpoint) throws -> HTTPClient {
        var configuration = HTTPClient.Configuration()
        configuration.allowsPlainHTTP = endpoint.isPlain
        configuration.proxy = provider.proxy ?? Environment.text("BILLINGD_PROXY")
        configuration.caFile = provider.caFile ?? Environment.text("BILLINGD_CA_FILE")
        return try HTTPClient(configuration)
    }

    /// Closes what the process opened, after the service has returned.
    func close() async {
        await client.shutdown()
        await store.close()
    }
}
