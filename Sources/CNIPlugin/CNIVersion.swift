// SPDX-License-Identifier: Apache-2.0

/// A version of the CNI specification that we speak, in their order.
package enum CNIVersion: String, CaseIterable, Comparable, Sendable {
    case v0_3_0 = "0.3.0"
    case v0_3_1 = "0.3.1"
    case v0_4_0 = "0.4.0"
    case v1_0_0 = "1.0.0"
    case v1_1_0 = "1.1.0"

    package static let latest = CNIVersion.v1_1_0

    private var place: Int { Self.allCases.firstIndex(of: self) ?? 0 }

    package static func < (one: CNIVersion, other: CNIVersion) -> Bool { one.place < other.place }

    /// All of them, for a message.
    package static var list: String { allCases.map(\.rawValue).joined(separator: ", ") }
}
