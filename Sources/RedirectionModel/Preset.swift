// SPDX-License-Identifier: Apache-2.0

/// A mesh's ports, ids and habits: data, so that a workload of that mesh just works.
package struct Preset: Hashable, Sendable {
    package enum Name: String, Hashable, Sendable, CaseIterable {
        case fsm
        case osm
        case istio
        case linkerd
        case kuma
        case consul
    }

    /// The packet mark and the routing table of a transparent inbound mode.
    package struct TransparentRouting: Hashable, Sendable {
        package let mark: UInt32
        package let table: UInt32
    }

    package let id: Name
    package let sidecar: Sidecar
    /// Whether the application reaches the workload's own addresses directly.
    package var passesOwnAddresses = true
    /// Which of the sidecar's own ports are its administrator's and its control plane's, where a
    /// pod may move them.
    package var adminPort: UInt16?
    package var controlPort: UInt16?
    /// Where the sidecar answers name lookups, in meshes where it does.
    package var dnsPort: UInt16?
    package var dns = DNSScope.off
    package var transparent: TransparentRouting?
    package var excludedUIDs: IDSet = []
    package var outbound = Selection()
    package var inbound = Selection()

    package var name: String { id.rawValue }

    /// The plan of a workload with these addresses and nothing said beyond the preset.
    package func plan(ownAddresses: Set<IPAddress>) -> RedirectionPlan {
        do throws(PolicyConflicts) {
            return try Policy().resolved(over: self, ownAddresses: ownAddresses).plan
        } catch {
            preconditionFailure("preset \(name): \(error)")
        }
    }

    /// The plan before what a policy says is put into it.
    func basis(ownAddresses: Set<IPAddress>) -> RedirectionPlan {
        RedirectionPlan(
            sidecar: sidecar, ownAddresses: ownAddresses, passesOwnAddresses: passesOwnAddresses,
            excludedUIDs: excludedUIDs, outbound: outbound, inbound: inbound)
    }

    package static let all = Name.allCases.map(Preset.init(named:))

    package init(named name: Name) {
        self =
            switch name {
            case .fsm: .fsm
            case .osm: .osm
            case .istio: .istio
            case .linkerd: .linkerd
            case .kuma: .kuma
            case .consul: .consul
            }
    }

    init(_ id: Name, sidecar: Sidecar) {
        self.id = id
        self.sidecar = sidecar
    }

    /// A preset's further facts, for a literal that reads as a table.
    func with(_ facts: (inout Preset) -> Void) -> Preset {
        var preset = self
        facts(&preset)
        return preset
    }
}

extension DNSCapture {
    init?(_ scope: DNSScope, port: UInt16) {
        switch scope {
        case .off: return nil
        case .all: self.init(port: port)
        case .servers(let servers): self.init(port: port, servers: servers)
        }
    }
}
