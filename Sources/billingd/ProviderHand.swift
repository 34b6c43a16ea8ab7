import Billing
import HTTP
import TossPayments

/// The provider in the hand of a person's command: look-ups only, never a charge.
struct ProviderHand {
    let key: SecretKey
    private let endpoint: TossEndpoint
    private let options: ProviderOptions

    /// `key`: if it was read before.
    init(_ options: ProviderOptions, key: SecretKey? = nil) throws {
        self.options = options
        self.key = try key ?? options.secretKey()
        endpoint = try TossEndpoint(options.address, mode: self.key.mode)
    }

    /// One look-up after another: a person's command must not use up the fleet's limit of requests.
    func lookUp(_ orders: [OrderID]) async throws -> [(OrderID, LookUp)] {
        try await withGateway { gateway in
            var answers: [(OrderID, LookUp)] = []
            for order in orders {
                answers.append((order, await gateway.lookUp(order, timeout: .seconds(65))))
            }
            return answers
        }
    }

    /// Whether the provider answers and takes the key.
    func probe() async throws -> TossGateway.ProbeResult {
        try await withGateway { await $0.probe() }
    }

    private func withGateway<Result>(
        _ body: (TossGateway) async throws -> Result
    ) async throws -> Result {
        let client = try Daemon.client(options, endpoint)
        let gateway = TossGateway(endpoint: endpoint, secretKey: key, client: client, log: nil)
        do {
            let result = try await body(gateway)
            await client.shutdown()
            return result
        } catch {
            await client.shutdown()
            throw error
        }
    }
}
