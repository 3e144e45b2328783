// SPDX-License-Identifier: Apache-2.0

package import ArgumentParser
package import RedirectionEngine

/// Which of the kernel's features may be used; the same for all commands of one node.
package struct FeatureOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Use no feature of the kernel's that is newer than this version: 5.4.",
            valueName: "version"))
    package var maxFeatures: KernelVersion?

    package init() {}

    package var ceiling: FeatureCeiling { FeatureCeiling(maxFeatures) }

    /// The options again, for another process.
    package var arguments: [String] {
        maxFeatures.map { ["--max-features", "\($0)"] } ?? []
    }
}

extension KernelVersion: ExpressibleByArgument {
    package init?(argument: String) { self.init(release: argument) }
}
