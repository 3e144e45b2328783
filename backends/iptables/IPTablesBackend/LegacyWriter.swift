// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage
internal import XTables

/// Writes rule sets as chains `SWERVE_*` in the legacy tables, one commit a table and family.
struct LegacyWriter: RuleWriter {
    /// The lock it shares with iptables(8).
    let lockFile: String
    /// How long it waits for that lock.
    let patience: Duration

    typealias Place = (name: LegacyTable.Name, family: AddressFamily)
    typealias Change = (place: Place, wanted: LegacyTable?)

    /// Every table it may have written to.
    private static let places: [Place] = AddressFamily.allCases.flatMap { family in
        LegacyTable.Name.allCases.map { ($0, family) }
    }

    /// Writes the tables of each family, and empties those that an earlier plan alone needed.
    ///
    /// Tables cannot change together, so they change in an order in which nothing gets out in
    /// between. When one cannot be written, those before it are put back.
    func write(
        _ rules: RuleSet, in namespace: NetworkNamespace
    ) async throws(RedirectionError) {
        try await locked(namespace, "write legacy tables") { () throws(KernelError) in
            let tables = rules.legacyTables(for: try families(of: rules))
            let present = try Self.present()
            let stale = try Self.redirections(in: present).beyond(tables)
            let kept = try stale.living(in: namespace)
            let wanted = tables.keeping(kept)
            var changes: [Change] = []
            for family in AddressFamily.allCases {
                for name in try Self.order(family, rules, present) {
                    let place = (name, family)
                    let table = wanted.first { $0.place == place }
                    if table != nil || present.contains(where: { $0 == place }) {
                        changes.append((place, table))
                    }
                }
            }
            try edit(changes)
            // One may have begun while we wrote.
            let now = try stale.living(in: namespace).merging(kept) { $0.union($1) }
            if now != kept {
                try edit(tables.keeping(now).filter { $0.name == .nat }.map { ($0.place, $0) })
            }
        }
    }

    /// The order in which the family's tables change.
    ///
    /// What drops or hands to a socket stands in mangle and filter, what redirects in nat, and a
    /// plan may move a family from one to the other. The new comes before the old goes: nat last,
    /// unless it is mangle that the family leaves.
    private static func order(
        _ family: AddressFamily, _ rules: RuleSet, _ present: [Place]
    ) throws(KernelError) -> [LegacyTable.Name] {
        let drops = rules.hooks.contains {
            $0.point == .mangleOutput && $0.rule.families.contains(family)
        }
        let mangle = Place(.mangle, family)
        guard !drops, present.contains(where: { $0 == mangle }),
            try XTable.open(mangle.name.rawValue, family).chains.contains(where: {
                $0.hasPrefix(LegacyTable.prefix)
            })
        else { return [.raw, .filter, .mangle, .nat] }
        return [.raw, .nat, .mangle, .filter]
    }

    func erase(in namespace: NetworkNamespace) async throws(RedirectionError) {
        try await locked(namespace, "clear legacy tables") { () throws(KernelError) in
            try edit(try Self.present().map { ($0, nil) })
        }
    }

    func installed(in namespace: NetworkNamespace) throws(RedirectionError) -> InstalledPlan? {
        let comments = try rules(in: namespace)
            .filter { $0.chain == LegacyTable.planChain }
            .map { $0.rule.comment ?? "" }
        guard let first = comments.first, Set(comments).count == 1,
            let plan = InstalledPlan(comment: first), plan.tables == comments.count
        else { return nil }
        return plan
    }

    func listing(in namespace: NetworkNamespace) throws(RedirectionError) -> RuleListing {
        RuleListing(
            sections: try reading(namespace) { place throws(KernelError) in
                try Self.sections(of: place)
            })
    }

    /// Our jumps in the built-in chains, and our chains.
    static func sections(
        of place: Place
    ) throws(KernelError) -> [RuleListing.Section] {
        let table = try XTable.open(place.name.rawValue, place.family)
        let hooked = place.name.builtIn.map { chain in
            (chain, table.readRules(of: chain).filter { $0?.target.leadsToUs ?? false })
        }
        let ours = table.chains.filter { $0.hasPrefix(LegacyTable.prefix) }.sorted()
        let chains = ours.map { ($0, table.readRules(of: $0)) }
        return (hooked + chains).filter { !$0.1.isEmpty }.map { chain, rules in
            RuleListing.Section(place.family, place.name, chain, rules)
        }
    }

    func counters(in namespace: NetworkNamespace) throws(RedirectionError) -> [RuleCount] {
        try rules(in: namespace).compactMap { chain, rule in
            Chain.Name(legacy: chain).map {
                RuleCount(chain: $0, comment: rule.comment ?? "", packets: rule.packets)
            }
        }
    }

    // MARK: Inside the namespace

    /// The families that can be written.
    ///
    /// Only one that the rules let pass may be missing here: a kernel without IPv6 tables
    /// passes IPv6 as it is.
    func families(of rules: RuleSet) throws(KernelError) -> Set<AddressFamily> {
        var families = Set(AddressFamily.allCases)
        for table in rules.legacyTables() {
            if try XTable.exists(table.name.rawValue, table.family) { continue }
            do throws(KernelError) {
                _ = try XTable.open(table.name.rawValue, table.family)
            } catch {
                guard table.isPassive, error.saysMissing else { throw error }
                families.remove(table.family)
            }
        }
        return families
    }

    /// The tables that are there, in the order in which what they hold is removed.
    ///
    /// Opening a table makes it, and a table that exists costs every packet a little.
    static func present() throws(KernelError) -> [Place] {
        var present: [Place] = []
        for place in places where try XTable.exists(place.name.rawValue, place.family) {
            present.append(place)
        }
        return present
    }

    /// Replaces our part of each table, in order: a new one for the old, or `nil` for nothing.
    ///
    /// All are changed or none: on an error those changed already are put back, the last first,
    /// by which traffic meets the same states as before in the opposite order.
    func edit(_ changes: [Change]) throws(KernelError) {
        var done: [(place: Place, before: LegacySnapshot)] = []
        for (place, wanted) in changes {
            do throws(KernelError) {
                let before = try edit(place) { (table) throws(KernelError) in
                    if let wanted { try fill(&table, wanted) }
                }
                done.append((place, before))
            } catch {
                throw putBack(done, after: error)
            }
        }
    }

    /// Returns `error`, with a word on what could not be put back.
    private func putBack(
        _ done: [(place: Place, before: LegacySnapshot)], after error: KernelError
    ) -> KernelError {
        var failures: [String] = error.detail.map { [$0] } ?? []
        for (place, before) in done.reversed() {
            do throws(KernelError) {
                _ = try edit(place, before.fill)
            } catch {
                failures.append("\(place.family) \(place.name) could not be put back: \(error)")
            }
        }
        let detail = failures.isEmpty ? nil : failures.joined(separator: "; ")
        return KernelError(error.call, error.errno, detail: detail)
    }

    /// Replaces our part of one table by what `fill` adds, and returns what it was.
    ///
    /// Whoever changes the table between our reading and our writing, without the lock, makes
    /// the kernel answer `EAGAIN`; then we read again.
    private func edit(
        _ place: Place, _ fill: (inout XTable) throws(KernelError) -> Void
    ) throws(KernelError) -> LegacySnapshot {
        for _ in 0..<9 {
            do throws(KernelError) {
                return try attempt(place, fill)
            } catch {
                guard error.errno == .resourceTemporarilyUnavailable else { throw error }
            }
        }
        return try attempt(place, fill)
    }

    private func attempt(
        _ place: Place, _ fill: (inout XTable) throws(KernelError) -> Void
    ) throws(KernelError) -> LegacySnapshot {
        var table = try XTable.open(place.name.rawValue, place.family)
        let before = LegacySnapshot(of: table, builtIn: place.name.builtIn)
        let ours = table.chains.filter { $0.hasPrefix(LegacyTable.prefix) }
        for chain in place.name.builtIn {
            try table.deleteRules(of: chain) { $0.target.hasPrefix(LegacyTable.prefix) }
        }
        for chain in ours { try table.flush(chain) }
        for chain in ours { try table.delete(chain) }
        try fill(&table)
        ChangeLog.about(to: .rules, "write \(place.family) \(place.name)")
        // Of a table in which nothing changed, libiptc writes nothing.
        try table.commit()
        return before
    }

    /// Adds our chains, and the jumps to them as the *first* rules of the built-in chains.
    ///
    /// Behind somebody else's DNAT, as Docker and kube-proxy have it in OUTPUT, a connection to
    /// a published port or a service would already have its new destination and never reach
    /// the sidecar. First, we see what the application asked for, as the eBPF mechanism does;
    /// what we let pass returns to the others' rules.
    private func fill(_ table: inout XTable, _ wanted: LegacyTable) throws(KernelError) {
        for chain in wanted.chains.keys.sorted() { try table.create(chain) }
        for (chain, rules) in wanted.chains {
            for rule in rules { try table.append(rule, to: chain) }
        }
        // From the last on, so that the first stands first.
        for jump in wanted.jumps.reversed() { try table.prepend(jump.rule, to: jump.chain) }
    }

    // MARK: Around it

    /// Runs `body` in the namespace, with the lock, alone in libiptc.
    func locked(
        _ namespace: NetworkNamespace, _ step: String, _ body: () throws(KernelError) -> Void
    ) async throws(RedirectionError) {
        let lock = try await takeLock()
        defer { withExtendedLifetime(lock) {} }
        do throws(KernelError) {
            try namespace.run { () throws(KernelError) in
                try XTables.exclusively { () throws(KernelError) in try body() }
            }
        } catch {
            throw Mechanism.legacy.error(error, during: step)
        }
    }

    private func takeLock() async throws(RedirectionError) -> FileLock {
        do throws(KernelError) {
            return try await FileLock.take(lockFile, within: patience)
        } catch {
            throw .kernel(error, during: "lock legacy tables")
        }
    }

    /// Every rule of ours, in every table that is there.
    private func rules(
        in namespace: NetworkNamespace
    ) throws(RedirectionError) -> [(chain: String, rule: XTable.InstalledRule)] {
        try reading(namespace) { place throws(KernelError) in
            let table = try XTable.open(place.name.rawValue, place.family)
            return table.chains.filter { $0.hasPrefix(LegacyTable.prefix) }.flatMap { chain in
                table.rules(in: chain).map { (chain, $0) }
            }
        }
    }

    /// Collects what `body` finds in each table that is there.
    func reading<Found: Sendable>(
        _ namespace: NetworkNamespace, _ body: (Place) throws(KernelError) -> [Found]
    ) throws(RedirectionError) -> [Found] {
        try during("read legacy tables") { () throws(KernelError) in
            try namespace.run { () throws(KernelError) in
                try XTables.exclusively { () throws(KernelError) in
                    var found: [Found] = []
                    for place in try Self.present() { found += try body(place) }
                    return found
                }
            }
        }
    }
}

extension XTRule.Target {
    /// Whether it leads to a chain of ours.
    fileprivate var leadsToUs: Bool { next?.hasPrefix(LegacyTable.prefix) ?? false }
}

extension LegacyTable {
    var place: (name: Name, family: AddressFamily) { (name, family) }
}
