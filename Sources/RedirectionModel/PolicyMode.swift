// SPDX-License-Identifier: Apache-2.0

/// Which mechanism an operator wants for a workload.
package enum PolicyMode: String, Hashable, Sendable, Codable, CaseIterable {
    /// Whatever this kernel does best.
    case auto
    case ebpf
    /// nf_tables or the legacy tables, whichever this machine uses.
    case iptables
    case nft
    case legacy
    /// Nothing is redirected.
    case none
}
