import ArgumentParser
import Billing
import BillingStore
import HTTP
import Postgres
import TossPayments

/// Ends a hold by trying the charge again.
struct ReleaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release",
        abstract:
            "End the hold of a charge: paid if the provider shows its payment, else due again.",
        discussion: """
            Asks the provider about every order id of the charge first, with the secret key, and \
            changes nothing when an answer is missing. Needs a database role in billing_admin. Who \
            did it and why is noted in the ledger.
            """)

    @OptionGroup var hold: HoldOptions
    func run() async throws { try await hold.end(asFailed: false) }
}

/// Ends a hold by giving the charge up.
struct FailCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fail",
        abstract: "Give a held charge up: failed, unless the provider shows its payment.",
        discussion: """
            Asks the provider about every order id of the charge first, with the secret key, and \
            changes nothing when an answer is missing. Needs a database role in billing_admin. The \
            next period is charged as usual. Who did it and why is noted in the ledger.
            """)

    @OptionGroup var hold: HoldOptions
    func run() async throws { try await hold.end(asFailed: true) }
}

/// What both need.
struct HoldOptions: ParsableArguments {
    @Argument(help: "The charge: billing.charges.charge_id.")
    var charge: Int64

    @Option(help: "Why; it goes into the ledger beside your role's name.")
    var why: String

    @OptionGroup var database: DatabaseOptions
    @OptionGroup var provider: ProviderOptions

    func end(asFailed: Bool) async throws {
        let database = try database.configuration(name: "billingd hold")
        do {
            let held = try await HeldCharge.read(ChargeID(charge), database)
            print(
                """
                charge \(charge): subscription \(held.subscription.value), period \
                \(held.periodIndex), \(held.hold.amount.value) won, held: \(held.reason)
                """)
            let payments = try await payments(of: held)
            let end = try held.hold.end(payments, asFailed: asFailed)
            try await held.end(end, why: why, database)
            switch end {
            case .paid(let payment):
                print("paid: the provider shows payment \(payment.paymentKey); nothing is sent")
            case .refunded(let payment):
                print(
                    """
                    refunded: the provider shows payment \(payment.paymentKey), cancelled but for \
                    \(payment.balanceAmount.value) won; nothing is sent
                    """)
            case .open: print("released: it is due now")
            case .failed: print("failed: the next period is charged as usual")
            case .attemptEnded:
                print(
                    """
                    its open attempt, too old to be sent again and not at the provider, was ended; \
                    run this again when settings.gap is over
                    """)
            }
        } catch let refusal as HeldCharge.Refusal {
            throw Failure("\(refusal). Nothing was changed.")
        } catch let error as PostgresError {
            throw Failure("the database failed: \(error)")
        }
    }

    /// What the provider shows under the charge's names. Throws when it does not say.
    private func payments(of held: HeldCharge) async throws -> [Payment] {
        let key = try provider.secretKey()
        let endpoint = try TossEndpoint(provider.address, mode: key.mode)
        let client = try Daemon.client(provider, endpoint)
        let gateway = TossGateway(endpoint: endpoint, secretKey: key, client: client, log: nil)
        var payments: [Payment] = []
        var trouble: String?
        for order in held.hold.names {
            let answer = await gateway.lookUp(order, timeout: .seconds(65))
            switch answer.settled(of: order) {
            case .notFound:
                // Most of the names were never used: a line for each would hide the others.
                if held.hold.recorded.contains(order) { print("  \(order): no payment") }
            case .found(let payment) where payment.isDead(as: order):
                print("  \(order): ended without money")
            case .found(let payment):
                print(
                    """
                      \(order): payment \(payment.paymentKey), \(payment.totalAmount.value) won, of \
                    which \(payment.balanceAmount.value) are left
                    """)
                payments.append(payment)
            case .unclear(let answer), .faultOfAll(let answer):
                trouble = "\(order): the provider does not say (\(answer.code))"
            }
        }
        await client.shutdown()
        if let trouble { throw HeldCharge.Refusal(trouble) }
        return payments
    }
}
