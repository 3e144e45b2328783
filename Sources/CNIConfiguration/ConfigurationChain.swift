// SPDX-License-Identifier: Apache-2.0

internal import CNIPlugin
package import LinuxKernel
package import OrderedJSON
internal import SystemPackage

/// Our entry in the configuration that a node's runtime takes: the first valid file of a directory.
///
/// A list gets our entry at its end. A plugin that was alone becomes a list of two, and its own file
/// is kept under a name that runtimes do not look at; see ``saved``.
package struct ConfigurationChain: Sendable {
    package let directory: String
    /// What the plugin is to be told, and that it is ours: `{"type": "swerve-cni", …}`.
    let entry: JSON

    /// What is appended to the name of a file that has become a list.
    static let saved = ".swerve-saved"

    /// How often a file that others keep changing is tried again before they get a rest.
    private static let attempts = 100

    package init(directory: String, entry: JSON) {
        self.directory = directory
        self.entry = entry.setting("type", to: .string(PluginConfiguration.type))
    }

    /// Puts our entry where it belongs, if it is not there; changes nothing if it is.
    package func install() throws(KernelError) -> ChainReport {
        var changed = try recover()
        for _ in 0..<Self.attempts {
            var report = ChainReport()
            guard let file = firstUsable(&report) else { return report }
            switch file.isList ? try extend(file) : try makeList(of: file, &report) {
            case .done:
                report.file = file.isList ? file.name : Self.listName(file.name)
                report.changed = changed
                return report
            case .refused:
                report.changed = changed
                return report
            case .progress: changed = true
            case .overtaken: break
            }
        }
        throw KernelError("install into \(directory)", .resourceTemporarilyUnavailable)
    }

    /// Takes our entry out of every file, and leaves what was there before; nothing if it is nowhere.
    package func uninstall() throws(KernelError) -> ChainReport {
        var report = ChainReport()
        report.changed = try recover()
        for _ in 0..<Self.attempts {
            var isDone = true
            for name in ConfigurationFile.names(in: directory) where name.hasSuffix(".conflist") {
                guard let file = try? ConfigurationFile(name, in: directory),
                    let text = ChainText(file.content.bytes), let entry = text.entry
                else { continue }
                isDone = false
                if try takeOut(file, text, entry) { report.changed = true }
            }
            if isDone {
                try removeLeftovers()
                return report
            }
        }
        throw KernelError("uninstall from \(directory)", .resourceTemporarilyUnavailable)
    }

    /// Brings back what an interrupted change has left put aside, if that is somebody's newer file.
    ///
    /// An exchange puts ours in place, and what was there aside, to be compared. If nobody compared,
    /// it is newer than ours when it is not what ours was made from.
    private func recover() throws(KernelError) -> Bool {
        var changed = false
        for name in ConfigurationFile.names(in: directory) where name.hasSuffix(".conflist") {
            let path = ConfigurationFile.followed(directory + "/" + name)
            let aside = FileReplacement.aside(path)
            guard let left = try? FileContent.read(aside).bytes else { continue }
            if let leftText = ChainText(left), leftText.entry == nil,
                let current = try? FileContent.read(path).bytes, let text = ChainText(current),
                text.entry != nil, text.withoutOurs() != left
            {
                try FileReplacement.move(aside, to: path)
                changed = true
            } else {
                try FileReplacement.remove(aside)
            }
        }
        return changed
    }

    private enum Step {
        /// Everything was there already.
        case done
        /// Something has been changed; look again.
        case progress
        /// Somebody else was faster; look again.
        case overtaken
        /// It cannot be done, and the report says why.
        case refused
    }

    /// The file a runtime takes, if we can chain to it.
    func firstUsable(_ report: inout ChainReport) -> ConfigurationFile? {
        for name in ConfigurationFile.names(in: directory) {
            do throws(ConfigurationFile.Unusable) {
                let file = try ConfigurationFile(name, in: directory)
                do throws(ConfigurationFile.Unusable) { try file.checkVersion() } catch {
                    report.problems[name] = error.problem
                    return nil
                }
                return file
            } catch { report.problems[name] = error.problem }
        }
        return nil
    }

    private func extend(_ file: ConfigurationFile) throws(KernelError) -> Step {
        guard let text = ChainText(file.content.bytes) else { return .overtaken }
        let wanted = text.with(entry)
        if wanted == file.content.bytes { return .done }
        let path = ConfigurationFile.followed(file.path)
        return try FileReplacement.replace(path, file.content, with: wanted)
            ? .progress : .overtaken
    }

    /// Makes a list beside a plugin that is alone, then takes the plugin's file out of sight: there is
    /// a configuration at every instant.
    private func makeList(
        of file: ConfigurationFile, _ report: inout ChainReport
    ) throws(KernelError) -> Step {
        let name = Self.listName(file.name)
        let list = directory + "/" + name
        if isOthersList(beside: file, &report) { return .refused }
        let bytes = ChainText.list(of: file.content.bytes, called: file.name, entry)
        try FileReplacement.create(list, bytes, like: file.content)
        let saved = file.path + Self.saved
        try FileReplacement.move(file.path, to: saved)
        // Written to until the very moment it was moved: the list is made of what it says now.
        let now = try FileReplacement.settled(saved)
        if now.bytes == file.content.bytes { return .progress }
        try FileReplacement.restore(saved, to: file.path)
        return .overtaken
    }

    /// Whether the list that a lonely plugin would become is there, and somebody else's.
    func isOthersList(beside file: ConfigurationFile, _ report: inout ChainReport) -> Bool {
        let name = Self.listName(file.name)
        guard let bytes = try? FileContent.read(directory + "/" + name).bytes,
            ChainText(bytes)?.entry == nil
        else { return false }
        report.problems[name] = "is another list beside \(file.name); remove one of them"
        return true
    }

    /// Takes our entry out of one file; false if somebody else was faster.
    private func takeOut(
        _ file: ConfigurationFile, _ text: ChainText, _ entry: JSON
    ) throws(KernelError) -> Bool {
        for name in Self.lonelyNames(file.name) {
            let saved = directory + "/" + name + Self.saved
            guard let plugin = try? FileContent.read(saved).bytes,
                ChainText.list(of: plugin, called: name, entry) == file.content.bytes
            else { continue }
            // The file comes back before the list goes; one that has come back by itself is newer.
            try FileReplacement.restore(saved, to: directory + "/" + name)
            try FileReplacement.remove(file.path)
            return true
        }
        return try FileReplacement.replace(
            ConfigurationFile.followed(file.path), file.content, with: text.withoutOurs())
    }

    /// Removes what we have put beside the files, unless it is all that is left of one.
    private func removeLeftovers() throws(KernelError) {
        for name in ConfigurationFile.leftovers(in: directory) {
            if name.hasSuffix(Self.saved) {
                let plugin = String(name.dropLast(Self.saved.count))
                let list = Self.listName(plugin)
                let isBroken = (try? ConfigurationFile(list, in: directory)) == nil
                if isThere(list), isBroken, !isThere(plugin) { continue }
            }
            try FileReplacement.remove(directory + "/" + name)
        }
    }

    private func isThere(_ name: String) -> Bool {
        (try? FileContent.read(directory + "/" + name)) != nil
    }

    /// The list that a lonely plugin's file becomes: `10-x.conf` is `10-x.conflist`.
    static func listName(_ name: String) -> String {
        name[..<(name.lastIndex(of: ".") ?? name.endIndex)] + ".conflist"
    }

    /// What a list may have been made of.
    private static func lonelyNames(_ list: String) -> [String] {
        let stem = list.dropLast("conflist".count)
        return [stem + "conf", stem + "json"]
    }
}
