import Foundation
import Glibc
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// `billingd reconcile` and the daemon's daily comparison, each difference provoked for real.
    @Suite struct ReconcileTests {
        private struct Report: Decodable {
            struct Finding: Decodable {
                var kind: String
                var subscriptionId, chargeId, periodIndex, amount, ledgerAmount: Int?
                var orderId, paymentKey, at, detail, advice: String
            }
            struct Foreign: Decodable { var orderId: String }
            var provisional, agrees: Bool
            var error: String?
            var payments, won, refundsRecorded, undone, late, underWay, foreign: Int
            var foreignPayments: [Foreign]
            var findings: [Finding]
            var kinds: [String] { findings.map(\.kind).sorted() }
        }

        /// A shop whose first charges are due on 15 July 2027 in Korea, in both clocks.
        private func shop(
            _ subscribers: Int, script: [String]? = nil
        ) async throws -> (stage: Stage, customers: [Stage.Customer]) {
            let stage = try await Stage()
            try await clock(stage, "2027-07-15T09:30:00")
            let customers = try await stage.subscribers(subscribers, script: script)
            #expect(try await stage.billingd(["once"]).status == 0)
            return (stage, customers)
        }

        /// Sets both clocks to a Korean time.
        private func clock(_ stage: Stage, _ time: String) async throws {
            try stage.sandbox.call("PUT", "clock", "{\"now\":\"\(time)+09:00\"}")
            try await stage.database.run(
                """
                UPDATE billing.settings SET clock_offset = timestamptz '\(time)+09' - now()
                """, as: .admin)
        }

        private func reconcile(
            _ stage: Stage, _ status: Int32, as role: TemporaryPostgres.Role = .report,
            _ changes: [String: String?] = [:], day: String = "2027-07-15",
            sourceLocation: SourceLocation = #_sourceLocation
        ) async throws -> Report {
            let database = ["DATABASE_URL": stage.database.connectionString(as: role)]
            let result = try await stage.billingd(
                ["reconcile", "--day", day, "--json"],
                changes.merging(database) { given, _ in given })
            #expect(
                result.status == status, "\(result.output)\(result.errors)",
                sourceLocation: sourceLocation)
            let decoder = JSONDecoder()
            decoder.keyDecodingStrategy = .convertFromSnakeCase
            return try decoder.decode(Report.self, from: Data(result.output.utf8))
        }

        /// Approves at the provider behind the daemon's back.
        private func approve(
            _ stage: Stage, _ customer: Stage.Customer, _ order: String, amount: Int = 14_900
        ) throws {
            let body = """
                {"amount":\(amount),"customerKey":"\(customer.customerKey)","orderId":"\(order)",\
                "orderName":"n"}
                """
            let secret = Data("\(stage.secretKey):".utf8).base64EncodedString()
            let answer = try stage.sandbox.exchange(
                """
                POST /v1/billing/\(customer.billingKey) HTTP/1.1\r
                Host: 127.0.0.1\r
                Connection: close\r
                Authorization: Basic \(secret)\r
                Content-Type: application/json\r
                Content-Length: \(body.utf8.count)\r
                \r
                \(body)
                """)
            guard answer.hasPrefix("HTTP/1.1 200") else {
                throw ChildProcess.Failure("approve \(order): \(answer.prefix(500))")
            }
        }

        private func value(_ stage: Stage, _ query: String) async throws -> String {
            try await stage.database.run("SELECT (\(query))::text AS value")[0].string("value")
        }

        /// The prefix of the customer's order ids.
        private func prefix(_ stage: Stage, _ customer: Stage.Customer) async throws -> String {
            try await value(
                stage,
                """
                SELECT order_prefix FROM billing.subscriptions
                WHERE customer_key = '\(customer.customerKey)'
                """)
        }

        @Test func booksThatAgreeAreSaidTo() async throws {
            let (stage, _) = try await shop(3)
            // The list is a minute late, and the day is not over.
            let young = try await reconcile(stage, 0)
            #expect(young.provisional && young.agrees && young.payments == 0 && young.late == 3)
            try await clock(stage, "2027-07-16T03:00:00")
            let over = try await reconcile(stage, 0)
            #expect(!over.provisional && over.payments == 3 && over.won == 3 * 14_900)
            #expect(over.late == 0 && over.error == nil)
            // A list that lags for days, row by row looked up.
            try stage.sandbox.call("PUT", "switches", #"{"transactionLagSeconds":864000}"#)
            let late = try await reconcile(stage, 0)
            #expect(late.agrees && late.payments == 0 && late.late == 3)
            let text = try await stage.billingd(
                ["reconcile", "--day", "2027-07-15"],
                ["DATABASE_URL": stage.database.connectionString(as: .report)])
            #expect(text.status == 0)
            #expect(text.output.hasPrefix("2027-07-15 in Korea\nagree       0 payments"))
            #expect(text.output.hasSuffix("The books agree.\n"), "\(text.output)")
            // It has written nothing.
            #expect(try await stage.count("billing.reconciliations") == 0)
            #expect(try await stage.count("billing.events WHERE type <> 'charge.paid'") == 0)
        }

        @Test func whatIsPaidThereAndUnknownHere() async throws {
            let (stage, paid) = try await shop(2)
            let declined = try await stage.subscribers(
                1, script: ["REJECT_CARD_PAYMENT", "approve"])
            #expect(try await stage.billingd(["once"]).status == 0)
            let names = (
                try await prefix(stage, paid[0]), try await prefix(stage, paid[1]),
                try await prefix(stage, declined[0])
            )
            let nobody = "0123456789abcdef01234567-0-1"
            try approve(stage, declined[0], "\(names.2)-0-1")
            try approve(stage, paid[0], "\(names.0)-0-2")
            try approve(stage, paid[1], "\(names.1)-5-1")
            try approve(stage, paid[1], nobody)
            try approve(stage, paid[1], "shop-2027-0001", amount: 500)
            try await clock(stage, "2027-07-16T03:00:00")
            let report = try await reconcile(stage, 2)
            #expect(
                report.kinds == [
                    "double_payment", "unknown_subscription", "unrecorded_payment",
                    "unrecorded_payment",
                ])
            #expect(report.payments == 2 && report.foreign == 1)
            #expect(report.foreignPayments.map(\.orderId) == ["shop-2027-0001"])
            let double = try #require(report.findings.first { $0.kind == "double_payment" })
            #expect(double.subscriptionId == 1 && double.chargeId == 1 && double.periodIndex == 0)
            #expect(double.orderId == "\(names.0)-0-2" && double.amount == 14_900)
            #expect(double.at.hasPrefix("2027-07-15T09:3") && double.at.hasSuffix("+09:00"))
            #expect(double.advice.contains(double.paymentKey))
            let unrecorded = try #require(
                report.findings.first { $0.orderId == "\(names.2)-0-1" })
            #expect(unrecorded.detail == "the attempt is declined, the charge open")
            let text = try await stage.billingd(
                ["reconcile", "--day", "2027-07-15"],
                ["DATABASE_URL": stage.database.connectionString(as: .report)])
            #expect(text.status == 2)
            #expect(text.output.contains("FINDING     double_payment: the ledger has payment"))
            #expect(text.output.hasSuffix("The books do not agree: 4 findings.\n"))

            // What a person does about it is seen.
            for finding in report.findings {
                try stage.sandbox.call("POST", "cancel/\(finding.paymentKey)")
            }
            let mended = try await reconcile(stage, 0)
            #expect(mended.agrees && mended.undone == 4 && mended.refundsRecorded == 0)
        }

        @Test func anAttemptThatIsOpenIsUnderWayAndThenAFinding() async throws {
            let stage = try await Stage()
            try await clock(stage, "2027-07-15T09:30:00")
            try await stage.subscribers(1)
            try stage.sandbox.faults(#"[{"action":"executeAndDrop"}]"#)
            _ = try await stage.billingd(["once"])
            try stage.sandbox.call("PUT", "switches", #"{"transactionLagSeconds":0}"#)
            let young = try await reconcile(stage, 0)
            #expect(young.underWay == 1 && young.provisional)
            try await clock(stage, "2027-07-16T03:00:00")
            let old = try await reconcile(stage, 2)
            #expect(old.kinds == ["unrecorded_payment"])
            #expect(old.findings.first?.detail == "the attempt is open, the charge open")
            // The daemon resolves it, and the books agree.
            _ = try await stage.billingd(["once"])
            #expect(try await reconcile(stage, 0).payments == 1)
        }

        @Test func whatIsPaidHereAndMissingThere() async throws {
            let (stage, _) = try await shop(2)
            try stage.sandbox.call("POST", "reset")
            try await clock(stage, "2027-07-16T03:00:00")
            let report = try await reconcile(stage, 2)
            #expect(report.kinds == ["missing_payment", "missing_payment"])
            #expect(report.findings.map(\.subscriptionId).contains(2))
            #expect(report.findings.allSatisfy { $0.ledgerAmount == 14_900 && $0.amount == nil })
        }

        @Test(arguments: [
            (
                "UPDATE billing.attempts SET customer_key = 'customer.of.somebody.else'",
                ["customer_differs"]
            ),
            (
                "UPDATE billing.attempts SET amount = 9900; UPDATE billing.charges SET amount = 9900",
                ["amount_differs"]
            ),
            (
                "UPDATE billing.charges SET payment_key = 'another-payment'",
                ["double_payment", "payment_differs"]
            ),
        ])
        func whatSomebodyChangedInTheLedger(_ change: String, _ kinds: [String]) async throws {
            let (stage, _) = try await shop(1)
            try await stage.database.run("SET session_replication_role = replica; \(change)")
            try await clock(stage, "2027-07-16T03:00:00")
            #expect(try await reconcile(stage, 2).kinds == kinds)
        }

        @Test func cancelsOfTheConsoleAreRecordedAndNothingIsChargedAgain() async throws {
            let (stage, _) = try await shop(2)
            let payment = try await value(
                stage, "SELECT payment_key FROM billing.charges WHERE charge_id = 1")
            try await clock(stage, "2027-07-20T12:00:00")
            try stage.sandbox.call("POST", "cancel/\(payment)", #"{"cancelAmount":4900}"#)
            try await clock(stage, "2027-07-21T03:00:00")
            // The cancel is of its own day.
            #expect(try await reconcile(stage, 0).refundsRecorded == 0)
            let read = try await reconcile(stage, 2, day: "2027-07-20")
            #expect(read.kinds == ["unrecorded_refund"])
            #expect(try await stage.count("billing.charges WHERE state = 'refunded'") == 0)
            let first = try await reconcile(stage, 0, as: .admin, day: "2027-07-20")
            #expect(first.refundsRecorded == 1 && first.payments == 0)
            #expect(
                try await reconcile(stage, 0, as: .admin, day: "2027-07-20").refundsRecorded == 0)
            #expect(try await reconcile(stage, 0, day: "2027-07-20").agrees)
            try stage.sandbox.call("POST", "cancel/\(payment)")
            try await clock(stage, "2027-07-22T03:00:00")
            #expect(
                try await reconcile(stage, 0, as: .worker, day: "2027-07-21").refundsRecorded == 1)
            #expect(
                try await value(
                    stage,
                    """
                    SELECT string_agg(data ->> 'refunded_amount', ' ' ORDER BY event_id)
                    FROM billing.events WHERE type = 'charge.refunded' AND charge_id = 1
                    """) == "4900 14900")
            // The day of the payment still agrees, and only the next period is charged.
            #expect(try await reconcile(stage, 0).payments == 2)
            try await clock(stage, "2027-08-15T10:00:00")
            #expect(try await stage.billingd(["once"]).status == 0)
            #expect(try stage.sandbox.books().approvals == 4)
            #expect(try await stage.count("billing.charges WHERE state = 'paid'") == 3)
            #expect(try await stage.count("billing.audit()") == 0)
        }

        @Test func aDayOfManyPages() async throws {
            let (stage, _) = try await shop(1_020)
            try await clock(stage, "2027-07-16T03:00:00")
            let report = try await reconcile(stage, 0)
            #expect(report.payments == 1_020 && report.won == 1_020 * 14_900 && report.late == 0)
        }

        @Test func whatCannotBeComparedIsNotCalledAgreement() async throws {
            let (stage, _) = try await shop(1)
            try await clock(stage, "2027-07-16T03:00:00")
            let key = ["TOSS_SECRET_KEY": "test_sk_" + Stage.random(24)] as [String: String?]
            let other = try await reconcile(stage, 1, key)
            #expect(other.error?.contains("bound to another secret key") == true && !other.agrees)
            let future = try await reconcile(stage, 1, day: "2027-07-17")
            #expect(future.error == "2027-07-17 has not begun in Korea")
            try await stage.database.run(
                "UPDATE billing.settings SET secret_key_fingerprint = NULL")
            let stranger = try await reconcile(stage, 1, key)
            #expect(stranger.error?.contains("401 UNAUTHORIZED_KEY") == true)
            for day in ["2027-02-29", "yesterday", "20270715", "2027-7-15", ""] {
                let wrong = try await stage.billingd(["reconcile", "--day", day])
                #expect(wrong.status == 64, "\(day)")
                #expect(wrong.errors.contains("no day of the calendar such as 2026-07-15"))
            }
            let gone = try await reconcile(stage, 1, ["DATABASE_URL": "host=/no/such/folder"])
            #expect(gone.error != nil)
        }

        // MARK: The daemon

        @Test func theDaemonComparesTheDayBeforeAndTellsEachFindingOnce() async throws {
            let (stage, customers) = try await shop(3)
            try approve(stage, customers[0], "\(try await prefix(stage, customers[0]))-0-2")
            let payment = try await value(
                stage, "SELECT payment_key FROM billing.charges WHERE charge_id = 2")
            try stage.sandbox.call("POST", "cancel/\(payment)", #"{"cancelAmount":900}"#)
            try await clock(stage, "2027-07-16T03:00:00")
            // Two of them: one compares.
            let workers = [try await stage.worker(), try await stage.worker()]
            try await eventually("the day was compared") {
                try await stage.count("billing.reconciliations WHERE compared_at IS NOT NULL") == 1
            }
            func told() async throws -> String {
                try await value(
                    stage,
                    """
                    SELECT coalesce(string_agg(
                        concat_ws(' ', type, subscription_id, data ->> 'kind',
                                  data ->> 'refunded_amount'), '; ' ORDER BY event_id), '')
                    FROM billing.events WHERE type IN ('charge.refunded', 'reconcile.finding')
                    """)
            }
            let story = "charge.refunded 2 900; reconcile.finding 1 double_payment"
            #expect(try await told() == story)
            #expect(
                try await value(
                    stage,
                    """
                    SELECT concat_ws(' ', day, payments, refunds, findings, lease_until IS NULL)
                    FROM billing.reconciliations
                    """) == "2027-07-15 3 1 1 t")
            #expect(try await stage.count("billing.audit() WHERE detail LIKE '1 findings%'") == 1)
            let status = try await stage.billingd(["status"])
            #expect(
                status.output.contains(
                    "books       compared to 2027-07-15; 1 FINDINGS on 2027-07-15"),
                "\(status.output)")
            // A day later it is compared again, and nothing is told twice; a late cancel is.
            try await clock(stage, "2027-07-17T03:00:00")
            try await eventually("both days were compared", within: .seconds(40)) {
                try await stage.count(
                    "billing.reconciliations WHERE compared_at > billing.now() - interval '1 hour'")
                    == 2
            }
            #expect(try await told() == story)
            for worker in workers {
                worker.kill(SIGTERM)
                #expect(await worker.ended() == 0)
            }
            #expect(
                workers.map { $0.errors.contains("the books do not agree") }.contains(true))
            #expect(try stage.sandbox.books().approvals == 4)
        }

        @Test func aProviderWhoseListHangsDelaysNeitherChargingNorAStop() async throws {
            let (stage, _) = try await shop(1)
            try await clock(stage, "2027-07-16T03:00:00")
            try stage.sandbox.faults(#"[{"action":"hang","calls":["transactions"]}]"#)
            let worker = try await stage.worker()
            try await eventually("it asks") {
                try await stage.count("billing.reconciliations WHERE lease_until > now()") == 1
            }
            try await stage.subscribers(20)
            try await stage.paid(21)
            let stop = ContinuousClock.now
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
            #expect(ContinuousClock.now - stop < .seconds(10))
            // Whoever comes after its claim has ended compares it.
            try stage.sandbox.call("DELETE", "faults")
            try await stage.database.run("UPDATE billing.reconciliations SET lease_until = now()")
            let next = try await stage.worker()
            try await eventually("the day was compared") {
                try await stage.count("billing.reconciliations WHERE compared_at IS NOT NULL") == 1
            }
            next.kill(SIGTERM)
            #expect(await next.ended() == 0)
        }

        @Test func aDayThatCannotBeComparedIsSeen() async throws {
            let (stage, _) = try await shop(1)
            try await clock(stage, "2027-07-16T03:00:00")
            try stage.sandbox.faults(
                #"[{"action":"refuse","calls":["transactions"],"code":"UNAUTHORIZED_KEY"}]"#)
            let worker = try await stage.worker()
            try await eventually("it has failed") {
                try await stage.count("billing.reconciliations WHERE failures = 1") == 1
            }
            let status = try await stage.billingd(["status"])
            #expect(
                status.output.contains("not compared, 2027-07-15: the list of transactions failed"))
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }
    }
}
