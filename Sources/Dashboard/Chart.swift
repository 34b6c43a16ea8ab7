/// A chart of bars as SVG. Colours come from the page's style, by class, so that dark is dark.
struct Chart {
    /// One column, its parts from the ground up.
    struct Column {
        var label: String
        /// Whether the label is written below; not all fit.
        var showsLabel: Bool
        var parts: [Int64]
        /// What a pointer on it is told.
        var title: String
    }

    var columns: [Column]
    /// What the whole shows, for those who cannot see it.
    var title: String
    /// Style classes of the parts.
    var classes: [String]
    /// How the largest value is written.
    var scale: (Int64) -> String

    private static let width = 720.0
    private static let height = 180.0
    private static let ground = 150.0
    private static let top = 18.0
    private static let widest = 64.0

    var svg: String {
        let most = max(1, columns.map { $0.parts.reduce(0, +) }.max() ?? 1)
        var text = """
            <svg class="chart" viewBox="0 0 \(Int(Self.width)) \(Int(Self.height))" role="img" \
            aria-label="\(Self.escaped(title))">
            <line class="axis" x1="0" y1="\(Self.top)" x2="\(Self.width)" y2="\(Self.top)"/>
            <line class="axis" x1="0" y1="\(Self.ground)" x2="\(Self.width)" y2="\(Self.ground)"/>
            <text class="scale" x="0" y="\(Self.top - 5)">\(Self.escaped(scale(most)))</text>

            """
        let step = Self.width / Double(max(1, columns.count))
        let room = Self.ground - Self.top
        for (place, column) in columns.enumerated() {
            let left = Double(place) * step
            text += "<g><title>\(Self.escaped(column.title))</title>"
            // The whole column answers to a pointer.
            text += Self.rectangle("hit", left, Self.top, step, room)
            var from = Self.ground
            for (part, style) in zip(column.parts, classes) where part > 0 {
                let tall = max(1, Double(part) / Double(most) * room)
                from -= tall
                // Of a few columns none is a wall.
                let wide = min(Self.widest, step * 0.76)
                text += Self.rectangle(style, left + (step - wide) / 2, from, wide, tall)
            }
            if column.showsLabel {
                text += """
                    <text class="label" x="\(Self.short(left + step / 2))" y="\(Self.ground + 18)">\
                    \(Self.escaped(column.label))</text>
                    """
            }
            text += "</g>\n"
        }
        return text + "</svg>"
    }

    private static func rectangle(
        _ style: String, _ left: Double, _ top: Double, _ width: Double, _ height: Double
    ) -> String {
        """
        <rect class="\(style)" x="\(short(left))" y="\(short(top))" width="\(short(width))" \
        height="\(short(height))"/>
        """
    }

    private static func short(_ number: Double) -> String {
        "\((number * 100).rounded() / 100)"
    }

    static func escaped(_ text: String) -> String {
        var escaped = ""
        for character in text {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            default: escaped.append(character)
            }
        }
        return escaped
    }
}
