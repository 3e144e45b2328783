// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
internal import NFTables
package import RedirectionEngine
internal import RedirectionModel
internal import XTables

extension IPTablesBackend {
    /// The rules of others in a namespace that act where ours would; looking changes nothing.
    package static func others(in namespace: NetworkNamespace) -> [ForeignHook] {
        looking(for: "nf_tables") { () throws(KernelError) in try chains(in: namespace) }
            + looking(for: "legacy tables") { () throws(KernelError) in
                try namespace.run { () throws(KernelError) in try legacyRules() }
            }
    }

    private static func looking(
        for place: String, _ body: () throws(KernelError) -> [ForeignHook]
    ) -> [ForeignHook] {
        do throws(KernelError) {
            return try body()
        } catch {
            // Where there is no such thing, nobody uses it.
            return error.saysMissing ? [] : [.unseen(place, because: "\(error)")]
        }
    }

    // MARK: nf_tables

    private static func chains(
        in namespace: NetworkNamespace
    ) throws(KernelError) -> [ForeignHook] {
        var connection = try NFTConnection.open(in: namespace)
        return try connection.baseChains().compactMap { chain in
            // A chain without rules that lets everything pass decides nothing.
            guard !chain.isOurs, chain.rules > 0 || chain.dropsByDefault else { return nil }
            guard let precedes = mechanisms(after: chain.hook) else { return nil }
            let effect =
                precedes.isEmpty
                ? "comes after what is redirected"
                : chain.hook.type == "nat"
                    ? "what it translates first is not redirected"
                    : "what it drops or leaves untracked first is not redirected"
            let hook = chain.hook
            return ForeignHook(
                .chain, "\(chain)",
                in: "hook \(hook.point), type \(hook.type), priority \(hook.priority)",
                effect: effect, precedes: precedes)
        }
    }

    /// Which mechanisms decide later than a chain at `hook`; `nil` where none of them acts.
    private static func mechanisms(after hook: NFTChain.Hook) -> Set<Mechanism>? {
        let ours: Hook.Point
        switch hook.point {
        case .output: ours = .natOutput
        case .prerouting: ours = .natPrerouting
        case .input, .forward, .postrouting: return nil
        }
        var later: Set<Mechanism> = []
        // At the same priority, theirs may be the younger: see `NFTBaseChain.preempts`.
        if hook.priority <= ours.nftHook.priority { later.insert(.nft) }
        if hook.priority <= legacyNATPriority { later.insert(.legacy) }
        // What is sent, eBPF decides before there is a packet; what arrives, after all rules.
        if hook.point == .prerouting { later.insert(.ebpf) }
        return later
    }

    /// NF_IP_PRI_NAT_DST: where legacy nat tables look for destinations.
    private static let legacyNATPriority: Int32 = -100

    // MARK: Legacy tables

    /// The rules in the calling thread's namespace; tables that are not there yet are not made.
    private static func legacyRules() throws(KernelError) -> [ForeignHook] {
        var hooks: [ForeignHook] = []
        for family in AddressFamily.allCases {
            for name in LegacyTable.Name.allCases {
                guard try XTable.exists(name.rawValue, family) else { continue }
                hooks += try XTables.exclusively { () throws(KernelError) in
                    let table = try XTable.open(name.rawValue, family)
                    return name.watched.compactMap { chain in
                        hook(table.rules(in: chain), chain, name, family)
                    }
                }
            }
        }
        return hooks
    }

    private static func hook(
        _ rules: [XTable.InstalledRule], _ chain: String, _ table: LegacyTable.Name,
        _ family: AddressFamily
    ) -> ForeignHook? {
        let isOurs = rules.map { $0.target.hasPrefix(LegacyTable.prefix) }
        let foreign = rules.indices.filter { !isOurs[$0] }
        guard let first = foreign.first else { return nil }
        let own = isOurs.firstIndex(of: true)
        // Ours are put first; others may have put theirs before them since.
        let isBefore = own.map { first < $0 } ?? false
        var precedes: Set<Mechanism> = isBefore ? [.legacy] : []
        if table == .raw || table == .mangle { precedes.formUnion([.nft, .legacy]) }
        if chain == "PREROUTING" { precedes.insert(.ebpf) }
        let effect =
            precedes.isEmpty
            ? "come after what is redirected"
            : table == .nat
                ? "what they translate first is not redirected"
                : "what they drop or leave untracked first is not redirected"
        let command = family == .ipv4 ? "iptables" : "ip6tables"
        let count = foreign.count == 1 ? "1 rule" : "\(foreign.count) rules"
        return ForeignHook(
            .rules, "\(count), the first to \(rules[first].target)",
            in: "\(command)-legacy table \(table.rawValue), chain \(chain)", effect: effect,
            precedes: precedes)
    }
}

extension LegacyTable.Name {
    /// The built-in chains that see what would be redirected.
    fileprivate var watched: [String] { builtIn.filter { ["PREROUTING", "OUTPUT"].contains($0) } }
}
