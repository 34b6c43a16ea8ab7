import Foundation
import Postgres
import TestSupport

/// Whether a charge costs the same in a large table, in one that is years old, and beside a snapshot
/// that keeps every dead row alive. By ``LedgerRun``: the daemon's own share does not depend on it.
struct Growth {
    struct Size: Codable {
        var subscriptions: Int
        /// Seconds that the rows took to be made.
        var filling: Double
        var run: LedgerRun.Result
    }

    struct Snapshot: Codable {
        var alone: LedgerRun.Result
        var held: LedgerRun.Result
    }

    struct Years: Codable {
        var months: [Month]
        /// Megabytes after the last, by table: heap and indexes.
        var tables: [Table]
    }

    struct Month: Codable {
        var run: LedgerRun.Result
        /// Microseconds of PostgreSQL's processor time a charge from the last record until autovacuum
        /// had nothing to do.
        var vacuum: Double
    }

    struct Table: Codable {
        var name: String
        var heap: Double
        var indexes: Double
    }

    let site: Site

    /// Charges of one size's measurement.
    private static let charges = 10_000

    /// One in a hundred rows is due at a time. A small table is drained a hundred times, a large one
    /// once, so that each size charges as often and in claims of a hundred.
    func size(_ subscriptions: Int) async throws -> Size {
        let start = BootClock.now
        try await site.fill(subscriptions, due: .inTurns)
        let filling = Double(BootClock.now - start) / 1e9
        let rounds = max(1, Self.charges * 100 / subscriptions)
        let clock = try await site.database.connect()
        let run = try await LedgerRun(site: site).run(
            LedgerRun.Plan(
                name: "\(subscriptions) subscriptions", charges: Self.charges, batch: 100,
                overlaps: false),
            rounds: rounds
        ) { round in
            try await clock.execute(
                script:
                    "UPDATE billing.settings SET clock_offset = make_interval(hours => \(round))")
        }
        await clock.close()
        try await site.audited(run.plan.name, charges: Self.charges)
        return Size(subscriptions: subscriptions, filling: filling, run: run)
    }

    /// Month after month over the same rows. A month passes in seconds, so autovacuum looks every
    /// second; when it has nothing to do any more, the next month begins.
    func years(_ subscriptions: Int, months: Int) async throws -> Years {
        try await site.fill(subscriptions)
        try await site.forgetUpdates()
        try await site.set("autovacuum_naptime", to: "1s")
        var results: [Month] = []
        for month in 1...months {
            try await site.database.run(
                """
                UPDATE billing.settings SET clock_offset = (
                    SELECT max(next_charge_at) - now() + interval '1 minute'
                    FROM billing.subscriptions)
                """)
            let run = try await LedgerRun(site: site).run(
                LedgerRun.Plan(name: "month \(month)", charges: subscriptions, batch: 500))
            let before = site.cpu
            try await site.vacuumed(updates: month * subscriptions * 2)
            results.append(
                Month(run: run, vacuum: (site.cpu - before) / Double(subscriptions)))
        }
        try await site.set("autovacuum_naptime", to: nil)
        try await site.audited("\(months) months", charges: months * subscriptions)
        return Years(months: results, tables: try await site.tables())
    }

    /// Without and with a transaction that is open from before the first claim to after the last record.
    func snapshot(_ plan: LedgerRun.Plan) async throws -> Snapshot {
        try await site.fill(plan.charges)
        let alone = try await LedgerRun(site: site).run(plan)
        try await site.audited(plan.name, charges: plan.charges)
        try await site.fill(plan.charges)
        var configuration = site.database.configuration()
        configuration.idleInTransactionTimeout = .seconds(3_600)
        let watcher = try await PostgresConnection.connect(configuration)
        _ = try await watcher.execute(
            script: "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM billing.settings")
        let held = try await LedgerRun(site: site).run(plan)
        _ = try await watcher.execute(script: "COMMIT")
        await watcher.close()
        try await site.audited(plan.name, charges: plan.charges)
        return Snapshot(alone: alone, held: held)
    }
}
