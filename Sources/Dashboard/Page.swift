package import BillingStore
import Mustache
package import Worker

/// The page for a person: how it stands, in Korean or English. It shows ids, amounts and codes; no key
/// of any kind, and no name.
package struct Page: Sendable {
    package var version: String
    package var health: WorkerHealth
    package var isAlive: Bool
    package var figures: Cache<Figures>.Reading
    package var ledger: Cache<PageReport>.Reading
    package var acceptLanguage: String
    /// Whether it loads itself anew; who reads slowly turns that off.
    package var refreshes: Bool

    package init(
        version: String, health: WorkerHealth, isAlive: Bool, figures: Cache<Figures>.Reading,
        ledger: Cache<PageReport>.Reading, acceptLanguage: String, refreshes: Bool
    ) {
        self.version = version
        self.health = health
        self.isAlive = isAlive
        self.figures = figures
        self.ledger = ledger
        self.acceptLanguage = acceptLanguage
        self.refreshes = refreshes
    }

    package var reply: Listener.Reply {
        get throws {
            Listener.Reply(contentType: "text/html; charset=utf-8", body: try html)
        }
    }

    package static let style = Listener.Reply(
        contentType: "text/css; charset=utf-8", body: PageTemplate.style)

    var html: String {
        get throws {
            try MustacheTemplate(string: PageTemplate.html).render(content)
        }
    }

    private var say: Language { Language(accepting: acceptLanguage) }

    private var content: [String: Any] {
        let say = say
        let status = figures.value?.status
        var content: [String: Any] = [
            "language": say.rawValue, "title": "billingd · \(state)", "state": state,
            "mood": health.ready && isAlive ? "good" : status?.paused == true ? "warn" : "bad",
            "mode": status.map { $0.mode == "live" ? say("실거래", "live") : say("테스트", "test mode") }
                ?? "?",
            "time": ledger.value?.time ?? "", "zone": ledger.value?.zone ?? "",
            "version": "billingd \(version)", "nowTitle": say("지금", "Now"), "tiles": tiles,
            "charts": charts, "waitingTitle": say("열려 있거나 보류된 청구", "Open and held charges"),
            "refreshes": refreshes, "otherLink": refreshes ? "/?refresh=off" : "/",
            "otherWord": refreshes
                ? say("새로 고침 멈추기", "stop refreshing") : say("30초마다 새로 고침", "refresh every 30 s"),
            "footer": refreshes
                ? say("읽기 전용 · 30초마다 새로 고침", "Read-only · refreshes every 30 seconds")
                : say("읽기 전용 · 새로 고치지 않음", "Read-only · does not refresh"),
        ]
        if let trouble = figures.trouble ?? ledger.trouble {
            content["trouble"] = say(
                "데이터베이스를 읽지 못해 아래 숫자는 오래되었을 수 있습니다: \(trouble)",
                "The database could not be read, what follows may be old: \(trouble)")
        }
        content.merge(waiting) { $1 }
        return content
    }

    private var state: String {
        guard isAlive else { return say("멈춰 있음", "standing still") }
        if health.ready { return say("청구 중", "charging") }
        let reason = health.reason ?? say("시작하는 중", "starting")
        return say("청구하지 않음: \(reason)", "not charging: \(reason)")
    }

    // MARK: Now

    private var tiles: [[String: Any]] {
        let say = say
        var tiles: [[String: Any]] = []
        func add(_ id: String, _ label: String, _ value: String?, mood: String = "") {
            tiles.append(["id": id, "label": label, "value": value ?? "–", "mood": mood])
        }
        let value = figures.value
        let status = value?.status
        let findings = status?.books.findings ?? 0
        add("due", say("청구할 구독", "due"), status.map { say.count($0.due) })
        add(
            "in-flight", say("처리 중 (모든 워커)", "in flight, all workers"),
            status.map { say.count($0.inFlight) })
        add(
            "workers", say("살아 있는 워커", "workers alive"), value.map { grouped($0.workersAlive) },
            mood: value?.workersAlive == 0 ? "bad" : "")
        add(
            "rate", say("최근 1시간 결제", "paid in the last hour"),
            status.map { say.count($0.paidLastHour) })
        add("won", say("최근 1시간 금액", "won in the last hour"), status.map { say.won($0.wonLastHour) })
        add(
            "limit", say("분당 요청 한도", "requests a minute"),
            value.map { $0.requestsPerMinute.map(grouped) ?? say("없음", "no limit") })
        add(
            "breaker", say("차단기 (이 워커)", "breaker, this worker"), breaker,
            mood: health.breaker == .closed ? "" : "warn")
        add(
            "unknown", say("결과 모름", "outcome unknown"), status.map { say.count($0.unknown) },
            mood: status.map { $0.unknown > 0 } == true ? "warn" : "")
        add(
            "held", say("보류", "held"), status.map { say.count($0.held + $0.setAside) },
            mood: status.map { $0.held + $0.setAside > 0 } == true ? "bad" : "")
        add("past-due", say("연체", "past due"), status.map { say.count($0.pastDue) })
        add("suspended", say("정지", "suspended"), status.map { say.count($0.suspended) })
        add(
            "missed", say("놓친 갱신", "renewals missed"), value.map { say.count($0.missedRenewals) },
            mood: value.map { $0.missedRenewals > 0 } == true ? "bad" : "")
        add(
            "books", say("장부 차이", "findings in the books"), status.map { _ in grouped(findings) },
            mood: findings > 0 ? "bad" : "")
        return tiles
    }

    private var breaker: String {
        switch health.breaker {
        case .closed: say("닫힘", "closed")
        case .limited(let most): say("최대 \(most)건", "at most \(most)")
        case .open(let code): say("열림: \(code)", "open: \(code)")
        }
    }

    // MARK: Charges that wait

    private var waiting: [String: Any] {
        let say = say
        guard let rows = ledger.value?.waiting else { return ["waitingMissing": missing] }
        if rows.isEmpty { return ["waitingMissing": say("없습니다.", "None.")] }
        var content: [String: Any] = ["waiting": rows.map(article)]
        if rows.count >= PageReport.most {
            content["waitingMore"] = say(
                "처음 \(PageReport.most)건씩만 보입니다. billingd status가 모두 셉니다.",
                "The first \(PageReport.most) of a kind; billingd status counts them all.")
        }
        return content
    }

    private func article(_ row: PageReport.Waiting) -> [String: Any] {
        let say = say
        var what = [say("구독 \(row.subscription)", "subscription \(row.subscription)")]
        if let charge = row.charge { what.append(say("청구 \(charge)", "charge \(charge)")) }
        if let amount = row.amount { what.append(say.won(amount)) }
        if let period = row.period {
            what.append(say("\(period)에 시작하는 기간", "period from \(period)"))
        }
        if let next = row.next { what.append(say("다음: \(next)", "next: \(next)")) }
        let state: (String, String) =
            switch row.state {
            case .held: (say("보류", "held"), "bad")
            case .setAside: (say("제외됨", "set aside"), "bad")
            case .unknown: (say("결과 모름", "outcome unknown"), "warn")
            case .open: (say("열림", "open"), "")
            }
        var content: [String: Any] = [
            "state": state.0, "mood": state.1, "what": what.joined(separator: " · "),
            "subscription": "\(row.subscription)", "explainWord": say("설명 보기", "see it"),
        ]
        content["reason"] = row.reason
        return content
    }

    private var missing: String {
        say("읽는 데 너무 오래 걸려 지금은 볼 수 없습니다.", "Not to be had now: reading it takes too long.")
    }

    private var charts: [[String: Any]] {
        PageCharts(say: say, report: ledger.value, missing: missing).all
    }
}
