/// A message of the provider to the merchant, and what became of it.
///
/// Only two kinds concern billing (guides, webhooks): a cancel made anywhere, and a deleted billing
/// key. An approval sends none.
package struct Webhook: Sendable {
    /// What became of it.
    package enum State: String, Sendable {
        /// No address is registered.
        case unregistered
        /// To be delivered, at once, late or again.
        case pending
        /// Switch 14: never sent.
        case withheld
        /// Answered with 200.
        case delivered
        /// Not answered with 200 by eight deliveries.
        case givenUp
    }

    /// Counts from 1.
    package var number: Int64
    /// `PAYMENT_STATUS_CHANGED` or `BILLING_DELETED`.
    package var eventType: String
    /// `{"eventType":…,"createdAt":…,"data":…}`.
    package var body: [UInt8]
    /// `whtrans_…`.
    package var transmissionID: String
    /// What became of it.
    package var state: State
    /// Milliseconds since 1970 on the sandbox's clock: the next delivery.
    package var dueAt: Int64
    /// The HTTP status of each delivery's answer, 0 for none.
    package var answers: [Int] = []
    var isUnderWay = false

    /// Minutes between deliveries that were not answered with 200 within 10 s.
    static let retryMinutes: [Int64] = [1, 4, 16, 64, 256, 1024, 4096]
    /// The list forgets the oldest beyond so many.
    static let kept = 10_000

    /// One delivery, for a transport to carry out.
    package struct Delivery: Sendable {
        /// The webhook's number.
        package let number: Int64
        /// A plain http address of this machine.
        package let url: WebhookURL
        /// The headers that the provider documents.
        package let headers: [(name: String, value: String)]
        /// The JSON body.
        package let body: [UInt8]
    }

    var json: JSONValue {
        .object([
            "number": .integer(number), "eventType": .string(eventType),
            "body": JSONValue(body) ?? .null, "transmissionId": .string(transmissionID),
            "state": .string(state.rawValue), "dueAt": .string(KoreanTime.text(dueAt / 1000)),
            "answers": .array(answers.map { .integer(Int64($0)) }),
        ])
    }
}

/// Where webhooks go: the provider takes no localhost, the sandbox nothing else.
package struct WebhookURL: Sendable, Equatable {
    package let host: String
    package let port: Int
    package let path: String

    /// Reads `http://127.0.0.1:8080/path`; nil for anything that is not this machine.
    package init?(_ text: String) {
        guard text.hasPrefix("http://") else { return nil }
        let rest = text.dropFirst("http://".count)
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let address = rest[..<slash]
        guard let colon = address.lastIndex(of: ":"),
            let port = Int(address[address.index(after: colon)...]), (1...65_535).contains(port)
        else { return nil }
        var host = String(address[..<colon])
        if host == "[::1]" { host = "::1" }
        guard SandboxServer.isLoopback(host),
            rest.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F })
        else { return nil }
        self.host = host
        self.port = port
        path = slash == rest.endIndex ? "/" : String(rest[slash...])
    }

    var text: String { "http://\(host.contains(":") ? "[\(host)]" : host):\(port)\(path)" }
}

extension SandboxState {
    mutating func announceCancel(_ number: Int32) {
        announce("PAYMENT_STATUS_CHANGED", PaymentText(ids: ids).write(number, ledger, keys))
    }

    /// `reason` is a JSON value: the provider's text for its API, null for the console.
    mutating func announceDeleted(_ key: Int32, reason: JSONValue) {
        let data = JSONValue.object([
            "billingKey": .string(KeyRing.bare(keys[key].billingKey)), "reason": reason,
        ])
        announce("BILLING_DELETED", data.json)
    }

    private mutating func announce(_ eventType: String, _ data: [UInt8]) {
        let milliseconds = clock.milliseconds()
        var text = JSONBuffer(capacity: data.count + 120)
        text.raw("{\"eventType\":\"\(eventType)\",\"createdAt\":\"")
        let fraction = String(milliseconds % 1000 + 1000).dropFirst()
        text.raw("\(KoreanTime.text(milliseconds / 1000).prefix(19)).\(fraction)000\",\"data\":")
        text.raw(data)
        text.raw("}")
        let delay = switches.webhookDelaySeconds * 1000
        for _ in 0..<(switches.webhooks == .twice ? 2 : 1) {
            webhooksMade += 1
            // Out of order: every other one waits, so that its successor overtakes it.
            let waits =
                switches.webhooks == .late
                || (switches.webhooks == .outOfOrder && webhooksMade % 2 == 1)
            let webhook = Webhook(
                number: webhooksMade, eventType: eventType, body: text.bytes,
                transmissionID: ids.transmission(webhooksMade),
                state: switches.webhooks == .never
                    ? .withheld : webhookURL == nil ? .unregistered : .pending,
                dueAt: milliseconds + (waits ? delay : 0))
            add(webhook)
            journalWebhook(webhook)
        }
    }

    mutating func add(_ webhook: Webhook) {
        webhooks.append(webhook)
        if webhooks.count > Webhook.kept { webhooks.removeFirst() }
    }

    /// What is to be delivered now, the earliest first; each only once until it has ended.
    mutating func takeDueWebhooks() -> [Webhook.Delivery] {
        guard let url = webhookURL else { return [] }
        let milliseconds = clock.milliseconds()
        let due = webhooks.indices.filter {
            webhooks[$0].state == .pending && !webhooks[$0].isUnderWay
                && webhooks[$0].dueAt <= milliseconds
        }.sorted { webhooks[$0].dueAt < webhooks[$1].dueAt }
        return due.map { index in
            webhooks[index].isUnderWay = true
            let webhook = webhooks[index]
            return Webhook.Delivery(
                number: webhook.number, url: url,
                headers: [
                    ("Content-Type", "application/json"),
                    (
                        "tosspayments-webhook-transmission-time",
                        KoreanTime.text(milliseconds / 1000)
                    ),
                    (
                        "tosspayments-webhook-transmission-retried-count",
                        String(webhook.answers.count)
                    ),
                    ("tosspayments-webhook-transmission-id", webhook.transmissionID),
                ], body: webhook.body)
        }
    }

    /// Ends a delivery: `status` is the answer's, 0 when none came within 10 s.
    mutating func webhookEnded(_ number: Int64, status: Int) {
        guard let index = webhooks.firstIndex(where: { $0.number == number }) else { return }
        let tried = webhooks[index].answers.count
        webhooks[index].isUnderWay = false
        webhooks[index].answers.append(status)
        if status == 200 {
            webhooks[index].state = .delivered
        } else if tried < Webhook.retryMinutes.count {
            webhooks[index].dueAt = clock.milliseconds() + Webhook.retryMinutes[tried] * 60_000
        } else {
            webhooks[index].state = .givenUp
        }
        journalDelivery(webhooks[index], status: status)
    }
}
