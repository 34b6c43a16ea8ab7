import Postgres

/// The statements of the fleet's limits; run only while a limit is set.
enum LimitSQL {
    /// One claim at a time may ask what is left of the day. A row that only workers may lock: an
    /// advisory lock any role could take, and hold.
    static func lockDay() -> PostgresQuery {
        "SELECT one_row FROM billing.request_budget FOR NO KEY UPDATE"
    }

    /// What is left of the day, in the settings' zone. Refused attempts took nothing.
    static func wonLeft() -> PostgresQuery {
        """
        SELECT s.max_won_per_day - coalesce((
            SELECT sum(a.amount) FROM billing.attempts AS a
            WHERE a.state <> 'refused' AND a.opened_at
                >= date_trunc('day', billing.now() AT TIME ZONE s.time_zone) AT TIME ZONE s.time_zone
        ), 0)::bigint AS won_left
        FROM billing.settings AS s
        """
    }

    /// Fills up and locks the fleet's budget of requests; `burst` and `rate` (a second) follow from
    /// the limit.
    static func refill(burst: Double, rate: Double) -> PostgresQuery {
        """
        UPDATE billing.request_budget
        SET requests = least(\(burst), requests
                + greatest(0, extract(epoch FROM clock_timestamp() - refilled_at)::float8) * \(rate)),
            refilled_at = clock_timestamp()
        RETURNING requests
        """
    }

    static func spend(_ requests: Double) -> PostgresQuery {
        "UPDATE billing.request_budget SET requests = requests - \(requests)"
    }
}
