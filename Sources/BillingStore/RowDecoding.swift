import Billing
import Postgres

extension PostgresRow {
    /// The due subscription of one row of ``ClaimSQL/read(_:)``.
    func dueSubscription() throws(PostgresError) -> DueSubscription {
        // In the order of the columns: so none needs to be looked up by its name.
        let id = SubscriptionID(try int64("subscription_id"))
        let lease = LeaseNumber(try int64("lease_no"))
        let claims = try int("claims")
        let state = try string("state")
        let now = try instant("now")
        let looksFirst = try bool("looks_first")
        var due = DueSubscription(
            id: id, lease: lease, silentClaims: claims,
            state: try word(state, of: "state"), now: now,
            cancelAt: try instantOrNil("cancel_at"),
            resumedAt: try instantOrNil("resumed_at"),
            askedAt: try instantOrNil("asked_at"),
            periodIndex: try int("period_index"),
            periodStart: try instant("period_at"),
            periodEnd: try instant("period_end"),
            orderPrefix: try string("order_prefix"),
            customerKey: CustomerKey(try string("customer_key")),
            terms: DueSubscription.Terms(
                amount: Won(try int64("amount")),
                taxFreeAmount: Won(try int64("tax_free_amount")),
                orderName: try string("order_name")),
            catchUp: try word(try string("catch_up"), of: "catch_up"),
            dunningSteps: try int("dunning_steps"),
            card: try card(),
            problem: try stringOrNil("problem"), looksFirst: looksFirst)
        due.charge = try openCharge()
        return due
    }

    private func card() throws(PostgresError) -> DueSubscription.Card? {
        guard let id = try int64OrNil("card_id") else { return nil }
        return DueSubscription.Card(
            id: id, billingKey: BillingKey(try string("card_key")),
            freeAt: try instantOrNil("card_free_at"), isNew: try bool("card_is_new"))
    }

    private func openCharge() throws(PostgresError) -> DueSubscription.OpenCharge? {
        guard let id = try int64OrNil("charge_id") else { return nil }
        return DueSubscription.OpenCharge(
            id: ChargeID(id),
            terms: DueSubscription.Terms(
                amount: Won(try int64("charge_amount")),
                taxFreeAmount: Won(try int64("charge_tax_free")),
                orderName: try string("charge_name")),
            openedAt: try instant("charge_opened_at"),
            unclearSince: try instantOrNil("unclear_since"),
            isHeld: try bool("is_held"), declines: try int("declines"),
            attempt: try lastAttempt(),
            earlierCode: try stringOrNil("earlier_code"),
            earliestCode: try stringOrNil("earliest_code"))
    }

    private func lastAttempt() throws(PostgresError) -> DueSubscription.LastAttempt? {
        guard try int64OrNil("attempt_no") != nil else { return nil }
        let request = AttemptRequest(
            number: try attempts("attempt_no"),
            orderID: OrderID(stored: try string("order_id")),
            billingKeyID: try int64("attempt_card"),
            billingKey: BillingKey(try string("attempt_key")),
            customerKey: CustomerKey(try string("attempt_customer")),
            amount: Won(try int64("attempt_amount")),
            taxFreeAmount: Won(try int64("attempt_tax_free")),
            orderName: try string("attempt_name"))
        return DueSubscription.LastAttempt(
            state: try word(try string("attempt_state"), of: "attempt_state"),
            request: request,
            code: try stringOrNil("attempt_code"),
            traceID: try stringOrNil("trace_id"),
            openedAt: try instant("opened_at"),
            finishedAt: try instantOrNil("finished_at"),
            nextDay: try instantOrNil("next_day"),
            everUnknown: try bool("ever_unknown"),
            inDoubt: try bool("in_doubt"),
            absent: try bool("absent"),
            sends: try int("sends"),
            lookups: try int("lookups"),
            notFounds: try int("not_founds"),
            quietOver: try bool("quiet_over"),
            notSents: try int("not_sents"), sameKey: try bool("same_key"))
    }

    /// The fleet's numbers of one row of ``ClaimSQL/permission(fingerprint:mode:schemaVersion:)``.
    func fleetNumbers() throws(PostgresError) -> FleetNumbers {
        var numbers = FleetNumbers()
        numbers.requestTimeout = try span("request_timeout")
        numbers.lease = try span("lease")
        numbers.lateBound = try span("late_bound")
        numbers.gap = try span("gap")
        numbers.lastSendAge = try span("last_send_age")
        numbers.holdAge = try span("hold_age")
        numbers.maximumAttempts = try attempts("maximum_attempts")
        return numbers
    }

    /// A number of attempts: names are made for each, so it must be as small as the schema says.
    private func attempts(_ column: String) throws(PostgresError) -> Int {
        let number = try int(column)
        guard (1...20).contains(number) else {
            throw .decoding("column \(column) is no number of attempts: 1 to 20")
        }
        return number
    }

    /// A span in seconds. Intervals of PostgreSQL may be longer than any `Duration`, or infinite.
    private func span(_ column: String) throws(PostgresError) -> Duration {
        let seconds = try double(column)
        guard abs(seconds) < 1e12 else {
            throw .decoding("column \(column) is no span of time that a program can wait")
        }
        return .seconds(seconds)
    }

    private func instant(_ column: String) throws(PostgresError) -> Instant {
        Instant(microseconds: try timestamp(column).microseconds)
    }

    private func instantOrNil(_ column: String) throws(PostgresError) -> Instant? {
        try timestampOrNil(column).map { Instant(microseconds: $0.microseconds) }
    }

    private func word<Word: RawRepresentable<String>>(
        _ text: String, of column: String
    ) throws(PostgresError) -> Word {
        guard let word = Word(rawValue: text) else {
            throw PostgresError.decoding("column \(column) holds a word this program does not know")
        }
        return word
    }
}
