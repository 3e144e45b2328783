// SPDX-License-Identifier: Apache-2.0

/// What makes the kernel carry out a plan.
package enum Mechanism: String, Hashable, Sendable, Codable, CaseIterable {
    /// Programs at connect(2), at socket lookup and, where asked, at tc.
    case ebpf
    /// nf_tables, through netlink.
    case nft
    /// The ip_tables and ip6_tables of old, through their socket options.
    case legacy
}

extension Mechanism: CustomStringConvertible {
    package var description: String { rawValue }
}
