// SPDX-License-Identifier: Apache-2.0

import Foundation
import KernelTestSupport
import LinuxKernel

/// A kubectl that writes down what it is asked, and answers what the test has put there.
final class FakeCluster: Sendable {
    let directory = "/tmp/swerve-cluster-\(UInt32.random(in: 0 ... .max))"

    /// What it was asked, a call a line.
    var calls: [String] {
        ((try? readFile(directory + "/calls")) ?? "").split(separator: "\n").map(String.init)
    }

    /// What the call of that number was given to read.
    func input(_ number: Int) -> String { (try? readFile("\(directory)/input.\(number)")) ?? "" }

    init() throws {
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false)
        // Input is given to every call; answers are files called by the first two words.
        let script = """
            #!/bin/sh
            cd "\(directory)" || exit 9
            n=$(cat calls 2>/dev/null | wc -l)
            cat >"input.$n"
            echo "$*" >>calls
            while [ "${1#--}" != "$1" ]; do shift; done
            [ ! -e "fail.$1" ] || { echo "kubectl says no" >&2; exit 1; }
            cat "answer.$1.$2" 2>/dev/null || true

            """
        let path = directory + "/kubectl"
        try Data(script.utf8).write(to: URL(filePath: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func put(_ file: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(filePath: directory + "/" + file))
    }

    /// Runs a command of ours that finds this kubectl, or none.
    func swerve(_ words: [String], finds: Bool = true) throws -> StockTool.Result {
        let path = finds ? directory + ":/usr/bin:/bin" : directory + "/none"
        return try tool([BuiltProgram.path("swerve")] + words, environment: ["PATH=" + path])
    }
}
