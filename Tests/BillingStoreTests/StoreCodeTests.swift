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

        /// Not there, twice; the last time after the quiet time, and `later` after its end.
        private func lookTwice(_ stage: StoreStage, later: String = "11 minutes") async throws {
            for _ in 1...2 {
                try await stage.pass("3 hours")
                try await stage.expire()
                try await stage.database.run(
                    "UPDATE billing.attempts SET quiet_until = quiet_until - interval '\(later)'")
                let work = try await stage.work()
                try #require(work.isResolve)
                try await stage.record(try work.after(.notFound(.absent)))
            }
        }

        /// The provider keeps its own error under the key: one repeat shows it, and the charge goes on
        /// under another name, with all earlier names looked up first.
        @Test func aStoredErrorJamsAnAttemptForHoursAndNotForDays() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let error = Answer(code: "PROVIDER_ERROR", httpStatus: 400, trait: .finalWord)
            try await stage.record(try await stage.work().after(.unknown(error)))
            try await lookTwice(stage)
            let again = try await stage.work()
            #expect(again.isRepeat)
            try await stage.record(try again.after(.unknown(error)))
            try await lookTwice(stage)
            let story = try await stage.story()
            #expect(story.contains("1 refused PROVIDER_ERROR"), "\(story)")
            try await stage.pass("5 minutes")
            // The gap after an attempt that was ever unknown, whoever asks.
            try await stage.record(try await stage.local())
            try await stage.pass("1 hour")
            let next = try await stage.work()
            #expect(try next.request.number == 2)
            #expect(next.earlier.count == 1)
            try await stage.record(try next.approved())
            try await stage.expectSound()
        }

        /// Not there, but what was sent may still act: neither ended nor sent again.
        @Test(arguments: ["9 minutes", "11 minutes"])
        func aJamEndsWhenNothingCanActAnyMore(_ later: String) async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let error = Answer(code: "FAILED_DB_PROCESSING", httpStatus: 500, trait: .badInput)
            try await stage.record(try await stage.work().after(.unknown(error)))
            try await lookTwice(stage, later: later)
            #expect(
                try await stage.value("SELECT state || ' ' || absent FROM billing.attempts")
                    == (later == "9 minutes" ? "open false" : "refused false"))
        }

        /// The same for a refusal that answers the repeats, whose first send was never answered.
        @Test func aStoredRefusalJamsAnAttemptForHoursAndNotForDays() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            try await stage.record(try await stage.work().unknown())
            for _ in 1...2 {
                try await lookTwice(stage)
                let again = try await stage.work()
                #expect(again.isRepeat)
                let refusal = Answer(
                    code: "MAINTAINED_METHOD", httpStatus: 400, trait: .lastsHours)
                try await stage.record(try again.after(.refused(refusal)))
            }
            try await lookTwice(stage)
            let story = try await stage.story()
            #expect(story.contains("1 refused MAINTAINED_METHOD"), "\(story)")
            try await stage.expectSound()
        }

        /// A silence in between is no kept answer, and neither is another code.
        @Test(arguments: [
            Answer(code: "TIMEOUT"),
            Answer(code: "COMMON_ERROR", httpStatus: 500, trait: .finalWord),
            Answer(code: "IDEMPOTENT_REQUEST_PROCESSING", httpStatus: 409),
        ])
        func onlyTheSameAnswerTwiceIsAJam(_ second: Answer) async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let error = Answer(code: "PROVIDER_ERROR", httpStatus: 400, trait: .finalWord)
            try await stage.record(try await stage.work().after(.unknown(error)))
            try await lookTwice(stage)
            try await stage.record(try await stage.work().after(.unknown(second)))
            try await lookTwice(stage)
            let third = try await stage.work()
            #expect(third.isRepeat)
            #expect(try third.request.number == 1)
        }

        @Test func whatTheProviderBlamesOnTheInputIsNotSentAgain() async throws {
            let stage = try await StoreStage()
            try await stage.subscribe()
            let error = Answer(code: "FAILED_DB_PROCESSING", httpStatus: 500, trait: .badInput)
            try await stage.record(try await stage.work().after(.unknown(error)))
            try await lookTwice(stage)
            let story = try await stage.story()
            #expect(story.hasPrefix("active 0, never; held "), "\(story)")
            #expect(story.contains("1 refused FAILED_DB_PROCESSING"), "\(story)")
            try await stage.expectSound()
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
