// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// Why what is kept on the node cannot be used; nothing of it is ever overwritten for that.
package enum StateError: Error, Hashable {
    case invalidID(String, because: String)
    /// A newer build wrote the file.
    case newer(file: String, version: Int, known: Int)
    /// The file is not what one of ours would be.
    case corrupt(file: String, because: String)
    case kernel(KernelError)
}

extension StateError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .invalidID(let id, let reason):
            "\"\(id)\" cannot name a workload: \(reason)"
        case .newer(let file, let version, let known):
            """
            \(file) has version \(version), and this build knows versions up to \(known): use the \
            build that wrote it, or a later one
            """
        case .corrupt(let file, let reason):
            "\(file) cannot be read: \(reason); look at it, and move it away if it is not needed"
        case .kernel(let error): "\(error)"
        }
    }
}
