import BillingStore
import Logging
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// A database that goes away at the wrong moment.
    @Suite struct LostDatabaseTests {
        @Test func aKeyIsBoundThoughTheConnectionIsLostMeanwhile() async throws {
            let database = try await TemporaryPostgres.shared.database()
            let proxy = try CuttingProxy(database.server)
            let store = PostgresStore(
                PostgresConfiguration(
                    connectionString: proxy.connectionString(to: database, as: .worker)),
                identity: PostgresStore.Identity(
                    worker: "w", host: "host", pid: 1, version: "0", mode: "test",
                    fingerprint: "0123456789abcdef"),
                log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
            proxy.arm(.cutAnswer(bytes: 100))
            try await store.bind()
            await store.close()
            #expect(proxy.cuts.count == 1)
            let bound = try await database.run(
                "SELECT secret_key_fingerprint AS f FROM billing.settings")
            #expect(try bound[0].string("f") == "0123456789abcdef")
        }
    }
}
