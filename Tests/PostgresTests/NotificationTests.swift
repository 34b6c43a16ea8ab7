import Postgres
import TestSupport
import Testing

/// LISTEN and NOTIFY.
@Suite(.timeLimit(.minutes(1))) struct NotificationTests {
    private func database() async throws -> TestDatabase {
        try await TemporaryPostgres.shared.emptyDatabase()
    }

    @Test func notificationsArriveInOrder() async throws {
        let database = try await database()
        let listener = try await database.connect()
        try await listener.listen("wake_up")
        for payload in ["1", "", "세 번째"] {
            try await database.run("SELECT pg_notify('wake_up', '\(payload)')")
        }
        for payload in ["1", "", "세 번째"] {
            let heard = try await listener.notification(timeout: .seconds(20))
            #expect(heard?.channel == "wake_up")
            #expect(heard?.payload == payload)
        }
        #expect(try await listener.notification(timeout: .zero) == nil)
        await listener.close()
    }

    @Test func aWaitingListenerHears() async throws {
        let database = try await database()
        let listener = try await database.connect()
        try await listener.listen("wake_up")
        async let heard = listener.notification(timeout: .seconds(20))
        try await database.run("NOTIFY wake_up, 'now'")
        #expect(try await heard?.payload == "now")
        await listener.close()
    }

    @Test(arguments: ["plain", "Mixed Case", #"with"quotes""#, #"""#, "채널"])
    func aChannelMayHaveAnyName(_ channel: String) async throws {
        let database = try await database()
        let listener = try await database.connect()
        try await listener.listen(channel)
        let sender = try await database.connect()
        _ = try await sender.query("SELECT pg_notify(\(channel), 'x')")
        #expect(try await listener.notification(timeout: .seconds(20))?.channel == channel)
        await sender.close()
        await listener.close()
    }

    @Test func statementsBetweenLoseNoNotification() async throws {
        let database = try await database()
        let listener = try await database.connect()
        try await listener.listen("wake_up")
        try await database.run("NOTIFY wake_up, 'early'")
        #expect(try await listener.query("SELECT 1 AS one").count == 1)
        #expect(try await listener.notification(timeout: .seconds(20))?.payload == "early")
        await listener.close()
    }

    @Test func aSilentChannelTimesOut() async throws {
        let listener = try await database().connect()
        try await listener.listen("wake_up")
        #expect(try await listener.notification(timeout: .milliseconds(50)) == nil)
        #expect(await listener.isOpen)
        await listener.close()
    }

    @Test func anInterruptEndsTheWait() async throws {
        let database = try await database()
        let listener = try await database.connect()
        try await listener.listen("wake_up")
        let began = ContinuousClock.now
        async let heard = listener.notification(timeout: .seconds(50))
        listener.interrupt()
        #expect(try await heard == nil)
        #expect(ContinuousClock.now - began < .seconds(20))
        // It is used up: the next wait hears again.
        try await database.run("NOTIFY wake_up, 'later'")
        #expect(try await listener.notification(timeout: .seconds(20))?.payload == "later")
        await listener.close()
    }

    @Test func aListenerIsToldThatItsServerIsGone() async throws {
        let database = try await database()
        let listener = try await database.connect()
        try await listener.listen("wake_up")
        let pid = try await #require(
            listener.query("SELECT pg_backend_pid() AS pid").first
        ).int("pid")
        let heard = Task { try await listener.notification(timeout: .seconds(50)) }
        try await database.run("SELECT pg_terminate_backend(\(pid))")
        let error = await #expect(throws: PostgresError.self) { try await heard.value }
        #expect(error?.isConnectionLost == true)
        #expect(await listener.isOpen == false)
    }
}
