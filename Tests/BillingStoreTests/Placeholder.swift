import Testing

@Suite struct BillingStorePlaceholder { @Test func placeholder() { #expect(Bool(true)) } }
