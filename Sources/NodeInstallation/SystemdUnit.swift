// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import HelmChart
internal import LinuxKernel

/// The agent's unit among those of a machine's administrator, enabled for the next boot.
///
/// Files only: nothing is started.
package struct SystemdUnit: Sendable {
    package static let name = "swerved.service"
    /// By which a unit is known as ours.
    private static let mark = "# SPDX-License-Identifier: Apache-2.0\n#\n# The agent of a machine."

    private let directory: String

    package init(directory: String = "/etc/systemd/system") { self.directory = directory }

    package var path: String { directory + "/" + Self.name }
    private var link: String { directory + "/multi-user.target.wants/" + Self.name }

    /// The unit of an agent with these words, for which `waiting` waits after its start.
    package static func text(
        _ command: [String], waiting: [String]
    ) throws(NodeInstallationError) -> String {
        let words = command + waiting
        for word in words
        where word.contains(where: { $0.isWhitespace || "\"'\\%$".contains($0) }) {
            throw .unit("\(word): a unit needs a path without blanks, quotes, % and $")
        }
        let isHome = words.contains(where: Self.isHome)
        return DeployFile.unit.text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { line in
                if line.hasPrefix("ExecStart=") {
                    "ExecStart=" + command.joined(separator: " ")
                } else if line.hasPrefix("ExecStartPost=-") {
                    "ExecStartPost=-" + waiting.joined(separator: " ")
                } else if isHome, line == "ProtectHome=yes" {
                    "ProtectHome=read-only"
                } else {
                    "\(line)"
                }
            }.joined(separator: "\n")
    }

    /// Whether a program or an option's file is in what `ProtectHome=yes` hides, systemd.exec(5).
    private static func isHome(_ word: String) -> Bool {
        let path = word.drop { $0 != "/" }
        return ["/home/", "/root/", "/run/user/"].contains { path.hasPrefix($0) }
    }

    /// Fails where ``install(_:)`` would; changes nothing.
    package func check() throws(NodeInstallationError) {
        var isDirectory = false
        guard FileManager.default.fileExists(atPath: directory, isDirectory: &isDirectory),
            isDirectory
        else { throw .unit("\(directory) is no directory: this machine has no systemd") }
        guard let there = try? readFile(path) else { return }
        guard there.hasPrefix(Self.mark) else {
            throw .unit("\(path) is another's unit: move it away first")
        }
    }

    /// Writes and enables it; says whether anything changed.
    package func install(_ text: String) throws(NodeInstallationError) -> Bool {
        try check()
        let old = try? readFile(path)
        let wasEnabled = isEnabled
        if old == text, wasEnabled { return false }
        do {
            try Data(text.utf8).write(to: URL(filePath: path), options: .atomic)
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
            if !isEnabled {
                try FileManager.default.createDirectory(
                    atPath: directory + "/multi-user.target.wants",
                    withIntermediateDirectories: true)
                try FileManager.default.createSymbolicLink(
                    atPath: link, withDestinationPath: "../" + Self.name)
            }
        } catch {
            undo(to: old, wasEnabled)
            throw .unit("cannot write \(path): \(error)")
        }
        return true
    }

    /// Puts back what was there before ``install(_:)``.
    package func undo(to old: String?, _ wasEnabled: Bool) {
        if !wasEnabled, isEnabled { try? FileManager.default.removeItem(atPath: link) }
        if let old {
            try? Data(old.utf8).write(to: URL(filePath: path), options: .atomic)
        } else {
            try? FileManager.default.removeItem(atPath: path)
        }
    }

    /// What is in the unit; `nil` where there is none.
    package var current: String? { try? readFile(path) }

    /// Disables and removes it, if it is ours; says whether there was one.
    package func uninstall() throws(NodeInstallationError) -> Bool {
        guard let there = try? readFile(path), there.hasPrefix(Self.mark) else { return false }
        do {
            if isEnabled { try FileManager.default.removeItem(atPath: link) }
            try FileManager.default.removeItem(atPath: path)
        } catch { throw .unit("cannot remove \(path): \(error)") }
        return true
    }

    package var isEnabled: Bool {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: link)) != nil
    }
}
