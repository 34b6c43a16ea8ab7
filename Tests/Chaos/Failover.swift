import Foundation
import Glibc
import Postgres
import TestSupport

/// A primary that dies under load, and the standby that takes its place.
struct Failover {
    let site: Site
    let seed: UInt64

    func run() async throws -> Bool {
        var isSound = try await synchronous()
        isSound = try await asynchronous() && isSound
        return try await waiting() && isSound
    }

    /// What was acknowledged is on the standby: nothing is lost, nothing double.
    private func synchronous() async throws -> Bool {
        site.say("synchronous standby, promoted under load:")
        var stand = try await Stand(site, "synchronous", seed: seed)
        let standby = try await stand.standby()
        try await stand.makeSynchronous()
        try await stand.shop.subscribe(800, over: .seconds(8), &stand.dice)
        let fleet = stand.fleet([stand.primary, standby])
        try await fleet.start(4)
        try await eventually("half of it is charged") { try stand.sandbox.books().approvals > 300 }
        return try await takeOver(stand, standby, fleet, lost: "0 seconds")
    }

    /// The last seconds of the primary never reached the standby.
    private func asynchronous() async throws -> Bool {
        site.say("asynchronous standby, promoted with commits lost:")
        var stand = try await Stand(site, "asynchronous", seed: seed &+ 1)
        let wire = try CuttingProxy(.postgres(socket: stand.primary.socket))
        let standby = try await stand.standby(via: wire.address)
        try await stand.shop.subscribe(800, over: .seconds(8), &stand.dice)
        let fleet = stand.fleet([stand.primary, standby])
        try await fleet.start(4)
        try await eventually("some of it is charged") { try stand.sandbox.books().approvals > 150 }
        wire.stall()
        let reached = try stand.sandbox.books().approvals
        try await eventually("more is charged, and not replicated") {
            try stand.sandbox.books().approvals > reached + 250
        }
        let known = try await paid(stand.primary)
        let isSound = try await takeOver(stand, standby, fleet, lost: "1 hour") {
            let left = try await paid(standby)
            site.say("  \(known - left) paid charges of the primary are unknown to the standby")
            return known - left > 100
        }
        return isSound
    }

    private func paid(_ database: Cluster) async throws -> Int {
        try await database.run("SELECT count(*) AS n FROM billing.charges WHERE state = 'paid'")[0]
            .int("n")
    }

    /// The primary dies, the standby is promoted, a person vouches. `before`: looked at in between.
    private func takeOver(
        _ stand: Stand, _ standby: Cluster, _ fleet: Fleet, lost: String,
        before: () async throws -> Bool = { true }
    ) async throws -> Bool {
        var stand = stand
        try await stand.primary.end(.killed)
        try await stand.promote(standby)
        let promoted = ContinuousClock.now
        var isSound = try await before()
        isSound = try await stand.expectsNothing(for: .seconds(4)) && isSound
        let (status, words) = try await stand.billingd(["check"], [stand.primary, standby])
        let said = words.split(separator: "\n").filter {
            $0.hasPrefix("FAIL") || $0.contains("mend:") || $0.hasPrefix("billingd would")
        }
        site.say("  billingd check, exit \(status):\n    " + said.joined(separator: "\n    "))
        isSound = isSound && status == 1 && words.contains("promoted standby")
        try await stand.adopt(standby, lost: lost)
        let waited = (ContinuousClock.now - promoted) / .seconds(1)
        site.say(String(format: "  adopted %.1f s after the promotion", waited))
        let verdict = try await stand.judge(standby, since: .now)
        let adopted = try await standby.run(
            "SELECT count(*) AS n FROM billing.attempts WHERE code = 'LOOKED_UP'")
        site.say("  \(try adopted[0].int("n")) payments were found by look-up")
        try await fleet.end(within: .seconds(75))
        for finding in await fleet.findings { site.say("FOUND \(finding)") }
        try await standby.end(.fast)
        stand.sandbox.process.kill(SIGKILL)
        return await fleet.findings.isEmpty && verdict.isSound && isSound
    }

    /// The synchronous standby is away for longer than a COMMIT is waited for.
    private func waiting() async throws -> Bool {
        site.say("COMMITs that wait 40 s for a missing synchronous standby:")
        var stand = try await Stand(site, "waiting", seed: seed &+ 2)
        let standby = try await stand.standby()
        try await stand.makeSynchronous()
        try await stand.shop.subscribe(800, over: .seconds(8), &stand.dice)
        let fleet = stand.fleet([stand.primary, standby])
        try await fleet.start(4)
        try await eventually("half of it is charged") { try stand.sandbox.books().approvals > 300 }
        try await standby.end(.immediate)
        // A claim that is not acknowledged is not acted on, however long it waits.
        let isSound = try await stand.expectsNothing(for: .seconds(38))
        let open = try await stand.primary.run(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        site.say("  \(try open[0].int("n")) sessions wait for it")
        try await standby.start(isStandby: true)
        let verdict = try await stand.judge(stand.primary, since: .now)
        try await fleet.end(within: .seconds(75))
        for finding in await fleet.findings { site.say("FOUND \(finding)") }
        return await fleet.findings.isEmpty && verdict.isSound && isSound
    }
}
