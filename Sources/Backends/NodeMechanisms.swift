// SPDX-License-Identifier: Apache-2.0

internal import EBPFBackend
internal import LinuxKernel
package import RedirectionEngine
package import RedirectionModel

/// The mechanisms of a node, each made when it is first needed, and then kept.
package actor NodeMechanisms: MechanismSource {
    private let node: Node
    private let inbound: InboundMethod
    private let lockFile: String
    private var made: [Mechanism: any RedirectionBackend] = [:]
    private var turns = Turns<Mechanism>()

    /// The mechanisms of `node`; `lockFile` is what writers of legacy rules agree on.
    package init(_ node: Node, lockFile: String = Backends.lockFile) {
        self.node = node
        inbound = .preferred(below: node.features)
        self.lockFile = lockFile
    }

    package func choose(
        _ wish: Wish, for plan: RedirectionPlan, in workload: Workload
    ) async throws(EngineError) -> Choice {
        do {
            let others = Backends.others(around: workload, attachingTo: node.cgroup)
            let choose = { [inbound, node] (wish: Wish) throws -> Choice in
                try Backends.choose(
                    wish, for: plan, in: workload, attachingTo: node.cgroup, inbound: inbound,
                    below: node.features, beside: others)
            }
            let choice = try choose(wish)
            guard wish == .automatic, choice.mechanism == .ebpf,
                let obstacle = await obstacleOnNode()
            else { return choice }
            return try choose(.oneOf([.nft, .legacy])).passing(over: obstacle)
        } catch let error as ChoiceError {
            throw .choice(error)
        } catch {
            throw .failed("the mechanisms could not be asked what they can do: \(error)")
        }
    }

    /// Why programs cannot be loaded on this node, though the kernel has all they need: no bpffs.
    private func obstacleOnNode() async -> PassedOver? {
        do throws(RedirectionError) {
            _ = try await backend(.ebpf)
            return nil
        } catch {
            // What a newer version has left is not to be worked around.
            guard case .kernel = error else { return nil }
            return PassedOver(.ebpf, .unknown, "\(error)")
        }
    }

    package func backend(
        _ mechanism: Mechanism
    ) async throws(RedirectionError) -> any RedirectionBackend {
        if !turns.take(mechanism) {
            await withCheckedContinuation { turns.wait(for: mechanism, $0) }
        }
        defer { turns.pass(on: mechanism) }
        if let backend = made[mechanism] { return backend }
        let backend = try await Backends.make(
            mechanism, on: node.cgroup, inbound: inbound, below: node.features,
            lockFile: lockFile, pins: node.pins)
        made[mechanism] = backend
        return backend
    }

    /// Rules are asked for anew each time; pins are locked, and what is in them is remembered.
    package func letGo() async {
        // Finished flows are swept by whoever is there; one that fails comes later.
        if inbound == .trafficControl, let programs = made[.ebpf] as? EBPFBackend {
            try? await programs.sweep()
        }
        made[.ebpf] = nil
    }

    package func forget(
        allBut workloads: [Workload]
    ) async throws(RedirectionError) -> [String] {
        // Rules go with their namespace; and where nothing was pinned, nothing is kept.
        let pins = try during("look for pins") { () throws(KernelError) in
            try Directory(path: node.pins).contents()
        }
        guard made[.ebpf] != nil || !pins.isEmpty else { return [] }
        guard let programs = try await backend(.ebpf) as? EBPFBackend else { return [] }
        return try await programs.forget(allBut: workloads)
    }

    /// Packet filters have nothing of the node's; programs have maps, once they have been loaded.
    package func gauges() async -> [MechanismGauge] {
        let pins = (try? Directory(path: node.pins).contents()) ?? []
        guard made[.ebpf] != nil || !pins.isEmpty,
            let programs = try? await backend(.ebpf) as? EBPFBackend
        else { return [] }
        let entries = (try? await programs.occupancy()) ?? [:]
        let capacities = await programs.capacities
        let failures = (try? await programs.failures()) ?? [:]
        return entries.map { MechanismGauge(.ebpf, .entries, of: $0.key, UInt64($0.value)) }
            + capacities.map { MechanismGauge(.ebpf, .capacity, of: $0.key, UInt64($0.value)) }
            + failures.map { MechanismGauge(.ebpf, .failures, of: $0.key, $0.value) }
    }
}

extension Choice {
    /// The same, where another mechanism would have been preferred.
    fileprivate func passing(over obstacle: PassedOver) -> Choice {
        let all = [obstacle] + passedOver
        return Choice(
            mechanism: mechanism, reason: all.map { "\($0)" }.joined(separator: "; "),
            passedOver: all, others: others)
    }
}
