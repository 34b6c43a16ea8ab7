import Postgres

/// What is to be charged, day by day.
enum ForecastSQL {
    /// Days of the settings' time zone from today on; what is overdue counts to today.
    static func days(_ days: Int) -> PostgresQuery {
        """
        WITH today AS (
            SELECT date_trunc('day', billing.now() AT TIME ZONE s.time_zone) AS start, s.time_zone
            FROM billing.settings AS s
        ), planned AS (
            SELECT greatest(0, (f.due_at AT TIME ZONE t.time_zone)::date - t.start::date) AS place,
                   f.amount
            FROM today AS t
            CROSS JOIN LATERAL billing.forecast(
                (t.start + \(days)::int * interval '1 day') AT TIME ZONE t.time_zone) AS f
        ), sums AS (
            SELECT place, count(*) AS charges, sum(amount)::bigint AS won
            FROM planned GROUP BY place
        )
        SELECT to_char(t.start + n * interval '1 day', 'YYYY-MM-DD') AS day,
               coalesce(s.charges, 0) AS charges, coalesce(s.won, 0) AS won
        FROM today AS t CROSS JOIN generate_series(0, \(days)::int - 1) AS n
        LEFT JOIN sums AS s ON s.place = n
        ORDER BY n
        """
    }
}
