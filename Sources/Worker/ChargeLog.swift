import Billing
import Logging

/// One event a line, with ids and codes; no key, no URL, no text of a request or of the provider.
extension Logger {
    func log(_ transition: Transition, of work: Work, took: Duration) {
        // Nobody reads of an ordinary approval: its line need not be composed.
        if logLevel > .debug, transition.isOrdinaryApproval { return }
        var metadata = work.metadata
        metadata["duration_ms"] = "\(Int64(took / .milliseconds(1)))"
        if let answer = transition.attempt?.answer {
            metadata.merge(answer.metadata) { $1 }
        }
        metadata["action"] = transition.action(for: work).map { "\($0)" }
        if case .held(let reason) = transition.chargeChange {
            metadata["reason"] = "\(singleLine(reason))"
            return error("held: a person must look at the charge", metadata: metadata)
        }
        switch transition.attempt {
        case .approved: debug("approved", metadata: metadata)
        case .earlierPaid(let order, _, _):
            metadata["paid_order_id"] = "\(order)"
            error("paid under an earlier order id that was declined", metadata: metadata)
        case .declined: info("declined", metadata: metadata)
        case .refused: warning("refused", metadata: metadata)
        case .notSent: warning("not sent", metadata: metadata)
        case .unknown: warning("unknown: it will be looked up", metadata: metadata)
        case .lookedUp(_, _, let found):
            metadata["found"] = "\(found)"
            info("looked up", metadata: metadata)
        case nil:
            if case .failed(let reason) = transition.chargeChange {
                metadata["reason"] = "\(reason.rawValue)"
                info("the charge ends unpaid", metadata: metadata)
            } else {
                info("looked up: nothing decided", metadata: metadata)
            }
        }
    }
}

extension Logger {
    /// One line for each change of the circuit breaker. `answer`: what showed a fault.
    func log(_ change: CircuitBreaker.Change, after answer: Answer?) {
        switch change {
        case .opened(.fault(CircuitBreaker.manyWrongRows)):
            error(
                """
                one row after another is held or set aside: claims stop, one row is tried from time to \
                time
                """,
                metadata: [
                    "code": "\(CircuitBreaker.manyWrongRows)",
                    "action": "billingd status; mend what the reasons of the held have in common",
                ])
        case .opened(.fault(let code)):
            var metadata = answer?.metadata ?? ["code": "\(code)"]
            metadata["action"] = """
                billingd check; look at the secret key, the billing contract and the provider's URL
                """
            error(
                "every charge would fail: claims stop, one row is tried from time to time",
                metadata: metadata)
        case .opened(.silence(let code)):
            error(
                "the provider does not serve: claims stop, one row is tried from time to time",
                metadata: [
                    "code": "\(code)",
                    "action": """
                    billingd check; look at the network, the proxy and IPAddressAllow=, then ask the \
                    provider. It goes on by itself
                    """,
                ])
        case .limited(let most):
            warning(
                "fewer charges at a time",
                metadata: [
                    "most": "\(most)",
                    "action": "none: more and more again as the provider answers",
                ])
        case .closed: notice("the provider answers: as many charges at a time as before")
        }
    }
}

extension Work {
    var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = [
            "subscription": "\(subscription.value)", "charge": "\(charge.value)",
        ]
        switch task {
        case .send(let request, _, _, _), .resolve(let request, _):
            metadata["attempt"] = "\(request.number)"
            metadata["order_id"] = "\(request.orderID)"
        case .seal(let orders, _, _):
            metadata["attempt"] = "\(orders.count)"
        }
        return metadata
    }
}

extension Answer {
    var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = ["code": "\(singleLine(code))"]
        if let httpStatus { metadata["http_status"] = "\(httpStatus)" }
        if let traceID { metadata["trace_id"] = "\(singleLine(traceID))" }
        return metadata
    }
}

extension Transition {
    /// What a person does about it; nil: it is no incident.
    fileprivate func action(for work: Work) -> String? {
        if case .held = chargeChange {
            return """
                billingd explain \(work.subscription.value) tells why; then billingd release \
                \(work.charge.value) --why …, or billingd fail \(work.charge.value) --why …
                """
        }
        return switch attempt {
        case .earlierPaid:
            "billingd explain \(work.subscription.value) --ask; the charge is recorded as paid"
        case .refused, .notSent: "none: it is tried again after a pause"
        case .unknown: "none: it is looked up until the provider says what became of it"
        case .approved, .declined, .lookedUp, nil: nil
        }
    }

    /// Approved, and no person has to look at it: a line of level `debug`.
    fileprivate var isOrdinaryApproval: Bool {
        guard case .approved = attempt else { return false }
        if case .held = chargeChange { return false }
        return true
    }
}

extension Transition.AttemptChange {
    fileprivate var answer: Answer? {
        switch self {
        case .approved(_, _, let answer), .declined(_, let answer, _), .refused(_, let answer),
            .notSent(_, let answer), .unknown(_, let answer), .lookedUp(_, let answer, _):
            answer
        case .earlierPaid: nil
        }
    }
}

/// Foreign text for one log line: no line breaks or control characters, at most 200 characters.
func singleLine(_ text: String) -> String {
    // Nearly every code and reason is short and plain already.
    if text.utf8.count <= 200, text.utf8.allSatisfy({ 32...126 ~= $0 }) { return text }
    return String(
        text.prefix(200).map { character in
            character.unicodeScalars.allSatisfy { $0.value >= 32 && $0.value != 127 }
                ? character : " "
        })
}
