/// The sentences of obstacles, one a case.
extension Obstacle {
    /// For machines: the case's name.
    package var code: String {
        switch self {
        case .setAside: "set_aside"
        case .held: "held"
        case .canceled: "canceled"
        case .paused: "paused"
        case .noCard: "no_card"
        case .suspended: "suspended"
        case .leased: "leased"
        case .silentClaims: "silent_claims"
        case .inDoubt: "in_doubt"
        case .dunning: "dunning"
        case .rest(.unknown, _): "gap"
        case .rest(.refused, _): "rest_after_refusal"
        case .cardBudget: "card_budget"
        case .notSent: "not_sent"
        case .notDue: "not_due"
        case .nothingPlanned: "nothing_planned"
        case .looksFirst: "looks_first"
        case .schemaVersion: "schema_version"
        case .noKeyBound: "no_key_bound"
        case .otherMode: "other_mode"
        case .otherKey: "other_key"
        case .notAdopted: "not_adopted"
        case .adopted: "adopted"
        case .fleetPaused: "fleet_paused"
        case .rotating: "rotating"
        case .noWorker: "no_worker"
        case .faulted: "faulted"
        case .notClaiming: "not_claiming"
        case .wonPerDay: "won_per_day"
        case .requestsPerMinute: "requests_per_minute"
        case .nextPoll: "next_poll"
        }
    }

    /// What it means, and how it ends or is ended. `id`: the subscription.
    package func sentence(_ id: SubscriptionID, _ fleet: SubscriptionHistory.FleetFacts) -> String {
        rowSentence(id.value, fleet) ?? fleetSentence(fleet) ?? code
    }

    private func rowSentence(
        _ id: Int64, _ fleet: SubscriptionHistory.FleetFacts
    ) -> String? {
        let zone = fleet.zone
        switch self {
        case .setAside(let reason):
            return "The row was set aside because it makes no sense: \(reason). Mend it, then "
                + "billing.resume(\(id))."
        case .held(let charge, let reason):
            return "Charge \(charge) is held: \(reason). A person must look: billingd release "
                + "\(charge) --why … tries it again, billingd fail \(charge) --why … gives it up; "
                + "both ask the provider first."
        case .canceled: return "The subscription is cancelled: nothing is charged any more."
        case .paused:
            return "The subscription is paused: billing.resume(\(id)) ends that; periods "
                + "that began meanwhile are skipped."
        case .noCard(let state, let code):
            let last =
                switch state {
                case "dead": "the last one is dead (\(code ?? "no code"))"
                case "deleted": "the last one was deleted"
                default: "none was ever registered, or the one it is bound to is gone"
                }
            return "There is no card to charge: \(last). A new card is charged at once."
        case .suspended:
            return "The subscription is suspended: dunning ended unpaid, and what has ended is not "
                + "tried again. billing.resume(\(id)) charges again from the next period "
                + "that begins."
        case .leased(let owner, let until):
            return "Worker \(owner) has it in hand, until \(zone.text(until)) at the latest; if it "
                + "died, another takes over then."
        case .silentClaims(let claims):
            let limit = fleet.numbers.maximumSilentClaims
            return
                "It was claimed \(claims) times without any result, so that it is claimed alone; "
                + "after \(limit) times it is held, because it may be what stops the workers."
        case .inDoubt(let doubt): return Self.sentence(doubt, fleet)
        case .dunning(let step, let steps, let until):
            return "It was declined and waits for step \(min(step, steps)) of \(steps) of the "
                + "plan's dunning, at \(zone.text(until)). billingd retry \(id) --why … tries it now; "
                + "a new card does so by itself."
        case .rest(.unknown, let until):
            return "The last attempt was once of unknown outcome: a new name rests until "
                + "\(zone.text(until)), so that nothing late can be paid beside it."
        case .rest(.refused, let until):
            return
                "The provider refused the last attempt without trying the card: a new name rests "
                + "until \(zone.text(until))."
        case .cardBudget(let until):
            return "The card was declined too often in the last days: it is not tried again before "
                + "\(zone.text(until)). A new card need not wait."
        case .notSent(let code, let until):
            return "The last request did not leave this side (\(code ?? "given back unsent")): the "
                + "same name is tried again at \(zone.text(until))."
        case .notDue(let until): return "It is not due before \(zone.text(until))."
        case .nothingPlanned: return "Nothing is planned for it."
        case .looksFirst(let until):
            let end = until.map { "until \(zone.text($0))" } ?? "until its period ends"
            return "The database may have forgotten attempts: \(end) every name is looked up "
                + "before it is sent."
        default: return nil
        }
    }

    private static func sentence(
        _ doubt: InDoubt, _ fleet: SubscriptionHistory.FleetFacts
    ) -> String {
        let zone = fleet.zone
        var text = "A request under \(doubt.order) may have been executed: "
        text +=
            doubt.nextLook.map { "the provider is asked again at \(zone.text($0))" }
            ?? "the provider is not asked"
        text +=
            " (asked \(times(doubt.lookups)) since the last send, \(doubt.notFounds) of them "
            + "without a payment)."
        if fleet.now >= doubt.lastSend {
            text += " It is too old to be sent again: it is only looked up."
        } else if doubt.otherKey {
            text +=
                " It was made with a secret key that is no longer bound: it is only looked up, "
                + "never sent again."
        } else if doubt.absent {
            text += " It is not there: the same name is sent again next."
        } else {
            let quiet = doubt.quietUntil.map { max(fleet.business($0), fleet.now) } ?? fleet.now
            text +=
                " The same name may be sent again once it was not found twice, the last time "
                + "after \(zone.text(quiet)), and before \(zone.text(doubt.lastSend))."
        }
        return text + " Unresolved, it is held at \(zone.text(doubt.holdsAt))."
    }

    private func fleetSentence(_ fleet: SubscriptionHistory.FleetFacts) -> String? {
        let zone = fleet.zone
        switch self {
        case .schemaVersion(let database, let program):
            return "The database has schema version \(database), this program \(program): a worker "
                + "of this program charges nothing."
        case .noKeyBound:
            return "No secret key is bound: no worker ever started on this database."
        case .otherMode(let settings, let key):
            return
                "settings.mode is \(settings), but the secret key here is a \(key) key: a worker "
                + "with it charges nothing."
        case .otherKey(let bound, let inHand):
            return "The secret key here has fingerprint \(inHand), but this database is bound to "
                + "\(bound): a worker with it charges nothing. If the key was rotated at the "
                + "provider: billingd rotate-key --why …"
        case .notAdopted(let changes):
            return
                "This database is not the one that was charged before, and nobody vouched for it: "
                + "\(changes.joined(separator: "; ")). When no other copy is charged: billingd "
                + "adopt-database --why …"
        case .adopted(let until):
            return "This database was adopted: requests sent before may still act, so that nothing "
                + "is charged until \(zone.text(until))."
        case .fleetPaused(let reason):
            return "The whole fleet is paused: \(reason ?? "no reason given")."
        case .rotating(let to):
            return "A rotation of the secret key, to fingerprint \(to), is under way: billingd "
                + "rotate-key finishes it, with --abort takes it back."
        case .noWorker(let lastSeen):
            let seen = lastSeen.map { "the last sign of life was \(words($0)) ago" }
            return
                "No worker is alive: \(seen ?? "none was seen in the last day"). Start billingd run."
        case .faulted(let workers, let reason):
            return "All workers (\(workers)) stopped charging after an answer that every row would "
                + "get (key, contract or address), or one wrong row after another; they try one row "
                + "at a time. " + (reason.map { "They say: \($0)." } ?? "Their log has the code.")
        case .notClaiming(let workers, let reason):
            return "None of the workers (\(workers)) claims anything. They say: \(reason)."
        case .wonPerDay(let limit, let left, let wanted):
            return
                "settings.max_won_per_day (\(won(limit))) leaves \(won(left)) of today, it needs "
                + "\(won(wanted)): it waits for tomorrow or for a higher limit."
        case .requestsPerMinute(let limit, let wait):
            return "settings.max_requests_per_minute (\(limit)) is used up: the next request may "
                + "leave in \(words(wait))."
        case .nextPoll: return "Nothing stands in the way: the next look of a worker takes it."
        default: return nil
        }
    }
}

/// `14,900 won`.
package func won(_ amount: Int64) -> String {
    var digits = "\(abs(amount))"
    var place = digits.count - 3
    while place > 0 {
        digits.insert(",", at: digits.index(digits.startIndex, offsetBy: place))
        place -= 3
    }
    return "\(amount < 0 ? "-" : "")\(digits) won"
}

/// `3 days`, `90 minutes`, `12 s`: rounded down, for people.
package func words(_ duration: Duration) -> String {
    let seconds = duration.components.seconds
    switch seconds {
    case ..<120: return "\(max(seconds, 0)) s"
    case ..<7_200: return "\(seconds / 60) minutes"
    case ..<172_800: return "\(seconds / 3_600) hours"
    default: return "\(seconds / 86_400) days"
    }
}

/// `once`, `twice`, `3 times`.
package func times(_ count: Int) -> String {
    switch count {
    case 0: "never"
    case 1: "once"
    case 2: "twice"
    default: "\(count) times"
    }
}
