// SPDX-License-Identifier: Apache-2.0

/// The newest kernel whose features may be used, on a kernel that may have more: what is built for
/// an old kernel is tried on the one in front of us.
package struct FeatureCeiling: Hashable, Sendable {
    /// `nil` for no ceiling.
    package let version: KernelVersion?

    package init(_ version: KernelVersion?) { self.version = version }

    /// Everything the kernel has.
    package static let none = FeatureCeiling(nil)

    /// Whether what came with kernel `since` may be used.
    package func permits(_ since: KernelVersion) -> Bool { version.map { since <= $0 } ?? true }

    /// What a probe finds below the ceiling: a feature above it is not there, without a question
    /// to the kernel.
    package func answer(since: String, _ ask: () -> ProbeAnswer) -> ProbeAnswer {
        guard let version, let first = KernelVersion(release: since), !permits(first) else {
            return ask()
        }
        return .no("nothing newer than Linux \(version) is used here")
    }
}
