// SPDX-License-Identifier: Apache-2.0

internal import FoundationEssentials
package import Logging
internal import OrderedJSON

/// Log lines for programs: a JSON object each.
///
/// `{"time":"…","level":"notice","logger":"swerved","message":"…","workload":"web"}`
package struct JSONLogHandler: LogHandler {
    package var logLevel = Logger.Level.info
    package var metadata: Logger.Metadata = [:]
    private let label: String
    private let write: @Sendable (String) -> Void

    /// Writes whole lines, without their end.
    package init(_ label: String, _ write: @escaping @Sendable (String) -> Void) {
        self.label = label
        self.write = write
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var members: [JSON.Member] = [
            .init("time", .string(Date.now.ISO8601Format())),
            .init("level", .string(event.level.rawValue)), .init("logger", .string(label)),
            .init("message", .string("\(event.message)")),
        ]
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        for (name, value) in all.sorted(by: { $0.key < $1.key }) {
            members.append(.init(name, .string("\(value)")))
        }
        write(JSON.object(members).rendered())
    }
}
