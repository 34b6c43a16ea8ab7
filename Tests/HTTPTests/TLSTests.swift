import Foundation
import HTTP
import TestSupport
import Testing

/// A certificate of its own making, for 127.0.0.1 only, and a server that shows it.
private final class TLSServer: Sendable {
    private let folder: URL
    private let child: ChildProcess
    let port: Int

    var certificate: String { folder.appending(path: "certificate.pem").path() }

    init(protocolOption: [String] = []) async throws {
        let folder = FileManager.default.temporaryDirectory
            .appending(path: "billingd-tls-\(UUID().uuidString)")
        self.folder = folder
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let files = (
            folder.appending(path: "key.pem").path(),
            folder.appending(path: "certificate.pem").path()
        )
        try await Self.makeCertificate(key: files.0, certificate: files.1)
        let child = try await ChildProcess(
            URL(filePath: "/usr/bin/openssl"),
            ["s_server", "-accept", "127.0.0.1:0", "-cert", files.1, "-key", files.0, "-www"]
                + protocolOption)
        self.child = child
        var found: Int?
        try await eventually("the TLS server listens") {
            found = child.output.split(whereSeparator: \.isNewline)
                .first { $0.hasPrefix("ACCEPT ") }
                .flatMap { Int($0.drop { $0 != ":" }.dropFirst()) }
            return found != nil
        }
        port = try #require(found)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    static func makeCertificate(key: String, certificate: String) async throws {
        let made = try await ChildProcess.run(
            URL(filePath: "/usr/bin/openssl"),
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test",
                "-addext", "subjectAltName=IP:127.0.0.1",
            ])
        guard made.status == 0 else { throw ChildProcess.Failure("openssl req: \(made.errors)") }
    }
}

/// The provider is who its certificate says, or nothing leaves.
@Suite(.timeLimit(.minutes(1))) struct TLSTests {
    private func client(caFile: String?) throws -> HTTPClient {
        var configuration = HTTPClient.Configuration()
        configuration.caFile = caFile
        return try HTTPClient(configuration)
    }

    @Test func aKnownCertificateIsTrusted() async throws {
        let server = try await TLSServer()
        let client = try client(caFile: server.certificate)
        let answer = try await client.get("https://127.0.0.1:\(server.port)/")
        await client.shutdown()
        #expect(answer.status == 200)
        #expect(answer.text.contains("TLSv1.3"))
    }

    enum Doubt: String, Sendable, CaseIterable {
        case unknownAuthority, otherAuthority, otherHost, tls11, noFile
    }

    @Test(arguments: Doubt.allCases)
    func nothingLeavesForADoubtfulCertificate(_ doubt: Doubt) async throws {
        let server = try await TLSServer(
            protocolOption: doubt == .tls11
                ? ["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"] : [])
        let other = doubt == .otherAuthority ? try await TLSServer() : server
        let client = try client(
            caFile: doubt == .unknownAuthority
                ? nil : doubt == .noFile ? "/nonexistent.pem" : other.certificate)
        let host = doubt == .otherHost ? "localhost" : "127.0.0.1"
        let error = await #expect(throws: HTTPError.self) {
            try await client.post("https://\(host):\(server.port)/charge")
        }
        await client.shutdown()
        #expect(error?.kind == .tls)
        #expect(error?.mayHaveLeft == false)
    }
}
