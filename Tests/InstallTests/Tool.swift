// SPDX-License-Identifier: Apache-2.0

import KernelTestSupport
import LinuxKernel

/// Runs a tool that may take minutes on a busy machine; errors are among what it printed.
func tool(
    _ words: [String], input: String = "", environment: [String]? = nil
) throws -> StockTool.Result {
    let source = TemporaryFile()
    try OwnedDescriptor.open(source.path, .replace).write(input)
    let reader = try OwnedDescriptor.open(source.path)
    let output = try OwnedDescriptor.pipe()
    var birth = ChildProcess.Birth(["/usr/bin/timeout", "240"] + words)
    if let environment { birth.environment = environment }
    birth.input = reader.rawValue
    birth.output = output.writer.rawValue
    birth.error = output.writer.rawValue
    let child = try ChildProcess.start(birth)
    let text = try output.takeReader().readAll()
    return StockTool.Result(
        status: try child.waitForExit(), output: String(decoding: text, as: UTF8.self))
}
