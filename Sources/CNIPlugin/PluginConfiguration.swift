// SPDX-License-Identifier: Apache-2.0

internal import AgentProtocol
package import OrderedJSON

/// What a node's network configuration says to us.
///
/// ```json
/// {
///   "type": "swerve-cni",
///   "capabilities": {"io.kubernetes.cri.pod-annotations": true},
///   "agentSocket": "/run/swerve/agent.sock",
///   "failurePolicy": "closed",
///   "timeoutSeconds": 20
/// }
/// ```
package struct PluginConfiguration: Sendable {
    /// What becomes of a pod that should be redirected and cannot be.
    package enum FailurePolicy: String, CaseIterable, Sendable {
        /// It does not start.
        case closed
        /// It starts, and goes around its sidecar until the agent has taken it in.
        case open
    }

    package var agentSocket = AgentCall.defaultSocket
    package var failurePolicy = FailurePolicy.closed
    /// For the whole exchange with the agent, in seconds.
    package var timeoutSeconds = 20

    /// What a configuration calls our plugin, which is its program's name, too.
    package static let type = "swerve-cni"

    /// The capability by which a runtime passes the pod's annotations.
    package static let annotationsCapability = "io.kubernetes.cri.pod-annotations"

    /// Fields of our own.
    static let ownFields = ["agentSocket", "failurePolicy", "timeoutSeconds"]

    /// Fields that the specification gives to every plugin, or that a runtime adds.
    static let sharedFields = [
        "cniVersion", "cniVersions", "name", "type", "prevResult", "runtimeConfig",
        "capabilities", "args",
    ]

    package init() {}

    /// The entry that says so, for a node's network configuration.
    package var entry: JSON {
        JSON(members: [
            "type": .string(Self.type),
            "capabilities": JSON(members: [Self.annotationsCapability: .bool(true)]),
            "agentSocket": .string(agentSocket),
            "failurePolicy": .string(failurePolicy.rawValue),
            "timeoutSeconds": JSON(timeoutSeconds),
        ])
    }

    /// Reads our own fields and no others; a misspelt one must not pass for the default.
    package init(_ json: JSON) throws(FieldError) {
        let fields = try JSONFields(json)
        let known = Self.ownFields + Self.sharedFields
        // The specification keeps names with this prefix for itself.
        for member in json.members ?? []
        where !known.contains(member.name) && !member.name.hasPrefix("cni.dev/") {
            try fields.refuse(otherThan: known)
        }
        if let socket = try fields.string("agentSocket") {
            guard socket.hasPrefix("/"), socket.utf8.count < 108 else {
                throw fields.error(
                    "agentSocket", "must be an absolute path of less than 108 bytes")
            }
            agentSocket = socket
        }
        if let word = try fields.string("failurePolicy") {
            guard let policy = FailurePolicy(rawValue: word) else {
                throw fields.error("failurePolicy", "must be \"closed\" or \"open\"")
            }
            failurePolicy = policy
        }
        if let value = fields.value("timeoutSeconds") {
            guard let seconds = value.integer, 1...300 ~= seconds else {
                throw fields.error("timeoutSeconds", "must be a whole number from 1 to 300")
            }
            timeoutSeconds = seconds
        }
    }
}
