// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// A pod's interface on a network: CNI's primary key.
package struct Attachment: Hashable, Sendable {
    /// `CNI_CONTAINERID`: the sandbox, which a retried pod has a new one of.
    package let container: String
    /// `CNI_IFNAME`, seen from inside the pod: `eth0`.
    package let interface: String

    package init(container: String, interface: String) {
        self.container = container
        self.interface = interface
    }

    package init(_ fields: JSONFields) throws(FieldError) {
        container = try fields.required("containerID", fields.string)
        interface = try fields.required("interface", fields.string)
        try fields.refuse(otherThan: ["containerID", "interface"])
    }

    package var json: JSON {
        JSON(members: ["containerID": .string(container), "interface": .string(interface)])
    }
}

/// Whose pod it is, as far as the runtime knows; podman knows a name, `ctr` nothing.
package struct PodIdentity: Hashable, Sendable {
    package var namespace: String?
    package var name: String?
    /// With dashes, or 32 hexadecimal digits without: a static pod.
    package var uid: String?

    package init(namespace: String? = nil, name: String? = nil, uid: String? = nil) {
        self.namespace = namespace
        self.name = name
        self.uid = uid
    }

    package init(_ fields: JSONFields) throws(FieldError) {
        namespace = try fields.string("namespace")
        name = try fields.string("name")
        uid = try fields.string("uid")
        try fields.refuse(otherThan: ["namespace", "name", "uid"])
    }

    package var json: JSON {
        JSON(members: [
            "namespace": namespace.map(JSON.string), "name": name.map(JSON.string),
            "uid": uid.map(JSON.string),
        ])
    }
}
