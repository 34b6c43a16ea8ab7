import Postgres
import TestSupport
import Testing

@Suite struct ConnectionSmokeTests {
    @Test func aStatementIsAnswered() async throws {
        let database = try await TemporaryPostgres.shared.database()
        let rows = try await database.run("SELECT mode FROM billing.settings", as: .worker)
        #expect(try rows.first?.string("mode") == "test")
    }
}
