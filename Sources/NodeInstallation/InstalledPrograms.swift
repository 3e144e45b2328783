// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials

/// Where the programs of this installation are, of which the one that runs is one.
package struct InstalledPrograms: Sendable {
    /// The directory of the running program.
    package let directory: String

    package init(directory: String) { self.directory = directory }

    package static var own: InstalledPrograms {
        let path = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return InstalledPrograms(
            directory: (path ?? "").split(separator: "/").dropLast()
                .reduce(into: "") { $0 += "/" + $1 })
    }

    package var command: String { directory + "/swerve" }
    package var agent: String { directory + "/swerved" }

    /// Beside the others in a build and in the image, in `libexec` where `make install` has been.
    package var plugin: String {
        let installed = directory + "/../libexec/swerve/swerve-cni"
        let beside = directory + "/swerve-cni"
        let files = FileManager.default
        let isInstalled = !files.fileExists(atPath: beside) && files.fileExists(atPath: installed)
        return isInstalled ? installed : beside
    }
}
