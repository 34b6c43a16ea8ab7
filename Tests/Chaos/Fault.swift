import TestSupport

/// One thing that goes wrong.
enum Fault: Sendable {
    /// SIGKILL; a new worker follows.
    case kill(worker: Int)
    /// SIGSTOP, and SIGCONT after so many leases: a zombie.
    case freeze(worker: Int, leases: Double)
    /// SIGTERM; its successor starts at once, or `before` it is told to go.
    case stop(worker: Int, successorFirst: Bool)
    /// SIGTERM twice: it exits at once.
    case hurry(worker: Int)
    /// PostgreSQL ends and starts again.
    case restart(Cluster.Ending)
    /// So many backends are ended by `pg_terminate_backend`.
    case endBackends(Int)
    /// The next COMMITs meet these.
    case cutCommits([CuttingProxy.Cut])
    /// The next bytes to PostgreSQL meet these.
    case damageDatabase([CuttingProxy.Damage])
    /// The next requests to the provider meet these.
    case damageProvider([CuttingProxy.Damage])
    /// Nothing moves between workers and PostgreSQL for a while, and nothing is closed.
    case blackHole(Duration)
    /// The provider stands still: connections are taken, and nothing is answered.
    case hangProvider(Duration)
    /// The provider's faults from now on; JSON as in the sandbox's rules.
    case weather([String])
    /// PostgreSQL's disk is full for a while.
    case fillDisk(Duration)

    /// For the list that a failure prints.
    var text: String {
        switch self {
        case .kill(let worker): "kill -9 of worker \(worker)"
        case .freeze(let worker, let leases):
            "SIGSTOP of worker \(worker) for \(Int(leases * 100)) % of a lease"
        case .stop(let worker, let first):
            "SIGTERM of worker \(worker), successor \(first ? "before" : "after")"
        case .hurry(let worker): "SIGTERM twice of worker \(worker)"
        case .restart(let ending): "PostgreSQL: \(ending.rawValue), and started again"
        case .endBackends(let count): "\(count) backends terminated"
        case .cutCommits(let cuts):
            "at COMMIT: " + cuts.map(\.rawValue).joined(separator: ", ")
        case .damageDatabase(let damages): "PostgreSQL's wire: \(Self.text(damages))"
        case .damageProvider(let damages): "the provider's wire: \(Self.text(damages))"
        case .blackHole(let time): "PostgreSQL's wire is a black hole for \(time)"
        case .hangProvider(let time): "the provider hangs for \(time)"
        case .weather(let rules): "weather: " + rules.joined(separator: ", ")
        case .fillDisk(let time): "PostgreSQL's disk is full for \(time)"
        }
    }

    private static func text(_ damages: [CuttingProxy.Damage]) -> String {
        damages.map { damage in
            switch damage {
            case .cutRequest(let bytes): "cut after \(bytes) bytes of a request"
            case .cutAnswer(let bytes): "cut after \(bytes) bytes of an answer"
            case .halfClose: "half closed"
            case .stall: "stalled"
            }
        }.joined(separator: ", ")
    }
}
