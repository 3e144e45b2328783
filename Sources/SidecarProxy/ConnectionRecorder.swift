// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import LinuxKernel
internal import Logging

/// Writes connection records, a line each.
package final class ConnectionRecorder: Sendable {
    private let output: OwnedDescriptor

    /// Records go to `output`, best opened for appending: a line is one write(2), so that
    /// several processes can share a file.
    package init(_ output: consuming OwnedDescriptor) { self.output = output }

    func write(_ record: ConnectionRecord) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        do {
            try output.write(encoder.encode(record) + [UInt8(ascii: "\n")])
        } catch {
            Logger(label: "sidecar").error("a connection was not recorded: \(error)")
        }
    }
}
