import HTTP
import TestSupport
import Testing

/// What goes over the wire and what comes back.
@Suite(.timeLimit(.minutes(1))) struct TransferTests {
    @Test func theBodyAndTheHeadersArriveAsGiven() async throws {
        let server = try WireServer { .status(200, body: String(decoding: $0.body, as: UTF8.self)) }
        let client = try plainClient()
        let answer = try await client.post(
            server.url("/v1/billing/a%3D?x=1"), "{\"이름\":\"값\"}",
            headers: [("Idempotency-Key", "name-1"), ("X-Empty", "")])
        await client.shutdown()
        #expect(answer.status == 200)
        #expect(answer.text == "{\"이름\":\"값\"}")
        let head = try #require(server.heads.first)
        #expect(head.hasPrefix("POST /v1/billing/a%3D?x=1 HTTP/1.1\r\n"))
        #expect(head.contains("\r\nIdempotency-Key: name-1\r\n"))
        #expect(head.contains("\r\nContent-Length: 16"))
    }

    @Test func onlyPlainHTTP11IsSpoken() async throws {
        let server = try WireServer { _ in .status(200) }
        let client = try plainClient()
        _ = try await client.post(server.url("/charge"))
        _ = try await client.get(server.url("/look-up"))
        await client.shutdown()
        for head in server.heads {
            #expect(head.split(separator: "\r\n")[0].hasSuffix(" HTTP/1.1"))
            let names = head.lowercased().split(separator: "\r\n").dropFirst()
                .map { $0.prefix { $0 != ":" } }
            for name in [
                "upgrade", "http2-settings", "expect", "cookie", "accept-encoding",
                "transfer-encoding",
            ] {
                #expect(!names.contains { $0 == name }, "\(name)")
            }
        }
    }

    @Test func theHeadersOfAnAnswerAreFoundWhateverTheirCase() async throws {
        let server = try WireServer { _ in
            .status(429, headers: ["ReTry-After:  30 ", "X-Twice: first", "x-twice: second"])
        }
        let client = try plainClient()
        let answer = try await client.get(server.url())
        await client.shutdown()
        #expect(answer.status == 429)
        #expect(answer.header("Retry-After") == "30")
        #expect(answer.header("X-TWICE") == "first")
        #expect(answer.header("absent") == nil)
    }

    /// The handles of libcurl are used again and again, and nothing of one request is left to the next.
    @Test func aRequestStaysWhatItIsAfterOthers() async throws {
        let server = try WireServer { request in
            .status(200, body: request.method + " " + String(decoding: request.body, as: UTF8.self))
        }
        let client = try plainClient()
        for round in 0..<3 {
            let long = String(repeating: "x", count: 100 - round)
            #expect(try await client.post(server.url("/charge"), long).text == "POST \(long)")
            #expect(try await client.post(server.url("/charge"), "").text == "POST ")
            #expect(try await client.get(server.url("/look-up")).text == "GET ")
        }
        await client.shutdown()
    }

    @Test func aConnectionIsUsedAgain() async throws {
        let server = try WireServer { _ in .status(200) }
        let client = try plainClient()
        for number in 0..<10 {
            if number.isMultiple(of: 2) {
                _ = try await client.post(server.url("/charge"))
            } else {
                _ = try await client.get(server.url("/look-up"))
            }
        }
        await client.shutdown()
        #expect(server.connections.count == 1)
        #expect(server.requests.count == 10)
    }

    @Test func everyRequestHasAConnectionOfItsOwnIfAskedFor() async throws {
        let server = try WireServer { _ in .status(200) }
        let client = try plainClient { $0.freshConnections = true }
        for _ in 0..<3 { _ = try await client.post(server.url("/charge")) }
        await client.shutdown()
        #expect(server.connections.count == 3)
    }

    @Test func noMoreConnectionsAreOpenThanAllowed() async throws {
        let server = try WireServer { _ in .hold }
        let client = try plainClient { $0.maximumConnections = 4 }
        try await withThrowingTaskGroup { group in
            for _ in 0..<20 {
                group.addTask { try await client.post(server.url("/charge")).status }
            }
            await server.posts.reaches(4)
            #expect(server.connections.count == 4)
            server.release()
            for try await status in group { #expect(status == 200) }
        }
        await client.shutdown()
        #expect(server.connections.count == 4)
        #expect(server.posts.count == 20)
    }

    @Test func thousandsAreInFlightAtOnce() async throws {
        let count = 2_000
        let server = try WireServer()
        let client = try plainClient()
        let answered = try await withThrowingTaskGroup { group in
            for number in 0..<count {
                group.addTask { try await client.post(server.url("/charge/\(number)")).text }
            }
            await server.posts.reaches(count)
            #expect(server.connections.count == count)
            server.release()
            return try await group.reduce(0) { $0 + ($1 == "held" ? 1 : 0) }
        }
        await client.shutdown()
        #expect(answered == count)
        #expect(server.posts.count == count)
        #expect(Set(server.heads).count == count)
    }

    @Test(arguments: [false, true])
    func aBodyOverTheLimitIsNoAnswer(isChunked: Bool) async throws {
        let body = String(repeating: "x", count: 100_001)
        let server = try WireServer { _ in
            isChunked
                ? .answer(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n\(body)\r\n0\r\n\r\n"
                )
                : .status(200, body: body)
        }
        let client = try plainClient { $0.maximumBodyBytes = 100_000 }
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/charge"))
        }
        let larger = try plainClient { $0.maximumBodyBytes = 100_001 }
        #expect(try await larger.post(server.url("/charge")).text == body)
        await client.shutdown()
        await larger.shutdown()
        #expect(error?.kind == .tooLarge)
        #expect(error?.mayHaveLeft == true)
    }

    @Test func headersOverTheLimitAreNoAnswer() async throws {
        let lines = (0..<100).map { "X-Filler-\($0): \(String(repeating: "x", count: 100))" }
        let server = try WireServer { _ in .status(200, headers: lines) }
        let client = try plainClient { $0.maximumHeaderBytes = 8_000 }
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/charge"))
        }
        await client.shutdown()
        #expect(error?.kind == .tooLarge)
        #expect(error?.mayHaveLeft == true)
        #expect(server.posts.count == 1)
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf", "nonsense\r\n\r\n",
    ])
    func halfAnAnswerIsNone(_ text: String) async throws {
        let server = try WireServer { _ in .answer(text) }
        let client = try plainClient { $0.requestTimeout = .milliseconds(300) }
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/charge"))
        }
        await client.shutdown()
        #expect(error?.mayHaveLeft == true)
        #expect(server.posts.count == 1)
    }
}
