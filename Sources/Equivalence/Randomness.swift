// SPDX-License-Identifier: Apache-2.0

internal import SeededRandom

/// What a run of the proof draws, from numbers that its seed names.
package struct Randomness: Sendable {
    private var numbers: SplitMix64

    package init(seed: UInt64) { numbers = SplitMix64(seed: seed) }

    /// The numbers of one policy of a run: any policy can be had without those before it.
    package init(seed: UInt64, policy: Int) {
        var parent = Randomness(seed: seed ^ UInt64(policy) &* 0xd134_2543_de82_ef95)
        self.init(seed: parent.next())
    }

    package mutating func next() -> UInt64 { numbers.next() }

    /// A number from 0 to below `limit`.
    package mutating func below(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }

    package mutating func chance(_ percent: Int) -> Bool { below(100) < percent }

    /// One of `first` and `others`.
    package mutating func pick<Element>(_ first: Element, _ others: Element...) -> Element {
        let number = below(others.count + 1)
        return number == 0 ? first : others[number - 1]
    }

    /// One of `values`, which must not be empty.
    package mutating func pick<Element>(from values: [Element]) -> Element {
        values[below(values.count)]
    }

    /// Up to `limit` of `values`, at least one.
    package mutating func some<Element>(_ limit: Int, of values: [Element]) -> [Element] {
        (0...below(limit)).map { _ in pick(from: values) }
    }
}
