// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// A pod that was started without redirection, because the agent could not be had and the failure
/// policy is `open`.
///
/// The plugin leaves one as a file where the agent finds it when it is back, to count the pod and to
/// take it in: ``directory(besides:)``, named by the container. A delete leaves it by another name:
/// the pod still counts.
package struct FailedOpen: Hashable, Sendable {
    package let request: PodRequest
    /// Why the agent could not be had.
    package let reason: String

    package init(request: PodRequest, reason: String) {
        self.request = request
        self.reason = reason
    }

    package init(_ json: JSON) throws(FieldError) {
        let fields = try JSONFields(json)
        request = try PodRequest(fields.required("request", fields.value))
        reason = try fields.required("reason", fields.string)
    }

    package var json: JSON {
        JSON(members: ["request": request.json, "reason": .string(reason)])
    }

    /// What the one of an attachment is called there; a container may have several interfaces.
    package static func name(of attachment: Attachment) -> String {
        attachment.container + "@" + attachment.interface
    }

    /// What a delete adds to the name; no interface has a colon in its name, and no container.
    package static let deleted = ":deleted"

    /// Where they are: `failed-open`, in the directory of the agent's socket.
    package static func directory(besides socket: String) -> String {
        String(socket[..<(socket.lastIndex(of: "/") ?? socket.startIndex)]) + "/failed-open"
    }
}
