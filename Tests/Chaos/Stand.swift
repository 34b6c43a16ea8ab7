import Foundation
import Glibc
import Postgres
import TestSupport

/// A primary, a standby, the provider and four workers that know both servers.
struct Stand {
    let site: Site
    let folder: URL
    let owner: Owner
    let primary: Cluster
    let sandbox: Sandbox
    let secretKey: String
    var shop: Shop
    var dice: Dice

    /// `name`: of its folder. The business clock is the real one here, until ``Calm`` moves it, and a
    /// request may act two seconds late.
    init(_ site: Site, _ name: String, seed: UInt64) async throws {
        self.site = site
        dice = Dice(seed: seed)
        folder = site.folder.appending(path: name)
        secretKey = "test_sk_" + dice.text(24)
        owner = try await Owner()
        primary = try Cluster(
            folder.appending(path: "a"), owner, logs: folder.appending(path: "postgres-a"))
        try await primary.initialize()
        try await primary.start()
        sandbox = try await Sandbox(
            secretKey: secretKey, latencyMilliseconds: 30, into: folder.appending(path: "sandbox"))
        shop = Shop(primary, sandbox, secretKey: secretKey)
        try await shop.open(lateBound: "2 seconds")
        // Every name of a charge is looked up after a loss: five are enough for two dunning steps.
        try await primary.run("UPDATE billing.settings SET maximum_attempts = 5")
    }

    // MARK: Servers

    /// A streaming standby made by pg_basebackup. `via`: the way to the primary, if not its socket.
    func standby(via address: String? = nil) async throws -> Cluster {
        let way = address ?? "host=\(primary.socketFolder) port=5432"
        let standby = try Cluster(
            folder.appending(path: "b"), owner, logs: folder.appending(path: "postgres-b"),
            settings: ["primary_conninfo=\(way) user=postgres application_name=b"])
        try await owner.own(standby.folder)
        try await owner.run(
            "pg_basebackup",
            [
                "-h", primary.socketFolder, "-p", "5432", "-U", "postgres", "-D", standby.data,
                "-X", "stream", "-c", "fast", "--no-sync",
            ])
        let mark = standby.data + "/standby.signal"
        guard FileManager.default.createFile(atPath: mark, contents: nil) else {
            throw ChildProcess.Failure("\(mark) cannot be written")
        }
        try await owner.own(standby.folder)
        try await standby.start(isStandby: true)
        try await eventually("the standby streams") {
            try await primary.run("SELECT FROM pg_stat_replication WHERE state = 'streaming'")
                .count == 1
        }
        return standby
    }

    /// COMMITs wait for the standby from now on.
    func makeSynchronous() async throws {
        try await primary.run("ALTER SYSTEM SET synchronous_standby_names = 'b'")
        try await primary.run("SELECT pg_reload_conf()")
        try await eventually("the standby is synchronous") {
            try await primary.run("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'")
                .count == 1
        }
    }

    func promote(_ standby: Cluster) async throws {
        try await owner.run("pg_ctl", ["promote", "-D", standby.data, "-w", "-s"])
    }

    // MARK: Workers

    func environment(_ servers: [Cluster], as role: Cluster.Role = .worker) -> [String: String] {
        let hosts = servers.map(\.socketFolder).joined(separator: ",")
        let ports = servers.map { _ in "5432" }.joined(separator: ",")
        return [
            "DATABASE_URL":
                "host=\(hosts) port=\(ports) dbname=\(Cluster.database) user=\(role.rawValue)",
            "TOSS_API_URL": sandbox.address, "TOSS_SECRET_KEY": secretKey, "LOG_FORMAT": "json",
            "BILLINGD_LISTEN": "off",
        ]
    }

    func fleet(_ servers: [Cluster], _ name: String = "workers") -> Fleet {
        Fleet(
            environment: environment(servers),
            options: ["--max-in-flight", "24", "--poll-interval", "0.2"],
            logs: folder.appending(path: name))
    }

    func billingd(_ arguments: [String], _ servers: [Cluster]) async throws -> (Int32, String) {
        let result = try await ChildProcess.run(
            Checkout.program("billingd"), arguments, environment: environment(servers))
        return (result.status, result.output + result.errors)
    }

    /// Nothing is charged while nobody vouches: no execution in `span`, once what was in flight ended.
    func expectsNothing(for span: Duration) async throws -> Bool {
        try await ContinuousClock().sleep(for: .seconds(2))
        let before = try sandbox.books().approvals
        try await ContinuousClock().sleep(for: span)
        let after = try sandbox.books().approvals
        if before != after { site.say("  CHARGED MEANWHILE: \(after - before)") }
        return before == after
    }

    /// Vouches for the database as an administrator does.
    func adopt(_ database: Cluster, lost: String) async throws {
        let result = try await ChildProcess.run(
            Checkout.program("billingd"),
            ["adopt-database", "--why", "the primary is gone", "--lost", lost, "--yes"],
            environment: environment([database], as: .admin))
        guard result.status == 0 else {
            throw ChildProcess.Failure("billingd adopt-database: \(result.output)\(result.errors)")
        }
    }

    /// Waits for an empty backlog and compares; false: a promise was broken.
    mutating func judge(
        _ database: Cluster, since: ContinuousClock.Instant
    ) async throws -> Verdict {
        shop.database = database
        try await shop.bringNewCards(all: true, &dice)
        let ending = try await Calm(database: database, site: site).wait(within: .seconds(120))
        let took = (ContinuousClock.now - since) / .seconds(1)
        let verdict = try await Verdict.compare(database, sandbox)
        site.say("  " + verdict.text)
        site.say(
            String(
                format: "  backlog %@ %.1f s after it was adopted",
                ending.isEmpty ? "empty" : "NOT EMPTY", took))
        return verdict
    }
}
