/// Why a command could not do its work; printed as it is, exit status 1. What was typed wrongly is
/// ArgumentParser's `ValidationError` instead, which shows the usage and exits with 64.
struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
