import TestSupport

/// Runs one list of operations on both sides and finds the first difference.
struct Conformance {
    let postgres: PostgresSide
    /// In the ledger, for the tests of this test.
    var mistake: LedgerSide.Mistake?

    struct Difference {
        var index: Int
        var ledger: NormalForm
        var postgres: NormalForm

        /// The lines that only one of the two has.
        var description: String {
            "answers\n" + Self.lines(ledger.answer, postgres.answer)
                + "state\n" + Self.lines(ledger.state, postgres.state)
        }

        private static func lines(_ ledger: String, _ postgres: String) -> String {
            let left = ledger.split(separator: "\n")
            let right = postgres.split(separator: "\n")
            return left.filter { !right.contains($0) }.map { "  ledger:   \($0)\n" }.joined()
                + right.filter { !left.contains($0) }.map { "  database: \($0)\n" }.joined()
        }
    }

    /// Nil: they agree after every operation.
    func difference(
        _ list: [Operation], _ coverage: inout Coverage
    ) async throws -> Difference? {
        try await postgres.reset()
        var side = LedgerSide()
        side.mistake = mistake
        for (index, operation) in list.enumerated() {
            guard let operation = side.settled(operation) else { continue }
            let before = side.ledger
            let ledger = side.run(operation)
            let database = try await postgres.run(operation, before)
            guard ledger == database else {
                return Difference(index: index, ledger: ledger, postgres: database)
            }
            coverage.add(operation, ledger)
        }
        coverage.add(rows: side.ledger.rows(at: side.clocks))
        return nil
    }

    func difference(_ list: [Operation]) async throws -> Difference? {
        var coverage = Coverage()
        return try await difference(list, &coverage)
    }

    /// The shortest list found that still differs, and how.
    func shrunk(
        _ list: [Operation], _ first: Difference
    ) async throws -> ([Operation], Difference) {
        var list = Array(list[...first.index])
        var found = first
        var size = list.count / 2
        while size >= 1 {
            var start = 0
            while start < list.count {
                var shorter = list
                shorter.removeSubrange(start..<min(start + size, list.count))
                if let difference = try await difference(shorter) {
                    list = Array(shorter[...difference.index])
                    found = difference
                } else {
                    start += size
                }
            }
            size /= 2
        }
        return (list, found)
    }
}
