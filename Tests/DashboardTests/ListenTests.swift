import Testing

@testable import Dashboard

/// Addresses, tokens and the text of the metrics.
@Suite struct ListenTests {
    @Test(arguments: [
        ("127.0.0.1:9464", "127.0.0.1", 9464, true), ("[::1]:0", "::1", 0, true),
        ("localhost:80", "localhost", 80, true), ("0.0.0.0:9464", "0.0.0.0", 9464, false),
        ("[::]:9464", "::", 9464, false), ("10.0.0.7:1", "10.0.0.7", 1, false),
        ("127.0.0.1.example.com:9464", "127.0.0.1.example.com", 9464, false),
    ])
    func anAddressIsRead(_ text: String, host: String, port: Int, isLoopback: Bool) throws {
        let address = try #require(ListenAddress(parsing: text))
        #expect(address.host == host && address.port == port)
        #expect(address.isLoopback == isLoopback)
        #expect(address.description == text)
    }

    @Test(arguments: [
        "", ":", "9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
        "::1:9464", "[::1]", "[127.0.0.1]:1", "http://127.0.0.1:9464", "a b:1", "127.0.0.1:+80",
    ])
    func whatIsNoAddressIsNone(_ text: String) {
        #expect(ListenAddress(parsing: text) == nil)
    }

    @Test(arguments: [
        ("localhost", true), ("localhost:9464", true), ("127.0.0.1:9464", true), ("[::1]:1", true),
        ("[::1]", true), ("", false), ("shop.example", false), ("127.0.0.1.shop.example:80", false),
        ("localhost.shop.example", false),
    ])
    func onlyAHostOfThisMachineIsLocal(_ host: String, isLocal: Bool) {
        #expect(ListenAddress.isLocal(host: host) == isLocal)
    }

    @Test func aTokenOpensOnlyToItself() throws {
        let token = try #require(BearerToken(parsing: "0123456789abcdef\n"))
        #expect(token.isCarried(by: "Bearer 0123456789abcdef"))
        for wrong in [
            nil, "", "Bearer", "Bearer ", "Bearer 0123456789abcdee", "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0", "0123456789abcdef", "bearer 0123456789abcdef",
            "Bearer 0123456789abcdefBearer 0123456789abcdef",
        ] {
            #expect(!token.isCarried(by: wrong), "\(wrong ?? "none")")
        }
        #expect("\(token)" == "BearerToken" && !"\(String(reflecting: token))".contains("0123"))
        for bad in ["", "short", "with a space in it", "한글로된토큰은안됩니다요"] {
            #expect(BearerToken(parsing: bad) == nil, "\(bad)")
        }
    }

    @Test func samplesAreWrittenAsTheFormatWantsThem() {
        var page = Exposition()
        page.counter("a_total", "A.", 7)
        page.gauge("b", "B.", nil)
        page.gauge("c", "C.", 0.25)
        page.family("d", .gauge, "D.", [([("x", "a\"b\\c\nd")], 1)])
        page.histograms(
            "e_seconds", "E.", label: "call", [("f", [0.5, 1], [1, 0, 2], 3.5)])
        #expect(
            page.text == """
                # HELP a_total A.
                # TYPE a_total counter
                a_total 7
                # HELP c C.
                # TYPE c gauge
                c 0.25
                # HELP d D.
                # TYPE d gauge
                d{x="a\\"b\\\\c\\nd"} 1
                # HELP e_seconds E.
                # TYPE e_seconds histogram
                e_seconds_bucket{call="f",le="0.5"} 1
                e_seconds_bucket{call="f",le="1"} 1
                e_seconds_bucket{call="f",le="+Inf"} 3
                e_seconds_sum{call="f"} 3.5
                e_seconds_count{call="f"} 3

                """)
    }
}
