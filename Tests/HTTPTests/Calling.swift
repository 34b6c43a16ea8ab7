import HTTP
import TestSupport

/// A client that may talk plain HTTP, with short limits where a test waits for them.
func plainClient(
    _ change: (inout HTTPClient.Configuration) -> Void = { _ in }
) throws -> HTTPClient {
    var configuration = HTTPClient.Configuration()
    configuration.allowsPlainHTTP = true
    configuration.connectTimeout = .seconds(20)
    configuration.requestTimeout = .seconds(40)
    change(&configuration)
    return try HTTPClient(configuration)
}

extension HTTPClient {
    func get(_ url: String, timeout: Duration? = nil) async throws(HTTPError) -> HTTPResponse {
        try await send(HTTPRequest(method: .get, url: url, headers: [], timeout: timeout))
    }

    func post(
        _ url: String, _ body: String = #"{"amount":14900}"#,
        headers: [(name: String, value: String)] = [("Content-Type", "application/json")],
        timeout: Duration? = nil
    ) async throws(HTTPError) -> HTTPResponse {
        try await send(
            HTTPRequest(
                method: .post(body: Array(body.utf8)), url: url, headers: headers,
                timeout: timeout))
    }

    /// Opens `count` connections to `server` at once, which all are kept. The server must hold
    /// GETs; it is released by this.
    func warm(_ count: Int, _ server: WireServer) async throws {
        try await withThrowingTaskGroup { group in
            for _ in 0..<count {
                group.addTask { _ = try await get(server.url("/warm")) }
            }
            await server.requests.reaches(count)
            server.release()
            try await group.waitForAll()
        }
    }
}

extension HTTPResponse {
    var text: String { String(decoding: body, as: UTF8.self) }
}
