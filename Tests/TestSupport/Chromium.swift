package import Foundation
import Glibc

/// A headless Chromium, spoken to over a pair of pipes in its DevTools protocol
/// (chromedevtools.github.io/devtools-protocol): JSON texts, each with a NUL behind it. It has a profile
/// of its own in a temporary folder, and ends with the test.
package final class Chromium {
    package static let program = URL(filePath: "/usr/bin/chromium")

    package static var isInstalled: Bool {
        FileManager.default.isExecutableFile(atPath: program.path())
    }

    /// Longest that one answer may take on a machine that runs all tests at once.
    private static let patience = Duration.seconds(60)

    /// How a page is looked at.
    package struct View: Sendable, CustomStringConvertible {
        package var language: String
        package var isDark: Bool
        /// In CSS pixels.
        package var width: Int

        package init(language: String, isDark: Bool, width: Int) {
            self.language = language
            self.isDark = isDark
            self.width = width
        }

        package var description: String {
            "\(language), \(isDark ? "dark" : "light"), \(width) px"
        }
    }

    private let child: ChildProcess
    private let folder: URL
    private let writing: Int32
    private let reading: Int32
    private var session = ""
    private var number = 0
    private var unread: [UInt8] = []
    private var answers: [Int: [String: Any]] = [:]
    private var loads = 0
    /// What the browser complained of since the last ``open(_:as:)``: errors of scripts, of the network and
    /// of policies, and whatever else it writes on its console.
    package private(set) var complaints: [String] = []

    package init() async throws {
        let folder = FileManager.default.temporaryDirectory
            .appending(path: "billingd-test-chromium-\(UUID().uuidString)")
        self.folder = folder
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let pipes = ["in", "out"].map { folder.appending(path: $0).path() }
        for pipe in pipes {
            guard mkfifo(pipe, 0o600) == 0 else {
                throw ChildProcess.Failure("mkfifo: errno \(errno)")
            }
        }
        // Both for reading and writing: such an open waits for nobody.
        writing = Glibc.open(pipes[0], O_RDWR | O_CLOEXEC)
        reading = Glibc.open(pipes[1], O_RDWR | O_CLOEXEC | O_NONBLOCK)
        child = try await ChildProcess(
            URL(filePath: "/bin/sh"),
            [
                "-c", #"exec "$0" "$@" 3<"$IN" 4>"$OUT""#, Self.program.path(), "--headless",
                "--remote-debugging-pipe", "--user-data-dir=\(folder.path())/profile",
                // The tests may be root's; the page is our own.
                "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update",
                "--disable-sync", "--no-proxy-server", "about:blank",
            ],
            environment: ["HOME": folder.path(), "IN": pipes[0], "OUT": pipes[1]])
        let target = try await call("Target.createTarget", ["url": "about:blank"])
        let attached = try await call(
            "Target.attachToTarget", ["targetId": target["targetId"] ?? "", "flatten": true])
        session = attached["sessionId"] as? String ?? ""
        for domain in ["Page", "Runtime", "Log", "Network"] {
            _ = try await call("\(domain).enable")
        }
    }

    deinit {
        child.kill(SIGKILL)
        close(writing)
        close(reading)
        try? FileManager.default.removeItem(at: folder)
    }

    /// Opens a page and waits until all of it is there.
    package func open(_ address: String, as view: View) async throws {
        _ = try await call(
            "Network.setExtraHTTPHeaders", ["headers": ["Accept-Language": view.language]])
        let scheme = ["name": "prefers-color-scheme", "value": view.isDark ? "dark" : "light"]
        _ = try await call("Emulation.setEmulatedMedia", ["features": [scheme]])
        _ = try await call(
            "Emulation.setDeviceMetricsOverride",
            [
                "width": view.width, "height": 800, "deviceScaleFactor": 1,
                "mobile": view.width < 600,
            ])
        complaints = []
        let before = loads
        let answer = try await call("Page.navigate", ["url": address])
        if let trouble = answer["errorText"] {
            throw ChildProcess.Failure("\(address): \(trouble)")
        }
        try await eventually("\(address) is loaded", within: Self.patience) {
            try receive()
            return loads > before
        }
    }

    /// The value of an expression in the page; a promise is waited for.
    package func value<Value: Decodable>(
        _ expression: String, as type: Value.Type = Value.self
    ) async throws -> Value {
        let answer = try await call(
            "Runtime.evaluate",
            [
                "expression": "Promise.resolve(\(expression)).then(JSON.stringify)",
                "awaitPromise": true, "returnByValue": true,
            ])
        let result = answer["result"] as? [String: Any]
        guard answer["exceptionDetails"] == nil, let text = result?["value"] as? String else {
            throw ChildProcess.Failure("\(expression.prefix(200)): \(answer)")
        }
        return try JSONDecoder().decode(Value.self, from: Data(text.utf8))
    }

    /// Runs a script in the page, which the page's own policy does not forbid.
    package func run(_ script: String) async throws {
        let answer = try await call("Runtime.evaluate", ["expression": script])
        guard answer["exceptionDetails"] == nil else { throw ChildProcess.Failure("\(answer)") }
    }

    /// A picture of the whole page, PNG.
    package func picture() async throws -> Data {
        let answer = try await call("Page.captureScreenshot", ["captureBeyondViewport": true])
        return Data(base64Encoded: answer["data"] as? String ?? "") ?? Data()
    }

    // MARK: The protocol

    private func call(
        _ method: String, _ parameters: [String: Any] = [:]
    ) async throws -> [String: Any] {
        number += 1
        let mine = number
        var message: [String: Any] = ["id": mine, "method": method, "params": parameters]
        if !session.isEmpty { message["sessionId"] = session }
        var bytes = Array(try JSONSerialization.data(withJSONObject: message))[...]
        bytes.append(0)
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(writing, $0.baseAddress, $0.count) }
            guard count > 0 else { throw ChildProcess.Failure("write: errno \(errno)") }
            bytes = bytes.dropFirst(count)
        }
        var answer: [String: Any]?
        try await eventually("Chromium answers \(method)", within: Self.patience) {
            try receive()
            answer = answers.removeValue(forKey: mine)
            if answer == nil, !child.isRunning {
                throw ChildProcess.Failure("Chromium ended: \(child.errors.suffix(1_000))")
            }
            return answer != nil
        }
        if let error = answer?["error"] { throw ChildProcess.Failure("\(method): \(error)") }
        return answer?["result"] as? [String: Any] ?? [:]
    }

    /// Takes what has come, without waiting.
    private func receive() throws {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(reading, &buffer, buffer.count)
            guard count > 0 else { break }
            unread += buffer[..<count]
        }
        while let end = unread.firstIndex(of: 0) {
            let message = try JSONSerialization.jsonObject(with: Data(unread[..<end]))
            unread.removeFirst(end + 1)
            if let message = message as? [String: Any] { take(message) }
        }
    }

    private func take(_ message: [String: Any]) {
        if let id = message["id"] as? Int {
            answers[id] = message
            return
        }
        let details = message["params"] as? [String: Any] ?? [:]
        switch message["method"] as? String {
        case "Page.loadEventFired": loads += 1
        case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded",
            "Network.loadingFailed":
            complaints.append("\(details)")
        default: break
        }
    }
}
