/// The provider's token for a stored card. Whoever has it and the secret key can take money, so it
/// has no description: the one way to its text is ``reveal()``, for the request that needs it.
package struct BillingKey: Hashable, Sendable, CustomStringConvertible,
    CustomDebugStringConvertible, CustomReflectable
{
    private let text: String
    package init(_ text: String) { self.text = text }
    /// The key itself: for the provider's URL and the database, never for a log line.
    package func reveal() -> String { text }
    package var description: String { "BillingKey(redacted)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// Our opaque id of the payer at the provider (2–300 of `[A-Za-z0-9-_=.@]`). Not printed: together
/// with a billing key it is what a charge needs.
package struct CustomerKey: Hashable, Sendable, CustomStringConvertible,
    CustomDebugStringConvertible, CustomReflectable
{
    private let text: String
    package init(_ text: String) { self.text = text }
    /// The key itself: for the provider's request body and the database, never for a log line.
    package func reveal() -> String { text }
    package var description: String { "CustomerKey(redacted)" }
    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
