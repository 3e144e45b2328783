// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel
internal import NFTables
package import RedirectionEngine
internal import XTables

/// Finds rules and routing of ours by their marks, and removes them: the table's name, the chains'
/// first letters, the numbers that routing rules and routes bear.
package struct IPTablesSweeper: KernelSweeper {
    private let flavor: IPTablesBackend.Flavor
    private let writer: any RuleWriter

    package var mechanism: Mechanism { flavor.mechanism }

    package init(
        _ flavor: IPTablesBackend.Flavor, lockFile: String = XTables.lockFile,
        patience: Duration = .seconds(10)
    ) {
        self.flavor = flavor
        writer = flavor.writer(lockFile: lockFile, patience: patience)
    }

    package func remains(
        in namespace: NetworkNamespace, named name: String
    ) async throws(RedirectionError) -> [Remain] {
        let rules = try await writer.remains(in: namespace)
        let routing = try during("read routing rules") { () throws(KernelError) in
            try TransparentRouting.remains(in: namespace, of: flavor.owner)
        }
        return rules.map { Remain(mechanism, .rules, in: name, $0) }
            + routing.map { Remain(mechanism, .routing, in: name, $0) }
    }

    package func sweep(
        _ namespace: NetworkNamespace, named name: String
    ) async throws(RedirectionError) {
        let found = try await remains(in: namespace, named: name)
        if found.contains(where: { $0.part == .rules }) { try await writer.erase(in: namespace) }
        guard found.contains(where: { $0.part == .routing }) else { return }
        try during("remove routing rules") { () throws(KernelError) in
            try TransparentRouting.remove(from: namespace, for: flavor.owner) {
                ChangeLog.about(to: .routing, $0)
            }
        }
    }

    /// Rules live in network namespaces alone.
    package func remains(on node: Node) async throws(RedirectionError) -> [Remain] { [] }

    package func sweep(_ node: Node) async throws(RedirectionError) {}
}

extension NFTWriter {
    func remains(in namespace: NetworkNamespace) throws(RedirectionError) -> [String] {
        try during("look for table inet \(RuleSet.nftTable)") { () throws(KernelError) in
            var connection = try NFTConnection.open(in: namespace)
            guard try connection.hasTable(RuleSet.nftTable) else { return [] }
            let count = try connection.chains(of: RuleSet.nftTable).count
            return ["table inet \(RuleSet.nftTable), \(count) chains"]
        }
    }
}

extension LegacyWriter {
    func remains(in namespace: NetworkNamespace) throws(RedirectionError) -> [String] {
        try reading(namespace) { place throws(KernelError) in
            let table = try XTable.open(place.name.rawValue, place.family)
            let name = "\(place.family) \(place.name)"
            let jumps = place.name.builtIn.flatMap { chain in
                table.rules(in: chain).filter { $0.target.hasPrefix(LegacyTable.prefix) }
                    .map { "a jump to \($0.target) in chain \(chain) of \(name)" }
            }
            let chains = table.chains.filter { $0.hasPrefix(LegacyTable.prefix) }.sorted()
            return jumps + chains.map { "chain \($0) of \(name)" }
        }
    }
}
