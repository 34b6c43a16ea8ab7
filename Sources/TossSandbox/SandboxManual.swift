/// What whoever runs the tests can say to the sandbox: `GET /_sandbox`, and `toss-sandbox --help`.
package enum SandboxManual {
    /// The calls of `/_sandbox`, with an example or what they are for.
    package static let calls: [(call: String, meaning: String)] = [
        ("GET, PUT /_sandbox/clock", #"{"now":"2026-01-01T00:00:00+09:00","fixed":false}"#),
        ("POST /_sandbox/billing-keys", #"{"customerKey":"c-1","count":1000}"#),
        ("POST /_sandbox/auth-keys", #"{"customerKey":"c-1"}"#),
        (
            "PUT /_sandbox/scripts/{billingKey}",
            #"{"script":["REJECT_CARD_PAYMENT","approve"],"limit":30000,"deadFrom":"2026-08-01"}"#
        ),
        ("PUT /_sandbox/card-scripts/{number}", "the same, for keys issued from now on"),
        ("GET /_sandbox/books", "totals; order-id prefixes that were charged twice"),
        ("GET /_sandbox/books.csv", "every execution"),
        ("GET /_sandbox/books/customers", "totals by customer"),
        ("GET /_sandbox/books/orders", "totals by order-id prefix, all before the last -"),
        ("GET, PUT /_sandbox/switches", #"{"declinedOrderIsBurned":true}"#),
        (
            "GET, PUT, POST, DELETE /_sandbox/faults",
            #"[{"action":"executeAndDrop","every":10}]; POST adds"#
        ),
        ("PUT /_sandbox/latency", #"{"milliseconds":2000}"#),
        ("POST /_sandbox/cancel/{paymentKey}", "the operator's hand; sends a webhook"),
        ("POST /_sandbox/delete/{billingKey}", "likewise"),
        ("GET, PUT /_sandbox/webhooks", #"{"url":"http://127.0.0.1:8080/hook"}; the list"#),
        ("POST /_sandbox/reset", "empties everything but the command line's settings"),
    ]

    /// Fault rules to copy; together they use every field.
    package static let examples: [(rule: String, meaning: String)] = [
        (
            #"{"action":"executeAndDrop","every":10,"count":5,"customerKey":"c-1"}"#,
            "every tenth approval of a customer is executed and its answer lost, five times"
        ),
        (
            #"{"action":"refuse","calls":"lookups","status":503,"body":"html","probability":0.3}"#,
            "three look-ups in ten meet a gateway's 503"
        ),
        (
            #"{"action":"refuse","calls":"order","code":"NOT_FOUND_PAYMENT","orderId":"s7-0001-1"}"#,
            "a look-up that is wrong: the order is not found"
        ),
        (
            #"{"action":"latency","milliseconds":5000,"toMilliseconds":75000,"orderPrefix":"s7-"}"#,
            "answers that take 5 to 75 seconds"
        ),
        (
            #"{"action":"late","milliseconds":120000,"farewell":"code","status":504,"holdsKey":true}"#,
            "a 504, and the charge two minutes later; its key answers 409 until then"
        ),
        (
            #"{"action":"double","milliseconds":60000,"forgetsKey":true,"answered":"declined"}"#,
            "a declined request arrives again after a minute, its key forgotten"
        ),
        (
            #"{"action":"executeAndFail","remembers":false,"replays":true,"card":"94100012****789*"}"#,
            "charges of a card that answer 500 and are not remembered"
        ),
        (
            #"""
            {"action":"hang","calls":["approve","transactions"],"billingKey":"KEY",\#
            "from":"2026-01-01T09:00:00+09:00","until":"2026-01-01T10:00:00+09:00"}
            """#, "an hour, on the sandbox's clock, in which answers never come"
        ),
    ]

    /// All of it as text.
    package static var text: String {
        let actions = FaultRule.Action.allCases.map { (name: $0.rawValue, meaning: $0.meaning) }
        return table(calls.map { (name: $0.call, meaning: $0.meaning) }, width: 40)
            + "\n\nFault rules: the first that strikes counts. Actions:\n"
            + table(actions, width: 15)
            + "\n\nFields of a rule:\n" + table(FaultRule.fields, width: 15)
            + "\n\nRules to copy, as in"
            + " curl -X PUT http://127.0.0.1:PORT/_sandbox/faults -d '[RULE, …]':\n"
            + examples.map { "  \($0.rule)\n      \($0.meaning)" }.joined(separator: "\n")
            + "\n\nSwitches, by the numbers of the provider's open questions:\n"
            + table(Switches.meanings.map { (name: $0.name, meaning: $0.meaning) }, width: 26)
    }

    private static func table(_ rows: [(name: String, meaning: String)], width: Int) -> String {
        rows.map { row in
            let gap = String(repeating: " ", count: max(1, width - row.name.utf8.count))
            return "  " + row.name + gap + row.meaning
        }.joined(separator: "\n")
    }

    static var json: JSONValue {
        var actions: [String: JSONValue] = [:]
        for action in FaultRule.Action.allCases {
            actions[action.rawValue] = .string(action.meaning)
        }
        return .object([
            "calls": object(calls.map { ($0.call, $0.meaning) }), "actions": .object(actions),
            "fields": object(FaultRule.fields.map { ($0.name, $0.meaning) }),
            "switches": object(Switches.meanings.map { ($0.name, $0.meaning) }),
        ])
    }

    private static func object(_ rows: [(String, String)]) -> JSONValue {
        .object(Dictionary(rows.map { ($0, .string($1)) }) { first, _ in first })
    }
}
