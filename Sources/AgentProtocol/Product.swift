// SPDX-License-Identifier: Apache-2.0

package import OrderedJSON

/// What plugin, commands and agent are a build of.
package enum Product {
    /// The chart's `appVersion` is the same, which a test sees to.
    package static let version = "0.1.0-dev"

    /// What an agent answers who is asked for its version.
    package static var json: JSON { JSON(members: ["version": .string(version)]) }
}
