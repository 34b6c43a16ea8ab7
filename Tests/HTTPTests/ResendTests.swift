import HTTP
import TestSupport
import Testing

/// A POST that was read whole may have moved money, whatever becomes of its connection. libcurl
/// would send it again on a reused connection that dies; the client must not let it.
@Suite(.timeLimit(.minutes(1))) struct ResendTests {
    enum Death: String, Sendable, CaseIterable, CustomTestStringConvertible {
        case close, reset, closeAndStopListening

        var step: WireStep {
            switch self {
            case .close: .close
            case .reset: .reset
            case .closeAndStopListening: .closeAndStopListening
            }
        }
        var testDescription: String { rawValue }
    }

    /// Holds GETs until all connections are warm; every POST is read whole and dies, on a new
    /// connection too unless `newAnswers`.
    private func server(_ death: Death, newAnswers: Bool = false) throws -> WireServer {
        try WireServer { request in
            guard request.method == "POST" else { return .hold }
            return newAnswers && request.ordinal == 1 ? .status(200) : death.step
        }
    }

    @Test(arguments: Death.allCases, [1, 3, 5, 8])
    func aPostIsExecutedOnceThoughItsReusedConnectionDies(
        _ death: Death, warm: Int
    ) async throws {
        // No answer, and so no success, unless it was sent on a warm one and again on a new one.
        let server = try server(death, newAnswers: true)
        let client = try plainClient()
        try await client.warm(warm, server)
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/charge"))
        }
        await client.shutdown()
        #expect(server.posts.count == 1)
        #expect(error?.mayHaveLeft == true)
        if death != .closeAndStopListening { #expect(error?.kind == .resendRefused) }
    }

    @Test(arguments: Death.allCases)
    func aPostIsExecutedOnceThoughItsNewConnectionDies(_ death: Death) async throws {
        let server = try server(death)
        let client = try plainClient()
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/charge"))
        }
        await client.shutdown()
        #expect(server.posts.count == 1)
        #expect(error?.mayHaveLeft == true)
        #expect(error?.kind == .reset)
    }

    @Test(arguments: Death.allCases)
    func aPostWithoutABodyIsExecutedOnceToo(_ death: Death) async throws {
        let server = try server(death)
        let client = try plainClient()
        try await client.warm(3, server)
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/charge"), "")
        }
        await client.shutdown()
        #expect(server.posts.count == 1)
        #expect(error?.mayHaveLeft == true)
    }

    @Test func aLargePostIsExecutedOnceToo() async throws {
        let server = try server(.close)
        let client = try plainClient()
        try await client.warm(3, server)
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/charge"), String(repeating: "x", count: 1 << 20))
        }
        await client.shutdown()
        #expect(server.posts.count == 1)
        #expect(error?.mayHaveLeft == true)
    }

    @Test func manyPostsThatDieAtOnceAreExecutedOnceEach() async throws {
        let server = try server(.close)
        let client = try plainClient()
        try await client.warm(20, server)
        let executedOrRefused = await withTaskGroup { group in
            for number in 0..<100 {
                group.addTask { () -> Bool in
                    do throws(HTTPError) {
                        _ = try await client.post(server.url("/charge/\(number)"))
                        return false
                    } catch {
                        return error.mayHaveLeft
                    }
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        await client.shutdown()
        let targets = server.heads.filter { $0.hasPrefix("POST") }
            .compactMap { $0.split(separator: " ").dropFirst().first }
        #expect(Set(targets).count == targets.count, "no target twice")
        #expect(executedOrRefused == 100)
    }

    @Test func aRedirectIsAnAnswer() async throws {
        let server = try WireServer { _ in .status(307, headers: ["Location: /elsewhere"]) }
        let client = try plainClient()
        let answer = try await client.post(server.url("/charge"))
        await client.shutdown()
        #expect(answer.status == 307)
        #expect(answer.header("location") == "/elsewhere")
        #expect(server.requests.count == 1)
    }

    /// A GET changes nothing; libcurl may repeat it.
    @Test func aGetFindsItsWayPastDeadConnections() async throws {
        let server = try WireServer { request in
            if request.ordinal == 1, request.target == "/warm" { return .hold }
            return request.connection <= 3 ? .close : .status(200, body: "alive")
        }
        let client = try plainClient()
        try await client.warm(3, server)
        let answer = try await client.get(server.url("/look-up"))
        await client.shutdown()
        #expect(answer.text == "alive")
        #expect(server.connections.count == 4)
    }

    /// A server ends idle connections when it likes; that alone must not make an unknown.
    @Test func aPostAvoidsAConnectionThatEndedWhileIdle() async throws {
        let server = try WireServer { request in
            request.connection == 1 ? .answerAndClose("first") : .status(200, body: "second")
        }
        let client = try plainClient()
        #expect(try await client.post(server.url("/charge")).text == "first")
        await server.endings.reaches(1)
        #expect(try await client.post(server.url("/charge")).text == "second")
        await client.shutdown()
        #expect(server.posts.count == 2)
    }
}
