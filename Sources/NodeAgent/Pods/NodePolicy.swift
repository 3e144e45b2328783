// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import KubernetesClient
internal import PolicyFile
package import RedirectionModel

/// What the node says of the pods that a runtime tells of, and pods of themselves.
package struct NodePolicy: Sendable {
    /// The node's layers, the nearest to the pod last; what they do not say, pods may.
    let layers: Policy
    /// The mode of a pod of which neither it nor the node says one, where there is no cluster.
    let mode: PolicyMode
    /// Whether only pods are told of that somebody else has found to be a mesh's.
    private(set) var isEnrolling = false

    /// Without a policy of its own, a node leaves alone every pod that does not ask.
    package init(_ layers: Policy?, mode: PolicyMode? = nil) {
        self.layers = layers ?? Policy()
        self.mode = mode ?? (layers == nil ? .none : .auto)
    }

    /// The same for pods that somebody else has found to be a mesh's.
    package var enrolling: NodePolicy {
        var policy = NodePolicy(layers, mode: mode == .none ? .auto : mode)
        policy.isEnrolling = true
        return policy
    }

    /// What is to become of a pod, and why there is nothing to become of one that said nothing.
    struct Resolved {
        let plan: RedirectionPlan
        let mode: PolicyMode
        /// What the cluster says that made it so.
        var reason: String?

        /// The decision, to be compared with a later one.
        var decision: String { "\(mode.rawValue) \(plan.fingerprint)" }
    }

    func resolve(
        _ pod: PodRequest, _ addresses: Set<IPAddress>
    ) throws(AgentRefusal) -> Resolved {
        let said = try said(by: pod.name, pod.annotations ?? [:], .pod, after: layers)
        return try Self.resolve(layers.overlaid(by: said), otherwise: mode, addresses)
    }

    /// The same in a cluster, of which `facts` is what is known.
    ///
    /// There the node's mode is that of the mesh's pods, and of those that ask; any other is left alone.
    func resolve(
        _ pod: PodRequest, _ addresses: Set<IPAddress>, knowing facts: PodFacts
    ) throws(AgentRefusal) -> Resolved {
        let near = try said(of: pod, in: facts)
        var merged = layers.overlaid(by: near)
        var reason: String?
        if near.mode == nil, !isEnrolling,
            case .outside(let why) = try enrollment(of: pod, facts, merged.preset)
        {
            reason = "not a pod of the mesh's: \(why)"
            merged.mode = PolicyMode.none
        }
        var resolved = try Self.resolve(merged, otherwise: .auto, addresses)
        resolved.reason = reason
        return resolved
    }

    /// Whether what becomes of the pod depends on more than is known.
    func depends(_ pod: PodRequest, on facts: PodFacts) throws(AgentRefusal) -> Bool {
        guard !isEnrolling else { return false }
        guard let annotations = pod.annotations, let namespace = facts.namespace else {
            let own = try said(by: pod.name, facts.annotations(of: pod), .pod, after: layers)
            return own.mode == nil
        }
        // Of all that counts, only the pod's labels may be missing.
        let near = try said(of: pod, in: facts)
        guard near.mode == nil else { return false }
        return MeshEnrollment.depends(
            onLabelsOf: annotations, in: namespace.metadata,
            preset: layers.overlaid(by: near).preset ?? .fsm)
    }

    /// What the pod and its namespace say of redirection.
    private func said(of pod: PodRequest, in facts: PodFacts) throws(AgentRefusal) -> Policy {
        let around = try said(
            by: "namespace \(facts.namespace?.name ?? "")", facts.namespace?.annotations ?? [:],
            .namespace, after: layers)
        return around.overlaid(
            by: try said(
                by: pod.name, facts.annotations(of: pod), .pod, after: layers.overlaid(by: around)))
    }

    private func said(
        by object: String, _ annotations: [String: String], _ level: PolicyAnnotations.Level,
        after farther: Policy
    ) throws(AgentRefusal) -> Policy {
        do throws(PolicyErrors) {
            return try PolicyAnnotations.parse(
                annotations, of: object, level: level, preset: farther.preset ?? .fsm)
        } catch { throw AgentRefusal(error) }
    }

    private func enrollment(
        of pod: PodRequest, _ facts: PodFacts, _ preset: Preset.Name?
    ) throws(AgentRefusal) -> MeshEnrollment {
        let own = Metadata(
            labels: facts.pod?.labels ?? [:], annotations: facts.annotations(of: pod))
        let around = facts.namespace?.metadata ?? Metadata()
        do throws(PolicyErrors) {
            return try MeshEnrollment(
                of: own, in: around, preset: preset ?? .fsm, object: pod.name)
        } catch { throw AgentRefusal(error) }
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
