// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import PolicyFile
package import RedirectionModel

/// What the node says of the pods that a runtime tells of, and pods of themselves.
package struct NodePolicy: Sendable {
    /// The node's layers, the nearest to the pod last; what they do not say, pods may.
    let layers: Policy
    /// The mode of a pod of which neither it nor the node says one.
    let mode: PolicyMode

    /// Without a policy of its own, a node leaves alone every pod that does not ask.
    package init(_ layers: Policy?, mode: PolicyMode? = nil) {
        self.layers = layers ?? Policy()
        self.mode = mode ?? (layers == nil ? .none : .auto)
    }

    /// The same for pods that somebody else has found to be a mesh's.
    package var enrolling: NodePolicy { NodePolicy(layers, mode: mode == .none ? .auto : mode) }

    /// What is to become of a pod, and why there is nothing to become of one that said nothing.
    struct Resolved {
        let plan: RedirectionPlan
        let mode: PolicyMode
    }

    func resolve(
        _ pod: PodRequest, _ addresses: Set<IPAddress>
    ) throws(AgentRefusal) -> Resolved {
        let annotations: Policy
        do throws(PolicyErrors) {
            annotations = try PolicyAnnotations.parse(
                pod.annotations ?? [:], of: pod.name, preset: layers.preset ?? .fsm)
        } catch { throw AgentRefusal(error) }
        return try Self.resolve(layers.overlaid(by: annotations), otherwise: mode, addresses)
    }

    /// The plan is whole whatever the mode, so that another mode can be chosen later.
    static func resolve(
        _ policy: Policy, otherwise mode: PolicyMode, _ addresses: Set<IPAddress>
    ) throws(AgentRefusal) -> Resolved {
        var policy = policy
        let mode = policy.mode ?? mode
        policy.mode = nil
        do throws(PolicyConflicts) {
            return Resolved(plan: try policy.resolved(ownAddresses: addresses).plan, mode: mode)
        } catch { throw AgentRefusal(error) }
    }
}

extension PodRequest {
    /// As people call the pod: `shop/web-0`, or its container where nobody knows more.
    var name: String {
        guard let name = pod.name else { return "container \(attachment.container.prefix(12))" }
        return "pod " + (pod.namespace.map { $0 + "/" } ?? "") + name
    }

    /// What it is called on the node.
    var id: String { FailedOpen.name(of: attachment) }

    /// What is kept of it beside its plan.
    var labels: [String: String] {
        var labels = [
            "container": attachment.container, "interface": attachment.interface,
            "network": network,
        ]
        labels["namespace"] = pod.namespace
        labels["name"] = pod.name
        labels["uid"] = pod.uid
        return labels
    }
}
