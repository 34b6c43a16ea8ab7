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
    package let headers: [(name: String, value: String)]
    /// Nil: the configuration's.
    package let timeout: Duration?

    package init(
        method: Method, url: String, headers: [(name: String, value: String)],
        timeout: Duration? = nil
    ) {
        self.method = method
        self.url = url
        self.headers = headers
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
    private let headers: [(name: String, value: String)]

    package init(
        status: Int, headers: [(name: String, value: String)], body: [UInt8], duration: Duration
    ) {
        self.status = status
        self.headers = headers
        self.body = body
        self.duration = duration
    }

    /// The first header of that name, whatever its case.
    package func header(_ name: String) -> String? {
        let wanted = name.lowercased()
        return headers.first { $0.name == wanted }?.value
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
