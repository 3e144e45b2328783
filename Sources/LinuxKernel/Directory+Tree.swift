// SPDX-License-Identifier: Apache-2.0

internal import CLinuxShims
internal import FoundationEssentials
internal import SystemPackage

extension Directory {
    package var exists: Bool { FileManager.default.fileExists(atPath: path) }

    /// Whether something of that name is in it.
    package func has(_ name: String) -> Bool { child(name).exists }

    /// The names of the directories in it, in order.
    package func directories() -> [String] {
        names().filter { name in
            let file = path + "/" + name
            let type = try? FileManager.default.attributesOfItem(atPath: file)[.type]
            return type as? FileAttributeType == .typeDirectory
        }
    }

    /// Gives it another path, in the same filesystem, where nothing may be.
    package func move(to other: String) throws(KernelError) {
        try kernel("rename(\(path), \(other))") { unsafe clinux_rename(path, other) }
    }

    /// Removes it with everything in it; it is not an error if it is gone.
    package func removeTree() throws(KernelError) {
        for name in names() {
            do throws(KernelError) {
                try remove(name)
            } catch  where error.errno == .isDirectory || error.errno == .notPermitted {
                try child(name).removeTree()
            }
        }
        try removeIfEmpty()
    }
}
