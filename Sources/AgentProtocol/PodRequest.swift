// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// A pod as CNI tells of it.
///
/// ```json
/// {
///   "attachment": {"containerID": "4f1c…", "interface": "eth0"},
///   "network": "k8s-pod-network",
///   "namespacePath": "/var/run/netns/cni-5b0c…",
///   "pod": {"namespace": "default", "name": "web", "uid": "0c21…"},
///   "annotations": {"swerve.dev/mode": "auto"},
///   "addresses": ["10.244.1.7/24", "fd00::7/64"]
/// }
/// ```
package struct PodRequest: Hashable, Sendable {
    package let attachment: Attachment
    /// The network configuration's name.
    package let network: String
    /// `CNI_NETNS`; a second delete has none.
    package var namespacePath: String?
    package var pod = PodIdentity()
    /// The pod's annotations; `nil` if the runtime did not pass any, which is not the same as none.
    package var annotations: [String: String]?
    /// The pod's own addresses with their prefix lengths, as the plugins before ours gave them.
    package var addresses: [String] = []

    package init(attachment: Attachment, network: String) {
        self.attachment = attachment
        self.network = network
    }

    private static let known = [
        "attachment", "network", "namespacePath", "pod", "annotations", "addresses",
    ]

    /// Reads a request, strictly: a field nobody knows means a plugin that is newer than the agent.
    package init(_ json: JSON) throws(FieldError) {
        let fields = try JSONFields(json)
        try fields.refuse(otherThan: Self.known)
        attachment = try Attachment(fields.required("attachment", fields.fields))
        network = try fields.required("network", fields.string)
        namespacePath = try fields.string("namespacePath")
        if let identity = try fields.fields("pod") { pod = try PodIdentity(identity) }
        annotations = try fields.dictionary("annotations")
        addresses = try fields.strings("addresses") ?? []
    }

    package var json: JSON {
        JSON(members: [
            "attachment": attachment.json,
            "network": .string(network),
            "namespacePath": namespacePath.map(JSON.string),
            "pod": pod == PodIdentity() ? nil : pod.json,
            "annotations": annotations.map { annotations in
                .object(annotations.sorted { $0.key < $1.key }.map { .init($0, .string($1)) })
            },
            "addresses": .array(addresses.map(JSON.string)),
        ])
    }
}
