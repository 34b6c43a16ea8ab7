import ArgumentParser
import Billing
import BillingStore
import FoundationEssentials
import Postgres

/// Vouches for a database that is not the one that was charged before.
struct AdoptDatabaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "adopt-database",
        abstract: "Vouch for a clone, a restore or a promoted standby, so that it is charged.",
        discussion: """
            Only when no other copy of this database is being charged, and none will be. Shows what \
            changed and asks; afterwards workers wait settings.late_bound for what other copies sent, \
            and then, for as long as the database may have lost, look every name up before it is \
            sent. Needs a database role in billing_admin; who did it and why is noted in the ledger.

            A restored snapshot of a volume or a machine looks like the database that was charged \
            before. Only workers that ran all the time notice, and stop. So set settings.paused before \
            you restore one, adopt it with --restored, and end the pause.

            Exit 0: adopted, or nothing had changed; 1: not adopted, or the database fails; 64: bad \
            usage.
            """)

    @Option(help: "Why; it goes into the ledger beside your role's name.")
    var why: String

    @Option(
        help: """
            How much the database may have forgotten, '0' to '14 days': for a failover the standby's \
            lag, for a restore the time since the backup. (default: 25 hours)
            """)
    var lost = "25 hours"

    @Flag(help: "Adopt it though nothing shows that it changed: a snapshot was restored.")
    var restored = false

    @Flag(help: "Do not ask.")
    var yes = false

    @OptionGroup var database: DatabaseOptions

    func run() async throws {
        let hand = OperatorHand(try database.configuration(name: "billingd adopt-database"))
        do {
            let before = try await hand.identityState()
            guard let bound = before.bound else {
                throw OperatorHand.Refusal(
                    "no worker ever started on this database: the first one binds it, and there is "
                        + "nothing to adopt")
            }
            let changes = bound.changes(to: before.present)
            guard restored || !changes.isEmpty else {
                print(
                    "This is the database that was charged before (\(bound.text)): nothing to adopt."
                )
                if let at = before.adoptedAt {
                    print("It was adopted at \(at), by \(before.adoptedReason ?? "nobody known").")
                }
                return
            }
            if changes.isEmpty {
                print("By its looks this is the database that was charged before (\(bound.text)).")
            } else {
                print("This is not the database that was charged before:")
                for change in changes { print("  \(change)") }
            }
            print(
                """
                Vouch for it only if no other copy is being charged: two that are charge every \
                customer twice. Workers that see that it changed charge nothing until then.
                """)
            if before.liveWorkers > 0 {
                print("\(before.liveWorkers) workers are connected to this copy and wait.")
            }
            try confirm()
            try await hand.adopt(why: why, lost: lost)
            let after = try await hand.identityState()
            print(
                """
                Adopted. Workers wait \(words(after.lateBound)) for requests that were sent before; \
                then every name is looked up before it is sent, until \
                \(after.lookFirstUntil.map { "\($0)" } ?? "now"), and those of periods that have \
                begun until these end.
                """)
        } catch let refusal as OperatorHand.Refusal {
            throw Failure("\(refusal). Nothing was changed.")
        } catch let error as PostgresError {
            throw Failure("the database failed: \(error)")
        }
    }

    private func confirm() throws {
        if yes { return }
        guard LibC.inputIsTerminal else {
            throw OperatorHand.Refusal(
                "there is no terminal to ask on: --yes says that it is right")
        }
        print("Type yes to vouch for it: ", terminator: "")
        LibC.flushOutput()
        guard readLine() == "yes" else { throw OperatorHand.Refusal("it was not confirmed") }
    }
}
