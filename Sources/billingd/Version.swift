/// The version of this program; its schema version stands in ``PostgresStore/schemaVersion``.
enum Version {
    static let text = "0.1.0"
}
