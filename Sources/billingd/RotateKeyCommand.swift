import ArgumentParser
import Billing
import BillingStore
import FoundationEssentials
import Postgres
import TossPayments

/// Binds a new secret key of the same shop.
struct RotateKeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rotate-key",
        abstract: "Bind a new secret key of the same shop, after it was rotated at the provider.",
        discussion: """
            Order of work: put the new key where the workers read it (TOSS_SECRET_KEY_FILE or the \
            systemd credential); run this with the same configuration; restart the workers, one \
            after another if you like. Workers that still hold the old key get nothing any more; \
            those that start with the new one wait until this is done, and go on by themselves.

            It asks the provider whether it takes the new key and whether the key is this shop's (a \
            paid order of ours must be found), pauses the fleet, waits until no subscription is in a \
            worker's hand, binds the key, and ends the pause if it made it. Ended at any moment, it \
            leaves a paused fleet: run it again to finish, or with --abort to take it back. A key of \
            another shop is refused without a way around: its look-ups find none of our payments, and \
            its billing keys are others. Needs a database role in billing_admin; who did it and why is \
            noted in the ledger.

            Exit 0: bound, or it was already; 1: not bound, or the database fails; 64: bad usage.
            """)

    @Option(help: "Why; it goes into the ledger beside your role's name.")
    var why: String

    @Flag(help: "Take an unfinished rotation back: the old key stays bound. Reads no key.")
    var abort = false

    @OptionGroup var database: DatabaseOptions
    @OptionGroup var provider: ProviderOptions

    func run() async throws {
        let hand = OperatorHand(try database.configuration(name: "billingd rotate-key"))
        do {
            if abort {
                try await takeBack(hand)
            } else {
                try await rotate(hand)
            }
        } catch let refusal as OperatorHand.Refusal {
            throw Failure("\(refusal)")
        } catch let error as PostgresError {
            throw Failure(
                "the database failed: \(error)\nRun it again: it goes on where it is, or says that "
                    + "the key is bound.")
        }
    }

    private func takeBack(_ hand: OperatorHand) async throws {
        guard let kept = try await hand.keepKey(why: why) else {
            tell("no rotation is under way: nothing to take back")
            return
        }
        tell("taken back: the key with fingerprint \(kept) was not bound, the old one stays")
        let state = try await hand.keyState(kept)
        if state.paused { tell("still paused: \(state.pausedReason ?? "no reason given")") }
    }

    private func rotate(_ hand: OperatorHand) async throws {
        let key = try provider.secretKey()
        let (mode, fingerprint) = Daemon.fingerprint(key)
        let state = try await hand.keyState(fingerprint)
        guard mode == state.mode else {
            throw OperatorHand.Refusal(
                "settings.mode is \(state.mode), but this is a \(mode) key: nothing was changed")
        }
        if state.bound == fingerprint {
            if let other = state.rotatingTo {
                throw OperatorHand.Refusal(
                    "the key with fingerprint \(fingerprint) is bound, and a rotation to \(other) is "
                        + "under way: --abort takes that back")
            }
            tell("the key with fingerprint \(fingerprint) is already bound")
            return
        }
        let provider = try ProviderHand(provider, key: key)
        try await check(provider)
        try await compareShop(provider, hand)
        try await hand.beginRotation(to: fingerprint, why: why)
        tell("paused; from now on nothing new is claimed")
        try await drain(hand, fingerprint, provider)
        try await conclude(hand, fingerprint)
    }

    /// A key that the provider does not take is never bound: every charge would be refused.
    private func check(_ provider: ProviderHand) async throws {
        let probe = try await provider.probe()
        if let mend = probe.mend {
            throw OperatorHand.Refusal(
                "the new key cannot be used: \(probe.text). \(mend). It was not bound")
        }
        tell(probe.text)
    }

    /// The new key must see what the old one took: a payment of ours, under its order id.
    private func compareShop(_ provider: ProviderHand, _ hand: OperatorHand) async throws {
        let paid = try await hand.paidOrders(limit: 3)
        guard !paid.isEmpty else {
            tell("nothing was paid yet: that the key is this shop's cannot be checked")
            return
        }
        let answers = try await provider.lookUp(paid.map(\.order))
        for ((order, answer), wanted) in zip(answers, paid) {
            if case .found(let payment) = answer, payment.paymentKey == wanted.payment {
                tell("it is this shop's: it finds payment \(wanted.payment) of order \(order)")
                return
            }
        }
        for (order, answer) in answers {
            switch answer {
            case .unclear(let answer), .faultOfAll(let answer):
                throw OperatorHand.Refusal(
                    "the provider does not say whether the key is this shop's: \(order): "
                        + "\(answer.code). It was not bound")
            case .found, .notFound: continue
            }
        }
        throw OperatorHand.Refusal(
            """
            the new key does not find our paid order \(paid[0].order) (payment \(paid[0].payment)): it \
            is the key of another shop (mId), or that payment is too new to show. Another shop has \
            other billing keys and sees none of our payments, so that what was paid there would be \
            charged again here: it needs a database of its own. It was not bound
            """)
    }

    /// Waits until nobody has a subscription in hand, and binds. Leases end by themselves, so that
    /// this does.
    private func drain(
        _ hand: OperatorHand, _ fingerprint: String, _ provider: ProviderHand
    ) async throws {
        let clock = ContinuousClock()
        let start = clock.now
        var told: Int64 = -1
        while true {
            let state = try await hand.keyState(fingerprint)
            // Somebody else finished it, or took it back.
            if state.bound == fingerprint { return }
            guard state.rotatingTo == fingerprint else {
                throw OperatorHand.Refusal("somebody took the rotation back: nothing was bound")
            }
            if state.leases == 0 {
                try await check(provider)
                if try await bind(hand, fingerprint) { return }
            } else if state.leases != told {
                let end = state.lastLeaseEnds.map { "; the last lease ends at \($0)" }
                tell("waiting for \(state.leases) subscriptions in workers' hands\(end ?? "")")
                told = state.leases
            }
            guard clock.now - start < state.lease + .seconds(60) else {
                throw OperatorHand.Refusal(
                    "subscriptions are still in workers' hands after a whole lease: did somebody end "
                        + "the pause? Run it again, or take it back with --abort")
            }
            try await Task.sleep(for: .milliseconds(500))
        }
    }

    /// False: not yet; somebody holds a lease, or a lock for longer than a statement waits.
    private func bind(_ hand: OperatorHand, _ fingerprint: String) async throws -> Bool {
        do {
            return try await hand.endRotation(to: fingerprint, why: why) == 0
        } catch let error as PostgresError where error.sqlState == "55P03" {
            return false
        } catch let refusal as OperatorHand.Refusal {
            // Two hands at once: the other one was faster.
            guard try await hand.keyState(fingerprint).bound == fingerprint else { throw refusal }
            return true
        }
    }

    private func conclude(_ hand: OperatorHand, _ fingerprint: String) async throws {
        let state = try await hand.keyState(fingerprint)
        tell("bound: fingerprint \(fingerprint)")
        if state.otherKeyAttempts > 0 {
            tell(
                """
                \(state.otherKeyAttempts) attempts of unknown outcome were made with another key: \
                they are looked up, never sent again; what is not found is held for a person in time
                """)
        }
        tell(
            state.paused
                ? "still paused, as it was before: \(state.pausedReason ?? "no reason given")"
                : "the pause is over")
        tell("now restart the workers; those that hold the old key charge nothing")
    }

    /// At once, also into a file: who waits wants to see what for.
    private func tell(_ text: String) {
        print(text)
        LibC.flushOutput()
    }
}
