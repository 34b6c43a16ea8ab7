/// What can happen in a history. Each is counted; one that hardly ever happens proves nothing.
enum Mark: Int, CaseIterable {
    // The course of things.
    case claimed, sent, lookedUp, recorded, released
    case approved, declinedSoft, declinedHard, unknownRecorded, refusedRecorded, notSentRecorded
    case adoptedByLookUp, absentThenSentAgain, earlierFoundPaid, sealed, closedPaid, closedFailed
    case closedSkipped, held, refunded
    case verdictRepeated, verdictStale, verdictContradiction, staleApprovalApplied
    // Workers.
    case crashIdle, crashBeforeSend, crashAfterSend, crashAfterClaim, crashBeforeRecord
    case crashAfterRecord, stall, stallBeyondLease, stallBeforeSend, stopped, started, fleetDown
    case claimedAlone, heldAsPoison, heldForAge, heldUnsealed, pausedLooked, stoppedClean, deployed,
        versionRefused
    // Store.
    case claimBefore, claimUnacknowledged, claimLost, claimLateApplied, claimSlow
    case recordBefore, recordUnacknowledged, recordLost, recordLateApplied, recordSlow
    case storeDown, storeReadOnly, storeFull, claimReadOnly, recordReadOnly, recordFull
    case recordRejected, batchFailed, failover, adopted, lookedFirst
    // Wire.
    case sendLost, sendLate, sendDoubled, notSentFault, answerLost, answerCut, answerGarbage
    case answerOfAnother, answer500, answerLate, hang
    // Provider.
    case maintenance, tooMany, unauthorized, refusedBefore500, anyCode, running409, replayed
    case forgotDecline, storedError, duplicateOrder, burnedOrder, windowEnded, providerDown
    case slowExecution, cancelledInConsole, refundedInPart, lateExecution
    case paidButStoredError, storedErrorEnded, wrongPayment, wrongCancelled, nameUsedUp, silence
    case lingering409, duplicate409, removedCard400, removedCard404
    // Look-ups.
    case lookUpLost, lookUp5xx, lookUp404, lookUpGarbage, lookUpOfAnother, lookUpLag, lookUp429
    case lookUpAborted, lookUpUnfinished
    // The web app and the operator.
    case subscribed, planChanged, priceChanged, cancelledNow, cancelledAtEnd, uncancelled, pausedRow
    case resumedRow, newCard, cardDeleted, cardChosen, retriedNow, fleetPaused, keyRotated
    case rotatedWhileOpen, capReached, heldAsMissed, skippedAsMissed, chargedLate, longHistory
    // Clocks.
    case clockStep, clockJump
}

/// Counts of marks.
struct Tallies {
    var counts = [Int](repeating: 0, count: Mark.allCases.count)
    subscript(mark: Mark) -> Int {
        get { counts[mark.rawValue] }
        set { counts[mark.rawValue] = newValue }
    }
}
