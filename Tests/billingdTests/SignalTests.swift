import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

extension ProcessTests {
    /// What a signal does to requests that are under way.
    @Suite struct SignalTests {
        /// 200 requests that the provider has executed, and answers two seconds later.
        private func inFlight(_ stage: Stage, _ options: [String] = []) async throws
            -> ChildProcess
        {
            try await stage.subscribers(200)
            let worker = try await stage.worker(options)
            try await eventually("200 requests are under way") {
                let books = try stage.sandbox.books()
                #expect(books.approvals == books.unanswered, "the first were answered already")
                return books.unanswered == 200
            }
            return worker
        }

        @Test(arguments: [SIGTERM, SIGINT])
        func whatIsInFlightEndsAndIsRecorded(signal: Int32) async throws {
            let stage = try await Stage(latencyMilliseconds: 2_000)
            let worker = try await inFlight(stage)
            worker.kill(signal)
            let stopped = ContinuousClock.now
            #expect(await worker.ended() == 0)
            let took = ContinuousClock.now - stopped
            #expect(took > .milliseconds(200) && took < .seconds(15), "took \(took)")
            let log = worker.errors
            #expect(log.contains("\"in_flight\":\"200\""), "\(log)")
            #expect(log.contains("stopped: everything is recorded"))
            try await stage.expectSound(payments: 200)
            #expect(try await stage.count("billing.workers WHERE state <> 'stopped'") == 0)
        }

        @Test func aHangUpEndsInOrderAndAsksForANewStart() async throws {
            let stage = try await Stage(latencyMilliseconds: 2_000)
            let worker = try await inFlight(stage)
            worker.kill(SIGHUP)
            #expect(await worker.ended() == 75)
            #expect(worker.errors.contains("stopped: everything is recorded"))
            try await stage.expectSound(payments: 200)
        }

        @Test func anOrderToStopBeatsAHangUp() async throws {
            let stage = try await Stage(latencyMilliseconds: 2_000)
            let worker = try await inFlight(stage)
            worker.kill(SIGHUP)
            try await eventually("it is stopping") { worker.errors.contains("\"stopping\"") }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            try await stage.expectSound(payments: 200)
        }

        /// What systemd hears, from the start to a stop with requests in flight.
        @Test func systemdHearsHowItStands() async throws {
            let stage = try await Stage(latencyMilliseconds: 2_000)
            try await stage.subscribers(20)
            let socket = try NotifySocket()
            let worker = try await stage.worker([], ["NOTIFY_SOCKET": socket.path])
            try await eventually("20 are in flight") {
                try socket.read().contains("STATUS=charging: 20 in flight; last minute 0 paid")
            }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            let told = try socket.read()
            #expect(told.contains("READY=1"))
            #expect(told.contains("STOPPING=1"))
            #expect(told.contains("EXTEND_TIMEOUT_USEC=15000000"))
            // How many are left when it is told is a matter of moments.
            #expect(told.contains("STATUS=stopping: "), "\(told)")
            #expect(told.contains(" in flight are finished and recorded; last minute"), "\(told)")
        }

        @Test func aSecondSignalEndsAtOnceAndAnotherWorkerResolves() async throws {
            let stage = try await Stage(latencyMilliseconds: 2_000)
            try await stage.scale(requestTimeout: "3 seconds", lease: "10 seconds")
            let worker = try await inFlight(stage)
            worker.kill(SIGTERM)
            try await eventually("it is stopping") { worker.errors.contains("\"stopping\"") }
            let second = ContinuousClock.now
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 130)
            #expect(ContinuousClock.now - second < .seconds(1))
            #expect(try await stage.count("billing.attempts WHERE state = 'open'") == 200)

            let next = try await stage.worker()
            try await stage.paid(200)
            next.kill(SIGTERM)
            #expect(await next.ended() == 0)
            try await stage.expectSound(payments: 200)
            // Found at the provider, not sent again.
            #expect(
                try await stage.count("billing.attempts WHERE code = 'LOOKED_UP' AND sends = 1")
                    == 200)
        }

        @Test func unsentClaimsAreGivenBack() async throws {
            let stage = try await Stage(latencyMilliseconds: 500)
            try await stage.subscribers(300)
            let worker = try await stage.worker(["--max-in-flight", "50"])
            try await eventually("some are paid") { try stage.sandbox.books().approvals > 60 }
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            #expect(
                try await stage.count("billing.subscriptions WHERE lease_until IS NOT NULL") == 0)
            let rest = try await stage.billingd(["once"])
            #expect(rest.status == 0)
            try await stage.expectSound(payments: 300)
        }
    }
}

/// The receiving end of sd_notify(3).
private final class NotifySocket: Sendable {
    let path: String
    private let descriptor: Int32
    private let heard = Mutex("")

    init() throws {
        path = FileManager.default.temporaryDirectory.path() + "/n-\(UUID().uuidString.prefix(8))"
        descriptor = socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(result == 0, "bind: errno \(errno)")
    }

    deinit {
        close(descriptor)
        unlink(path)
    }

    /// All datagrams so far, one a line.
    func read() throws -> String {
        heard.withLock { heard in
            var buffer = [UInt8](repeating: 0, count: 4_096)
            while true {
                let count = recv(descriptor, &buffer, buffer.count, 0)
                guard count > 0 else { return heard }
                heard += String(decoding: buffer.prefix(count), as: UTF8.self) + "\n"
            }
        }
    }
}
