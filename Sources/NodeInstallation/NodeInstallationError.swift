// SPDX-License-Identifier: Apache-2.0

package import LinuxKernel

/// Why the plugin could not be installed or removed; nothing is left half done.
package enum NodeInstallationError: Error {
    /// The directory of something does not exist.
    case noDirectory(String, String)
    /// There is nothing to install.
    case noProgram(String, String)
    /// No file of a directory can be chained to, each with what is wrong with it.
    case noConfiguration(String, [String: String])
    case failed(String, KernelError)
    /// A unit that is somebody else's, or no place for one.
    case unit(String)
}

extension NodeInstallationError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .noDirectory(let path, let what):
            "\(path), where \(what) are looked for, is no directory: name the node's with "
                + (what == "CNI plugins" ? "--cni-bin-dir" : "--cni-conf-dir")
        case .noProgram(let path, let problem):
            "\(path): \(problem); name the plugin's program with --plugin"
        case .noConfiguration(let directory, let problems):
            problems.isEmpty
                ? "\(directory) has no network configuration to chain to; install the cluster's "
                    + "network first, or let the agent wait for it: swerved --cni-conf-dir"
                : "\(directory) has no network configuration that can be chained to: "
                    + problems.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
                    .joined(separator: "; ")
        case .failed(let what, let error): "cannot \(what): \(error)"
        case .unit(let problem): problem
        }
    }
}
