// SPDX-License-Identifier: Apache-2.0

/// Why a text is not the value it should be, before anybody knows where it stands.
struct ValueProblem: Error, Hashable {
    /// Which item of a list; `nil` for the whole.
    var index: Int?
    /// What is wrong, to follow the value: "is not a port".
    let problem: String
    let allowed: String?

    init(_ problem: String, allowed: String? = nil, at index: Int? = nil) {
        self.problem = problem
        self.allowed = allowed
        self.index = index
    }
}

/// How far a text may be from canonical.
struct Dialect: Hashable, Sendable {
    /// A value may be listed twice, or lie in a range that is listed too.
    let allowsRepeats: Bool
    /// `10.0.0.1/8` may stand for `10.0.0.0/8`.
    let allowsHostBits: Bool

    /// What is written for us.
    static let strict = Dialect(allowsRepeats: false, allowsHostBits: false)
    /// What is written for a mesh, and has always worked there.
    static let mesh = Dialect(allowsRepeats: true, allowsHostBits: true)
}

extension ValueProblem {
    /// The problem with an item as one with the whole that has it; `key` is where in the whole.
    func whole(of items: [String], at key: String? = nil) -> ValueProblem {
        let place = key.map { " at \($0)" } ?? ""
        guard
            let item = index.flatMap({ items.indices.contains($0) ? items[$0] : nil })
                ?? (key == nil ? nil : items.first)
        else { return ValueProblem(problem, allowed: allowed) }
        return ValueProblem("has \"\(item)\"\(place), which \(problem)", allowed: allowed)
    }
}
