import Foundation
import Glibc
import TestSupport
import Testing

extension ProcessTests {
    /// The dashboard, asked of a real Prometheus that scrapes a real daemon.
    @Suite struct GrafanaTests {
        private struct Dashboard: Decodable {
            struct Target: Decodable { var expr: String }
            struct Panel: Decodable { var title: String, targets: [Target] }
            var panels: [Panel]
        }

        private struct Answer: Decodable {
            struct Data: Decodable { var result: [Sample] }
            struct Sample: Decodable {}
            var status: String
            var data: Data
        }

        @Test func everyPanelShowsSomething() async throws {
            let stage = try await Stage()
            try await stage.database.run(
                "UPDATE billing.settings SET max_requests_per_minute = 60000", as: .admin)
            let worker = try await stage.worker([], ["BILLINGD_LISTEN": "127.0.0.1:0"])
            let looker = try await Looker(worker)
            let folder = FileManager.default.temporaryDirectory
                .appending(path: "billingd-test-prometheus-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(at: folder) }
            try Data(
                """
                global: {scrape_interval: 500ms, scrape_timeout: 500ms}
                scrape_configs:
                  - job_name: billingd
                    static_configs: [{targets: ["127.0.0.1:\(looker.port)"]}]
                """.utf8
            ).write(to: folder.appending(path: "prometheus.yml"))
            let program = URL(filePath: "/usr/bin/prometheus")
            try #require(
                FileManager.default.isExecutableFile(atPath: program.path()),
                "apt-get install prometheus")
            let prometheus = try await ChildProcess(
                program,
                [
                    "--config.file=\(folder.appending(path: "prometheus.yml").path())",
                    "--storage.tsdb.path=\(folder.appending(path: "data").path())",
                    "--web.listen-address=127.0.0.1:0",
                ])
            var port: UInt16?
            try await eventually("Prometheus listens") {
                let line = prometheus.errors.firstMatch(
                    of: /msg="Listening on" address=127\.0\.0\.1:(\d+)/)
                port = line.flatMap { UInt16($0.output.1) }
                return port != nil
            }
            let asker = Looker(port: try #require(port))
            // Counters must move after the first scrape for a rate to be more than nothing.
            try await eventually("a first scrape") {
                try ask("billingd_ready", asker).data.result.count == 1
            }
            try await stage.subscribers(5)
            try await stage.subscribers(5, script: ["REJECT_CARD_PAYMENT"])
            try await stage.paid(5)

            let file = try Data(contentsOf: Checkout.file("deploy/grafana/billingd.json"))
            let panels = try JSONDecoder().decode(Dashboard.self, from: file).panels
            #expect(panels.count > 20)
            for panel in panels {
                #expect(!panel.targets.isEmpty, "\(panel.title)")
                for target in panel.targets {
                    try await eventually("\(panel.title): \(target.expr)") {
                        try !ask(target.expr, asker).data.result.isEmpty
                    }
                }
            }
            // The same number on both ways.
            try await eventually("five are approved") {
                try ask("billingd_outcomes_total{class=\"approved\"} == 5", asker).data.result.count
                    == 1
            }
            prometheus.kill(SIGTERM)
            await prometheus.ended()
            worker.kill(SIGTERM)
            #expect(await worker.ended() == 0)
        }

        private func ask(_ expression: String, _ asker: Looker) throws -> Answer {
            let query = expression.replacing("$instance", with: ".+")
            let escaped = query.utf8.map { byte in
                let isPlain =
                    UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte
                    || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
                let digits = String(byte, radix: 16)
                return isPlain
                    ? String(UnicodeScalar(byte)) : "%" + (digits.count < 2 ? "0" : "") + digits
            }.joined()
            let answer = try asker.get("/api/v1/query?query=\(escaped)")
            // Prometheus reads its own files first.
            if answer.status == 503 { return Answer(status: "starting", data: .init(result: [])) }
            guard answer.status == 200 else {
                throw ChildProcess.Failure("\(expression): \(answer.body)")
            }
            return try JSONDecoder().decode(Answer.self, from: Data(answer.body.utf8))
        }
    }
}
