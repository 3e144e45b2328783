// SPDX-License-Identifier: Apache-2.0

import Foundation
import LinuxKernel
import RedirectionEngine
import Testing

extension Trait where Self == ConditionTrait {
    /// What only a kernel does whose types programs know; from 6.2 on, each of them has to.
    static var needsKernelTypes: Self {
        .enabled("programs know the kernel's types from Linux 6.2 on") {
            let release = try readFile("/proc/sys/kernel/osrelease")
            return try #require(KernelVersion(release: release)) >= KernelVersion(6, 2)
        }
    }
}
