/// A request. A secret may be in its URL or headers, so it does not print itself.
package struct HTTPRequest: Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    package enum Method: Sendable {
        case get
        case post(body: [UInt8])
    }

    package let method: Method
    package let url: String
    /// Those that it has in common with other requests: their lines are kept from one to the next.
    package let headers: [(name: String, value: String)]
    package let ownHeaders: [(name: String, value: String)]
    /// Nil: the configuration's.
    package let timeout: Duration?

    package init(
        method: Method, url: String, headers: [(name: String, value: String)],
        ownHeaders: [(name: String, value: String)] = [], timeout: Duration? = nil
    ) {
        self.method = method
        self.url = url
        self.headers = headers
        self.ownHeaders = ownHeaders
        self.timeout = timeout
    }

    package var description: String { "HTTPRequest(redacted)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// An answer, complete.
package struct HTTPResponse: Sendable {
    package let status: Int
    package let body: [UInt8]
    /// From hand-over to the last byte.
    package let duration: Duration
    private let head: Head

    /// Lines as they came are read when somebody asks, and few do.
    private enum Head: Sendable {
        case lines([UInt8])
        case fields([(name: String, value: String)])
    }

    /// `headers`: names in lower case.
    package init(
        status: Int, headers: [(name: String, value: String)], body: [UInt8], duration: Duration
    ) {
        self.status = status
        self.head = .fields(headers)
        self.body = body
        self.duration = duration
    }

    /// `head`: the lines as they came, each with its end.
    init(status: Int, head: [UInt8], body: [UInt8], duration: Duration) {
        self.status = status
        self.head = .lines(head)
        self.body = body
        self.duration = duration
    }

    /// The first header of that name, whatever its case.
    package func header(_ name: String) -> String? {
        switch head {
        case .fields(let fields): fields.first { $0.name == name.lowercased() }?.value
        case .lines(let lines): Self.value(of: name, in: lines)
        }
    }

    private static func value(of name: String, in lines: [UInt8]) -> String? {
        let name = name.utf8.span
        var start = 0
        while start < lines.count {
            var end = start
            while end < lines.count, lines[end] != UInt8(ascii: "\n") { end += 1 }
            guard end < lines.count else { return nil }
            var same = 0
            while same < name.count, start + same < end,
                lowercased(lines[start + same]) == lowercased(name[same])
            {
                same += 1
            }
            if same == name.count, start + same < end, lines[start + same] == UInt8(ascii: ":") {
                var first = start + same + 1
                while first < end, isSpace(lines[first]) { first += 1 }
                while first < end, isSpace(lines[end - 1]) { end -= 1 }
                return String(decoding: lines[first..<end], as: UTF8.self)
            }
            start = end + 1
        }
        return nil
    }

    /// The white space that may stand around a value, and the rest of the line's end (RFC 9110, 5.5).
    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0d
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
    }
}

/// No answer. It says above all whether a byte of the request may have left.
package struct HTTPError: Error, Sendable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case resolve, connect, tls, timeout, reset, tooLarge, invalid, resendRefused, other
    }

    package let kind: Kind
    /// libcurl's CURLcode; 0: it was never asked.
    package let curlCode: Int32
    /// False only when it is proven: `CURLINFO_PRETRANSFER_TIME` is 0, so that libcurl never came to
    /// the point of sending. No error code proves it ("couldn't connect" came after an execution).
    package let mayHaveLeft: Bool
    package let duration: Duration

    package init(kind: Kind, curlCode: Int32, mayHaveLeft: Bool, duration: Duration = .zero) {
        self.kind = kind
        self.curlCode = curlCode
        self.mayHaveLeft = mayHaveLeft
        self.duration = duration
    }

    package var description: String {
        "\(kind.rawValue) (curl \(curlCode)), \(mayHaveLeft ? "may have left" : "nothing left")"
    }
}
