// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import NFTables
internal import RedirectionEngine
internal import RedirectionModel
internal import SystemPackage

/// Writes rule sets as the table `inet swerve`, each in one transaction.
struct NFTWriter: RuleWriter {
    static let table = RuleSet.nftTable

    /// Replaces the table's contents, never the table.
    ///
    /// A packet reads which generation of rules it sees once per base chain. Were the base
    /// chains themselves exchanged, a packet between the old and the new one could miss both,
    /// and its connection escape for good. So base chains stay, and what they hold changes.
    func write(_ rules: RuleSet, in namespace: NetworkNamespace) throws(RedirectionError) {
        do throws(KernelError) {
            var connection = try NFTConnection.open(in: namespace)
            try Self.replace(rules.nftChains, in: namespace, by: &connection)
        } catch {
            let step = "write table inet \(Self.table)"
            // Here it says that something is gone as much as that the kernel lacks something.
            if error.errno == .noSuchFileOrDirectory { throw .kernel(error, during: step) }
            throw Mechanism.nft.error(error, during: step)
        }
    }

    /// Whoever removes what we have just read, by `nft flush ruleset` say, makes the kernel
    /// answer `ENOENT` to our removing it, and nothing is changed; then we read again.
    static func replace(
        _ contents: [NFTChainContents], by connection: inout NFTConnection
    ) throws(KernelError) {
        for _ in 0..<9 {
            do throws(KernelError) {
                return try attempt(contents, by: &connection)
            } catch {
                guard error.errno == .noSuchFileOrDirectory else { throw error }
            }
        }
        try attempt(contents, by: &connection)
    }

    private static func attempt(
        _ contents: [NFTChainContents], by connection: inout NFTConnection
    ) throws(KernelError) {
        let present = try connection.chains(of: table)
        try connection.commit(batch(contents, replacing: present))
    }

    private static func batch(
        _ contents: [NFTChainContents], replacing present: [String]
    ) -> NFTBatch.Encoded {
        let hooks = contents.filter { $0.chain.hook != nil }
        let others = contents.filter { $0.chain.hook == nil }
        let stale = Set(present).subtracting(hooks.map(\.chain.name))

        var batch = NFTBatch(table: table)
        batch.addTable()
        for hook in hooks { batch.add(hook.chain) }
        batch.deleteRules()
        for name in stale.sorted() { batch.delete(name) }
        for other in others { batch.add(other.chain) }
        for content in contents {
            for rule in content.rules { batch.add(rule, to: content.chain.name) }
        }
        return batch.encode()
    }

    func erase(in namespace: NetworkNamespace) throws(RedirectionError) {
        var batch = NFTBatch(table: Self.table)
        batch.deleteTable()
        let encoded = batch.encode()
        ChangeLog.about(to: .rules, "remove table inet \(Self.table)")
        try during("remove table inet \(Self.table)") { () throws(KernelError) in
            do throws(KernelError) {
                var connection = try NFTConnection.open(in: namespace)
                try connection.commit(encoded)
            } catch {
                // No such table, or no nf_tables at all.
                guard error.saysMissing else { throw error }
            }
        }
    }

    func installed(in namespace: NetworkNamespace) throws(RedirectionError) -> InstalledPlan? {
        let rules = try rules(in: namespace)
        let plan = rules.first { $0.chain == RuleSet.nftPlanChain }?.comment
        return plan.flatMap(InstalledPlan.init)
    }

    func listing(in namespace: NetworkNamespace) throws(RedirectionError) -> RuleListing {
        try during("read table inet \(Self.table)") { () throws(KernelError) in
            var connection = try NFTConnection.open(in: namespace)
            return RuleListing(try connection.contents(of: Self.table))
        }
    }

    func counters(in namespace: NetworkNamespace) throws(RedirectionError) -> [RuleCount] {
        try rules(in: namespace).map { rule in
            RuleCount(
                chain: Chain.Name(rule.chain), comment: rule.comment ?? "", packets: rule.packets)
        }
    }

    private func rules(
        in namespace: NetworkNamespace
    ) throws(RedirectionError) -> [NFTConnection.InstalledRule] {
        try during("read table inet \(Self.table)") { () throws(KernelError) in
            var connection = try NFTConnection.open(in: namespace)
            return try connection.rules(of: Self.table)
        }
    }
}
