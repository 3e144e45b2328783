// SPDX-License-Identifier: Apache-2.0

internal import Foundation

/// A path nobody else uses; what is there goes with it.
package final class TemporaryFile {
    package let path = FileManager.default.temporaryDirectory
        .appending(path: "swerve-\(UUID().uuidString)").path

    package init() {}

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
