import FoundationEssentials
import Logging

/// One event a line on standard error: JSON for the journal, or text for a person.
struct LineLogHandler: LogHandler {
    enum Shape: String { case text, json }

    var metadata: Logger.Metadata = [:]
    var logLevel: Logger.Level
    private let label: String
    private let shape: Shape
    /// Before each line, for the journal: its priority, as sd-daemon(3) says.
    private let hasPriority: Bool

    init(label: String, level: Logger.Level, shape: Shape, hasPriority: Bool) {
        self.hasPriority = hasPriority
        self.label = label
        self.logLevel = level
        self.shape = shape
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let fields = metadata.merging(event.metadata ?? [:]) { $1 }
        let line =
            switch shape {
            case .text: text(event, fields)
            case .json: json(event, fields)
            }
        LibC.writeError(hasPriority ? "<\(event.level.priority)>" + line : line)
    }

    private func text(_ event: LogEvent, _ fields: Logger.Metadata) -> String {
        var line = "\(Date.now.ISO8601Format()) \(event.level) \(event.message)"
        for (name, value) in fields.sorted(by: { $0.key < $1.key }) {
            line += " \(name)=\(Self.oneLine("\(value)"))"
        }
        return line + "\n"
    }

    private func json(_ event: LogEvent, _ fields: Logger.Metadata) -> String {
        var object = fields.mapValues { "\($0)" }
        object["time"] = Date.now.ISO8601Format(
            .iso8601WithTimeZone(includingFractionalSeconds: true))
        object["level"] = event.level.rawValue
        object["message"] = "\(event.message)"
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(object) else { return "{}\n" }
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    private static func oneLine(_ text: String) -> String {
        text.contains { $0.isWhitespace }
            ? "\"" + text.split(whereSeparator: \.isNewline).joined(separator: " ") + "\"" : text
    }
}

extension Logger.Level {
    /// syslog(3)'s number, by which journalctl -p chooses.
    fileprivate var priority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
