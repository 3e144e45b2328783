// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// An error as a runtime reads it from standard output.
package struct CNIError: Error, Hashable {
    /// The specification's numbers; those from 100 are a plugin's own.
    package enum Code: Int, Sendable {
        case incompatibleVersion = 1
        case unsupportedField = 2
        case invalidEnvironment = 4
        case inputOutput = 5
        case undecodable = 6
        case invalidConfiguration = 7
        case tryAgainLater = 11
        /// No pod can be added.
        case unavailable = 50
        /// No pod can be added, and those that are there may not reach everything.
        case limited = 51
        /// The agent has refused, and will refuse again.
        case refused = 100
    }

    package let code: Code
    /// One line; kubelet shows it in the pod's events.
    package let message: String
    /// What to do.
    package let details: String

    package init(_ code: Code, _ message: String, details: String = "") {
        self.code = code
        self.message = message
        self.details = details
    }

    /// A field of the configuration that cannot be what it is.
    init(_ error: FieldError) {
        self.init(error.isUnknown ? .unsupportedField : .invalidConfiguration, error.message)
    }

    package func json(_ version: CNIVersion) -> JSON {
        JSON(members: [
            "cniVersion": .string(version.rawValue), "code": JSON(code.rawValue),
            "msg": .string("swerve-cni: " + message),
            "details": details.isEmpty ? nil : .string(details),
        ])
    }
}
