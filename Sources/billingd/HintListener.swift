import Billing
import Logging
import Postgres
import ServiceLifecycle
import Worker

/// Turns NOTIFY into a wake-up. A hint only: without it everything is found by polling.
struct HintListener: Service {
    /// Raised by `billing.subscribe`, a new card and a moved clock.
    static let channel = "billing_due"

    let database: PostgresConfiguration
    let service: ChargingService
    let log: Logger

    func run() async throws {
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await listenForever() }
            try? await gracefulShutdown()
            group.cancelAll()
        }
    }

    private func listenForever() async {
        while !Task.isCancelled {
            do {
                let connection = try await PostgresConnection.connect(database)
                await withTaskCancellationHandler {
                    do {
                        try await connection.listen(Self.channel)
                        // What was announced before we listened is found by this look.
                        service.wake()
                        while !Task.isCancelled {
                            let hint = try await connection.notification(timeout: .seconds(30))
                            if hint != nil { service.wake() }
                        }
                    } catch {
                        log.info("listening for hints ended", metadata: ["reason": "\(error)"])
                    }
                } onCancel: {
                    connection.interrupt()
                }
                await connection.close()
            } catch {
                log.debug("no connection for hints", metadata: ["reason": "\(error)"])
            }
            try? await Task.sleep(for: .seconds(2))
        }
    }
}
