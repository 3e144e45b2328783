// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
internal import KubernetesClient
internal import PolicyFile

/// What the cluster says of a pod, as far as it is known.
struct PodFacts: Sendable {
    /// `nil` for a pod that the API server does not know (yet), or is not asked about.
    var pod: KubernetesObject?
    var namespace: KubernetesObject?

    /// What the pod says: to the cluster, which is the latest, or else to its runtime.
    func annotations(of request: PodRequest) -> [String: String] {
        pod?.annotations ?? request.annotations ?? [:]
    }

    /// Whether the same is known, whatever the objects' versions.
    func saysTheSame(as other: PodFacts) -> Bool {
        pod.saysTheSame(as: other.pod) && namespace.saysTheSame(as: other.namespace)
    }
}

extension KubernetesObject {
    var metadata: Metadata { Metadata(labels: labels, annotations: annotations) }

    /// What is said of it, whatever its version.
    func saysTheSame(as other: KubernetesObject?) -> Bool {
        guard let other else { return false }
        return uid == other.uid && labels == other.labels && annotations == other.annotations
    }

    /// Whether it is the pod that a runtime calls by this uid, where it calls it by any.
    ///
    /// What a static pod's runtime knows is the hash of its file; the API server knows the pod's
    /// mirror, which has the hash as an annotation.
    func isPod(called uid: String?) -> Bool {
        guard let uid, uid != self.uid else { return true }
        return annotations["kubernetes.io/config.hash"] == uid
    }
}

extension KubernetesObject? {
    fileprivate func saysTheSame(as other: KubernetesObject?) -> Bool {
        map { $0.saysTheSame(as: other) } ?? (other == nil)
    }
}

extension PodIdentity {
    /// A pod from a file of the node's, whose uid is a hash.
    var isStatic: Bool { uid.map { $0.count == 32 && !$0.contains("-") } ?? false }
}
