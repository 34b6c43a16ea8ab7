import Billing
import Postgres
import TestSupport
import Testing

@testable import BillingStore

/// Sessions that die between two statements, at COMMIT, or live on after their client is gone.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct KillTests {
    private static let record = Operation.record(back: 0, .approved, byAnother: false)
    private static let claim = Operation.claim(worker: 1, limit: 10)

    /// A database at a stage, the ledger at the same, and a session that stops everywhere.
    private struct Scene {
        let stage: PostgresSide
        let player: Player
        let monitor: PostgresConnection
        var ledger = LedgerSide()

        init(
            _ start: InterleavingTests.Stage, through proxy: CuttingProxy? = nil
        ) async throws {
            stage = try await PostgresSide()
            try await stage.reset()
            for operation in start.operations {
                let before = ledger.ledger
                _ = ledger.run(operation)
                _ = try await stage.run(operation, before)
            }
            monitor = try await stage.database.connect()
            player = try await Player(
                "session-1", beside: stage, Gate(stops: Gate.everywhere), through: proxy)
            await player.prepare(from: stage)
        }

        /// The rows of the database.
        func rows() async throws -> String { try await stage.look().state }

        /// The rows of the ledger now, and after `operations`.
        func rows(after operations: [Operation] = []) -> String {
            var ledger = ledger
            for operation in operations { _ = ledger.reply(to: operation) }
            return ledger.ledger.rows(at: ledger.clocks)
        }

        func close() async {
            await player.side.close()
            await stage.close()
            await monitor.close()
        }
    }

    /// Walks the session to its `count`th stop; false: it was done before.
    private func walk(_ scene: Scene, _ operation: Operation, to count: Int) async throws -> Bool {
        for _ in 0..<count where scene.player.state != .done {
            scene.player.step(operation, scene.ledger.ledger)
            // Nobody is in its way: what looks blocked for a moment goes on.
            repeat {
                try await scene.player.settle(scene.monitor)
            } while scene.player.state == .running
        }
        return scene.player.state != .done
    }

    @Test(arguments: [
        (InterleavingTests.Stage.due, claim), (.leaseOver, claim), (.inFlight, record),
    ])
    func aSessionKilledBetweenTwoStatementsLeavesNothing(
        _ start: InterleavingTests.Stage, _ operation: Operation
    ) async throws {
        var stops = 0
        while true {
            let scene = try await Scene(start)
            guard try await walk(scene, operation, to: stops + 1) else {
                await scene.close()
                break
            }
            stops += 1
            let isAtCommit = scene.player.gate.waiting == "COMMIT"
            // Only the announcement is lost then.
            let isWritten = scene.player.gate.waiting == RecordSQL.announce
            try await scene.player.terminate(scene.monitor)
            scene.player.gate.open()
            // The worker cannot know whether a COMMIT that was on its way arrived.
            let words = "\(try await scene.player.ending(scene.monitor))"
            if isWritten {
                #expect(words.contains("applied"), "stop \(stops): \(words)")
            } else {
                #expect(words.contains("unavailable"), "stop \(stops): \(words)")
                #expect(
                    words.contains("mayHaveCommitted: \(isAtCommit)"), "stop \(stops): \(words)")
            }
            #expect(
                try await scene.rows() == scene.rows(after: isWritten ? [operation] : []),
                "stop \(stops)")
            // The same again, by the same worker on another connection.
            _ = try await scene.player.side.reply(to: operation, scene.ledger.ledger)
            #expect(try await scene.rows() == scene.rows(after: [operation]), "stop \(stops)")
            await scene.close()
        }
        #expect(stops >= 3)
    }

    @Test(arguments: CuttingProxy.Cut.allCases.filter { $0 != .stall })
    func aRecordCutAtCommitIsRepeatedAndWrittenOnce(_ cut: CuttingProxy.Cut) async throws {
        let server = try await TemporaryPostgres.shared.database().server
        let proxy = try CuttingProxy(server)
        let scene = try await Scene(.inFlight, through: proxy)
        scene.player.gate.open()
        proxy.arm(cut)
        let error = await #expect(throws: (any Error).self) {
            try await scene.player.side.reply(to: Self.record, scene.ledger.ledger)
        }
        #expect("\(String(describing: error))".contains("mayHaveCommitted: true"))
        // Waits for the old session's locks, if it still runs.
        let verdict = try await scene.player.side.reply(to: Self.record, scene.ledger.ledger)
        #expect(["applied", "repeated"].contains(verdict.answer))
        if cut == .beforeForwarding { #expect(verdict.answer == "applied") }
        if cut == .afterAnswer { #expect(verdict.answer == "repeated") }
        #expect(try await scene.rows() == scene.rows(after: [Self.record]))
        await scene.close()
    }

    @Test(arguments: CuttingProxy.Cut.allCases.filter { $0 != .stall })
    func aClaimCutAtCommitIsNeverActedOnAndFoundAgain(_ cut: CuttingProxy.Cut) async throws {
        let server = try await TemporaryPostgres.shared.database().server
        let proxy = try CuttingProxy(server)
        let scene = try await Scene(.due, through: proxy)
        scene.player.gate.open()
        proxy.arm(cut)
        let reply = try await scene.player.side.reply(to: Self.claim, scene.ledger.ledger)
        #expect(reply.claim == nil)
        #expect(reply.answer.contains("mayHaveCommitted: true"), "\(reply)")
        try await eventually("the old session is gone") {
            try await scene.monitor.execute(
                script: """
                    SELECT FROM pg_stat_activity WHERE datname = current_database()
                    AND application_name = 'session-1' AND usename = 'test_worker'
                    """
            ).isEmpty
        }
        let rows = try await scene.rows()
        #expect([scene.rows(after: []), scene.rows(after: [Self.claim])].contains(rows))
        if cut == .beforeForwarding { #expect(rows == scene.rows(after: [])) }
        if cut == .afterAnswer { #expect(rows == scene.rows(after: [Self.claim])) }
        await scene.close()
    }

    @Test(arguments: [true, false])
    func aRepeatWaitsForTheOldTransactionOfAClientThatIsGone(commits: Bool) async throws {
        let scene = try await Scene(.inFlight)
        while scene.player.gate.waiting != "COMMIT" {
            try #require(try await walk(scene, Self.record, to: 1))
        }
        // All is written, nothing is committed: whoever only looks sees what was before.
        let plain = try await scene.monitor.execute(
            script: "SELECT state FROM billing.attempts")
        #expect(try plain.map { try $0.string("state") } == ["open"])
        let again = try await Player(
            "session-2", beside: scene.stage, Gate(stops: { _ in false }))
        await again.prepare(from: scene.stage)
        again.step(Self.record, scene.ledger.ledger)
        try await eventually("the repeat waits") { try await again.isBlocked(scene.monitor) }
        if !commits { try await scene.player.terminate(scene.monitor) }
        // Its COMMIT, and the announcement after it.
        scene.player.gate.open()
        let verdict = try await again.ending(scene.monitor).get().answer
        #expect(verdict == (commits ? "repeated" : "applied"))
        #expect(try await scene.rows() == scene.rows(after: [Self.record]))
        await again.side.close()
        await scene.close()
    }

    @Test func aNewCardAndABatchTakeTheirLocksInOneOrder() async throws {
        #expect(try await Deadlock.seen(second: .newCard(customer: 0)) == nil)
    }
}
