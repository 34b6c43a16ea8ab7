/// Cuts what a client of PostgreSQL sends into messages (PostgreSQL manual, 55.7).
struct FrontendReader: Sendable {
    struct Message {
        var bytes: [UInt8]
        /// Its parameters, if it is a start-up message.
        var startup: [String: String]?
        /// It runs COMMIT, by the simple or the extended protocol.
        var isCommit = false
    }

    private var waiting: [UInt8] = []
    private var isPastStartup = false

    /// The messages that are complete with these bytes.
    mutating func messages(_ bytes: [UInt8]) -> [Message] {
        waiting += bytes
        var messages: [Message] = []
        while let message = isPastStartup ? typed() : untyped() { messages.append(message) }
        return messages
    }

    /// Before the session: a request for encryption, for cancelling, or the start-up message.
    private mutating func untyped() -> Message? {
        guard let length = number(at: 0), let code = number(at: 4), waiting.count >= length else {
            return nil
        }
        var message = Message(bytes: remove(length))
        guard code >> 16 == 3 else { return message }
        isPastStartup = true
        let words = message.bytes[8...].split(separator: 0, omittingEmptySubsequences: false)
            .map { String(decoding: $0, as: UTF8.self) }
        var parameters: [String: String] = [:]
        for index in stride(from: 0, to: words.count - 1, by: 2) where !words[index].isEmpty {
            parameters[words[index]] = words[index + 1]
        }
        message.startup = parameters
        return message
    }

    private mutating func typed() -> Message? {
        guard let length = number(at: 1), waiting.count > length else { return nil }
        var message = Message(bytes: remove(length + 1))
        let texts = message.bytes[5...].split(separator: 0, omittingEmptySubsequences: false)
        switch message.bytes[0] {
        case UInt8(ascii: "Q"): message.isCommit = Self.isCommit(texts[0])
        case UInt8(ascii: "P"): message.isCommit = Self.isCommit(texts[1])
        default: break
        }
        return message
    }

    private static func isCommit(_ text: ArraySlice<UInt8>) -> Bool {
        String(decoding: text, as: UTF8.self).uppercased().hasPrefix("COMMIT")
    }

    private func number(at index: Int) -> Int? {
        guard waiting.count >= index + 4 else { return nil }
        return waiting[index..<index + 4].reduce(0) { $0 << 8 | Int($1) }
    }

    private mutating func remove(_ count: Int) -> [UInt8] {
        let bytes = Array(waiting.prefix(count))
        waiting.removeFirst(count)
        return bytes
    }
}
