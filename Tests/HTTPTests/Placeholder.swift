import Testing

@Suite struct HTTPPlaceholder { @Test func placeholder() { #expect(Bool(true)) } }
