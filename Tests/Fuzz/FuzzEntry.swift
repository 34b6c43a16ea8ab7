import FoundationEssentials
import Glibc

/// What can be fuzzed: `BILLINGD_FUZZ_TARGET` names one for the whole run.
enum FuzzTarget: String, CaseIterable {
    /// The provider's answers to approve, as raw bytes and as nearly right payments.
    case answer
    /// Its answers to look-ups.
    case lookup
    /// Pages of its list of transactions, and what comparing makes of them.
    case transactions
    /// Rows of the claim, from text cells to the decided step.
    case row
    /// Secret keys and addresses of the provider.
    case configuration
    /// The request body that we write.
    case body
    /// Timestamps of PostgreSQL and of the provider.
    case timestamp

    func run(_ bytes: [UInt8]) {
        var input = FuzzInput(bytes)
        switch self {
        case .answer: AnswerFuzz.approve(&input)
        case .lookup: AnswerFuzz.lookUp(&input)
        case .transactions: TransactionsFuzz.run(&input)
        case .row: RowFuzz.run(&input)
        case .configuration: ConfigurationFuzz.run(&input)
        case .body: BodyFuzz.run(&input)
        case .timestamp: TimestampFuzz.run(bytes)
        }
    }
}

private let target: FuzzTarget = {
    let name = ProcessInfo.processInfo.environment["BILLINGD_FUZZ_TARGET"] ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
        fatalError("BILLINGD_FUZZ_TARGET: one of \(names), not \"\(name)\"")
    }
    return target
}()

/// libFuzzer as a library (llvm.org/docs/LibFuzzer.html, "Using libFuzzer as a library"): parses its
/// own options, calls `test` once an input and never returns while all is well.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ argc: UnsafeMutablePointer<CInt>,
    _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

@main
enum FuzzEntry {
    static func main() {
        var count = CommandLine.argc
        var arguments = CommandLine.unsafeArgv
        _ = target  // A wrong name ends the run before it begins.
        exit(
            runDriver(&count, &arguments) { start, count in
                // A trap is a finding.
                target.run(Array(UnsafeBufferPointer(start: start, count: count)))
                return 0
            })
    }
}
