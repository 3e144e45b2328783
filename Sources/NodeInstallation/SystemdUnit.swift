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

    /// The unit of an agent with these words.
    package static func text(_ command: [String]) throws(NodeInstallationError) -> String {
        for word in command
        where word.contains(where: { $0.isWhitespace || "\"'\\%$".contains($0) }) {
            throw .unit("\(word): a unit needs a path without blanks, quotes, % and $")
        }
        return DeployFile.unit.text.split(separator: "\n", omittingEmptySubsequences: false)
            .map { line in
                line.hasPrefix("ExecStart=")
                    ? "ExecStart=" + command.joined(separator: " ") : "\(line)"
            }.joined(separator: "\n")
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
        let isSame = (try? readFile(path)) == text && isEnabled
        if isSame { return false }
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
        } catch { throw .unit("cannot write \(path): \(error)") }
        return true
    }

    /// Disables and removes it, if it is ours; says whether there was one.
    package func uninstall() throws(NodeInstallationError) -> Bool {
        guard let there = try? readFile(path), there.hasPrefix(Self.mark) else { return false }
        do {
            if isEnabled { try FileManager.default.removeItem(atPath: link) }
            try FileManager.default.removeItem(atPath: path)
        } catch { throw .unit("cannot remove \(path): \(error)") }
        return true
    }

    private var isEnabled: Bool {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: link)) != nil
    }
}
