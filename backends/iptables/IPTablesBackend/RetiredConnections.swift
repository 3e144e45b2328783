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
    private let redirected: [AddressFamily: [UInt16: Int]]
    private let lookups: Int
    private let handshakes: Int

    /// Counts those of the namespace, and forgets what has ended; `ports` are where redirected ones
    /// went.
    init(in namespace: NetworkNamespace, on ports: Set<UInt16>) throws(KernelError) {
        var tracking = try ConnectionTracking.open(in: namespace)
        let connections = try tracking.living(on: ports)
        let redirected = connections.filter { $0.isRedirected(to: ports) }
        let ends = try Self.ends(in: namespace)
        var served: [AddressFamily: [UInt16: Int]] = [:]
        for connection in redirected where connection.transport == .tcp {
            // Whose peer is gone without a word, tracking has for days.
            if let ends, connection.isEstablished, !connection.hasEnd(among: ends) { continue }
            let family = connection.original.source.address.family
            served[family, default: [:]][connection.reply.source.port, default: 0] += 1
        }
        self.redirected = served
        lookups = redirected.count { $0.transport == .udp && $0.zone == RuleSet.lookupZone }
        handshakes = connections.count {
            $0.mark & RuleSet.rememberedMark != 0 && $0.state == .synReceived
        }
    }

    /// What the namespace's TCP sockets are; `nil` where the kernel cannot list them.
    private static func ends(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> Set<TrackedConnection.Path>? {
        do throws(KernelError) {
            return try ConnectedSocket.ends(in: namespace)
        } catch {
            guard error.saysNoSubsystem else { throw error }
            return nil
        }
    }

    /// To which of the ports redirected connections still go, by family; to all of them, where the
    /// kernel cannot list connections.
    static func living(
        in namespace: NetworkNamespace, on ports: Set<UInt16>
    ) throws(KernelError) -> [AddressFamily: Set<UInt16>] {
        if ports.isEmpty { return [:] }
        do throws(KernelError) {
            return try RetiredConnections(in: namespace, on: ports)
                .redirected.mapValues { Set($0.keys) }
        } catch {
            guard error.saysNoSubsystem else { throw error }
            return Dictionary(uniqueKeysWithValues: AddressFamily.allCases.map { ($0, ports) })
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
                count += redirected[family, default: [:]].values.reduce(0, +)
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
