// SPDX-License-Identifier: Apache-2.0

/// A mesh's ports and ids: data, so that a workload of that mesh just works.
package struct Preset: Hashable, Sendable {
    package let name: String
    package let sidecar: Sidecar

    /// The plan of a workload with these addresses and nothing said beyond the preset.
    package func plan(ownAddresses: Set<IPAddress>) -> RedirectionPlan {
        RedirectionPlan(sidecar: sidecar, ownAddresses: ownAddresses)
    }

    /// Flomesh Service Mesh, the default.
    ///
    /// Outbound 15001, inbound 15003, uid 1500; admin 15000, metrics 15010, probes 15901-15904.
    package static let fsm = Preset(
        name: "fsm",
        sidecar: Sidecar(
            uids: [1500], outboundPort: 15001, inboundPort: 15003,
            ownPorts: PortSet([15000...15001, 15003...15003, 15010...15010, 15901...15904])))
}
