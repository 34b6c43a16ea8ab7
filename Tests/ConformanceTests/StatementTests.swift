import Billing
import Foundation
import Postgres
import TestSupport
import Testing

@testable import BillingStore
@testable import Postgres

/// Each statement of the hot path stands against `schema.sql` and the worker's rights.
@Suite struct StatementTests {
    private static let statements: [(name: String, query: PostgresQuery)] = [
        ("permission", ClaimSQL.permission(fingerprint: "", mode: "test", schemaVersion: 1)),
        ("lock", ClaimSQL.lock(limit: 1)), ("lock newest", ClaimSQL.lockNewest(limit: 1, but: [1])),
        ("lock one", ClaimSQL.lock(1)),
        ("read", ClaimSQL.read([1])),
        ("write", ClaimSQL.write(ClaimRows(), worker: "", lease: 1, fingerprint: "")),
        ("set aside", ClaimSQL.setAside(1, reason: "")), ("next due", ClaimSQL.nextDue()),
        ("release", ClaimSQL.release([1], leases: [1], sends: [true], worker: "")),
        ("lock keys", ClaimSQL.lockKeys([1])), ("declines of keys", ClaimSQL.keyDeclines([1])),
        ("lock day", LimitSQL.lockDay()), ("won left", LimitSQL.wonLeft()),
        ("refill", LimitSQL.refill(burst: 1, rate: 1)), ("spend", LimitSQL.spend(1)),
        ("lock record", RecordSQL.lock([1])),
        ("record", RecordSQL.apply(RecordRows([]), worker: "")),
    ]

    @Test func everyStatementOfTheHotPathCanBePrepared() async throws {
        let database = try await TemporaryPostgres.shared.database()
        let worker = try await database.connect(as: .worker)
        for (index, (name, query)) in Self.statements.enumerated() {
            let types = try await query.parameters.asyncMap { parameter in
                try await worker.execute(
                    script: "SELECT format_type(\(parameter.oid), NULL) AS name"
                )[0].string("name")
            }
            let list = types.isEmpty ? "" : "(\(types.joined(separator: ", ")))"
            do {
                try await worker.execute(
                    script: "PREPARE statement_\(index) \(list) AS \(query.text)")
            } catch {
                Issue.record("\(name): \(error)")
            }
        }
        await worker.close()
    }
}

extension Sequence {
    fileprivate func asyncMap<Result>(
        _ body: (Element) async throws -> Result
    ) async throws -> [Result] {
        var results: [Result] = []
        for element in self { results.append(try await body(element)) }
        return results
    }
}
