import Postgres
import TestSupport
import Testing

/// A charge has one open attempt and one approved at most: a number comes only after the one before
/// it, and only when that has ended without a payment. No index says so, but the guards.
@Suite(.serialized, .timeLimit(.minutes(2))) struct AttemptOrderTests {
    private static let notEnded = "the one before it has not ended"
    private static let approved = "the one before it was approved"
    private static let roles = [TemporaryPostgres.Role.owner, .worker]

    @Test func attemptsFollowEachOther() async throws {
        let shop = try await Shop.open()
        let (_, charge) = try await shop.pastDue()
        try await shop.expectRefusal(
            of: shop.newAttempt(3, of: charge), "23514", naming: Self.notEnded)
        try await shop.openAttempt(2, of: charge)
        try await shop.decline(charge)
        try await shop.openAttempt(3, of: charge)
    }

    @Test(arguments: roles)
    func noneIsOpenedBeforeTheLastHasEnded(_ role: TemporaryPostgres.Role) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        for number in 2...3 {
            try await shop.expectRefusal(
                of: shop.newAttempt(number, of: charge), "23514", naming: Self.notEnded, as: role)
        }
    }

    @Test(arguments: roles)
    func noneFollowsAnApproval(_ role: TemporaryPostgres.Role) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        try await shop.run(
            "UPDATE billing.attempts SET state = 'approved', finished_at = billing.now()")
        for attempt in [shop.newAttempt(2, of: charge), Self.born("approved", 2, charge, shop)] {
            try await shop.expectRefusal(of: attempt, "23514", naming: Self.approved, as: role)
        }
        try await shop.expectRefusal(
            of: shop.newAttempt(3, of: charge), "23514", naming: Self.notEnded, as: role)
    }

    /// An attempt that is written with its end.
    private static func born(
        _ state: String, _ number: Int, _ charge: Int64, _ shop: Shop
    ) -> String {
        shop.newAttempt(number, of: charge)
            .replacing("sent_at)", with: "sent_at, finished_at, state)")
            .replacing("billing.now()\n", with: "billing.now(), billing.now(), '\(state)'\n")
    }

    /// Two numbers in one statement: as two rows of it, and by two parts of it in either order.
    @Test(arguments: roles)
    func noStatementMakesTwo(_ role: TemporaryPostgres.Role) async throws {
        let shop = try await Shop.open()
        let (_, charge) = try await shop.pastDue()
        func expectRefusal(_ second: String, _ third: String, _ words: String) async throws {
            let row = third.drop { $0 != "T" }.drop { $0 != "S" }
            for script in [
                "\(second) UNION ALL \(row)", "WITH a AS (\(second)) \(third)",
                "WITH a AS (\(third)) \(second)",
            ] {
                try await shop.expectRefusal(of: script, "23514", naming: words, as: role)
            }
        }
        try await expectRefusal(
            shop.newAttempt(2, of: charge), shop.newAttempt(3, of: charge), Self.notEnded)
        for state in ["approved", "declined"] {
            try await expectRefusal(
                Self.born("approved", 2, charge, shop), Self.born(state, 3, charge, shop),
                Self.approved)
        }
    }

    /// What one statement ends and follows counts as it is after the statement.
    @Test(arguments: roles)
    func theEndInTheSameStatementCounts(_ role: TemporaryPostgres.Role) async throws {
        let shop = try await Shop.open()
        let charge = try await shop.openCharge(of: shop.subscribe())
        func both(_ state: String) -> String {
            """
            WITH ended AS (UPDATE billing.attempts SET state = '\(state)', finished_at = now())
            \(shop.newAttempt(2, of: charge))
            """
        }
        try await shop.expectRefusal(
            of: both("approved"), "23514", naming: Self.approved, as: role)
        try await shop.run(both("declined"), as: role)
    }

    // MARK: At the same moment

    /// What the other session's transaction does, and what this one's attempt then meets, while the
    /// other is open and once it is committed.
    private static let races: [(other: String, number: Int, before: String?, after: String?)] = [
        ("insert 2", 3, notEnded, notEnded),
        ("insert 2", 2, nil, "attempts_pkey"),
        ("declined", 2, notEnded, nil),
        ("approved", 2, notEnded, approved),
    ]

    @Test(arguments: races)
    func twoSessionsMakeOne(
        _ race: (other: String, number: Int, before: String?, after: String?)
    ) async throws {
        let shop = try await Shop.open()
        let charge =
            if race.other == "insert 2" { try await shop.pastDue().charge } else {
                try await shop.openCharge(of: shop.subscribe())
            }
        let attempt = shop.newAttempt(race.number, of: charge)
        let first = try await shop.database.connect(as: .worker)
        let second = try await shop.database.connect(as: .worker)
        try await first.execute(script: "BEGIN")
        try await second.execute(script: "BEGIN")
        try await first.execute(
            script: race.other == "insert 2"
                ? shop.newAttempt(2, of: charge)
                : "UPDATE billing.attempts SET state = '\(race.other)', finished_at = billing.now()"
        )
        if let words = race.before {
            try await second.execute(script: "SAVEPOINT before")
            await Self.expect(words, attempt, second)
            try await second.execute(script: "ROLLBACK TO before; RELEASE before")
            try await first.execute(script: "COMMIT")
            await Self.expect(race.after, attempt, second)
        } else {
            async let waiting: Void = Self.expect(race.after, attempt, second)
            try await eventually("the second session waits for the first") {
                try await shop.value(
                    """
                    SELECT count(*) FROM pg_stat_activity
                    WHERE wait_event_type = 'Lock' AND datname = current_database()
                    """) == "1"
            }
            try await first.execute(script: "COMMIT")
            await waiting
        }
        await first.close()
        await second.close()
    }

    /// An older snapshot does not show what was ended, bound or deleted meanwhile.
    @Test(arguments: ["REPEATABLE READ", "SERIALIZABLE"])
    func noneIsOpenedBesideAnOldSnapshot(_ level: String) async throws {
        let shop = try await Shop.open()
        let (_, charge) = try await shop.pastDue()
        try await shop.expectRefusal(
            of: "SET TRANSACTION ISOLATION LEVEL \(level); \(shop.newAttempt(2, of: charge))",
            "55000",
            naming: "READ COMMITTED", as: .worker)
    }

    /// `words`: of the refusal; nil: none.
    private static func expect(
        _ words: String?, _ script: String, _ connection: PostgresConnection
    ) async {
        var refusal: PostgresError?
        do throws(PostgresError) {
            try await connection.execute(script: script)
        } catch {
            refusal = error
        }
        guard let words else {
            #expect(refusal == nil)
            return
        }
        #expect(refusal?.description.contains(words) == true, "\(words): \(refusal as Any)")
    }
}
