/// The fault rates and the shape of one history, drawn first: most rates are zero in most seeds, so
/// that rare faults meet quiet histories too.
struct Swarm {
    // Shape.
    var subscriptions: Int
    var workers: Int
    var days: Int
    var weekly: Bool
    var maxInFlight: Int
    var maxClaim: Int
    var flushes: Bool
    // Workers.
    var crash: Double
    var stall: Double
    var stop: Double
    var fleetDown: Double
    // Store.
    var claimFault: Double
    var recordFault: Double
    var storeDown: Double
    /// One row that the database refuses, one batch that fails as a whole.
    var rowTrouble: Double
    var failover: Double
    // Wire.
    var sendFault: Double
    var late: Double
    var doubled: Double
    var notSent: Double
    var answerFault: Double
    // Provider.
    var decline: Double
    var refusal: Double
    var outage: Double
    var anyCode: Double
    var slow: Double
    /// Forgets declines and refusals it gave (A2 is false).
    var forgets: Double
    /// Keeps 5xx and refusals under the key for 15 days.
    var storesErrors: Bool
    /// Sends two traces with what it kept.
    var showsReplays: Bool
    /// A declined order id is never taken again.
    var burnsOrders: Bool
    /// An approved order id is refused for ever (A7).
    var uniqueOrders: Bool
    var showsAborted: Bool
    /// Of two requests under one key at a time, the second is told that the order is a duplicate.
    var racesOrders: Bool
    /// "Still running" for minutes after the first request of a name ended.
    var lingers: Bool
    /// HTTP status of `DUPLICATED_ORDER_ID`.
    var duplicateStatus: Int
    /// A billing key that was removed is "not found", instead of an invalid request.
    var removedIsNotFound: Bool
    var lag: Double
    var lookUpFault: Double
    var console: Double
    /// Payments that somebody makes under our order ids, and cancels.
    var strays: Double
    /// Weeks in which it says nothing clear.
    var silence: Double
    /// Copies of paid requests that come when their keys are forgotten.
    var ancientCopies: Bool
    // Web app, operator, clock.
    var wishes: Double
    /// Share of the customers who change their minds when a failover has lost what they paid.
    var changesOfMind = 0.0
    var pauses: Double
    var rotates: Bool
    var deploys: Bool
    /// Won that may be sent a day.
    var maxWonPerDay: Int64?
    var requestsPerMinute: Int?
    var clockSteps: Double
    var clockJumps: Double

    init(_ dice: inout Dice, mutant: Mutant?) {
        /// Zero in most seeds, else up to `most`.
        func rate(_ most: Double, in share: Double = 0.4) -> Double {
            let isOn = dice.happens(share)
            let value = dice.fraction() * most
            return isOn ? value : 0
        }
        subscriptions = 1 + dice.below(2)
        workers = 1 + dice.below(3)
        weekly = dice.happens(0.3)
        days = 31 + dice.below(weekly ? 4 : 40)
        // Long histories: one takes as many steps as 20 others.
        if dice.happens(0.013) { days = 100 + dice.below(300) }
        maxInFlight = 1 + dice.below(4)
        maxClaim = 1 + dice.below(4)
        flushes = dice.happens(0.3)
        crash = rate(0.15)
        stall = rate(0.15)
        stop = rate(0.05, in: 0.3)
        fleetDown = rate(1, in: 0.02)
        claimFault = rate(0.3)
        recordFault = rate(0.3)
        storeDown = rate(2, in: 0.15)
        rowTrouble = rate(0.1, in: 0.05)
        failover = rate(1, in: 0.06)
        sendFault = rate(0.3)
        late = rate(0.5)
        doubled = rate(0.3, in: 0.3)
        notSent = rate(0.3, in: 0.3)
        answerFault = rate(0.6)
        decline = rate(0.9, in: 0.6)
        refusal = rate(0.3, in: 0.3)
        outage = rate(2, in: 0.15)
        anyCode = rate(0.2, in: 0.15)
        slow = rate(0.5)
        forgets = rate(1, in: 0.25)
        storesErrors = dice.happens(0.1)
        burnsOrders = dice.happens(0.1)
        uniqueOrders = dice.happens(0.5)
        showsAborted = dice.happens(0.3)
        racesOrders = dice.happens(0.3)
        lingers = dice.happens(0.1)
        duplicateStatus = dice.happens(0.2) ? 409 : 400
        removedIsNotFound = dice.happens(0.5)
        lag = rate(0.5, in: 0.3)
        lookUpFault = rate(0.3)
        console = rate(0.5, in: 0.05)
        wishes = rate(6, in: 0.4)
        pauses = rate(1, in: 0.08)
        rotates = dice.happens(0.05)
        deploys = dice.happens(0.05)
        requestsPerMinute = dice.happens(0.04) ? 1 + dice.below(40) : nil
        maxWonPerDay = dice.happens(0.04) ? Int64(dice.below(60_000)) : nil
        clockSteps = rate(2, in: 0.1)
        clockJumps = rate(1, in: 0.04)
        showsReplays = dice.happens(0.7)
        strays = rate(0.5, in: 0.05)
        silence = rate(1, in: 0.03)
        ancientCopies = dice.happens(0.02)
        // Rows that look as if they killed their workers.
        if dice.happens(0.02) { crash = 0.6 }
        // Workers that sleep with an answer in hand while others end the attempt.
        if dice.happens(0.03) {
            (workers, stall, forgets, late) = (3, 0.8, 0.7, 0.6)
            (decline, slow, failover) = (0.7, 0.5, 0)
        }
        mutant?.shape(&self)
        assume()
    }

    /// What the design's argument assumes of the world (fault-model.md, section 6).
    private mutating func assume() {
        // What comes so late is only held back by order ids that are taken once (A7).
        if !uniqueOrders { ancientCopies = false }
        // "Executed before" is never said without reason where somebody pays under our order ids.
        if anyCode > 0 { strays = 0 }
        if forgets > 0 {
            // L3 trusts the clock that measures the gap.
            clockSteps = 0
            clockJumps = 0
            // A provider that forgets matters only to requests that come late.
            late = max(late, 0.3)
            decline = max(decline, 0.4)
        }
        if failover > 0 {
            // D1 stands on names that are computed again, which a provider that forgets its declines
            // does not honour. (One that takes an order id twice does: what was lost is looked for.)
            forgets = 0
            changesOfMind = max(changesOfMind, 0.4)
        }
        // A copy made on the way of a request that was declined, and whose decline is forgotten: the
        // next name may follow at once when a card comes, so that no gap holds the copy back (A2).
        // Copies of refused requests are allowed: the rest of twice the late bound is for them.
        if doubled > 0 {
            forgets = 0
            if refusal > 0 || outage > 0 || anyCode > 0 {
                clockSteps = 0
                clockJumps = 0
            }
        }
    }
}
