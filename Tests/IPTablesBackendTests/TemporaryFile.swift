// SPDX-License-Identifier: Apache-2.0

import Foundation

/// A path nobody else uses; what is there goes with it.
final class TemporaryFile {
    let path = FileManager.default.temporaryDirectory
        .appending(path: "swerve-\(UUID().uuidString)").path

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
