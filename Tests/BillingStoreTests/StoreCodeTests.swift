import Billing
import Postgres
import TestSupport
import Testing

extension StoreTests {
    /// What codes with a rule of their own leave in the ledger.
    @Suite struct StoreCodeTests {
        /// Declined now, the next attempt is due.
        private func decline(
            _ stage: StoreStage, _ code: String, _ kind: DeclineClass
        ) async throws {
            try await stage.record(try await stage.work().declined(code, kind))
        }

        @Test func anIssuerThatNeverSaysWhyKillsTheCardTheThirdTime() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await decline(stage, "REJECT_CARD_COMPANY", .softFew)
            try await stage.pass("1 day")
            // Under maintenance in between: no answer of the issuer.
            try await stage.record(try await stage.work().after(.refused(.busy)))
            try await stage.pass("1 hour")
            try await decline(stage, "REJECT_CARD_COMPANY", .softFew)
            #expect(try await stage.value("SELECT state FROM billing.billing_keys") == "active")
            try await stage.pass("3 days")
            try await decline(stage, "REJECT_CARD_COMPANY", .softFew)
            #expect(try await stage.value("SELECT state FROM billing.billing_keys") == "dead")
        }

        @Test func aLimitOfTheDayIsTriedAfterMidnightInKorea() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await decline(stage, "EXCEED_MAX_DAILY_PAYMENT_COUNT", .softNextDay)
            let hour = try await stage.value(
                """
                SELECT (s.next_charge_at - billing.next_day(a.finished_at)) || ' '
                    || (billing.next_day(a.finished_at) - a.finished_at <= interval '1 day') || ' '
                    || (billing.next_day(a.finished_at) AT TIME ZONE 'Asia/Seoul')::time
                FROM billing.subscriptions AS s, billing.attempts AS a
                """)
            #expect(hour == "02:00:00 true 00:00:00")
            try await stage.pass("1 day 2 hours")
            #expect(try await stage.work().request.number == 2)
        }

        @Test(arguments: [
            ("2026-03-01 14:59:59.999999+00", "2026-03-01 15:00:00+00"),
            ("2026-03-01 15:00:00+00", "2026-03-02 15:00:00+00"),
            ("2024-02-28 15:00:00+00", "2024-02-29 15:00:00+00"),
        ])
        func theNextDayIsKoreas(instant: String, midnight: String) async throws {
            let stage = try await StoreStage()
            #expect(
                try await stage.value("SELECT billing.next_day('\(instant)') = '\(midnight)'")
                    == "t")
        }

        private func looked(_ stage: StoreStage) async throws {
            for _ in 1...2 {
                try await stage.expire()
                try await stage.pass("3 hours")
                let absent = Answer(
                    code: "NOT_FOUND_PAYMENT", httpStatus: 404, traceID: "of-a-look-up")
                try await stage.record(try await stage.work().after(.notFound(absent)))
            }
        }

        /// An error that the provider keeps under the key: known by its trace, which look-ups in between
        /// do not touch, it ends the name within the hour and not after two weeks. The first answer
        /// was heard, or the first repeat's was the first that was.
        @Test(arguments: ["t1", nil])
        func anAnswerThatIsKeptJamsNoCharge(_ first: String?) async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            func kept(_ trace: String?) -> Answer {
                Answer(code: "PROVIDER_ERROR", httpStatus: 400, traceID: trace, trait: .finalWord)
            }
            let send = try await stage.work()
            try await stage.record(
                try first == nil ? send.unknown() : send.after(.unknown(kept(first))))
            for number in 2...(first == nil ? 3 : 2) {
                try await looked(stage)
                let again = try await stage.work()
                #expect(again.isRepeat)
                let outcome = Outcome.unknown(kept("t\(number), t1"))
                let isLast = number > 2 || first != nil
                #expect(again.isKept(outcome) == isLast)
                let doubt = ProviderTask.Doubt(lookups: 0, notFounds: 0, quietOver: false)
                try await stage.record(
                    isLast
                        ? again.after(
                            .notFound(.absent), of: try again.request, doubt, confirms: outcome,
                            jitter: 0.5)
                        : try again.after(outcome))
            }
            let story = try await stage.story()
            #expect(story.contains("1 refused PROVIDER_ERROR"), "\(story)")
            try await stage.pass("50 minutes")
            try await stage.record(try await stage.local())
            try await stage.pass("10 minutes")
            let next = try await stage.work()
            #expect(try next.request.number == 2)
            #expect(next.earlier.count == 1)
            try await stage.record(try next.approved())
            try await stage.expectSound()
        }

        /// Since when a charge waits for its last look is told by the charge itself.
        @Test func aSealThatStaysUnclearIsHeldAfterTwoWeeks() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.record(try await stage.work().declined())
            try await stage.web("SELECT billing.cancel(1, 'now')")
            try await stage.pass("2 hours")
            func look() async throws -> Transition {
                let seal = try await stage.work()
                let unclear = LookUp.unclear(.timeout)
                return seal.afterSeal(
                    seal.earlier.map { ($0, unclear) }, amount: Won(14_900),
                    ending: .failed(.canceled))
            }
            try await stage.record(try await look())
            let reason = "open waits: the provider does not say clearly whether it was paid"
            #expect(try await stage.story().hasPrefix("past_due 0, in 5 min; \(reason);"))
            try await stage.pass("3 hours")
            try await stage.record(try await look())
            #expect(try await stage.story().hasPrefix("past_due 0, in 120 min; \(reason);"))
            try await stage.pass("13 days 20 hours")
            try await stage.record(try await look())
            #expect(try await stage.story().hasPrefix("past_due 0, in 120 min; \(reason);"))
            try await stage.pass("3 hours")
            try await stage.record(try await look())
            let story = try await stage.story()
            #expect(story.hasPrefix("past_due 0, never; held unresolved: "), "\(story)")
        }

        /// A copy of a request whose decline the provider forgot: the pause does not hide its payment.
        @Test(arguments: [false, true])
        func aPauseHidesNoPayment(_ isPaid: Bool) async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let send = try await stage.work()
            // Paused while the request is under way.
            try await stage.web("SELECT billing.pause(1)")
            try await stage.record(try send.declined())
            #expect(try await stage.story().hasPrefix("paused 0, in 60 min; open;"))
            try await stage.pass("1 hour")
            let look = try await stage.work()
            #expect(look.task == .seal(look.earlier, amount: Won(14_900), ending: .paused))
            let unclear = look.afterSeal(
                [(look.earlier[0], .unclear(.timeout))], amount: Won(14_900), ending: .paused)
            try await stage.record(unclear)
            #expect(try await stage.story().hasPrefix("paused 0, in 120 min; open;"))
            try await stage.pass("2 hours")
            let again = try await stage.work()
            let answer: LookUp =
                try isPaid ? .found(send.payment("pay-late")) : .notFound(.absent)
            try await stage.record(
                again.afterSeal(
                    [(again.earlier[0], answer)], amount: Won(14_900), ending: .paused))
            let story = try await stage.story()
            #expect(
                story.hasPrefix(
                    isPaid ? "paused 1, never; paid pay-late;" : "paused 0, never; open;"),
                "\(story)")
            try await stage.expectNothing()
            // Paused again later, with nothing new: looked at once more and no oftener.
            try await stage.web("SELECT billing.resume(1); SELECT billing.pause(1)")
            if !isPaid {
                let last = try await stage.work()
                try await stage.record(
                    last.afterSeal(
                        [(last.earlier[0], .notFound(.absent))], amount: Won(14_900),
                        ending: .paused))
            }
            try await stage.expectNothing()
        }

        /// Proven not to have left, and nobody wants it any more: nothing is sent.
        @Test func anUnsentAttemptIsNotSentAfterACancel() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.record(
                try await stage.work().after(.notSent(Answer(code: "NOT_CONNECTED"))))
            try await stage.web("SELECT billing.cancel(1, 'now')")
            try await stage.pass("1 hour")
            try await stage.record(try await stage.local())
            #expect(try await stage.value("SELECT state FROM billing.attempts") == "refused")
            try await stage.record(try await stage.local())
            try await stage.pass("1 hour")
            let seal = try await stage.work()
            try await stage.record(
                seal.afterSeal(
                    seal.earlier.map { ($0, .notFound(.absent)) }, amount: Won(14_900),
                    ending: .failed(.canceled)))
            let story = try await stage.story()
            #expect(story.hasPrefix("canceled 1, never; failed canceled; 1 refused"), "\(story)")
            try await stage.expectSound()
        }

        @Test(arguments: [("1 minute", "refused"), ("11 minutes", "declined")])
        func aCardOfMinutesAgoHasOneMoreAttempt(age: String, ends: String) async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.pass(age)
            try await decline(stage, "INVALID_BILL_KEY_REQUEST", .hardUnlessNew)
            #expect(try await stage.value("SELECT state FROM billing.attempts") == ends)
            guard ends == "refused" else { return }
            try await stage.pass("1 hour")
            let second = try await stage.work()
            #expect(try second.request.number == 2)
            try await stage.record(
                second.declined("INVALID_BILL_KEY_REQUEST", .hardUnlessNew))
            #expect(try await stage.value("SELECT state FROM billing.billing_keys") == "dead")
        }
    }
}
