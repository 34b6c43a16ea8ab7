import Postgres

/// What PostgreSQL or the provider may call a time: read without a trap, and written as it was read.
enum TimestampFuzz {
    static func run(_ bytes: [UInt8]) {
        guard let time = PostgresTimestamp(iso8601: String(decoding: bytes, as: UTF8.self)) else {
            return
        }
        require(
            PostgresTimestamp(iso8601: time.description) == time,
            "\(time) is read again as it was written")
    }
}
