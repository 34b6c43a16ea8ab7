import Synchronization

/// A connection that is made when it is needed, and made again after it broke. It repeats nothing:
/// whether a piece of work may be repeated is for its owner to know.
package actor PostgresSession {
    private let configuration: PostgresConfiguration
    private var connection: PostgresConnection?
    private var connecting: Task<PostgresConnection, any Error>?

    private let made = Atomic<Int>(0)

    /// Connections that were made so far; all but the first replaced one that broke.
    package nonisolated var connections: Int { made.load(ordering: .relaxed) }

    package init(_ configuration: PostgresConfiguration) { self.configuration = configuration }

    /// Runs `body` on the connection's own thread. Throws what it throws, or a `.connection`
    /// ``PostgresError`` when there is no connection to be had.
    package func withConnection<Result: Sendable>(
        _ body: @Sendable (isolated PostgresConnection) throws -> Result
    ) async throws -> Result {
        let connection = try await live()
        return try await connection.run(body)
    }

    package func close() async {
        await connection?.close()
        connection = nil
    }

    private func live() async throws -> PostgresConnection {
        if let connection, await connection.isOpen { return connection }
        // One connects, all others wait for it.
        if let connecting { return try await connecting.value }
        let task = Task { try await PostgresConnection.connect(configuration) }
        connecting = task
        defer { connecting = nil }
        let made = try await task.value
        connection = made
        self.made.add(1, ordering: .relaxed)
        return made
    }
}
