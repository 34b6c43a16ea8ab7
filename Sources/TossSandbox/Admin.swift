/// `/_sandbox`: the clock, keys, scripts, books, switches and faults, for whoever runs the tests.
extension SandboxState {
    mutating func admin(_ request: SandboxRequest) -> SandboxReply {
        let json = request.body.isEmpty ? JSONValue.object([:]) : JSONValue(request.body)
        guard let json else { return refuse("the body is no JSON") }
        let path = request.path.dropFirst("/_sandbox".count).split(separator: "/")
            .map { PercentText.decode($0) ?? "" }
        switch (request.method, path.first ?? "", path.count) {
        case ("GET", "", 0): return reply(SandboxManual.json)
        case ("GET", "clock", 1): return reply(clockJSON)
        case ("PUT", "clock", 1): return setClock(json)
        case ("POST", "billing-keys", 1): return makeKeys(json)
        case ("POST", "auth-keys", 1): return makeAuthKey(json)
        case ("PUT", "scripts", 2): return setScript(path[1], json)
        case ("PUT", "card-scripts", 2):
            guard let script = CardScript(json: json) else { return refuse("no such script") }
            keys.cardScripts[path[1]] = script
            journalCardScript(path[1], script)
            return reply(.object([:]))
        case ("GET", "books.csv", 1): return csv()
        case ("GET", "books", 1): return reply(booksJSON)
        case ("GET", "books", 2) where path[1] == "customers":
            return reply(totals(byCustomer: true))
        case ("GET", "books", 2) where path[1] == "orders":
            return reply(totals(byCustomer: false))
        case ("GET", "switches", 1): return reply(switches.json)
        case ("PUT", "switches", 1):
            if let name = switches.merge(json) { return refuse("switch \(name)") }
            journalSwitches()
            return reply(switches.json)
        case ("GET", "faults", 1): return reply(.array(faults.map(\.json)))
        case ("PUT", "faults", 1): return setFaults(json, after: [])
        case ("POST", "faults", 1): return setFaults(json, after: faults)
        case ("DELETE", "faults", 1):
            faults = []
            return reply(.array([]))
        case ("PUT", "revoked-keys", 1): return revoke(json)
        case ("PUT", "latency", 1):
            guard let value = json["milliseconds"]?.integer, (0...3_600_000).contains(value) else {
                return refuse("milliseconds must be from 0 to 3600000")
            }
            latencyMilliseconds = value
            return reply(.object(["milliseconds": .integer(value)]))
        case ("POST", "cancel", 2):
            return reply(cancel(path[1], json.adding("cancelReason", "cancelled by operator")))
        case ("POST", "delete", 2): return reply(delete(billingKey: path[1], reason: .null))
        case ("GET", "webhooks", 1): return reply(.array(webhooks.map(\.json)))
        case ("PUT", "webhooks", 1):
            guard let text = json["url"]?.string, let url = WebhookURL(text) else {
                return refuse("url: http://127.0.0.1:port/path, of this machine")
            }
            webhookURL = url
            journalWebhookURL()
            return reply(.object(["url": .string(url.text)]))
        case ("POST", "reset", 1):
            reset()
            return reply(.object([:]))
        default: return refuse("no such call", status: 404)
        }
    }

    private func reply(
        _ body: [UInt8], _ contentType: String = "application/json;charset=UTF-8",
        status: Int = 200
    ) -> SandboxReply {
        SandboxReply(status: status, headers: [("Content-Type", contentType)], body: body)
    }

    private func reply(_ json: JSONValue) -> SandboxReply { reply(json.json) }

    private func reply(_ answer: Answer) -> SandboxReply {
        reply(answer.body, status: answer.status)
    }

    private func refuse(_ reason: String, status: Int = 400) -> SandboxReply {
        reply(JSONValue.object(["error": .string(reason)]).json, status: status)
    }

    private var clockJSON: JSONValue {
        var members: [String: JSONValue] = ["now": .string(KoreanTime.text(now))]
        switch clock {
        case .running(let offset): members["offsetSeconds"] = .integer(offset / 1000)
        case .fixed: members["fixed"] = .bool(true)
        }
        return .object(members)
    }

    private mutating func setClock(_ json: JSONValue) -> SandboxReply {
        if let seconds = json["offsetSeconds"]?.integer, abs(seconds) < 1 << 40 {
            clock = .running(offsetMilliseconds: seconds * 1000)
        } else if let time = json["now"]?.string.flatMap(KoreanTime.seconds) {
            clock =
                json["fixed"]?.bool == true
                ? .fixed(milliseconds: time * 1000) : .running(from: time)
        } else {
            return refuse("give now (a time) or offsetSeconds")
        }
        journalClock()
        runLateRequests()
        return reply(clockJSON)
    }

    /// One object `{customerKey, count?, script?}` or an array of `{customerKey, billingKey?, …}`.
    private mutating func makeKeys(_ json: JSONValue) -> SandboxReply {
        var wanted: [(customer: String, key: String?, script: CardScript?)] = []
        for item in json.array ?? [json] {
            guard let customer = item["customerKey"]?.string,
                (2...300).contains(customer.utf16.count)
            else { return refuse("customerKey is missing") }
            let count = item["count"]?.integer ?? 1
            guard (1...1_000_000).contains(count) else { return refuse("count") }
            let key = item["billingKey"]?.string
            if let key, !KeyRing.isWellFormed(key) || keys.index(key) != nil || count > 1 {
                return refuse("billingKey is malformed or exists")
            }
            var script: CardScript?
            if ["script", "limit", "deadFrom", "windows"].contains(where: { item[$0] != nil }) {
                guard let read = CardScript(json: item) else { return refuse("script") }
                script = read
            }
            for number in 1...count {
                wanted.append((count == 1 ? customer : "\(customer)-\(number)", key, script))
            }
        }
        var out = JSONBuffer(capacity: 160 * wanted.count)
        for (index, want) in wanted.enumerated() {
            let key = issueDirectly(
                customerKey: want.customer, script: want.script, billingKey: want.key)
            out.raw(index == 0 ? "[{\"customerKey\":" : ",{\"customerKey\":")
            out.string(want.customer)
            out.raw(",\"billingKey\":\"\(key)\",\"cardNumber\":\"\(KeyRing.Card().number)\"}")
        }
        out.raw("]")
        return reply(wanted.isEmpty ? Array("[]".utf8) : out.bytes)
    }

    /// The secret keys that are refused from now on, as an array; an empty one takes all back.
    private mutating func revoke(_ json: JSONValue) -> SandboxReply {
        let wanted = (json.array ?? []).map(\.string)
        let known = wanted.compactMap { key in secrets.keys.firstIndex { $0 == key } }
        guard known.count == wanted.count else { return refuse("no such secret key") }
        secrets.revoked = Set(known)
        return reply(.array([]))
    }

    private mutating func makeAuthKey(_ json: JSONValue) -> SandboxReply {
        guard let customer = json["customerKey"]?.string else { return refuse("customerKey") }
        let number = json["cardNumber"]?.string ?? "9410001234567890"
        let text = keys.addAuthKey(.init(customerKey: customer, cardNumber: number), ids)
        journalAuthKey(text)
        return reply(.object(["authKey": .string(text), "customerKey": .string(customer)]))
    }

    private mutating func setScript(_ billingKey: String, _ json: JSONValue) -> SandboxReply {
        guard let key = keys.index(billingKey) else { return refuse("no such key", status: 404) }
        guard let script = CardScript(json: json) else { return refuse("no such script") }
        keys[key].script = script
        // Outcomes count from the call that sets them.
        keys[key].attempts = 0
        journalScript(key, script)
        return reply(.object([:]))
    }

    /// One rule or an array of them, after those that stay.
    private mutating func setFaults(_ json: JSONValue, after rules: [FaultRule]) -> SandboxReply {
        var rules = rules
        for item in json.array ?? [json] {
            do {
                rules.append(try FaultRule(json: item))
            } catch {
                return refuse(error.description)
            }
        }
        faults = rules
        return reply(.array(faults.map(\.json)))
    }

    /// Empties everything but the settings. Lines of a books file stay, with a line after them that
    /// makes a restart forget them, too.
    mutating func reset() {
        journalReset()
        let record = record
        let sequence = sequence
        self = SandboxState(settings)
        self.record = record
        // Fresh trace ids: a reset sandbox must not answer with those of before.
        self.sequence = sequence
    }
}

extension JSONValue {
    /// An object with one more member, unless it has it already.
    func adding(_ name: String, _ value: JSONValue) -> JSONValue {
        guard case .object(var members) = self else { return self }
        members[name] = members[name] ?? value
        return .object(members)
    }
}
