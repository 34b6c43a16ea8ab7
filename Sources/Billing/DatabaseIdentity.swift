/// `billing.identity()`: which database this is. A change of any part stops all charging until a
/// person vouches for it.
package struct DatabaseIdentity: Hashable, Sendable {
    package let text: String
    package init(_ text: String) { self.text = text }

    /// What is different, in words for the one who must vouch; empty: nothing is.
    package func changes(to other: DatabaseIdentity) -> [String] {
        guard text != other.text else { return [] }
        let old = text.split(separator: "/", omittingEmptySubsequences: false)
        let new = other.text.split(separator: "/", omittingEmptySubsequences: false)
        guard old.count == 4, new.count == 4 else {
            return ["the identity was \(text) and is \(other.text)"]
        }
        var changes: [String] = []
        func compare(_ part: Int, _ name: String, _ meaning: String) {
            guard old[part] != new[part] else { return }
            changes.append("\(name) was \(old[part]) and is \(new[part]): \(meaning)")
        }
        compare(
            0, "system identifier",
            "this is another cluster, a logical copy or a dump restored there")
        // A cluster of its own has a timeline of its own: that it differs says nothing more.
        if changes.isEmpty {
            compare(
                1, "timeline",
                "a standby was promoted, or a backup was restored to a point in time")
            compare(
                2, "database OID", "this is another database of the same cluster, such as a copy")
            if changes.isEmpty || old[2] == new[2] {
                compare(
                    3, "OID of billing.settings",
                    "the tables were made anew here, as a dump restored in place does")
            }
        }
        return changes
    }
}
