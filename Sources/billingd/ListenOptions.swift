import ArgumentParser
import Dashboard
import FoundationEssentials
import Logging

/// Where the daemon can be looked at.
struct ListenOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Address for health, metrics and the page, as in 127.0.0.1:9464; off: none; port 0: any \
            free one. Any but a loopback address needs --token-file. (env: BILLINGD_LISTEN; \
            default: 127.0.0.1:9464)
            """, valueName: "address"))
    var listen: String?

    @Option(
        help: ArgumentHelp(
            """
            File with the token that whoever looks must bear (Authorization: Bearer), 16 to 512 \
            characters. (env: BILLINGD_TOKEN_FILE; default: none, for loopback addresses)
            """, valueName: "path"))
    var tokenFile: String?

    /// Where to listen, and for whom.
    struct Place {
        var address: ListenAddress
        var token: BearerToken?
        /// By the operator: it must be had. The default may be another's.
        var isGiven: Bool
    }

    /// What to do about an address that another instance has.
    static let mend = """
        give each instance an address of its own, or off: BILLINGD_LISTEN='127.0.0.1:9465' in \
        /etc/billingd/billingd@1.env and the like
        """

    /// nil: off. Throws what is wrong with the options, and why an address that was given cannot be had;
    /// the default's being taken by somebody is told in the log and stops nothing.
    func listener(_ observation: Observation, log: Logger) async throws -> Listener? {
        guard let place = try place() else { return nil }
        if place.isGiven {
            do {
                try await Listener.probe(place.address)
            } catch {
                let reason =
                    error.isTaken
                    ? "is in use, by another instance or another program: \(Self.mend)"
                    : "cannot be had: \(error)"
                throw Failure(
                    "listen: \(place.address) (--listen, BILLINGD_LISTEN) \(reason)")
            }
        }
        return Listener(place.address, token: place.token, log: log) {
            await observation.answer($0)
        }
    }

    /// nil: off. Throws what is wrong with the options.
    func place() throws -> Place? {
        let given = listen ?? Environment.text("BILLINGD_LISTEN")
        if given?.lowercased() == "off" { return nil }
        guard let address = ListenAddress(parsing: given ?? "127.0.0.1:9464") else {
            throw ValidationError(
                "listen: an address and a port, as in 127.0.0.1:9464, or off; not \"\(given ?? "")\""
            )
        }
        let token = try token()
        guard token != nil || address.isLoopback else {
            throw ValidationError(
                """
                listen: \(address) can be reached from elsewhere, and shows revenue and customers' \
                charges: name a file with a token in BILLINGD_TOKEN_FILE (or --token-file), or \
                listen on 127.0.0.1
                """)
        }
        return Place(address: address, token: token, isGiven: given != nil)
    }

    /// Throws, unless nobody asked for a listener: a command that has none does not pretend to.
    func refuse(with option: String) throws {
        let given = listen ?? Environment.text("BILLINGD_LISTEN")
        guard given == nil || given?.lowercased() == "off" else {
            throw ValidationError(
                "listen: \(option) has nothing to listen for: --listen off, or BILLINGD_LISTEN=off")
        }
    }

    private func token() throws -> BearerToken? {
        guard let path = tokenFile ?? Environment.text("BILLINGD_TOKEN_FILE") else { return nil }
        guard let data = FileManager.default.contents(atPath: path) else {
            throw Failure("token-file: \(path) cannot be read by this user")
        }
        guard data.count <= 4_096,
            let token = BearerToken(parsing: String(decoding: data, as: UTF8.self))
        else {
            throw ValidationError(
                "token-file: \(path) must hold 16 to 512 visible characters and nothing else")
        }
        return token
    }
}
