// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// What a network still has: everything of it that is not listed can go.
///
/// ```json
/// {"network": "k8s-pod-network", "valid": [{"containerID": "4f1c…", "interface": "eth0"}]}
/// ```
package struct CollectRequest: Hashable, Sendable {
    package let network: String
    package let valid: [Attachment]

    package init(network: String, valid: [Attachment]) {
        self.network = network
        self.valid = valid
    }

    package init(_ json: JSON) throws(FieldError) {
        let fields = try JSONFields(json)
        try fields.refuse(otherThan: ["network", "valid"])
        network = try fields.required("network", fields.string)
        var valid: [Attachment] = []
        for (index, element) in try fields.required("valid", fields.elements).enumerated() {
            valid.append(try Attachment(JSONFields(element, at: "valid[\(index)]")))
        }
        self.valid = valid
    }

    package var json: JSON {
        JSON(members: ["network": .string(network), "valid": .array(valid.map(\.json))])
    }
}
