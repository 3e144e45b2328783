// SPDX-License-Identifier: Apache-2.0

/// What is the case in a node's configuration, after we have done what we could.
package struct ChainReport: Hashable, Sendable {
    /// The file that runtimes take and our entry is in; `nil` while there is none.
    package var file: String?
    /// Whether files have been changed.
    package var changed = false
    /// Files that stand in the way and are left alone, each with what is wrong with it.
    ///
    /// A runtime may stop at one of them, as containerd does, and have no network at all.
    package var problems: [String: String] = [:]

    package init() {}
}
