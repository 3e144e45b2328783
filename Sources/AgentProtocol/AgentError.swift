// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// A refusal by the agent, in every answer whose status is not 200.
///
/// ```json
/// {"error": {
///   "message": "the annotation is not a mode",
///   "field": "swerve.dev/mode", "value": "ebfp",
///   "remedy": "use auto, ebpf, iptables or none",
///   "retryable": false
/// }}
/// ```
package struct AgentError: Error, Hashable, Sendable {
    package let message: String
    /// What was wrong with the request, a policy or an annotation, by its name there.
    package var field: String?
    package var value: String?
    /// What whoever runs the cluster can do about it.
    package var remedy: String?
    /// Whether the same request may succeed later, with nothing changed by anybody.
    package let retryable: Bool

    package init(
        _ message: String, field: String? = nil, value: String? = nil, remedy: String? = nil,
        retryable: Bool
    ) {
        self.message = message
        self.field = field
        self.value = value
        self.remedy = remedy
        self.retryable = retryable
    }

    package init(_ json: JSON) throws(FieldError) {
        let top = try JSONFields(json)
        let fields = try top.required("error", top.fields)
        message = try fields.required("message", fields.string)
        field = try fields.string("field")
        value = try fields.string("value")
        remedy = try fields.string("remedy")
        retryable = try fields.required("retryable", fields.truth)
    }

    package var json: JSON {
        let error = JSON(members: [
            "message": .string(message), "field": field.map(JSON.string),
            "value": value.map(JSON.string), "remedy": remedy.map(JSON.string),
            "retryable": .bool(retryable),
        ])
        return JSON(members: ["error": error])
    }
}
