// SPDX-License-Identifier: Apache-2.0

/// Lets one operation at a time at a thing, in the order in which they came.
///
/// An actor alone does not: at every `await` within an operation, the next one begins.
package struct Turns<Thing: Hashable> {
    private var waiting: [Thing: [CheckedContinuation<Void, Never>]] = [:]

    package init() {}

    /// Takes the thing if nobody has it.
    package mutating func take(_ thing: Thing) -> Bool {
        guard waiting[thing] == nil else { return false }
        waiting[thing] = []
        return true
    }

    /// Queues up behind whoever has the thing; resumed, one has it.
    package mutating func wait(for thing: Thing, _ turn: CheckedContinuation<Void, Never>) {
        waiting[thing, default: []].append(turn)
    }

    /// Hands the thing to the next.
    package mutating func pass(on thing: Thing) {
        guard var queue = waiting[thing], !queue.isEmpty else {
            waiting[thing] = nil
            return
        }
        let next = queue.removeFirst()
        waiting[thing] = queue
        next.resume()
    }
}
