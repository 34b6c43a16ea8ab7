package import Foundation
import Glibc
import Synchronization

/// A program under test. It never outlives the tests, however these end: the kernel ends it when
/// the thread that started it is gone, and that thread waits for its end.
package final class ChildProcess: Sendable {
    /// Why a program did not do what the test waited for.
    package struct Failure: Error, CustomStringConvertible {
        package var description: String
        package init(_ description: String) { self.description = description }
    }

    private final class Ending: Sendable {
        struct State {
            var status: Int32?
            var waiters: [CheckedContinuation<Int32, Never>] = []
        }
        let state = Mutex(State())

        func end(_ status: Int32) {
            let waiters = state.withLock { state in
                state.status = status
                defer { state.waiters = [] }
                return state.waiters
            }
            for waiter in waiters { waiter.resume(returning: status) }
        }
    }

    package let pid: Int32
    private let folder: URL
    private let isKept: Bool
    private let ending: Ending

    /// Starts `program` with this environment and a plain PATH, and nothing else of ours: no
    /// signal masks; our descriptors close on exec. `lastSignal`: what it gets when the tests are gone.
    /// `kept`: a folder where its words, `out` and `err`, stay when it is gone.
    package init(
        _ program: URL, _ arguments: [String], environment: [String: String] = [:],
        lastSignal: String = "KILL", into kept: URL? = nil
    ) async throws {
        let folder =
            kept
            ?? FileManager.default.temporaryDirectory
            .appending(path: "billingd-test-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let words = ["/usr/bin/setpriv", "--pdeathsig", lastSignal, program.path()] + arguments
        let variables = ["PATH": "/usr/local/bin:/usr/bin:/bin"]
            .merging(environment) { $1 }.map { "\($0)=\($1)" }
        let ending = Ending()
        let pid = await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                let pid = Self.spawn(words, variables, output: folder.path())
                continuation.resume(returning: pid)
                guard pid > 0 else { return }
                var status: Int32 = 0
                while waitpid(pid, &status, 0) < 0, errno == EINTR {}
                ending.end(status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f))
            }
        }
        self.folder = folder
        self.isKept = kept != nil
        self.ending = ending
        self.pid = pid
        guard pid > 0 else { throw Failure("\(program.path()) cannot be started") }
    }

    deinit {
        kill(SIGKILL)
        if !isKept { try? FileManager.default.removeItem(at: folder) }
    }

    private static func spawn(
        _ words: [String], _ variables: [String], output folder: String
    ) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let writing = O_WRONLY | O_CREAT | O_APPEND
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, folder + "/out", writing, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, folder + "/err", writing, 0o600)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Threads of the tests block signals; a program must not inherit that.
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var argv: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var envp: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
        defer { for text in argv + envp { free(text) } }
        var pid: Int32 = 0
        return posix_spawn(&pid, words[0], &actions, &attributes, &argv, &envp) == 0 ? pid : -1
    }

    /// What it wrote so far.
    package var output: String { read("out") }
    package var errors: String { read("err") }

    private func read(_ name: String) -> String {
        (try? Data(contentsOf: folder.appending(path: name)))
            .map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    /// It has not ended yet.
    package var isRunning: Bool { ending.state.withLock { $0.status == nil } }

    package func kill(_ signal: Int32) {
        // The number may be another's once the program has ended.
        if isRunning { _ = Glibc.kill(pid, signal) }
    }

    /// Its exit status, once it has ended; 128 and the signal's number if one ended it. A test whose
    /// time is up is cancelled: that ends the program, which would go on for ever otherwise.
    @discardableResult
    package func ended() async -> Int32 {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let status = ending.state.withLock { state -> Int32? in
                    if state.status == nil { state.waiters.append(continuation) }
                    return state.status
                }
                if let status { continuation.resume(returning: status) }
            }
        } onCancel: {
            kill(SIGKILL)
        }
    }

    /// Runs a program to its end.
    package static func run(
        _ program: URL, _ arguments: [String], environment: [String: String] = [:],
        into kept: URL? = nil
    ) async throws -> (status: Int32, output: String, errors: String) {
        let child = try await ChildProcess(
            program, arguments, environment: environment, into: kept)
        let status = await child.ended()
        return (status, child.output, child.errors)
    }
}

/// Asks again and again until `condition` holds: for what happens in other processes, where no
/// event can be awaited. Throws after `limit`, naming what it waited for.
package func eventually(
    _ what: String, within limit: Duration = .seconds(20),
    _ condition: () async throws -> Bool
) async throws {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
        guard ContinuousClock.now < deadline else {
            throw ChildProcess.Failure("not within \(limit): \(what)")
        }
        try await ContinuousClock().sleep(for: .milliseconds(10))
    }
}
