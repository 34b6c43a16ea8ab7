import Glibc
import HTTP
import TestSupport
import Testing

/// A proxy would see every request: only one that was asked for is used.
@Suite(.timeLimit(.minutes(1))) struct ProxyTests {
    /// In a process of its own, because the environment belongs to all tests.
    @Test func theEnvironmentsProxyIsIgnored() async throws {
        let server = try WireServer { _ in .status(200) }
        let proxy = try WireServer { _ in .status(502) }
        await #expect(processExitsWith: .success) {
            [url = server.url("/charge") as String, proxy = proxy.url("") as String] in
            for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
                setenv(name, proxy, 1)
            }
            unsetenv("no_proxy")
            unsetenv("NO_PROXY")
            let client = try plainClient()
            let answer = try await client.post(url)
            await client.shutdown()
            #expect(answer.status == 200)
        }
        #expect(server.posts.count == 1)
        #expect(proxy.connections.count == 0)
    }

    @Test func anExplicitProxyTunnelsAndSeesNoPath() async throws {
        let proxy = try WireServer { _ in .status(403) }
        let client = try plainClient { $0.proxy = proxy.url("") }
        let error = await #expect(throws: HTTPError.self) {
            try await client.post("https://charges.invalid/v1/billing/the-secret")
        }
        await client.shutdown()
        let head = try #require(proxy.heads.first)
        #expect(head.hasPrefix("CONNECT charges.invalid:443 HTTP/1.1\r\n"))
        #expect(!proxy.heads.contains { $0.contains("the-secret") })
        #expect(error?.mayHaveLeft == false)
    }

    @Test func tlsKeysAreNotWrittenToTheFileThatTheEnvironmentNames() async throws {
        await #expect(processExitsWith: .success) {
            setenv("SSLKEYLOGFILE", "/dev/null", 1)
            let client = try plainClient()
            await client.shutdown()
            #expect(getenv("SSLKEYLOGFILE") == nil)
        }
    }
}
