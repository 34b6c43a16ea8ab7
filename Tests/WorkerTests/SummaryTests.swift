import Billing
import Logging
import TestSupport
import Testing

@testable import Worker

/// The log of a worker when all is well.
@Suite(.timeLimit(.minutes(1)))
struct SummaryTests {
    @Test func aMinuteWithWorkIsOneLineAndOneWithoutIsNone() async throws {
        let rig = Rig()
        await rig.store.addDue(1...3)
        try await rig.running {
            await rig.store.written.reaches(3)
            await rig.clock.untilSomebodySleeps(for: .seconds(60))
            rig.clock.advance(by: .seconds(60))
            await rig.log.says("summary")
            // Nothing happens in the second minute; it is over when the third begins.
            await rig.clock.untilSomebodySleeps(for: .seconds(60))
            rig.clock.advance(by: .seconds(60))
            await rig.clock.untilSomebodySleeps(for: .seconds(60))
            let told = rig.log.lines.filter { $0.level >= .info }
            #expect(told.map(\.message) == ["summary"])
            let metadata = told.first?.metadata
            #expect(metadata?["approved"] == "3" && metadata?["declined"] == "0")
            #expect(metadata?["in_flight"] == "0")

            await rig.store.addDue(4...4)
            rig.gateway.script(order(4), charges: .declined(.poor, .soft))
            rig.service.wake()
            await rig.log.says("declined")
            rig.clock.advance(by: .seconds(60))
            await rig.clock.untilSomebodySleeps(for: .seconds(60))
            let last = rig.log.lines.last { $0.message == "summary" }
            #expect(last?.metadata["approved"] == "0" && last?.metadata["declined"] == "1")
        }
    }
}
