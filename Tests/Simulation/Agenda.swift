/// What is to happen, by time: a binary heap.
struct Agenda {
    struct Event {
        var time: Int64
        /// Events of one instant come in an order of the dice.
        fileprivate var tie: UInt64
        var action: () -> Void

        fileprivate func comes(before other: Event) -> Bool {
            time != other.time ? time < other.time : tie < other.tie
        }
    }

    private var heap: [Event] = []

    mutating func add(at time: Int64, tie: UInt64, _ action: @escaping () -> Void) {
        heap.append(Event(time: time, tie: tie, action: action))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].comes(before: heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    /// The first, if it comes by then.
    mutating func next(until limit: Int64) -> Event? {
        guard let first = heap.first, first.time <= limit else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            let left = 2 * parent + 1
            if left < heap.count, heap[left].comes(before: heap[least]) { least = left }
            if left + 1 < heap.count, heap[left + 1].comes(before: heap[least]) { least = left + 1 }
            if least == parent { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }
}
