// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionModel

/// Connections that began under rules which redirect no more, and still need something of them.
///
/// - A redirected one needs NAT and connection tracking. Of nf_tables, the kernel translates while
///   there is a base chain of type nat, of legacy, once the table was used; but it tracks only while
///   some *rule* needs it. So a chain stays that nothing leads to, with the rules that redirect.
/// - An answer to a lookup over UDP is known by its zone, so the rules stay that set it.
/// - With SYN cookies, the last segment of a handshake belongs to no socket: what was handed to a
///   transparent sidecar is handed over until then.
struct RetiredConnections {
    private let redirected: [AddressFamily: Int]
    private let lookups: Int
    private let handshakes: Int

    /// Counts those of the namespace, and forgets what has ended; `ports` are where redirected ones
    /// went.
    init(in namespace: NetworkNamespace, on ports: Set<UInt16>) throws(KernelError) {
        var tracking = try ConnectionTracking.open(in: namespace)
        let connections = try tracking.living(on: ports)
        let redirected = connections.filter {
            $0.isRedirected && ports.contains($0.reply.source.port)
        }
        self.redirected = Dictionary(
            grouping: redirected.filter { $0.transport == .tcp },
            by: \.original.source.address.family
        ).mapValues(\.count)
        lookups = redirected.count { $0.transport == .udp && $0.zone == RuleSet.lookupZone }
        handshakes = connections.count {
            $0.mark & RuleSet.rememberedMark != 0 && $0.state == .synReceived
        }
    }

    /// How many need the chains, of those that the successor does not care for.
    func count(
        _ chains: Set<Chain.Name>, _ families: some Sequence<AddressFamily>,
        _ successor: Successor
    ) -> Int {
        var count = 0
        if chains.contains(.retired) {
            for family in families where !successor.translates.contains(family) {
                count += redirected[family] ?? 0
            }
        }
        if successor.isInstalled { return count }
        return count + (chains.contains(.zoneAnswers) ? lookups : 0)
            + (chains.contains(.inboundLater) ? handshakes : 0)
    }
}

/// What the other kind of rules does in the same namespace.
struct Successor {
    /// Whether it has taken over.
    let isInstalled: Bool
    /// The families that the kernel translates and tracks for its sake.
    let translates: Set<AddressFamily>
}

extension RuleSet {
    /// What serves connections that are under way; the rest of the rules serve new ones.
    static let lastingChains: Set<Chain.Name> = [.zoneAnswers, .inboundLater]
}

extension Chain.Name {
    /// Rules that nothing leads to, and that keep the kernel tracking.
    static let retired = Chain.Name("retired")
}
