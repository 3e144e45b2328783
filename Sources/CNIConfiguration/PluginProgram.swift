// SPDX-License-Identifier: Apache-2.0

internal import CNIPlugin
package import LinuxKernel

/// The plugin's program in a node's plugin directory.
///
/// It must be there before an entry names it, and the entry must be gone before it goes: a runtime
/// that finds an entry without its program starts no pod.
package struct PluginProgram: Sendable {
    private let path: String

    package init(in directory: String) { path = directory + "/" + PluginConfiguration.type }

    /// Copies the program at `source`, unless the same is there; says whether it did.
    ///
    /// One that is running at that moment runs on.
    package func install(from source: String) throws(KernelError) -> Bool {
        let program = try FileContent.read(source)
        if let there = try? FileContent.read(path), there.isSame(as: program) { return false }
        try FileReplacement.create(path, program.bytes, like: program)
        return true
    }

    /// Removes the program, if it is there.
    package func uninstall() throws(KernelError) { try FileReplacement.remove(path) }
}
