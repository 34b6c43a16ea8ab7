import Testing

@Suite struct TossPaymentsPlaceholder { @Test func placeholder() { #expect(Bool(true)) } }
