import Billing
import Foundation
import Postgres
import TestSupport
import Testing

/// A mistake that somebody could make in a statement, a function or the ledger, and the check that
/// must see it. A mistake that nobody sees is a hole in the checks.
struct Mistake: Sendable, CustomTestStringConvertible {
    enum Check: Sendable {
        /// The seeded lists of ``AgreementTests``.
        case agreement
        /// Operations one after another, on both sides.
        case list([Operation])
        /// One pair of ``InterleavingTests``.
        case interleaving(InterleavingTests.Stage, Operation, Operation)
        /// Two batches of the same rows do not lock each other out.
        case deadlock
        /// What is acknowledged is on the disk.
        case durability
        /// The claim reads as many rows as it takes.
        case plan

        var name: String {
            switch self {
            case .agreement: "the seeded lists"
            case .list(let list): "\(list.count) operations on both sides"
            case .interleaving(let stage, let first, let second):
                "\(first) beside \(second), \(stage.rawValue)"
            case .deadlock: "two batches of the same rows"
            case .durability: "a look at synchronous_commit"
            case .plan: "the plan of the claim"
            }
        }
    }

    var name: String
    /// In a statement of the daemon: this text, and what it becomes.
    var statement: (right: String, wrong: String)?
    /// In a function of `schema.sql`.
    var function: (name: String, right: String, wrong: String)?
    /// In the ledger.
    var ledger: LedgerSide.Mistake?
    var check: Check

    var testDescription: String { name }

    static let all = [
        Mistake(
            name: "plain SELECT after a cut", statement: (lockOfRecord, "ORDER BY subscription_id"),
            check: .interleaving(.inFlight, record(.approved), record(.approved))),
        Mistake(
            name: "reads of unlocked rows", statement: ("FOR NO KEY UPDATE OF s SKIP LOCKED", ""),
            check: .interleaving(
                .due, .claim(worker: 1, limit: 10), .claim(worker: 2, limit: 10))),
        Mistake(
            name: "clock_timestamp() in the predicate",
            statement: (
                "(SELECT billing.now())",
                "clock_timestamp() + (SELECT clock_offset FROM billing.settings)"
            ), check: .plan),
        Mistake(
            name: "batch unsorted",
            statement: (lockOfRecord, "ORDER BY subscription_id DESC\nFOR NO KEY UPDATE"),
            check: .deadlock),
        Mistake(
            name: "synchronous_commit off",
            statement: ("'synchronous_commit', 'on'", "'synchronous_commit', 'off'"),
            check: .durability),
        Mistake(name: "one transaction for the batch", ledger: .wholeBatch, check: .agreement),
        Mistake(
            name: "cancel reads the charge before it has the lock",
            function: (
                "billing.cancel(bigint, text)",
                "WHERE s.subscription_id = cancel.subscription_id FOR NO KEY UPDATE;",
                "WHERE s.subscription_id = cancel.subscription_id;"
            ),
            check: .interleaving(
                .due, .claim(worker: 1, limit: 10), .cancel(0, now: false))),
        Mistake(
            name: "a new card reads the subscriptions before it has the lock",
            function: (
                "billing.use_new_key()", "ORDER BY subscription_id FOR NO KEY UPDATE;",
                "ORDER BY subscription_id;"
            ),
            check: .interleaving(.withoutCard, record(.approved), .newCard(customer: 2))),
        Mistake(
            name: "lease number not compared",
            statement: (
                "s.lease_no = i.lease_no AND s.lease_until IS NOT NULL", "s.lease_until IS NOT NULL"
            ),
            check: .agreement),
        Mistake(
            name: "lease owner not compared",
            statement: ("AND s.lease_owner = $25 AS holds", "AND $25 IS NOT NULL AS holds"),
            check: .agreement),
        Mistake(
            name: "lease demanded of approvals",
            statement: (
                "WHEN charge_was IS NULL OR attempt_was IS NULL THEN 'stale'",
                "WHEN charge_was IS NULL OR attempt_was IS NULL OR NOT holds THEN 'stale'"
            ), check: .agreement),
        Mistake(
            name: "dunning beyond the period's end",
            statement: ("THEN least(period_end, clock", "THEN greatest(period_end, clock"),
            check: .agreement),
        Mistake(
            name: "claims never reset",
            statement: ("claims = CASE WHEN e.holds THEN 0 ELSE s.claims END", "claims = s.claims"),
            check: .agreement),
        Mistake(
            name: "a new card wakes a subscription bound to another",
            function: ("billing.use_new_key()", "AND billing_key_id IS NULL", ""),
            check: .list([
                .subscribe(customer: 0, plan: 0, in: 0), .choose(0, card: 0),
                .claim(worker: 1, limit: 10), .recordAll([.soft]), .newCard(customer: 0),
            ])),
        Mistake(
            name: "a pause forgets the cancel to come",
            function: (
                "billing.follow_subscription()",
                "WHEN NEW.cancel_at <= NEW.period_at THEN NEW.cancel_at END,",
                "WHEN false THEN NEW.cancel_at END,"
            ),
            check: .list([
                .subscribe(customer: 0, plan: 0, in: 86_400), .cancel(0, now: false), .pause(0),
            ])),
        Mistake(
            name: "the ledger ignores the cap", ledger: .noCap,
            check: .list([
                .limit(wonPerDay: 0, requestsPerMinute: nil),
                .subscribe(customer: 0, plan: 0, in: 0), .claim(worker: 1, limit: 10),
            ])),
        Mistake(
            name: "the ledger takes news from anybody", ledger: .anyOwner,
            check: .list([
                .subscribe(customer: 0, plan: 0, in: 0), .claim(worker: 1, limit: 10),
                .record(back: 0, .soft, byAnother: true),
            ])),
    ]

    private static let lockOfRecord = "ORDER BY subscription_id\nFOR NO KEY UPDATE"

    private static func record(_ news: Operation.News) -> Operation {
        .record(back: 0, news, byAnother: false)
    }

    /// The statement with the mistake in it.
    var change: @Sendable (String) -> String {
        guard let statement else { return { $0 } }
        return { $0.replacingOccurrences(of: statement.right, with: statement.wrong) }
    }

    /// The function with the mistake in it.
    var patch: String? {
        function.map {
            """
            DO $patch$
            DECLARE
                was text := pg_get_functiondef('\($0.name)'::regprocedure);
                becomes text := replace(was, $right$\($0.right)$right$, $wrong$\($0.wrong)$wrong$);
            BEGIN
                IF was = becomes THEN RAISE EXCEPTION 'the function has no such text'; END IF;
                EXECUTE becomes;
            END $patch$
            """
        }
    }
}

@Suite(.serialized, .timeLimit(.minutes(20)))
struct MistakeTests {
    @Test(arguments: Mistake.all)
    func everyMistakeIsSeen(_ mistake: Mistake) async throws {
        let seen: String?
        switch mistake.check {
        case .agreement: seen = try await agreement(mistake)
        case .list(let list): seen = try await agreement(mistake, on: [list])
        case .interleaving(let stage, let first, let second):
            let duel = try await Duel(patch: mistake.patch, mistake: mistake.change)
            seen = try await duel.play(
                Interleaving(stage: stage.operations, first: first, second: second)
            ).violations.first
            await duel.close()
        case .deadlock: seen = try await Deadlock.seen(mistakeOfSecond: mistake.change)
        case .durability: seen = try await Durability.seen(mistake: mistake.change)
        case .plan: seen = try await Plan.seen(mistake: mistake.change)
        }
        print(
            "mistake: \(mistake.name): \(seen == nil ? "NOT SEEN" : "seen by \(mistake.check.name)")"
        )
        #expect(seen != nil, "\(mistake.name): no check sees it")
    }

    @Test func withoutAMistakeNothingIsSeen() async throws {
        #expect(try await Deadlock.seen() == nil)
        #expect(try await Durability.seen() == nil)
        #expect(try await Plan.seen() == nil)
    }

    /// Most are seen in the first few lists.
    private func agreement(_ mistake: Mistake) async throws -> String? {
        try await agreement(
            mistake, on: (1...150).map { Operation.list(seed: $0, count: 60) })
    }

    private func agreement(_ mistake: Mistake, on lists: [[Operation]]) async throws -> String? {
        let conformance = Conformance(
            postgres: try await PostgresSide(
                patch: mistake.patch, beforeSending: mistake.change), mistake: mistake.ledger)
        var seen: String?
        for list in lists where seen == nil {
            seen = try await conformance.difference(list)?.description
        }
        await conformance.postgres.close()
        return seen
    }
}
