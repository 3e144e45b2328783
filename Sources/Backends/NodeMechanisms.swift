// SPDX-License-Identifier: Apache-2.0

package import EBPFBackend
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
    package init(
        _ node: Node, inbound: InboundMethod = .preferred, lockFile: String = Backends.lockFile
    ) {
        self.node = node
        self.inbound = inbound
        self.lockFile = lockFile
    }

    package func choose(
        _ wish: Wish, for plan: RedirectionPlan, in workload: Workload
    ) async throws(EngineError) -> Choice {
        do {
            return try Backends.choose(
                wish, for: plan, inbound: inbound,
                beside: Backends.others(around: workload, attachingTo: node.cgroup))
        } catch let error as ChoiceError {
            throw .choice(error)
        } catch {
            throw .failed("the mechanisms could not be asked what they can do: \(error)")
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
            mechanism, on: node.cgroup, inbound: inbound, lockFile: lockFile, pins: node.pins)
        made[mechanism] = backend
        return backend
    }

    /// Rules are asked for anew each time; pins are locked, and what is in them is remembered.
    package func letGo() { made[.ebpf] = nil }

    package func forget(allBut workloads: [Workload]) async throws(RedirectionError) {
        // Rules go with their namespace; and where nothing was pinned, nothing is kept.
        guard made[.ebpf] != nil || !Directory(path: node.pins).names().isEmpty else { return }
        guard let programs = try await backend(.ebpf) as? EBPFBackend else { return }
        try await programs.forget(allBut: workloads)
    }
}
