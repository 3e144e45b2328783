// SPDX-License-Identifier: Apache-2.0

internal import ArgumentParser
internal import Foundation
internal import LinuxKernel

/// The cluster, asked through kubectl(1): whose configuration, logins and proxies it knows.
struct Kubectl: ParsableArguments {
    @Option(help: ArgumentHelp("As for kubectl.", valueName: "file"))
    var kubeconfig: String?

    @Option(help: ArgumentHelp("As for kubectl.", valueName: "name"))
    var context: String?

    /// What kubectl did not do; it has said why on standard error.
    struct Failed: Error, CustomStringConvertible {
        let words: [String]
        let status: Int

        var description: String {
            "kubectl \(words.prefix(3).joined(separator: " ")) failed (\(status)); nothing else was done"
        }
    }

    struct Missing: Error, CustomStringConvertible {
        let problem: String

        var description: String {
            "kubectl is needed to talk to the cluster, and could not be started (\(problem)); "
                + "`swerve install --output yaml` does without"
        }
    }

    /// Runs it to its end; what it prints is ours to read, what it complains about is seen at once.
    @discardableResult
    func run(_ words: [String], input: String = "") throws -> String {
        let source = try Self.file(with: input)
        let output = try OwnedDescriptor.pipe()
        var birth = ChildProcess.Birth(["kubectl"] + options + words)
        birth.environment = ProcessInfo.processInfo.environment.map { "\($0.key)=\($0.value)" }
        birth.input = source.rawValue
        birth.output = output.writer.rawValue
        let child: ChildProcess
        do throws(KernelError) { child = try ChildProcess.start(birth) } catch {
            throw Missing(problem: "\(error)")
        }
        let text = try output.takeReader().readAll()
        let status = try child.waitForExit()
        guard status == 0 else { throw Failed(words: words, status: status) }
        return String(decoding: text, as: UTF8.self)
    }

    private var options: [String] {
        (kubeconfig.map { ["--kubeconfig=\($0)"] } ?? [])
            + (context.map { ["--context=\($0)"] } ?? [])
    }

    /// Its input, of any length, in a file that has no name any more.
    private static func file(with text: String) throws -> OwnedDescriptor {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "swerve-\(UUID().uuidString)").path
        try OwnedDescriptor.open(path, .replace, mode: 0o600).write(text)
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try OwnedDescriptor.open(path)
    }
}
