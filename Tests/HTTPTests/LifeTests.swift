import Glibc
import HTTP
import TestSupport
import Testing

/// Ends: of a client, of the task that waits, and of what is printed.
@Suite(.timeLimit(.minutes(1))) struct LifeTests {
    @Test func shutdownWaitsForWhatIsInFlight() async throws {
        let server = try WireServer { $0.method == "POST" ? .hold : .status(200) }
        let client = try plainClient()
        let charge = Task { try await client.post(server.url("/charge")).status }
        await server.posts.reaches(1)
        let ends = Tally()
        try await withThrowingTaskGroup { group in
            group.addTask {
                await client.shutdown()
                ends.add()
            }
            // Shutting down has begun when further requests are refused.
            var refusal: HTTPError?
            while refusal == nil {
                do throws(HTTPError) {
                    _ = try await client.get(server.url("/look-up"))
                } catch {
                    refusal = error
                }
            }
            #expect(refusal?.mayHaveLeft == false)
            #expect(ends.count == 0)
            server.release()
            try await group.waitForAll()
        }
        #expect(try await charge.value == 200)
        // Again, and at once.
        await client.shutdown()
    }

    @Test func aClientWithoutRequestsShutsDownAtOnce() async throws {
        let client = try plainClient()
        await client.shutdown()
        let error = await #expect(throws: HTTPError.self) {
            try await client.get("http://127.0.0.1:1/")
        }
        #expect(error?.mayHaveLeft == false)
    }

    @Test func cancellingTheTaskDoesNotEndTheTransfer() async throws {
        let server = try WireServer()
        let client = try plainClient()
        let charge = Task { try await client.post(server.url("/charge")) }
        await server.posts.reaches(1)
        charge.cancel()
        server.release()
        #expect(try await charge.value.status == 200)
        await client.shutdown()
    }

    @Test func aTaskThatIsCancelledBeforehandSendsAllTheSame() async throws {
        let server = try WireServer { _ in .status(200) }
        let client = try plainClient()
        let charge = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return try await client.post(server.url("/charge")).status
        }
        #expect(try await charge.value == 200)
        await client.shutdown()
    }

    /// Where a task of the client's executor runs: always the same thread, and not this one.
    @Test func tasksRunOnTheClientsThreadAndOutliveIt() async throws {
        let server = try WireServer { _ in .status(200) }
        let client = try plainClient()
        let executor = client.executor
        let threads = try await withThrowingTaskGroup { group in
            for _ in 0..<50 {
                group.addTask(executorPreference: executor) {
                    let before = pthread_self()
                    _ = try await client.post(server.url("/charge"))
                    return [before, pthread_self()]
                }
            }
            return try await group.reduce(into: Set<pthread_t>()) { $0.formUnion($1) }
        }
        #expect(threads.count == 1)
        #expect(server.posts.count == 50)
        await client.shutdown()
        // The thread has ended: a task that comes now still comes to its end.
        let late = Task(executorPreference: executor) {
            await Task.yield()
            let error = await #expect(throws: HTTPError.self) {
                try await client.get(server.url("/look-up"))
            }
            return error?.mayHaveLeft
        }
        #expect(await late.value == false)
    }

    /// Many tasks that come together are begun a few at a time: those that are begun go on first.
    @Test func whatIsBegunGoesOnBeforeMoreIsBegun() async throws {
        let client = try plainClient()
        let executor = client.executor
        let added = Tally()
        let begun = Tally()
        let ended = Tally()
        let most = await withTaskGroup { group in
            for _ in 0..<400 {
                group.addTask(executorPreference: executor) {
                    // Nothing moves before all are there.
                    while added.count == 0 { sched_yield() }
                    begun.add()
                    await Task.yield()
                    ended.add()
                    return begun.count - ended.count
                }
            }
            added.add()
            return await group.reduce(0) { max($0, $1) }
        }
        #expect(ended.count == 400)
        #expect(most < 50)
        await client.shutdown()
    }

    @Test func aTaskThatYieldsAllTheTimeKeepsNobodyFromAnAnswer() async throws {
        let server = try WireServer { _ in .status(200) }
        let client = try plainClient()
        let answered = Tally()
        let busy = Task(executorPreference: client.executor) {
            while answered.count == 0 { await Task.yield() }
        }
        #expect(try await client.post(server.url("/charge")).status == 200)
        answered.add()
        await busy.value
        await client.shutdown()
    }

    @Test func requestsSpreadOverShardsAndEachIsAnsweredOnce() async throws {
        let server = try WireServer { _ in .hold }
        // Three shards: 250, 250 and 10.
        let client = try plainClient { $0.maximumConnections = 510 }
        try await withThrowingTaskGroup { group in
            for number in 0..<600 {
                group.addTask { try await client.post(server.url("/\(number)")).status }
            }
            await server.posts.reaches(510)
            #expect(server.connections.count == 510)
            server.release()
            for try await status in group { #expect(status == 200) }
        }
        await client.shutdown()
        #expect(server.connections.count == 510)
        #expect(server.posts.count == 600)
    }

    @Test func aRequestsOwnHeadersAreNotTheNextOnes() async throws {
        let server = try WireServer { _ in .status(200) }
        let client = try plainClient()
        func send(
            _ common: [(name: String, value: String)], _ own: [(name: String, value: String)]
        ) async throws {
            _ = try await client.send(
                HTTPRequest(
                    method: .post(body: [1]), url: server.url("/"), headers: common,
                    ownHeaders: own))
        }
        try await send([("X-Common", "1")], [("X-Own", "a"), ("X-Other", "b")])
        try await send([("X-Common", "1")], [])
        try await send([("X-Common", "2")], [("X-Own", "c")])
        await client.shutdown()
        let lines = server.heads.map { head in
            head.split(separator: "\r\n").filter { $0.hasPrefix("X-") }.sorted()
        }
        #expect(
            lines == [
                ["X-Common: 1", "X-Other: b", "X-Own: a"], ["X-Common: 1"],
                ["X-Common: 2", "X-Own: c"],
            ])
    }

    @Test func aRequestDoesNotPrintItself() {
        let request = HTTPRequest(
            method: .post(body: Array("S3CRET".utf8)), url: "https://host/S3CRET",
            headers: [("Authorization", "S3CRET")])
        var dumped = ""
        dump(request, to: &dumped)
        for text in ["\(request)", String(reflecting: request), dumped, "\([request])"] {
            #expect(!text.contains("S3CRET"))
            #expect(text.utf8.count < 100)
        }
    }

    @Test func anErrorSaysWhetherAnythingLeft() {
        let unknown = HTTPError(kind: .resendRefused, curlCode: 65, mayHaveLeft: true)
        let harmless = HTTPError(kind: .connect, curlCode: 7, mayHaveLeft: false)
        #expect("\(unknown)" == "resendRefused (curl 65), may have left")
        #expect("\(harmless)" == "connect (curl 7), nothing left")
    }
}
