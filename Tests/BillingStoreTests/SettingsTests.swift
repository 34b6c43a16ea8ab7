import Postgres
import TestSupport
import Testing

/// The one row that the whole fleet shares: numbers that contradict each other are refused.
@Suite(.serialized, .timeLimit(.minutes(2))) struct SettingsTests {
    /// One for all: what is refused, or taken back, leaves nothing behind.
    private static let shop = Task { try await Shop.open() }

    private static let refused: [(String, String)] = [
        ("mode = 'production'", "mode: test or live"),
        ("mode = 'live', clock_offset = '1 day'", "clock_offset: zero in live mode"),
        ("mode = 'live', clock_offset = '-1 microsecond'", "clock_offset: zero in live mode"),
        // Equal to nothing for PostgreSQL, and yet a day or more when it is added to a date.
        ("mode = 'live', clock_offset = '1 month -30 days'", "clock_offset: zero in live mode"),
        ("mode = 'live', clock_offset = '1 day -24 hours'", "clock_offset: zero in live mode"),
        ("time_zone = 'Asia/Soeul'", "settings.time_zone"),
        ("time_zone = ''", "settings.time_zone"),
        ("time_zone = 'UTC+9'", "settings.time_zone"),
        ("max_requests_per_minute = 0", "max_requests_per_minute: 1 or more"),
        ("max_requests_per_minute = -1", "max_requests_per_minute: 1 or more"),
        ("max_won_per_day = -1", "max_won_per_day: 0 or more"),
        ("maximum_attempts = 0", "maximum_attempts: 1 to 20"),
        ("maximum_attempts = 21", "maximum_attempts: 1 to 20"),
        (
            "mode = 'live', request_timeout = '60 seconds'",
            "request_timeout: at least 61 s in live mode"
        ),
        (
            "mode = 'live', lease = '189 seconds'",
            "lease: at least 2 x request_timeout + 60 s in live mode"
        ),
        (
            "mode = 'live', request_timeout = '91 seconds'",
            "lease: at least 2 x request_timeout + 60 s in live mode"
        ),
        ("mode = 'live', late_bound = '599 seconds'", "late_bound: at least 10 minutes in live"),
        ("request_timeout = '0'", "lease: more than 2 x request_timeout"),
        ("request_timeout = '-1 second'", "lease: more than 2 x request_timeout"),
        ("lease = '130 seconds'", "lease: more than 2 x request_timeout"),
        ("late_bound = '-1 second'", "late_bound"),
        ("gap = '59 minutes'", "gap: at least 6 x late_bound, more than lease + late_bound"),
        (
            "late_bound = '0', lease = '1 hour'",
            "gap: at least 6 x late_bound, more than lease + late_bound"
        ),
        ("last_send_age = '1 hour'", "gap < last_send_age < hold_age"),
        ("hold_age = '13 days'", "gap < last_send_age < hold_age"),
        ("hold_age = '61 days'", "hold_age: at most 60 days"),
        ("last_send_age = '15 days', hold_age = '20 days'", "last_send_age < 15 days"),
        ("last_send_age = '14 days 23:50', hold_age = '20 days'", "last_send_age < 15 days"),
    ]

    @Test(arguments: refused)
    func settingsThatContradictAreRefused(_ assignments: String, _ rule: String) async throws {
        try await Self.shop.value.expectRefusal(
            of: "UPDATE billing.settings SET \(assignments)", "23514", naming: rule, as: .admin)
    }

    @Test(arguments: [
        "mode = 'live'", "mode = 'live', max_requests_per_minute = 600, max_won_per_day = 0",
        "mode = 'test', clock_offset = '-3 months'", "time_zone = 'Europe/Berlin'",
        "time_zone = 'UTC'", "time_zone = 'Etc/GMT-9'",
        """
        request_timeout = '1 second', lease = '3 seconds', late_bound = '1 second',
        gap = '6 seconds', last_send_age = '30 seconds', hold_age = '1 minute'
        """,
        "mode = 'live', request_timeout = '90 seconds'", "paused = true, paused_reason = 'audit'",
    ])
    func settingsThatAgreeAreAccepted(_ assignments: String) async throws {
        try await Self.shop.value.run(
            "BEGIN; UPDATE billing.settings SET \(assignments); ROLLBACK", as: .admin)
    }

    @Test(arguments: [
        "INSERT INTO billing.settings (schema_version) VALUES (1)",
        "INSERT INTO billing.settings (one_row, schema_version) VALUES (false, 1)",
    ])
    func thereIsOneRow(_ script: String) async throws {
        #expect(try await Self.shop.value.refusal(of: script)?.sqlState?.hasPrefix("23") == true)
    }

    @Test func theBusinessClockIsTheRealOneMovedByTheOffset() async throws {
        let shop = try await Shop.open()
        #expect(try await shop.value("SELECT billing.now() = now()") == "true")
        try await shop.run("UPDATE billing.settings SET clock_offset = '2 months'", as: .admin)
        #expect(
            try await shop.value("SELECT billing.now() = now() + interval '2 months'", as: .web)
                == "true")
    }
}
