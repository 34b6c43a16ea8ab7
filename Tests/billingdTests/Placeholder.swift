import Testing

@Suite struct BillingdPlaceholder { @Test func placeholder() { #expect(Bool(true)) } }
