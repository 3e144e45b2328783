// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
package import RedirectionEngine
internal import SystemPackage

extension IPTablesBackend {
    /// Finds out what this kernel has of a kind of rules, by writing some into a namespace made
    /// for it.
    package static func assess(
        _ flavor: Flavor, below ceiling: FeatureCeiling = .none,
        remembering memory: FeatureMemory = .process
    ) -> Assessment {
        Assessment(
            flavor.mechanism, asking: probes(flavor), below: ceiling, remembering: memory)
    }

    /// What a kind of rules uses of the kernel.
    package static func features(_ flavor: Flavor) -> [Feature] { probes(flavor).map(\.feature) }

    private static func probes(_ flavor: Flavor) -> [FeatureProbe] {
        let scratch = Scratch()
        let place = FeatureProbe(
            Feature(
                flavor.mechanism, Scratch.name, since: "3.0", use: "pods; a place to try rules in",
                probe: "making one", tests: ["NetworkNamespaceTests"])
        ) { ProbeAnswer { () throws(KernelError) in try scratch.run { _ in } } }
        let routing = FeatureProbe(
            Feature(
                flavor.mechanism, "FRA_PROTOCOL, tcp_fwmark_accept", since: "4.17",
                use: "transparent inbound: telling our routing from others', answers' way",
                without: "plans that need it fail", probe: "installing the routing",
                after: [Scratch.name], tests: ["TransparentRoutingTests"])
        ) { ProbeAnswer { () throws(KernelError) in try scratch.run(tryRouting) } }
        return [place]
            + (flavor == .nft ? NFTProbe.probes(in: scratch) : LegacyProbe.probes(in: scratch))
            + [routing] + retirementProbes(flavor, scratch)
    }

    /// What says when connections of an earlier plan have ended.
    private static func retirementProbes(_ flavor: Flavor, _ scratch: Scratch) -> [FeatureProbe] {
        let endless = "what is kept for old connections stays until `swerve remove`"
        func feature(_ name: String, since: String, _ use: String) -> Feature {
            Feature(
                flavor.mechanism, name, since: since, use: "retiring: " + use, without: endless,
                probe: "listing those of an empty namespace", after: [Scratch.name],
                tests: ["KeptConnectionTests"])
        }
        return [
            FeatureProbe(
                feature(
                    "nf_conntrack_netlink", since: "2.6.14", "connections that are translated")
            ) { ProbeAnswer { () throws(KernelError) in try scratch.run(tryTracking) } },
            FeatureProbe(
                feature("sock_diag", since: "3.3", "connections that have a socket still")
            ) {
                ProbeAnswer { () throws(KernelError) in
                    try scratch.run { (namespace) throws(KernelError) in
                        _ = try ConnectedSocket.all(in: namespace)
                    }
                }
            },
        ]
    }

    private static func tryTracking(in namespace: NetworkNamespace) throws(KernelError) {
        var tracking = try ConnectionTracking.open(in: namespace)
        do throws(KernelError) {
            _ = try tracking.connections()
        } catch  where error.errno == .invalidArgument {
            // As nfnetlink says that it has no such subsystem.
            throw KernelError(error.call, .protocolNotSupported, detail: error.detail)
        }
    }

    private static func tryRouting(in namespace: NetworkNamespace) throws(KernelError) {
        try TransparentRouting(mark: 1, table: 1).install(in: namespace, for: .rules)
        try TransparentRouting.remove(from: namespace, for: .rules)
    }
}

/// A network namespace to try rules in, made when it is first needed.
final class Scratch {
    /// What it is called among features.
    static let name = "network namespaces"

    private var namespace: NetworkNamespace?

    func run(_ body: (NetworkNamespace) throws(KernelError) -> Void) throws(KernelError) {
        if let namespace { return try body(namespace) }
        let made = try NetworkNamespace.create()
        namespace = made
        try body(made)
    }
}
