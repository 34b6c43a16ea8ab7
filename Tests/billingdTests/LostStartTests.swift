import Glibc
import TestSupport
import Testing

extension ProcessTests {
    /// A database that goes away in the middle of a start.
    @Suite struct LostStartTests {
        /// Bytes of the server's answers after which the first connection is cut: in the greeting, among
        /// the checks, in the last of them.
        @Test(arguments: [0, 250, 500, 700])
        func aWorkerStartsAllTheSame(bytes: Int) async throws {
            let stage = try await Stage()
            let proxy = try CuttingProxy(stage.database.server)
            proxy.arm(.cutAnswer(bytes: bytes))
            let worker = try await stage.worker(
                [], ["DATABASE_URL": proxy.connectionString(to: stage.database, as: .worker)])
            #expect(proxy.cuts.count == 1)
            #expect(worker.errors.contains("trying again"), "\(worker.errors)")
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }
    }
}
