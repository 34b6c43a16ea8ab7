import BillingStore

/// The charts of the page, each with its numbers as a table.
struct PageCharts {
    let say: Language
    let report: PageReport?
    let missing: String

    var all: [[String: Any]] { [hours, codes, rungs, forecast, months] }

    private func section(
        _ id: String, _ title: String, _ chart: Chart?, summary: String? = nil,
        keys: [(style: String, label: String)] = [], heads: [String] = [], rows: [[String]] = []
    ) -> [String: Any] {
        var content: [String: Any] = ["id": id, "title": title]
        guard let chart else {
            content["missing"] = missing
            return content
        }
        if rows.isEmpty {
            content["missing"] = say("없습니다.", "None.")
            return content
        }
        content["svg"] = chart.svg
        content["summary"] = summary
        content["keys"] = keys.map { ["style": $0.style, "label": $0.label] }
        content["hasRows"] = true
        content["rowsTitle"] = say("숫자", "Numbers")
        content["heads"] = heads
        content["rows"] = rows.map { ["cells": $0] }
        return content
    }

    private var hours: [String: Any] {
        let title = say("오늘의 결과, 시간별", "Today's outcomes by hour")
        guard let found = report?.hours else { return section("hours", title, nil) }
        let all = (0..<24).map { hour in
            found.first { $0.hour == hour }
                ?? PageReport.Hour(hour: hour, paid: 0, declined: 0, held: 0)
        }
        let words = (say("결제", "paid"), say("거절", "declined"), say("보류", "held"))
        let columns = all.map { hour in
            Chart.Column(
                label: "\(hour.hour)", showsLabel: hour.hour % 3 == 0,
                parts: [hour.paid, hour.declined, hour.held],
                title: """
                    \(hour.hour):00 · \(words.0) \(hour.paid) · \(words.1) \(hour.declined) · \
                    \(words.2) \(hour.held)
                    """)
        }
        let (paid, declined) = (
            all.map(\.paid).reduce(0, +), all.map(\.declined).reduce(0, +)
        )
        return section(
            "hours", title, chart(title, columns, ["one", "two", "three"], grouped),
            summary: "\(words.0) \(say.count(paid)) · \(words.1) \(say.count(declined))",
            keys: [("one", words.0), ("two", words.1), ("three", words.2)],
            heads: [say("시", "hour"), words.0, words.1, words.2],
            rows: found.map {
                ["\($0.hour)", grouped($0.paid), grouped($0.declined), grouped($0.held)]
            })
    }

    private var codes: [String: Any] {
        let title = say("거절 코드, 최근 30일", "Declines by code, 30 days")
        guard let codes = report?.codes else { return section("codes", title, nil) }
        let columns = codes.enumerated().map { place, code in
            Chart.Column(
                label: "\(place + 1)", showsLabel: true, parts: [code.times],
                title: "\(code.code) · \(say.count(code.times))")
        }
        return section(
            "codes", title, chart(title, columns, ["two"], grouped),
            summary: codes.first.map { "1: \($0.code) · \(say.count($0.times))" },
            heads: [say("코드", "code"), say("횟수", "times")],
            rows: codes.enumerated().map { ["\($0 + 1) \($1.code)", grouped($1.times)] })
    }

    private var rungs: [String: Any] {
        let title = say(
            "연체 회수, 거절 횟수별 (최근 90일)", "Recovery of past-due charges by declines, 90 days")
        guard let rungs = report?.rungs else { return section("recovery", title, nil) }
        let words = (
            say("회수", "recovered"), say("실패", "failed"), say("대기", "waiting")
        )
        // A step on which nothing stands is a gap, not left out.
        let steps = (1...max(1, rungs.last?.declines ?? 1)).map { step in
            rungs.first { $0.declines == step }
                ?? PageReport.Rung(declines: step, recovered: 0, failed: 0, waiting: 0)
        }
        let columns = steps.map { rung in
            Chart.Column(
                label: "\(rung.declines)", showsLabel: true,
                parts: [rung.recovered, rung.failed, rung.waiting],
                title: """
                    \(rung.declines) · \(words.0) \(rung.recovered) · \(words.1) \(rung.failed) · \
                    \(words.2) \(rung.waiting)
                    """)
        }
        let recovered = rungs.map(\.recovered).reduce(0, +)
        let ended = recovered + rungs.map(\.failed).reduce(0, +)
        return section(
            "recovery", title, chart(title, columns, ["one", "two", "three"], grouped),
            summary: ended == 0
                ? nil
                : say(
                    "끝난 \(grouped(ended))건 중 \(grouped(recovered))건 회수 (\(recovered * 100 / ended)%)",
                    "\(grouped(recovered)) of \(grouped(ended)) that ended (\(recovered * 100 / ended) %)"
                ),
            keys: [("one", words.0), ("two", words.1), ("three", words.2)],
            heads: [say("거절 횟수", "declines"), words.0, words.1, words.2],
            rows: rungs.map {
                [
                    "\($0.declines)", grouped($0.recovered), grouped($0.failed),
                    grouped($0.waiting),
                ]
            })
    }

    private var forecast: [String: Any] {
        let title = say("앞으로 30일 예상", "The next 30 days")
        guard let forecast = report?.forecast else { return section("forecast", title, nil) }
        let columns = forecast.days.enumerated().map { place, day in
            Chart.Column(
                label: String(day.day.dropFirst(5)), showsLabel: place % 5 == 0, parts: [day.won],
                title: "\(day.day) · \(say.won(day.won)) · \(say.count(day.charges))")
        }
        return section(
            "forecast", title, chart(title, columns, ["one"], say.won),
            summary: "\(say.won(forecast.won)) · \(say.count(forecast.charges))",
            heads: [say("날", "day"), say("건수", "charges"), say("금액", "won")],
            rows: forecast.days.map { [$0.day, grouped($0.charges), grouped($0.won)] })
    }

    private var months: [String: Any] {
        let title = say("월별 매출 (환불 제외)", "Revenue by month, less refunds")
        guard let months = report?.months else { return section("months", title, nil) }
        let columns = months.enumerated().map { place, month in
            Chart.Column(
                label: String(month.month.dropFirst(2)),
                // This month, and back from it.
                showsLabel: (months.count - place) % 2 == 1, parts: [month.won],
                title: "\(month.month) · \(say.won(month.won)) · \(say.count(month.charges))")
        }
        return section(
            "months", title, chart(title, columns, ["one"], say.won),
            summary: months.last.map {
                say("이번 달 \(say.won($0.won))", "This month \(say.won($0.won))")
            },
            heads: [say("월", "month"), say("건수", "charges"), say("금액", "won")],
            rows: months.map { [$0.month, grouped($0.charges), grouped($0.won)] })
    }

    private func chart(
        _ title: String, _ columns: [Chart.Column], _ classes: [String],
        _ scale: @escaping (Int64) -> String
    ) -> Chart {
        Chart(columns: columns, title: title, classes: classes, scale: scale)
    }
}
