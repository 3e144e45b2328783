// SPDX-License-Identifier: Apache-2.0

/// A value that the chart does not take, by its name.
package struct ValuesError: Error, Hashable, CustomStringConvertible {
    /// `interceptor.debug`, or a file.
    package let place: String
    package let problem: String

    package var description: String { "\(place): \(problem)" }
}
