// SPDX-License-Identifier: Apache-2.0

extension Reason {
    /// When the rule matches: the sentence that docs/semantics.md and `explain` show.
    package func meaning(_ direction: Direction) -> String {
        let isOutbound = direction == .outbound
        return switch self {
        case .disabled: "redirection is off for the workload"
        case .dns:
            "it goes to port 53 of a captured resolver, by a captured protocol; not from the "
                + "sidecar, nor from a user for whom that port is excluded"
        case .protocol: "it is not TCP"
        case .family:
            isOutbound
                ? "the plan does not manage the destination's family"
                : "the plan does not manage the family"
        case .passthrough:
            "it stays in the workload, and its source is one that the sidecar uses only to hand "
                + "connections on; or, where inbound is transparent, it is the sidecar's from an "
                + "address that is not the workload's, to one that is"
        case .selfCall:
            "the sidecar calls one of the workload's own addresses, not loopback, on a port that "
                + "is not a tunnel's; unless the plan leaves such calls alone"
        case .sidecar: "the socket is the sidecar's own: its uid or its gid is listed"
        case .loopback:
            isOutbound
                ? "the destination is `127.0.0.0/8` or `::1`"
                : "it arrives on the loopback interface"
        case .ownAddress:
            "the destination is one of the workload's own addresses, unless the plan redirects "
                + "those too"
        case .uid: "the socket's owner is an excluded user"
        case .gid: "the socket's owner is an excluded group"
        case .uidPort: "the destination port is excluded for the socket's owner"
        case .interface:
            isOutbound
                ? "it would leave by an excluded interface" : "it arrives on an excluded interface"
        case .cidrExcluded: "the destination is in an excluded network"
        case .portExcluded: "the destination port is excluded"
        case .notIncluded: "include lists are given and do not accept it"
        case .sidecarPort: "the destination port is the inbound port, or another the sidecar serves"
        case .sourceExcluded: "the source is in an excluded network"
        case .outbound, .inbound: "otherwise"
        }
    }
}
