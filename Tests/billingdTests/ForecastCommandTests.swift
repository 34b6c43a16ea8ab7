import Foundation
import Postgres
import TestSupport
import Testing

extension ProcessTests {
    /// What `billingd forecast` tells.
    @Suite struct ForecastCommandTests {
        private struct Report: Decodable {
            struct Day: Decodable, Equatable { var day: String, charges: Int, won: Int }
            var days: [Day]
            var charges, won: Int
        }

        private func report(_ stage: Stage, _ days: Int) async throws -> Report {
            let result = try await stage.billingd(["forecast", "--days", "\(days)", "--json"])
            try #require(result.status == 0, "\(result.errors)")
            return try JSONDecoder().decode(Report.self, from: Data(result.output.utf8))
        }

        /// Midnight belongs to the day that begins, in Korea; what is overdue is today's.
        @Test func daysAreThoseOfTheSettings() async throws {
            let stage = try await Stage()
            try await stage.setClock("2030-01-30 15:00+09")
            let customers = try await stage.customers(6)
            for (customer, start) in zip(
                customers,
                [
                    "2030-01-30 23:59:59+09", "2030-01-31 00:00+09", "2030-01-31 23:00+09",
                    "2030-02-02 12:00+09", "2030-01-30 14:00+09", "2030-01-29 10:00+09",
                ])
            {
                try await stage.database.run(
                    "SELECT billing.subscribe('\(customer.customerKey)', 'monthly', '\(start)')",
                    as: .web)
            }
            let short = try await report(stage, 4)
            #expect(
                short.days == [
                    .init(day: "2030-01-30", charges: 3, won: 44_700),
                    .init(day: "2030-01-31", charges: 2, won: 29_800),
                    .init(day: "2030-02-01", charges: 0, won: 0),
                    .init(day: "2030-02-02", charges: 1, won: 14_900),
                ])
            #expect(short.charges == 6 && short.won == 89_400)

            // 28 February comes for all that begin from the 29th on.
            let long = try await report(stage, 60)
            #expect(long.days.count == 60)
            #expect(long.days[29] == .init(day: "2030-02-28", charges: 5, won: 74_500))
            let whole = try await stage.database.run(
                """
                SELECT count(*) AS n, sum(amount)::bigint AS won
                FROM billing.forecast('2030-03-31 00:00+09')
                """)[0]
            #expect([long.charges, long.won] == [try whole.int("n"), try whole.int("won")])

            let csv = try await stage.billingd(["forecast", "--days", "2", "--csv"])
            #expect(csv.output == "day,charges,won\n2030-01-30,3,44700\n2030-01-31,2,29800\n")
            let table = try await stage.billingd(["forecast", "--days", "4"])
            let lines = table.output.split(separator: "\n").map { String($0) }
            #expect(lines.count == 6)
            #expect(lines[1].hasPrefix("2030-01-30          3          44,700  ████"))
            #expect(lines[3] == "2030-02-01          0               0")
            #expect(lines[4].filter { $0 == "█" }.count == 12, "a third of what the largest has")
            #expect(lines[5] == "total               6          89,400")
            #expect(lines.allSatisfy { $0.count <= 80 })
        }

        @Test func aReaderIsEnoughAndNothingIsNoError() async throws {
            let stage = try await Stage()
            let reader = ["DATABASE_URL": stage.database.connectionString(as: .report)]
            let empty = try await stage.billingd(["forecast", "--days", "1"], reader)
            #expect(empty.status == 0 && empty.output.contains("total               0"))
            for bad in [["--days", "0"], ["--days", "367"], ["--json", "--csv"]] {
                let refused = try await stage.billingd(["forecast"] + bad)
                #expect(refused.status == 64)
            }
            let away = try await stage.billingd(
                ["forecast"], ["DATABASE_URL": "host=/no/such/folder"])
            #expect(away.status == 1 && away.errors.contains("the database does not answer"))
        }
    }
}
