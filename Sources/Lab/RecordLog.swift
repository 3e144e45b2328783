// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
internal import LinuxKernel
package import SidecarProxy

/// The lab's record of connections, read from a point in time on.
package struct RecordLog: ~Copyable, Sendable {
    private let path: String
    private let watch: FileWatch
    private let start: Int

    /// Starts at the end of what is written now.
    package static func follow(_ path: String) throws -> RecordLog {
        let watch = try FileWatch.open(path)
        return RecordLog(path: path, watch: watch, start: try readFile(path).utf8.count)
    }

    /// The records written since.
    package func records() throws -> [ConnectionRecord] {
        try Self.parse(readFile(path).utf8.dropFirst(start))
    }

    /// Every record there is.
    package static func all(_ path: String) throws -> [ConnectionRecord] {
        try parse(readFile(path).utf8[...])
    }

    private static func parse(_ text: Substring.UTF8View) throws -> [ConnectionRecord] {
        // A line without its end is still being written.
        guard let end = text.lastIndex(of: UInt8(ascii: "\n")) else { return [] }
        return try text[..<end].split(separator: UInt8(ascii: "\n")).map {
            try JSONDecoder().decode(ConnectionRecord.self, from: Data($0))
        }
    }

    /// Waits until the records say enough; returns them all, enough or not.
    package func records(
        within limit: Duration, until isEnough: ([ConnectionRecord]) -> Bool
    ) throws -> [ConnectionRecord] {
        let deadline = ContinuousClock.now + limit
        while true {
            let records = try records()
            let left = deadline - .now
            if isEnough(records) || left <= .zero { return records }
            _ = try watch.waitForChange(left)
        }
    }
}
