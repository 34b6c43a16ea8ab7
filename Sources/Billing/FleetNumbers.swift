/// The numbers that every worker of a fleet must share; columns of `billing.settings`.
/// The database holds them at their floors in live mode; test mode may scale them down.
package struct FleetNumbers: Hashable, Sendable {
    /// Longest one request may take, 65 s: the provider asks for at least 60.
    package var requestTimeout: Duration = .seconds(65)
    /// How long a claim stands, 4 min: at least two requests and a minute.
    package var lease: Duration = .seconds(240)
    /// Longest time a request that was given up, or doubled on its way, may still act, 10 min; and
    /// longest until look-ups show it. Twice it is the rest after a refusal, which the provider does
    /// not remember under the name.
    package var lateBound: Duration = .seconds(600)
    /// Rest between the end of an attempt that was ever unknown and the next name, 1 h.
    package var gap: Duration = .seconds(3600)
    /// Age after which an open attempt is only looked up, 13 days (the provider forgets keys at 15).
    package var lastSendAge: Duration = .seconds(13 * 86_400)
    /// Age after which an open attempt is held for a person, 14 days.
    package var holdAge: Duration = .seconds(14 * 86_400)
    /// Attempts a charge may have before it is held.
    package var maximumAttempts: Int = 20
    /// Claims without any record before the row is held: it may be what kills the workers.
    package var maximumSilentClaims: Int = 5

    /// Declines that one billing key may bring in ``keyWindow``, over all its subscriptions and
    /// whoever asks: above 15 in 30 days the networks charge a fee for every further attempt.
    package static let keyDeclines = 15
    package static let keyWindow: Duration = .seconds(30 * 86_400)

    package init() {}

    /// How long after the call of the claim a request may still start: lease − request − 10 s,
    /// on the worker's boot-time clock. The 10 s are for recording.
    package var sendWindow: Duration { lease - requestTimeout - min(.seconds(10), lease / 24) }
}
