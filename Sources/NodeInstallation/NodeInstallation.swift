// SPDX-License-Identifier: Apache-2.0

package import CNIConfiguration
package import CNIPlugin
internal import FoundationEssentials
internal import LinuxKernel

/// What a node's runtime needs to call us: the plugin's program, and our entry in its configuration.
///
/// The program comes first and goes last, for a runtime that finds an entry without its program
/// starts no pod.
package struct NodeInstallation: Sendable {
    /// Where the runtime's network configurations are.
    package let configurationDirectory: String
    /// Where it looks for plugins.
    package let pluginDirectory: String
    package let configuration: PluginConfiguration

    package init(
        configurationDirectory: String, pluginDirectory: String,
        configuration: PluginConfiguration = PluginConfiguration()
    ) {
        self.configurationDirectory = configurationDirectory
        self.pluginDirectory = pluginDirectory
        self.configuration = configuration
    }

    /// What has been done, or would be.
    package struct Report: Hashable, Sendable {
        /// Whether the program has been written or removed.
        package var programChanged = false
        package var chain = ChainReport()
    }

    package var chain: ConfigurationChain {
        ConfigurationChain(directory: configurationDirectory, entry: configuration.entry)
    }

    package var programPath: String { pluginDirectory + "/" + PluginConfiguration.type }

    /// Puts the program at `source` into place, nothing else: the entry is kept by the agent.
    package func installProgram(from source: String) throws(NodeInstallationError) -> Bool {
        try checkProgram(source)
        do throws(KernelError) {
            return try PluginProgram(in: pluginDirectory).install(from: source)
        } catch { throw .failed("write \(programPath)", error) }
    }

    /// Puts the program and then the entry into place; where one cannot be, neither is.
    package func install(from source: String) throws(NodeInstallationError) -> Report {
        try check(source)
        let wasThere = FileManager.default.fileExists(atPath: programPath)
        var report = Report()
        report.programChanged = try installProgram(from: source)
        do throws(NodeInstallationError) {
            report.chain = try installEntry()
        } catch {
            // An older program stays replaced: the newer one answers its entry, too.
            if !wasThere { try? PluginProgram(in: pluginDirectory).uninstall() }
            throw error
        }
        return report
    }

    private func installEntry() throws(NodeInstallationError) -> ChainReport {
        let report: ChainReport
        do throws(KernelError) { report = try chain.install() } catch {
            throw .failed("write to \(configurationDirectory)", error)
        }
        guard report.file != nil else {
            throw .noConfiguration(configurationDirectory, report.problems)
        }
        return report
    }

    /// Fails if ``install(from:)`` would; changes nothing.
    @discardableResult
    package func check(_ source: String) throws(NodeInstallationError) -> ChainPreview {
        try checkProgram(source)
        try Self.checkDirectory(configurationDirectory, for: "network configurations")
        let preview = chain.preview()
        guard preview.report.file != nil else {
            throw .noConfiguration(configurationDirectory, preview.report.problems)
        }
        return preview
    }

    /// Whether the program would be written.
    package func wouldWriteProgram(from source: String) -> Bool {
        guard let new = try? FileContent.read(source) else { return false }
        return (try? FileContent.read(programPath))?.isSame(as: new) != true
    }

    /// Takes the entry out of every configuration, then removes the program.
    ///
    /// What is not there need not be removed: a second time does nothing, and says so.
    package func uninstall() throws(NodeInstallationError) -> Report {
        var report = Report()
        if FileManager.default.fileExists(atPath: configurationDirectory) {
            do throws(KernelError) { report.chain = try chain.uninstall() } catch {
                throw .failed("take our entry out of \(configurationDirectory)", error)
            }
        }
        report.programChanged = FileManager.default.fileExists(atPath: programPath)
        guard report.programChanged else { return report }
        do throws(KernelError) { try PluginProgram(in: pluginDirectory).uninstall() } catch {
            throw .failed("remove \(programPath)", error)
        }
        return report
    }

    package func checkProgram(_ source: String) throws(NodeInstallationError) {
        try Self.checkDirectory(pluginDirectory, for: "CNI plugins")
        let program: FileContent
        do throws(KernelError) { program = try FileContent.read(source) } catch {
            throw .noProgram(source, "\(error)")
        }
        guard program.bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46]),
            FileManager.default.isExecutableFile(atPath: source)
        else { throw .noProgram(source, "it is no program that can be run") }
    }

    private static func checkDirectory(
        _ path: String, for what: String
    ) throws(NodeInstallationError) {
        var isDirectory = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), isDirectory
        else { throw .noDirectory(path, what) }
    }
}

extension NodeInstallation {
    /// Where this node has its own; the usual places where there are none.
    package static func detect(root: String = "") -> NodeInstallation {
        let layout = NodeLayout.detect(root: root)
        return NodeInstallation(
            configurationDirectory: root + layout.configurationDirectory,
            pluginDirectory: root
                + (layout.pluginDirectory(root: root) ?? layout.pluginDirectories[0]))
    }
}
