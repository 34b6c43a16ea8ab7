import Billing

// How a story tells what workers do.

extension ProviderTask {
    var story: String {
        switch self {
        case .send(let request, let earlier, let isRepeat, _):
            "send \(request.orderID)\(isRepeat ? " again" : "")"
                + (earlier.isEmpty ? "" : " after \(earlier.count) look-ups")
        case .resolve(let request, let doubt):
            "look up \(request.orderID) (\(doubt.notFounds) not found, quiet over: \(doubt.quietOver))"
        case .seal(let orders, _, let ending): "seal \(orders.count) names, \(ending)"
        }
    }
}

extension Transition {
    var story: String {
        var words: [String] = []
        switch attempt {
        case .approved(let number, _, let answer):
            words.append("attempt \(number) approved \(answer.code)")
        case .declined(let number, let answer, let kills):
            words.append("attempt \(number) declined \(answer.code)\(kills ? ", card dead" : "")")
        case .refused(let number, let answer):
            words.append("attempt \(number) refused \(answer.code)")
        case .notSent(let number, _): words.append("attempt \(number) not sent")
        case .unknown(let number, let answer):
            words.append("attempt \(number) unknown \(answer.code)")
        case .lookedUp(let number, let answer, let found):
            words.append("attempt \(number) looked up \(answer.code), \(found)")
        case .earlierPaid(let order, _, let unsent):
            words.append("earlier \(order) is paid, unsent \(unsent ?? 0)")
        case nil: break
        }
        switch chargeChange {
        case .paid: words.append("charge paid")
        case .free: words.append("charge free")
        case .refunded: words.append("charge refunded")
        case .failed(let reason): words.append("charge failed \(reason)")
        case .skipped(let reason): words.append("charge skipped \(reason)")
        case .held(let reason): words.append("charge held: \(reason)")
        case .waits(let reason): words.append("charge \(reason.rawValue)")
        case nil: break
        }
        if let standing { words.append("\(standing)") }
        switch next {
        case .after(let wait): words.append("next after \(wait / .seconds(1)) s")
        case .at(let instant):
            words.append(
                "next at \(World.time(instant.microseconds - Database.epoch.microseconds))")
        default: words.append("next \(next)")
        }
        return words.joined(separator: ", ")
    }
}
