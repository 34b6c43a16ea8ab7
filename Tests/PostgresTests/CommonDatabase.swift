import TestSupport

/// A database for the tests that leave nothing in it.
enum CommonDatabase {
    private static let creation = Task { try await TemporaryPostgres.shared.emptyDatabase() }

    static var database: TestDatabase {
        get async throws { try await creation.value }
    }
}
