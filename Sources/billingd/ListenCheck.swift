import Dashboard
import FoundationEssentials
import HTTP

/// What is found at the address where a worker would be looked at.
struct ListenCheck {
    /// What of a ``HealthReply`` tells whose it is.
    private struct Reply: Decodable { var worker: String }

    private let options: ListenOptions

    init(_ options: ListenOptions) { self.options = options }

    /// One line, and what to do about it; nil: all is well. An address that a billingd has is no
    /// fault: most likely it is the instance whose settings are checked, and it runs.
    func run() async -> (text: String, mend: String?) {
        do {
            guard let place = try options.place() else {
                return ("off: no health, no metrics, no page", nil)
            }
            do {
                try await Listener.probe(place.address)
                return ("\(place.address) is free", nil)
            } catch {
                return await refused(place, error)
            }
        } catch let failure as Failure {
            return (failure.description, "let the user that billingd runs as read it")
        } catch {
            return ("\(error)", "billingd run --help shows what is allowed")
        }
    }

    private func refused(
        _ place: ListenOptions.Place, _ refusal: Listener.Refusal
    ) async -> (text: String, mend: String?) {
        guard refusal.isTaken else {
            return (
                "\(place.address) cannot be had: \(refusal)",
                place.isGiven ? "set BILLINGD_LISTEN to an address of this machine, or off" : nil
            )
        }
        if let worker = await worker(at: place) {
            return (
                """
                \(place.address) is in use by \(worker), which may be this instance at work; \
                otherwise \(ListenOptions.mend)
                """, nil
            )
        }
        return (
            "\(place.address) is in use by another program",
            // Without an address that was given, charging goes on, and the log says that nobody can look.
            place.isGiven ? "set BILLINGD_LISTEN to a free port of this machine, or off" : nil
        )
    }

    /// The billingd that answers there; nil: something else does, or nothing.
    private func worker(at place: ListenOptions.Place) async -> String? {
        var configuration = HTTPClient.Configuration()
        configuration.allowsPlainHTTP = true
        configuration.requestTimeout = .seconds(3)
        configuration.maximumBodyBytes = 1 << 16
        guard let client = try? HTTPClient(configuration) else { return nil }
        let response = try? await client.send(
            HTTPRequest(method: .get, url: "http://\(place.address)/livez", headers: []))
        await client.shutdown()
        guard let response else { return nil }
        let words = String(decoding: response.body, as: UTF8.self)
        if response.status == 401, words.contains("BILLINGD_TOKEN_FILE") {
            return "a billingd that asks for a token"
        }
        let reply = try? JSONDecoder().decode(Reply.self, from: Data(response.body))
        return reply.map { "billingd \($0.worker)" }
    }
}
