// SPDX-License-Identifier: Apache-2.0

internal import LinuxKernel
internal import OrderedJSON

/// What an installation would make of a directory.
package struct ChainPreview: Sendable {
    /// `file` is the one that would have our entry; `changed` says whether it would be written.
    package var report: ChainReport
    /// What the file would say.
    package var text: String = ""
}

extension ConfigurationChain {
    /// What ``install()`` would make of the directory as it is now; changes nothing.
    package func preview() -> ChainPreview {
        var preview = ChainPreview(report: ChainReport())
        guard let file = firstUsable(&preview.report) else { return preview }
        let bytes: [UInt8]
        if file.isList {
            guard let text = ChainText(file.content.bytes) else { return preview }
            bytes = text.with(entry)
            preview.report.file = file.name
        } else {
            if isOthersList(beside: file, &preview.report) { return preview }
            bytes = ChainText.list(of: file.content.bytes, called: file.name, entry)
            preview.report.file = Self.listName(file.name)
        }
        preview.report.changed = bytes != file.content.bytes
        preview.text = String(decoding: bytes, as: UTF8.self)
        return preview
    }

    /// The files that have our entry.
    package func filesWithEntry() -> [String] { entries().map(\.file) }

    /// Where the agents listen that the entries name.
    package func agentSockets() -> [String] {
        entries().compactMap { $0.entry["agentSocket"]?.text }
    }

    private func entries() -> [(file: String, entry: JSON)] {
        ConfigurationFile.names(in: directory).compactMap { name in
            guard let file = try? ConfigurationFile(name, in: directory),
                let entry = ChainText(file.content.bytes)?.entry
            else { return nil }
            return (name, entry)
        }
    }
}
