// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import CNIConfiguration
internal import CommandOptions
internal import Foundation
internal import LinuxKernel
internal import Logging
internal import NodeInstallation

/// The node's network, in which pods are told of: where our entry is kept.
struct NetworkOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Keep our entry in this directory's network configuration, whoever else writes there, \
            such as /etc/cni/net.d; the plugin's program must be installed (swerve node install).
            """, valueName: "directory"))
    var cniConfDir: String?

    @Option(
        help: ArgumentHelp(
            """
            Where the runtime's CNI library remembers the pods it has added: those of the cluster's \
            that it has added without us are redirected as soon as they are found there; none: \
            they are left alone.
            """, valueName: "directory"))
    var cniCacheDir = "/var/lib/cni"

    @OptionGroup var plugin: PluginOptions

    /// In place of a directory: nowhere.
    private static let none = "none"

    func validate() throws {
        if let cniConfDir, !cniConfDir.hasPrefix("/") {
            throw ValidationError("--cni-conf-dir \(cniConfDir): give a path that begins with /")
        }
        guard cniCacheDir.hasPrefix("/") || cniCacheDir == Self.none else {
            throw ValidationError(
                "--cni-cache-dir \(cniCacheDir): give a path that begins with /, or none")
        }
    }

    /// Where the library has a file for each attachment.
    var attachments: Directory? {
        cniCacheDir == Self.none ? nil : Directory(path: cniCacheDir + "/results")
    }

    /// Keeps the entry for as long as this process lives, on a thread of its own.
    ///
    /// Nobody waits for it: the network of a node may come later than its agent. At the agent's end
    /// the entry stays, and pods wait for the next agent.
    func keep(calling socket: String, _ logger: Logger) {
        guard let cniConfDir else { return }
        let chain = NodeInstallation(
            configurationDirectory: cniConfDir, pluginDirectory: "",
            configuration: plugin.configuration(agentAt: socket)
        ).chain
        Thread.detachNewThread {
            ChainKeeper(chain).run(until: { false }) { result in
                Self.tell(result, of: cniConfDir, logger)
            }
        }
    }

    private static func tell(
        _ result: Result<ChainReport, KernelError>, of directory: String, _ logger: Logger
    ) {
        switch result {
        case .failure(let error):
            logger.error("pods may start without us: \(directory): \(error)")
        case .success(let report):
            for (file, problem) in report.problems.sorted(by: { $0.key < $1.key }) {
                logger.warning("\(directory)/\(file): \(problem)")
            }
            guard let file = report.file else {
                return logger.warning("\(directory) has no network configuration to chain to yet")
            }
            logger.notice(
                "pods are told of by \(directory)/\(file)",
                metadata: ["changed": "\(report.changed)"])
        }
    }
}
