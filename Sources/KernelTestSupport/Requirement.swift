// SPDX-License-Identifier: Apache-2.0

package import Testing

#if canImport(Glibc)
internal import Glibc
#endif

extension Trait where Self == ConditionTrait {
    /// The test changes namespaces, rules or programs, so it needs root.
    ///
    /// A developer without root sees it skipped, with this reason. With `SWERVE_REQUIRE_KERNEL`
    /// set, as `make test` does, it runs regardless: a machine meant to be able may not pass by
    /// skipping.
    package static var requiresKernel: Self {
        .enabled(if: geteuid() == 0 || isKernelRequired, "needs root; run it with sudo")
    }
}

private var isKernelRequired: Bool { unsafe getenv("SWERVE_REQUIRE_KERNEL") != nil }
