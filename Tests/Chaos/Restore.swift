import Foundation
import Glibc
import Postgres
import TestSupport

/// The database of an earlier moment, under the same key.
struct Restore {
    let site: Site
    let seed: UInt64
    private let customersLost = 20

    func run() async throws -> Bool {
        site.say("a dump of an earlier moment, restored:")
        var stand = try await Stand(site, "restore", seed: seed)
        let database = stand.primary
        try await stand.shop.subscribe(600, over: .seconds(6), &stand.dice)
        var fleet = stand.fleet([database])
        try await fleet.start(4)
        try await eventually("some of it is charged") { try stand.sandbox.books().approvals > 200 }
        let dump = database.folder.appending(path: "dump").path()
        try await stand.owner.run(
            "pg_dump",
            [
                "-h", database.socketFolder, "-p", "5432", "-U", "postgres", "-Fc", "-f", dump,
                Cluster.database,
            ])
        // The story goes on: the rest is charged, and customers come whom the dump does not know.
        let known = try await customers(database)
        try await stand.shop.subscribe(customersLost, over: .zero, &stand.dice)
        try await stand.shop.bringNewCards(all: true, &stand.dice)
        let early = try await Calm(database: database, site: site).wait(within: .seconds(60))
        try await fleet.end(within: .seconds(75))
        guard early.isEmpty else { throw ChildProcess.Failure("it was not all charged") }
        let before = try stand.sandbox.books().approvals

        try await restore(dump, stand)
        var isSound = try await isRefused(stand)
        site.say("  adopted, as having lost an hour")
        try await stand.adopt(database, lost: "1 hour")
        fleet = stand.fleet([database], "workers-afterwards")
        try await fleet.start(4)
        let verdict = try await stand.judge(database, since: .now)
        try await fleet.end(within: .seconds(75))
        for finding in await fleet.findings { site.say("FOUND \(finding)") }
        let after = try stand.sandbox.books().approvals
        site.say("  \(before) executions before the disaster, \(after) in the end")
        isSound = try unexplained(verdict, stand, known) && isSound
        return await fleet.findings.isEmpty && isSound
    }

    private func customers(_ database: Cluster) async throws -> Set<String> {
        Set(
            try await database.run("SELECT customer_key FROM billing.subscriptions")
                .map { try $0.string("customer_key") })
    }

    private func restore(_ dump: String, _ stand: Stand) async throws {
        let database = stand.primary
        try await database.run(
            "DROP DATABASE \(Cluster.database) WITH (FORCE)", database: "postgres")
        try await database.run("CREATE DATABASE \(Cluster.database)", database: "postgres")
        try await stand.owner.run(
            "pg_restore",
            [
                "-h", database.socketFolder, "-p", "5432", "-U", "postgres", "-d",
                Cluster.database, "--exit-on-error", dump,
            ])
    }

    /// Nobody has vouched for it: a worker does not start, and nothing is charged.
    private func isRefused(_ stand: Stand) async throws -> Bool {
        let before = try stand.sandbox.books().approvals
        let (status, words) = try await stand.billingd(["run"], [stand.primary])
        site.say(
            "  billingd run, exit \(status):\n    "
                + words.split(separator: "\n").filter { !$0.hasPrefix("{") }
                .joined(separator: "\n    "))
        let after = try stand.sandbox.books().approvals
        return status == 1 && words.contains("nobody vouched for") && before == after
    }

    /// What the restored database cannot know: the payments of those who came later, and no others.
    private func unexplained(
        _ verdict: Verdict, _ stand: Stand, _ known: Set<String>
    ) throws -> Bool {
        let strangers = try stand.sandbox.payments().filter { !known.contains($0.customerKey) }
        let lost = Set(verdict.lost.map { $0.split(separator: " ")[1].dropLast() })
        let isThem = lost == Set(strangers.map { Substring($0.paymentKey) })
        site.say(
            """
              \(lost.count) payments of \(customersLost) customers who came after the dump are in the \
            provider's books and not in the ledger\(isThem ? "" : ": NOT EXACTLY THESE")
              what a person must do: let billingd reconcile list them; enter these customers and their cards again, each subscription \
            from the next period on (billing.subscribe with its start), or refund them; a \
            subscription that is entered anew has new order ids, so that nothing else keeps its \
            period from being charged again
            """)
        var rest = verdict
        rest.lost = []
        return isThem && !strangers.isEmpty && rest.isSound
    }
}
