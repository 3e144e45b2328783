// SPDX-License-Identifier: Apache-2.0

/// Two things a policy says, or fails to say, that no plan can carry out together.
package enum PolicyConflict: Hashable, Sendable {
    /// Neither a user nor a group tells the sidecar from the application.
    case sidecarUnidentified
    /// Port 0 is nothing to listen on; the field.
    case portIsZero(String)
    /// Name lookups are to be taken, and the preset has no port to take them to.
    case dnsPortMissing(Preset.Name)
    /// The sidecar cannot answer names where it accepts connections; the field of the other port.
    case dnsPortTaken(UInt16, by: String)
    case dnsServersEmpty
    case dnsProtocolsEmpty
    /// The preset has no mark or table for transparent inbound traffic, or they are 0; the field.
    case transparentMissing(String)
    /// The table is one that the kernel fills itself.
    case tableReserved(UInt32)
    /// Every entry of an include list is excluded as well; the field of the list, and the list.
    case wholeIncludeExcluded(String, String)
}

extension PolicyConflict {
    /// The field of the policy to change.
    package var field: String {
        switch self {
        case .sidecarUnidentified: "sidecar.uids"
        case .portIsZero(let field), .transparentMissing(let field),
            .wholeIncludeExcluded(let field, _):
            field
        case .dnsPortMissing, .dnsPortTaken: "sidecar.dnsPort"
        case .dnsServersEmpty: "dns.capture"
        case .dnsProtocolsEmpty: "dns.protocols"
        case .tableReserved: "inbound.table"
        }
    }

    /// The fields that bring it about, the one to change first.
    fileprivate var causes: [String] {
        switch self {
        case .sidecarUnidentified: [field, "sidecar.gids"]
        case .dnsPortMissing: ["dns.capture", "preset"]
        case .dnsPortTaken(_, let other): [field, other]
        case .transparentMissing: [field, "inbound.mode"]
        default: [field]
        }
    }
}

extension PolicyConflict: CustomStringConvertible {
    package var description: String {
        switch self {
        case .sidecarUnidentified:
            "\(field): empty, and sidecar.gids is too: nothing tells the sidecar's connections "
                + "from the application's; list its user or its group"
        case .portIsZero:
            "\(field): 0 is no port to listen on; allowed: 1 to 65535"
        case .dnsPortMissing(let preset):
            "\(field): missing: dns.capture wants name lookups, and the preset \(preset.rawValue) "
                + "has no port for them; say where the sidecar answers"
        case .dnsPortTaken(let port, let other):
            "\(field): \(port) is \(other) too; name lookups need a port of their own"
        case .dnsServersEmpty:
            "\(field): an empty list captures nothing; allowed: off, all, or at least one resolver"
        case .dnsProtocolsEmpty:
            "\(field): an empty list captures nothing; allowed: udp, tcp; or dns.capture: off"
        case .transparentMissing:
            "\(field): missing: inbound.mode is transparent, which needs a mark and a routing "
                + "table that nothing else uses; allowed: 1 to 4294967295"
        case .tableReserved(let table):
            "\(field): \(table) is a table of the kernel's own; allowed: 1 to 252 and 256 to "
                + "4294967295"
        case .wholeIncludeExcluded(_, let list):
            "\(field): \"\(list)\" is excluded too, all of it, so that it includes nothing; take "
                + "it out here or among the exclusions"
        }
    }
}

/// Everything that stands between a policy and its plan.
package struct PolicyConflicts: Error, Hashable, CustomStringConvertible {
    package let conflicts: [PolicyConflict]
    /// Where the policy says what it says.
    package let places: FieldPlaces

    /// `policy.yaml:7:3: sidecar.dnsPort: ...`, a line each.
    package var description: String {
        conflicts.map { conflict in
            let place = conflict.causes.lazy.compactMap { places[$0] }.first
            return (place.map { "\($0): " } ?? "") + "\(conflict)"
        }
        .joined(separator: "\n")
    }
}
