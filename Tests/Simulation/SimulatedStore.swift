import Billing

/// The port of one worker to the ``Database``.
struct SimulatedStore: Store {
    let node: Node
    let database: Database

    func claim(limit: Int) async throws(StoreError) -> Claim {
        let result: Result<Claim, StoreError> = await withUnsafeContinuation { continuation in
            database.claim(limit, node) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    func record(_ transitions: [Transition]) async throws(StoreError) -> [Verdict] {
        let result: Result<[Verdict], StoreError> = await withUnsafeContinuation { continuation in
            database.record(transitions, node) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    func release(_ work: [Work]) async throws(StoreError) {
        let result: Result<Bool, StoreError> = await withUnsafeContinuation { continuation in
            database.release(work, node) { continuation.resume(returning: $0) }
        }
        _ = try result.get()
    }

    func report(_ worker: WorkerReport) async throws(StoreError) {}
}
