import Billing
import TestSupport

/// What customers and the web app wish, at any time.
extension Director {
    func wish() {
        if world.isCalm { return }
        let clock = database.clocks.business
        let before = database.ledger
        let row = database.ledger.subscriptions[
            world.dice.below(database.ledger.subscriptions.count)]
        let id = row.id
        switch world.dice.below(13) {
        case 0 where world.dice.happens(0.3):
            world.note(.cancelledNow, id, "sub \(id)")
            if world.mutant == .cancelIgnoresAttempt {
                database.ledger[subscription: id].state = .canceled
                database.ledger[subscription: id].nextChargeAt = nil
            } else {
                database.ledger.cancel(id, now: true, clock: clock)
            }
        case 1 where world.dice.happens(0.3):
            world.note(.cancelledAtEnd, id, "sub \(id)")
            database.ledger.cancel(id, now: false, clock: clock)
        case 0, 1, 2:
            world.note(.uncancelled, id, "sub \(id)")
            database.ledger.uncancel(id, clock: clock)
        case 3:
            world.note(.pausedRow, id, "sub \(id)")
            database.ledger.pause(id, clock: clock)
        case 4, 5:
            world.note(.resumedRow, id, "sub \(id)")
            database.ledger.resume(id, clock: clock)
        case 6, 7:
            let card = database.ledger.addCard(customer: row.customer, clock: clock)
            world.note(.newCard, id, "sub \(id) card \(card)")
        case 8:
            world.note(.cardDeleted, id, "sub \(id)")
            if let card = database.ledger.card(of: row) {
                database.ledger.deleteCard(card.id)
                if world.dice.happens(0.7) { provider.remove(card.key.reveal()) }
            }
        case 9:
            let cards = database.ledger.cards.filter { $0.customer == row.customer }
            let card = cards.randomElement(using: &world.dice)?.id
            world.note(.cardChosen, id, "sub \(id) card \(card ?? 0)")
            database.ledger.choose(card, for: id, clock: clock)
        case 10:
            world.note(.retriedNow, id, "sub \(id)")
            database.ledger.retryNow(id, clock: clock)
        case 11:
            world.note(.planChanged, id, "sub \(id)")
            changePlan(id)
        default:
            world.note(.priceChanged, id, "sub \(id)")
            let amount = Won(world.dice.happens(0.1) ? 0 : Int64(100 + world.dice.below(90_000)))
            if world.dice.happens(0.5) {
                database.ledger[subscription: id].amount = amount
            } else {
                database.ledger.plans[row.plan].amount = amount
            }
        }
        oracle.wrote(before)
        planPump()
    }

    /// A failover lost what was paid, and before anybody looks for it the period is to end otherwise:
    /// cancelled, begun in a pause, gone by, free, or without a card.
    func changeMinds() {
        for row in database.ledger.subscriptions where world.strikes(world.swarm.changesOfMind) {
            let wait = world.dice.duration(.seconds(6), .seconds(300))
            let choice = world.dice.below(6)
            world.after(wait) { [unowned self] in changeMind(row.id, choice) }
        }
    }

    private func changeMind(_ id: Int64, _ choice: Int) {
        if world.isCalm { return }
        let clock = database.clocks.business
        let before = database.ledger
        switch choice {
        case 0:
            world.note(.cancelledAtEnd, id, "sub \(id)")
            database.ledger.cancel(id, now: false, clock: clock)
        case 1, 2:
            world.note(.pausedRow, id, "sub \(id)")
            database.ledger.pause(id, clock: clock)
            world.note(.resumedRow, id, "sub \(id)")
            database.ledger.resume(id, clock: clock)
        case 3:
            world.note(.priceChanged, id, "sub \(id)")
            database.ledger.changeAmount(id, Won(0))
        case 4:
            world.note(.cardDeleted, id, "sub \(id)")
            let row = database.ledger[subscription: id]
            if let card = database.ledger.card(of: row) { database.ledger.deleteCard(card.id) }
        default:
            guard world.swarm.clockJumps > 0 else { return }
            let days = 8 + world.dice.below(30)
            database.clockOffset += .seconds(86_400 * days)
            world.note(.clockJump, Int64(days), "the business clock jumps by \(days) days")
        }
        oracle.wrote(before)
        planPump()
    }

    private func changePlan(_ id: Int64) {
        if world.dice.happens(0.5) {
            database.ledger[subscription: id].plan = world.dice.below(2)
        } else {
            database.ledger.plans[world.dice.below(2)].cycle = world.dice.among([
                .days(7), .months(1), .days(10),
            ])
        }
    }
}
