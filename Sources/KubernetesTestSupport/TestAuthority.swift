// SPDX-License-Identifier: Apache-2.0

internal import Foundation
internal import KernelTestSupport
internal import LinuxKernel

/// An authority of the test's own, the certificate of a server on loopback, and a token: all of them
/// made now, for a day.
package final class TestAuthority: Sendable {
    package let directory: String
    package var authorityFile: String { directory + "/ca.crt" }
    package var certificateFile: String { directory + "/server.crt" }
    package var keyFile: String { directory + "/server.key" }
    package var tokenFile: String { directory + "/token" }

    package init(token: String = "first") throws {
        directory = "/tmp/swerve-kube-\(UInt32.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false)
        try Self.make("/CN=authority", "ca", in: directory, [])
        try Self.make(
            "/CN=kubernetes", "server", in: directory,
            [
                "-CA", authorityFile, "-CAkey", directory + "/ca.key", "-addext",
                "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE",
            ])
        try write(token: token)
    }

    /// What an agent is told to follow the server on the node `node-1`.
    package func options(to api: TestAPIServer) -> [String] {
        [
            "--kube-server", api.url, "--kube-token-file", tokenFile, "--kube-ca-file",
            authorityFile, "--node-name", "node-1",
        ]
    }

    /// Gives out another token, as kubelet does.
    package func write(token: String) throws {
        try Data((token + "\n").utf8).write(to: URL(filePath: tokenFile), options: .atomic)
    }

    private static func make(
        _ subject: String, _ name: String, in directory: String, _ options: [String]
    ) throws {
        let result = try StockTool.run(
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj", subject, "-keyout",
                "\(directory)/\(name).key", "-out", "\(directory)/\(name).crt",
            ] + options, in: .current())
        guard result.status == 0 else { throw Failure(output: result.output) }
    }

    package struct Failure: Error { package let output: String }

    deinit { try? FileManager.default.removeItem(atPath: directory) }
}
