// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

// Answers are read leniently: an agent may be newer than its plugin, and say more.

/// What became of a pod.
///
/// ```json
/// {"redirected": true, "mechanism": "ebpf", "reason": "auto: the kernel has everything"}
/// ```
package struct PodAnswer: Hashable, Sendable {
    /// False for a pod that is to be left alone: not enrolled, host network, mode `none`.
    package let redirected: Bool
    /// `ebpf`, `nft` or `legacy`; `nil` without redirection.
    package var mechanism: String?
    /// Why so, in words.
    package var reason: String

    package init(redirected: Bool, mechanism: String? = nil, reason: String) {
        self.redirected = redirected
        self.mechanism = mechanism
        self.reason = reason
    }

    package init(_ json: JSON) throws(FieldError) {
        let fields = try JSONFields(json)
        redirected = try fields.required("redirected", fields.truth)
        mechanism = try fields.string("mechanism")
        reason = try fields.string("reason") ?? ""
    }

    package var json: JSON {
        JSON(members: [
            "redirected": .bool(redirected), "mechanism": mechanism.map(JSON.string),
            "reason": .string(reason),
        ])
    }
}

/// Whether the agent can take pods.
///
/// ```json
/// {"ready": false, "limited": true, "reason": "bpffs is not mounted at /sys/fs/bpf"}
/// ```
package struct StatusAnswer: Hashable, Sendable {
    package let ready: Bool
    /// Whether pods that are there already may not reach everything either.
    package var limited: Bool
    /// Why not, in words.
    package var reason: String

    package init(ready: Bool, limited: Bool = false, reason: String = "") {
        self.ready = ready
        self.limited = limited
        self.reason = reason
    }

    package init(_ json: JSON) throws(FieldError) {
        let fields = try JSONFields(json)
        ready = try fields.required("ready", fields.truth)
        limited = try fields.truth("limited") ?? false
        reason = try fields.string("reason") ?? ""
    }

    package var json: JSON {
        JSON(members: [
            "ready": .bool(ready), "limited": .bool(limited), "reason": .string(reason),
        ])
    }
}
