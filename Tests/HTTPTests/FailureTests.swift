import Glibc
import HTTP
import TestSupport
import Testing

/// Which failures prove that nothing left.
@Suite(.timeLimit(.minutes(1))) struct FailureTests {
    private func failure(
        _ url: String, _ change: (inout HTTPClient.Configuration) -> Void = { _ in }
    ) async throws -> HTTPError? {
        let client = try plainClient(change)
        let error = await #expect(throws: HTTPError.self) { try await client.post(url) }
        await client.shutdown()
        return error
    }

    @Test func nothingLeavesForARefusedPort() async throws {
        let (holder, port) = try Sockets.reserveOnLoopback()
        defer { close(holder) }
        let error = try await failure("http://127.0.0.1:\(port)/charge")
        #expect(error?.kind == .connect)
        #expect(error?.mayHaveLeft == false)
    }

    /// A label of more than 63 characters: no resolver needs to ask anybody.
    @Test func nothingLeavesForAnUnknownHost() async throws {
        let label = String(repeating: "a", count: 64)
        let error = try await failure("http://\(label).invalid/charge")
        #expect(error?.kind == .resolve)
        #expect(error?.mayHaveLeft == false)
    }

    @Test func nothingLeavesWhileTheConnectionIsNotMade() async throws {
        // A full backlog: the kernel answers no further connection.
        let (listener, port) = try Sockets.listenOnLoopback(backlog: 0)
        defer { close(listener) }
        let fillers = try (0..<4).map { _ in try Sockets.beginConnecting(port: port) }
        defer { for filler in fillers { close(filler) } }
        let error = try await failure("http://127.0.0.1:\(port)/charge") {
            $0.connectTimeout = .milliseconds(300)
        }
        #expect(error?.kind == .timeout)
        #expect(error?.mayHaveLeft == false)
        #expect(try #require(error).duration < .seconds(10))
    }

    @Test func nothingLeavesWhileTLSIsSilent() async throws {
        let server = try WireServer()
        let error = try await failure(server.url("/charge", scheme: "https")) {
            $0.connectTimeout = .milliseconds(300)
        }
        #expect(server.connections.count == 1)
        #expect(error?.kind == .timeout)
        #expect(error?.mayHaveLeft == false)
    }

    @Test func nothingLeavesWhenTLSIsCut() async throws {
        let server = try WireServer(closesAtFirstByte: true)
        let error = try await failure(server.url("/charge", scheme: "https"))
        #expect(server.connections.count == 1)
        #expect(error?.kind == .tls)
        #expect(error?.mayHaveLeft == false)
    }

    @Test func aRequestPastItsTimeMayHaveLeft() async throws {
        let server = try WireServer()
        let error = try await failure(server.url("/charge")) {
            $0.requestTimeout = .milliseconds(300)
        }
        #expect(server.posts.count == 1)
        #expect(error?.kind == .timeout)
        #expect(error?.mayHaveLeft == true)
        #expect(try #require(error).duration >= .milliseconds(300))
    }

    @Test func aRequestsOwnTimeoutBeatsTheClients() async throws {
        let server = try WireServer()
        let client = try plainClient()
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/charge"), timeout: .milliseconds(200))
        }
        await client.shutdown()
        #expect(error?.kind == .timeout)
        #expect(error?.mayHaveLeft == true)
    }

    /// It waits for the one connection; libcurl looks at its time only when that is free.
    @Test func nothingLeavesWhileNoConnectionIsFree() async throws {
        let server = try WireServer()
        let client = try plainClient { $0.maximumConnections = 1 }
        let first = Task {
            await #expect(throws: HTTPError.self) {
                try await client.post(server.url("/first"), timeout: .seconds(4))
            }
        }
        await server.posts.reaches(1)
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(server.url("/second"), timeout: .milliseconds(100))
        }
        #expect(await first.value?.mayHaveLeft == true)
        await client.shutdown()
        #expect(server.posts.count == 1)
        #expect(error?.kind == .timeout)
        #expect(error?.mayHaveLeft == false)
    }

    @Test func plainHTTPIsRefusedUnlessAllowed() async throws {
        let server = try WireServer { _ in .status(200) }
        let error = try await failure(server.url("/charge")) { $0.allowsPlainHTTP = false }
        #expect(error?.kind == .invalid)
        #expect(error?.mayHaveLeft == false)
        #expect(server.connections.count == 0)
    }

    @Test(arguments: [
        "ftp://127.0.0.1/", "file:///etc/hostname", "gopher://127.0.0.1/", "", "http://",
    ])
    func otherSchemesAreRefused(_ url: String) async throws {
        let error = try await failure(url)
        #expect(error?.kind == .invalid)
        #expect(error?.mayHaveLeft == false)
    }

    @Test(arguments: [
        ("X-Name", "value\r\nX-Smuggled: 1"), ("X-Name\r\nX-Smuggled", "1"), ("X-Name", "a\nb"),
        ("X-Name", "a␀b"), ("X-Name: 1, X-Smuggled", "1"),
    ])
    func aHeaderWithALineBreakIsRefused(_ name: String, _ value: String) async throws {
        let server = try WireServer { _ in .status(200) }
        let client = try plainClient()
        let error = await #expect(throws: HTTPError.self) {
            try await client.post(
                server.url("/charge"), headers: [(name, value.replacing("␀", with: "\0"))])
        }
        await client.shutdown()
        #expect(error?.kind == .invalid)
        #expect(error?.mayHaveLeft == false)
        #expect(server.connections.count == 0)
    }

    @Test func aURLWithALineBreakIsRefused() async throws {
        let server = try WireServer { _ in .status(200) }
        let error = try await failure(server.url("/charge HTTP/1.1\r\nX-Smuggled: 1\r\n"))
        #expect(error?.kind == .invalid)
        #expect(server.connections.count == 0)
    }
}
