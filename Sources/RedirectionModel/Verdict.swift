// SPDX-License-Identifier: Apache-2.0

/// What happens to a flow.
package enum Action: Hashable, Sendable {
    case pass
    case redirectOutbound(port: UInt16)
    case redirectInbound(port: UInt16)
    case redirectDNS(port: UInt16)
    case drop
}

/// The rule of the verdict table that decided; counters, comments and `explain` use these names.
///
/// The raw values are the ABI: `enum swerve_reason` in swerve_abi.h counts in the same order,
/// and a test holds the two together.
package enum Reason: UInt8, Hashable, Sendable, CaseIterable {
    case disabled
    case dns
    case `protocol`
    case family
    case passthrough
    case selfCall
    case sidecar
    case loopback
    case ownAddress
    case uid
    case gid
    case uidPort
    case interface
    case cidrExcluded
    case portExcluded
    case notIncluded
    case outbound
    case sidecarPort
    case sourceExcluded
    case inbound
}

extension Reason: CustomStringConvertible {
    /// The name operators see, in the words of docs/semantics.md.
    package var description: String {
        switch self {
        case .disabled: "disabled"
        case .dns: "dns"
        case .protocol: "protocol"
        case .family: "family"
        case .passthrough: "passthrough"
        case .selfCall: "self-call"
        case .sidecar: "sidecar"
        case .loopback: "loopback"
        case .ownAddress: "own-address"
        case .uid: "uid"
        case .gid: "gid"
        case .uidPort: "uid-port"
        case .interface: "interface"
        case .cidrExcluded: "cidr-excluded"
        case .portExcluded: "port-excluded"
        case .notIncluded: "not-included"
        case .outbound: "outbound"
        case .sidecarPort: "sidecar-port"
        case .sourceExcluded: "source-excluded"
        case .inbound: "inbound"
        }
    }
}

/// What happens to a flow, and why.
package struct Verdict: Hashable, Sendable {
    package let action: Action
    package let reason: Reason

    package init(_ action: Action, _ reason: Reason) {
        self.action = action
        self.reason = reason
    }
}

extension Verdict: CustomStringConvertible {
    package var description: String {
        switch action {
        case .pass: "pass (\(reason))"
        case .drop: "drop (\(reason))"
        case .redirectOutbound(let port): "redirect-outbound to \(port) (\(reason))"
        case .redirectDNS(let port): "redirect-dns to \(port) (\(reason))"
        case .redirectInbound(let port): "redirect-inbound to \(port) (\(reason))"
        }
    }
}
