/// A message of NOTIFY.
package struct PostgresNotification: Hashable, Sendable {
    package var channel: String
    package var payload: String
}

/// A connection: an actor on a thread of its own, where libpq may block.
///
/// Inside the actor every call is synchronous, so that a transaction is never interleaved with
/// another one. After an error that leaves the connection in doubt it is closed; later calls throw
/// a `.connection` error at once.
package actor PostgresConnection {
    let executor: ThreadExecutor
    private let interruption = Interrupt()
    private let configuration: PostgresConfiguration
    private var handle: LibPQ?

    /// libpq's version, such as 150020.
    package static var libraryVersion: Int { Int(LibPQ.libraryVersion) }

    /// Connects. Throws a `.connection` error that names what libpq said.
    package static func connect(
        _ configuration: PostgresConfiguration
    ) async throws(PostgresError) -> PostgresConnection {
        let executor = ThreadExecutor()
        try executor.start()
        let connection = PostgresConnection(configuration, executor)
        try await connection.open()
        return connection
    }

    private init(_ configuration: PostgresConfiguration, _ executor: ThreadExecutor) {
        self.configuration = configuration
        self.executor = executor
    }

    deinit { executor.stop() }

    private func open() throws(PostgresError) { handle = try LibPQ(configuration) }

    /// Whether it can still be used: connected, and in no transaction that was left behind.
    package var isOpen: Bool { handle.map { $0.isHealthy && $0.isIdle } ?? false }

    /// Whether what goes over it can be neither read nor changed on the way: a Unix socket, this very
    /// machine, or TLS with a verified host name (`sslmode=verify-full`).
    package var isPrivate: Bool { handle?.isPrivate ?? false }

    package func close() { handle = nil }

    /// Runs `body` on the connection's thread, as one uninterrupted piece.
    package func run<Result: Sendable>(
        _ body: @Sendable (isolated PostgresConnection) throws -> Result
    ) throws -> Result {
        try body(self)
    }

    /// One statement. Past `deadline` it is cancelled at the server and a `.deadline` error thrown.
    package func query(
        _ query: PostgresQuery, deadline: Duration = .seconds(10)
    ) throws(PostgresError) -> PostgresRows {
        let handle = try live()
        do throws(PostgresError) {
            if handle.needsPrepare(query) {
                let name = try handle.sendPrepare(query)
                _ = try finish(handle, deadline)
                handle.isPrepared(query, as: name)
            }
            try handle.send(query)
            return try finish(handle, deadline).rows
        } catch {
            closeIfBroken()
            throw error
        }
    }

    /// Statements without parameters; returns the last one's rows.
    @discardableResult
    package func execute(
        script: String, deadline: Duration = .seconds(60)
    ) throws(PostgresError) -> PostgresRows {
        let handle = try live()
        do throws(PostgresError) {
            try handle.send(script: script)
            return try finish(handle, deadline).rows
        } catch {
            closeIfBroken()
            throw error
        }
    }

    /// No JIT: a record of 500 rows spent 3.3 s compiling what then ran in a fraction of one, whenever
    /// a guess of the planner crossed jit_above_cost. What values look like is set here, too: the
    /// environment (PGDATESTYLE) beats start-up options, and a pooler drops them.
    private static let begin = """
        BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
        SELECT set_config('synchronous_commit', 'on', true),
               set_config('search_path', '', true), set_config('DateStyle', 'ISO', true),
               set_config('IntervalStyle', 'postgres', true), set_config('TimeZone', 'UTC', true),
               set_config('jit', 'off', true)
        """

    /// For the hot path, whose tables are reached by an index for each row and whatever the planner
    /// knows of them: a table that was empty when it looked is not any more.
    private static let byIndex =
        begin
            + """
            , set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
                   set_config('enable_mergejoin', 'off', true),
                   set_config('plan_cache_mode', 'auto', true)
            """

    /// Runs `body` between BEGIN and COMMIT (READ COMMITTED). Its first statement sets
    /// `synchronous_commit` for this transaction, because the environment and role settings can
    /// turn it off behind our back.
    ///
    /// Throws what `body` threw, after a ROLLBACK; or a ``PostgresError``, whose `outcomeUnknown`
    /// says that the COMMIT may have happened all the same. `byIndex`: plans are made of index scans and
    /// nested loops only.
    package func transaction<Result: Sendable>(
        byIndex: Bool = false, _ body: @Sendable (isolated PostgresConnection) throws -> Result
    ) throws -> Result {
        let result: Result
        do {
            try execute(script: byIndex ? Self.byIndex : Self.begin, deadline: .seconds(10))
            result = try body(self)
        } catch {
            rollBack()
            // A server that takes no writes any more: the next connection may find one that does.
            if let state = (error as? PostgresError)?.sqlState, ["25006", "0A000"].contains(state) {
                handle = nil
            }
            throw error
        }
        try commit()
        return result
    }

    /// COMMIT is never cancelled: cancelled while it waits for a standby it *succeeds*, with a
    /// warning. It is only given up, and then nobody knows.
    private func commit() throws(PostgresError) {
        let handle = try live()
        handle.lastNotice = nil
        do throws(PostgresError) {
            try handle.send(script: "COMMIT")
            guard let answer = try handle.answer(until: .now + .seconds(30)) else {
                throw PostgresError(kind: .deadline, message: "COMMIT was not answered in 30 s")
            }
            // A failed transaction answers COMMIT with the tag ROLLBACK.
            guard answer.tag == "COMMIT" else {
                var error = PostgresError(
                    kind: .server, message: "the transaction was rolled back at COMMIT")
                error.sqlState = "40000"
                throw error
            }
            if handle.lastNotice == "01000" {
                var error = PostgresError(
                    kind: .server, message: "committed here, perhaps not on the standby",
                    sqlState: "01000")
                error.outcomeUnknown = true
                throw error
            }
        } catch {
            var error = error
            if error.kind == .connection || error.kind == .deadline || error.isConnectionLost {
                error.outcomeUnknown = true
                self.handle = nil
            }
            closeIfBroken()
            throw error
        }
    }

    private func rollBack() {
        guard let handle, handle.isHealthy, !handle.isIdle else { return closeIfBroken() }
        do {
            try handle.send(script: "ROLLBACK")
            _ = try finish(handle, .seconds(5))
        } catch {
            self.handle = nil
        }
    }

    /// Starts to listen; what was announced before is not heard.
    package func listen(_ channel: String) throws(PostgresError) {
        // A channel is an identifier of ours, never input: quoted all the same.
        let name = channel.unicodeScalars.map { $0 == "\"" ? "\"\"" : "\($0)" }.joined()
        try execute(script: "LISTEN \"\(name)\"")
    }

    /// The next notification; nil when `timeout` passed or ``interrupt()`` was called.
    package func notification(timeout: Duration) throws(PostgresError) -> PostgresNotification? {
        let handle = try live()
        let deadline = ContinuousClock.now + timeout
        do throws(PostgresError) {
            while true {
                if let notification = try handle.nextNotification() { return notification }
                switch try handle.waitReadable(
                    until: deadline, interrupt: interruption.descriptor)
                {
                case .readable: continue
                case .timedOut: return nil
                case .interrupted:
                    interruption.clear()
                    return nil
                }
            }
        } catch {
            self.handle = nil
            throw error
        }
    }

    /// Ends a wait for a notification at once. Any thread.
    package nonisolated func interrupt() { interruption.raise() }

    private func live() throws(PostgresError) -> LibPQ {
        guard let handle, handle.isHealthy else {
            throw PostgresError(kind: .connection, message: "the connection is closed")
        }
        return handle
    }

    private func finish(
        _ handle: LibPQ, _ limit: Duration
    ) throws(PostgresError) -> PostgresAnswer {
        if let answer = try handle.answer(until: .now + limit) { return answer }
        let late = PostgresError(kind: .deadline, message: "no answer in \(limit)")
        guard handle.cancel(within: .seconds(2)) else {
            self.handle = nil
            throw late
        }
        do throws(PostgresError) {
            // The cancelled statement still has to say so, or has ended in the very moment.
            if try handle.answer(until: .now + .seconds(2)) == nil { self.handle = nil }
        } catch {
            if !error.isConnectionLost, error.sqlState == "57014" { throw late }
            self.handle = nil
        }
        throw late
    }

    private func closeIfBroken() {
        if let handle, !handle.isHealthy { self.handle = nil }
    }
}
