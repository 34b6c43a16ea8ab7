import Glibc
import Postgres
import TestSupport
import Testing

@Suite struct ThreadTests {
    /// libpq may block: it must never do so on a thread that tasks share.
    @Test func aConnectionHasAThreadOfItsOwn() async throws {
        let database = try await TemporaryPostgres.shared.database()
        let first = try await database.connect()
        let second = try await database.connect()
        var threads: Set<pthread_t> = []
        for _ in 1...20 { threads.insert(try await first.run { _ in pthread_self() }) }
        #expect(threads.count == 1)
        let other = try await second.run { _ in pthread_self() }
        #expect(!threads.contains(other))
        await first.close()
        await second.close()
    }
}
