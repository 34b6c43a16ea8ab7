import Testing

@testable import Dashboard

/// Words and pictures of the page.
@Suite struct PageTests {
    @Test(arguments: [
        ("", "en"), ("ko", "ko"), ("ko-KR,ko;q=0.9,en-US;q=0.8", "ko"), ("en-US,ko;q=0.5", "en"),
        ("en;q=0.3, ko;q=0.7", "ko"), ("ja,zh;q=0.9", "en"), ("ja,ko;q=0.1", "ko"),
        ("ko;q=0", "en"),
        ("KO", "ko"), (";;;,,q=,ko;q=x", "en"),
    ])
    func theBrowserSaysWhichLanguage(_ field: String, language: String) {
        #expect(Language(accepting: field).rawValue == language)
    }

    @Test(arguments: [
        (0, "0"), (999, "999"), (1_000, "1,000"), (-14_900, "-14,900"), (1_234_567, "1,234,567"),
    ])
    func thousandsAreParted(_ number: Int64, text: String) { #expect(grouped(number) == text) }

    @Test func barsStandInProportion() {
        let chart = Chart(
            columns: [
                .init(label: "<a>", showsLabel: true, parts: [100, 0], title: "a & b"),
                .init(label: "b", showsLabel: false, parts: [25, 25], title: "\"c\""),
                .init(label: "c", showsLabel: true, parts: [0, 0], title: "none"),
            ], title: "t", classes: ["one", "two"], scale: grouped)
        let svg = chart.svg
        // From 150 up to 18: 132 for the largest.
        #expect(
            svg.contains(
                "<rect class=\"one\" x=\"88.0\" y=\"18.0\" width=\"64.0\" height=\"132.0\"/>"))
        #expect(
            svg.contains("class=\"one\" x=\"328.0\" y=\"117.0\" width=\"64.0\" height=\"33.0\""))
        #expect(
            svg.contains("class=\"two\" x=\"328.0\" y=\"84.0\" width=\"64.0\" height=\"33.0\""))
        #expect(
            svg.contains("&lt;a&gt;") && svg.contains("a &amp; b") && svg.contains("&quot;c&quot;"))
        #expect(!svg.contains("<a>") && svg.components(of: "<g>") == 3)
        #expect(svg.contains(">100</text>"))
    }
}

extension String {
    fileprivate func components(of part: String) -> Int { split(separator: part).count - 1 }
}
