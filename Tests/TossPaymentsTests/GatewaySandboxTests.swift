import Billing
import HTTP
import Logging
import Testing
import TossSandbox

@testable import TossPayments

/// The gateway against the provider's stand-in, over a real connection.
@Suite struct GatewaySandboxTests {
    /// Serves a provider that knows the secret key and has issued one billing key.
    private func serving(
        script: CardScript? = nil,
        _ body: (Calls, SandboxProvider, AttemptRequest) async throws -> Void
    ) async throws {
        var settings = SandboxProvider.Settings()
        settings.secretKeys = [Secret.secretKey]
        let provider = SandboxProvider(settings)
        let key = provider.issue(customerKey: Secret.customerKey, script: script)
        let (ports, source) = AsyncStream.makeStream(of: Int.self)
        let server = try SandboxServer(
            provider: provider, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        ) { source.yield($0) }
        try await withThrowingTaskGroup { group in
            group.addTask { try await server.run() }
            for await port in ports {
                let calls = try Calls("http://127.0.0.1:\(port)")
                try await body(calls, provider, .sample(billingKey: key))
                await calls.client.shutdown()
                break
            }
            group.cancelAll()
            while let result = await group.nextResult() {
                if case .failure(let error) = result, !(error is CancellationError) { throw error }
            }
        }
    }

    private func books(_ provider: SandboxProvider) -> Int64? {
        let request = SandboxRequest(method: "GET", path: "/_sandbox/books")
        return JSONValue(provider.handle(request).body)?["approvals"]?.integer
    }

    @Test func anApprovalIsReadWhole() async throws {
        try await serving { calls, provider, request in
            guard case .approved(let payment, let trace) = await calls.charge(request) else {
                Issue.record("not approved")
                return
            }
            #expect(payment.answers(request) && payment.status == .done)
            #expect(
                payment.paymentKey.count == 24 && payment.approvedAt?.hasSuffix("+09:00") == true)
            #expect(payment.card?.contains("94100012****789*") == true)
            #expect(payment.receiptURL?.hasSuffix(payment.paymentKey) == true)
            #expect(trace?.count == 32)
            // The same call again is replayed, with two trace ids, and executes nothing.
            guard case .approved(let again, let traces) = await calls.charge(request) else {
                Issue.record("not replayed")
                return
            }
            #expect(again == payment && traces?.hasSuffix(", \(trace ?? "-")") == true)
            guard case .found(let found) = await calls.lookUp() else {
                Issue.record("not found")
                return
            }
            #expect(found == payment && books(provider) == 1)
        }
    }

    @Test func aDeclineIsReplayedUnderItsOwnNameOnly() async throws {
        try await serving(script: CardScript(outcomes: ["REJECT_CARD_PAYMENT", nil])) {
            calls, provider, request in
            for _ in 0..<2 {
                guard case .declined(let answer, .soft) = await calls.charge(request) else {
                    Issue.record("not declined")
                    return
                }
                #expect(answer.code == "REJECT_CARD_PAYMENT" && answer.httpStatus == 403)
            }
            guard case .notFound = await calls.lookUp() else {
                Issue.record("a declined order was found")
                return
            }
            var next = request
            next.orderID = OrderID(stored: "order-0007-2")
            guard case .approved = await calls.charge(next) else {
                Issue.record("not approved under the next name")
                return
            }
            #expect(books(provider) == 1)
        }
    }

    /// Executed, and the answer is lost in every way that a wire has.
    @Test(arguments: [
        FaultRule.Action.executeAndDrop, .cut, .garbage, .hang, .executeAndFail, .otherOrder,
        .otherAmount,
    ])
    func aLostAnswerIsFoundByALookUp(action: FaultRule.Action) async throws {
        try await serving { calls, provider, request in
            provider.faults = [FaultRule(action)]
            let outcome = await calls.charge(request, timeout: .seconds(1))
            switch outcome {
            case .unknown: break
            case .approved(let payment, _): #expect(!payment.answers(request))
            default: Issue.record("\(action): \(outcome)")
            }
            guard case .found(let payment) = await calls.lookUp() else {
                Issue.record("\(action): not found")
                return
            }
            #expect(payment.answers(request) && books(provider) == 1)
        }
    }

    /// A look-up that fails says nothing, and one that shows another's payment is not ours.
    @Test(arguments: [
        FaultRule.Action.refuse, .dropBefore, .hang, .cut, .garbage, .otherPayment,
    ])
    func aFaultyLookUpIsNoNotFound(action: FaultRule.Action) async throws {
        try await serving { calls, provider, request in
            guard case .approved = await calls.charge(request) else {
                Issue.record("not approved")
                return
            }
            provider.faults = [FaultRule(action, on: [.order])]
            let order = OrderID(stored: "order-0007-1")
            switch await calls.gateway.lookUp(order, timeout: .seconds(1)) {
            case .unclear: break
            case .found(let payment): #expect(!payment.answers(request) && action == .otherPayment)
            case let other: Issue.record("\(action): \(other)")
            }
        }
    }

    @Test func aWrongSecretIsAFaultOfAll() async throws {
        try await serving { calls, provider, request in
            let port = String(calls.address.split(separator: ":").last ?? "")
            let wrong = try Calls("http://127.0.0.1:\(port)", secretKey: "test_sk_wrongwrongwrong")
            guard case .faultOfAll(let answer) = await wrong.charge(request) else {
                Issue.record("a wrong key is no fault of all")
                return
            }
            #expect(answer.code == "UNAUTHORIZED_KEY")
            #expect(await wrong.gateway.probe().mend != nil)
            #expect(await calls.gateway.probe().mend == nil)
            await wrong.client.shutdown()
            #expect(books(provider) == 0)
        }
    }
}
