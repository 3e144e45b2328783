// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel

extension BPFMap {
    /// How many values of an array begin with another word than 0, without copying them: the array
    /// was made with `BPF_F_MMAPABLE`.
    package func countTaken() throws(KernelError) -> Int {
        precondition(valueSize >= 8 && valueSize % 8 == 0, "\(name) has no words to look at")
        return Int(
            try kernel("mmap(\(name))") {
                clibbpf_count_taken(rawDescriptor, maxEntries, valueSize)
            })
    }
}
