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
            return try Backends.choose(wish, for: plan, inbound: inbound)
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
            mechanism, on: node.cgroup, inbound: inbound, lockFile: lockFile)
        made[mechanism] = backend
        return backend
    }

    package func refresh() {}

    package func forget(
        _ identity: WorkloadIdentity, _ mechanisms: Set<Mechanism>
    ) async throws(RedirectionError) {}
}
