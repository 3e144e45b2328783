// SPDX-License-Identifier: Apache-2.0

package import RedirectionModel

/// A preset as it is installed: every one, and what Istio's installations often add.
package struct PresetPlan: Sendable {
    package let name: String
    private let preset: Preset
    private let change: @Sendable (inout RedirectionPlan) -> Void

    private init(
        _ preset: Preset, _ suffix: String = "",
        _ change: @escaping @Sendable (inout RedirectionPlan) -> Void = { _ in }
    ) {
        name = preset.name + suffix
        self.preset = preset
        self.change = change
    }

    /// The plan of a workload with these addresses.
    package func plan(ownAddresses: Set<IPAddress>) -> RedirectionPlan {
        var plan = preset.plan(ownAddresses: ownAddresses)
        change(&plan)
        return plan
    }

    package static let all =
        Preset.all.map { PresetPlan($0) } + [
            PresetPlan(.istio, "-dns") { $0.dns = DNSCapture(port: 15053) },
            PresetPlan(.istio, "-transparent") {
                $0.inboundMode = .transparent(mark: 1337, table: 133)
            },
        ]
}
