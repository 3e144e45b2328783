// SPDX-License-Identifier: Apache-2.0

internal import CLibBPF
package import LinuxKernel

extension BPFMap {
    /// Which values of an array are counted: none that begins with a word of 0.
    package struct Taken: Sendable {
        /// Those whose first word has one of the bits are not.
        let withoutBits: UInt64
        /// What their second word is; 0 for any.
        let second: UInt64

        package init(withoutBits: UInt64, second: UInt64) {
            self.withoutBits = withoutBits
            self.second = second
        }

        package static let taken = Taken(withoutBits: 0, second: 0)
    }

    /// How many values of an array are such, without copying them: it was made with `BPF_F_MMAPABLE`.
    package func count(_ kind: Taken) throws(KernelError) -> Int {
        precondition(valueSize >= 16 && valueSize % 8 == 0, "\(name) has no words to look at")
        return Int(
            try kernel("mmap(\(name))") {
                clibbpf_count_taken(
                    rawDescriptor, maxEntries, valueSize, kind.withoutBits, kind.second)
            })
    }
}
