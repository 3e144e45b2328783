// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import XTables

/// Our part of one legacy table as it was before a change, so that it can be that again.
struct LegacySnapshot {
    private let jumps: [(chain: String, number: Int, rule: XTable.SavedRule)]
    private let chains: [(name: String, rules: [XTable.SavedRule])]

    /// Reads what `table`, opened and not changed yet, holds of ours.
    init(of table: borrowing XTable, builtIn: [String]) {
        var jumps: [(chain: String, number: Int, rule: XTable.SavedRule)] = []
        for chain in builtIn {
            for (number, rule) in table.savedRules(of: chain).enumerated()
            where rule.target.hasPrefix(LegacyTable.prefix) {
                jumps.append((chain, number, rule))
            }
        }
        self.jumps = jumps
        var chains: [(name: String, rules: [XTable.SavedRule])] = []
        for name in table.chains where name.hasPrefix(LegacyTable.prefix) {
            chains.append((name, table.savedRules(of: name)))
        }
        self.chains = chains
    }

    /// Adds it to a table that holds nothing of ours: rules, their order and their counters.
    func fill(_ table: inout XTable) throws(KernelError) {
        for chain in chains { try table.create(chain.name) }
        for chain in chains {
            for rule in chain.rules { try table.append(rule, to: chain.name) }
        }
        // In ascending order, so that each stands where it stood.
        for jump in jumps { try table.insert(jump.rule, at: jump.number, of: jump.chain) }
    }
}
